from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from hwnas.cli.main import app


def _model(path: Path, *, operator: str = "Relu", side: object = 32) -> Path:
    import numpy as np

    weight = numpy_helper.from_array(np.zeros((16, 3, 3, 3), dtype=np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], name="stem"),
        helper.make_node(operator, ["y"], ["z"], name="last"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, side, side])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [z], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["predict", "--device", "jetson", *arguments])
    return result.exit_code, result.output


def _json(*arguments: str) -> dict[str, Any]:
    code, output = _run(*arguments, "--json")
    assert code == 0, output
    return json.loads(output)  # type: ignore[no-any-return]


def test_any_onnx_file_has_a_latency_that_its_operations_add_up_to(tmp_path: Path) -> None:
    found = _json(str(_model(tmp_path / "m.onnx")), "--breakdown")
    assert found["low_ms"] < found["latency_ms"] < found["high_ms"]
    assert found["unknown_operations"] == []
    parts = [row["ms"] for row in found["breakdown"]["operations"]] + [found["breakdown"]["network_ms"]]
    assert sum(parts) == pytest.approx(found["latency_ms"])


def test_an_operation_that_nobody_measured_is_named(tmp_path: Path) -> None:
    found = _json(str(_model(tmp_path / "m.onnx", operator="Sinh")))
    assert found["in_domain"] is False
    assert [(entry["operator"], entry["count"]) for entry in found["unknown_operations"]] == [("Sinh", 1)]
