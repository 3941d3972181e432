from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes an ONNX file from nodes; input "x", output "y" of a shape that the file does not state."""

    def write(
        nodes: Sequence[Any],
        shape: Sequence[int | str | None] | None = ("batch", 3, 8, 8),
        weights: dict[str, Any] | None = None,
        *,
        inputs: Sequence[Any] = (),
        outputs: Sequence[str] = ("y",),
        output_shape: Sequence[int] | None = None,
        value_info: Sequence[Any] = (),
        opset: int = 17,
        opsets: Sequence[Any] = (),
        functions: Sequence[Any] = (),
        kind: int = TensorProto.FLOAT,
        name: str = "model.onnx",
    ) -> Path:
        held = [
            value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), key)
            for key, value in (weights or {}).items()
        ]
        graph = helper.make_graph(
            list(nodes),
            "g",
            list(inputs) or [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info(output, kind, output_shape) for output in outputs],
            held,
            value_info=list(value_info),
        )
        imports = [helper.make_opsetid("", opset), *opsets]
        model = helper.make_model(graph, opset_imports=imports, functions=list(functions))
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        assert isinstance(model, onnx.ModelProto)
        return path

    return write
