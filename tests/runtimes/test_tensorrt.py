"""Files for TensorRT; the engine itself against a stand-in, for there is no GPU where these tests run.

The stand-in has the calls of TensorRT's Python API that the agent makes, and of CUDA's runtime a library that is
compiled here, whose device memory is the host's: ONNX Runtime computes what an engine would.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from hwnas.measure.process import agent_source
from hwnas.plugins import load_plugin
from hwnas.runtimes.tensorrt import TensorRt
from hwnas.testing.networks import small_network
from hwnas.testing.runtime import INPUT_SHAPE, RuntimeContract, spec_of

CUDART = """
#include <stdlib.h>
#include <string.h>
int cudaMalloc(void **address, size_t size) { *address = malloc(size); return *address ? 0 : 2; }
int cudaMemcpy(void *to, const void *from, size_t size, int kind) {
    if (kind != 1 && kind != 2) return 21;
    memcpy(to, from, size);
    return 0;
}
int cudaStreamCreate(void **stream) { *stream = malloc(1); return 0; }
int cudaStreamSynchronize(void *stream) { return stream ? 0 : 400; }
"""
STAND_IN = (Path(__file__).parent / "tensorrt_stand_in.py").read_text()


class TestTensorRt(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> TensorRt:
        return TensorRt()


def test_is_a_plugin() -> None:
    assert load_plugin("runtime", "tensorrt") is TensorRt


def test_int8_is_what_tensorrt_reads(tmp_path: Path) -> None:
    """Symmetric int8 everywhere, float biases (TensorRT developer guide: explicit quantization)."""
    details = TensorRt().export(small_network(), spec_of("int8"), tmp_path / "m.onnx").details
    assert details["quantization"].startswith("static QDQ, symmetric")
    model = onnx.load(str(tmp_path / "m.onnx"))
    known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zeros = [known[node.input[2]] for node in pairs if len(node.input) > 2]
    assert len(zeros) > 4
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    made_by_dq = {node.output[0] for node in pairs if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert all({*node.input[:2]} <= made_by_dq for node in convolutions)
    assert not any(node.input[2] in made_by_dq for node in convolutions if len(node.input) > 2)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A folder with the agent, the stand-in of TensorRT and that of CUDA's runtime."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (tmp_path / "cudart.c").write_text(CUDART)
    library = tmp_path / "libcudart.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "cudart.c")], check=True)
    (tmp_path / "tensorrt.py").write_text(STAND_IN)
    (tmp_path / "agent.py").write_text(agent_source())
    return tmp_path


def ask(board: Path, *requests: dict[str, Any], version: str = "10.3.0") -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(board / "agent.py")],
        input="\n".join(map(json.dumps, requests)) + "\n",
        env={"PYTHONPATH": str(board), "LD_LIBRARY_PATH": str(board), "STAND_IN_VERSION": version, "PATH": "/usr/bin"},
        capture_output=True, text=True, cwd=board, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0"])
@pytest.mark.parametrize("precision", TensorRt.precisions)
def test_the_agent_builds_an_engine_and_runs_it(board: Path, precision: str, version: str) -> None:
    path = board / "m.onnx"
    TensorRt().export(small_network(), spec_of(precision), path)
    load = {"op": "load", "runtime": "tensorrt", "model": "a", "path": str(path), "threads": 1}
    info, loaded, run = ask(
        board,
        {"op": "info", "runtime": "tensorrt"},
        load | {"input_shape": [1, *INPUT_SHAPE]},
        {"op": "run", "model": "a", "calls": 5},
        version=version,
    )
    assert info["runtime_version"] == version
    assert loaded == {"ok": True, "output_shape": [1, 5]}
    assert len(run["samples_ms"]) == 5


def test_what_tensorrt_cannot_read_is_said(board: Path) -> None:
    path = board / "m.onnx"
    path.write_bytes(b"not a model")
    load = {"op": "load", "runtime": "tensorrt", "model": "a", "path": str(path), "threads": 1}
    (answer,) = ask(board, load | {"input_shape": [1, *INPUT_SHAPE]})
    assert "TensorRT cannot read the file: " in answer["error"]
