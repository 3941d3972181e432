from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("openvino", reason="needs: pip install 'hwnas[openvino]'")

from hwnas.core.runtime import ExportSpec
from hwnas.plugins import load_plugin
from hwnas.runtimes.openvino import OpenVino
from hwnas.testing.networks import small_network
from hwnas.testing.runtime import INPUT_SHAPE, RuntimeContract, samples, spec_of


class TestOpenVino(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> OpenVino:
        return OpenVino()


def test_is_a_plugin() -> None:
    assert load_plugin("runtime", "openvino") is OpenVino


@pytest.mark.parametrize(("flags", "largest", "reduced"), [({"avx2"}, 64, True), ({"avx512_vnni"}, 127, False)])
def test_int8_weight_range_follows_the_target(flags: set[str], largest: int, reduced: bool, tmp_path: Path) -> None:
    spec = ExportSpec(precision="int8", input_shape=INPUT_SHAPE, calibration=samples(8), cpu_flags=frozenset(flags))
    path = tmp_path / "m.onnx"
    assert OpenVino().export(small_network(), spec, path).details["reduce_range"] is reduced
    weights = [numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
    # Depthwise weights keep all bits: OpenVINO multiplies them in another way, which does not saturate.
    dense = [array for array in weights if array.dtype == np.int8 and array.ndim > 1 and array.shape[1] > 1]
    assert max(int(np.abs(array.astype(int)).max()) for array in dense) == largest


def test_says_what_really_runs(tmp_path: Path) -> None:
    whole = OpenVino().export(small_network(), spec_of("fp32"), tmp_path / "whole.onnx").details["graph"]
    low = OpenVino().export(small_network(), spec_of("int8"), tmp_path / "low.onnx").details["graph"]
    assert whole["after"]["Convolution fp32"] == 5
    assert whole["fused"]["Convolution + HardSwish"] == 2
    assert low["precisions"]["int8"] >= 1


def test_fp16_is_stored_and_not_computed(tmp_path: Path) -> None:
    """OpenVINO's CPU plugin converts fp16 weights when it loads them; the record says so."""
    graph = OpenVino().export(small_network(), spec_of("fp16"), tmp_path / "half.onnx").details["graph"]
    assert graph["precisions"] == {"fp32": 6}
    assert graph["notes"][0].startswith(
        "all 6 convolutions, linear layers and matrix products of this fp16 file run in fp32"
    )


def test_int8_answers_like_onnxruntime_does(tmp_path: Path) -> None:
    """NNCF's ranges and onnxruntime's are not equal, but both are near fp32."""
    runtime = OpenVino()
    for precision in ("fp32", "int8"):
        runtime.export(small_network(), spec_of(precision), tmp_path / f"{precision}.onnx")
    whole, low = (runtime.load(tmp_path / f"{p}.onnx").run(samples(64, seed=3)) for p in ("fp32", "int8"))
    assert np.corrcoef(whole.ravel(), low.ravel())[0, 1] > 0.98


def test_files_load_without_hwnas(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    OpenVino().export(small_network(), spec_of("int8"), path)
    code = (
        "import sys, numpy, openvino\n"
        "model = openvino.Core().compile_model(sys.argv[1], 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})\n"
        "print(model(numpy.zeros((2, 3, 16, 16), 'float32'))[0].shape)\n"
        "assert not [name for name in sys.modules if name.startswith('hwnas')]"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, 5)"


def test_export_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        OpenVino().export(small_network(), spec_of("int8"), tmp_path / "m.onnx")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
