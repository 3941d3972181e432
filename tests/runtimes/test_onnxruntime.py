from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attending import encoder, tokens
from torch import nn

from hwnas.core.runtime import ExportSpec
from hwnas.errors import MeasurementError, RuntimeExportError
from hwnas.plugins import load_plugin
from hwnas.runtimes.onnxruntime import INPUT_NAME, OUTPUT_NAME, OnnxRuntime, OnnxRuntimeCuda, OnnxRuntimeTensorRt
from hwnas.testing.networks import small_network
from hwnas.testing.runtime import INPUT_SHAPE, RuntimeContract, samples, spec_of


class TestOnnxRuntime(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> OnnxRuntime:
        return OnnxRuntime()


@pytest.mark.parametrize("kind", [OnnxRuntimeCuda, OnnxRuntimeTensorRt])
def test_a_file_for_a_gpu_is_made_and_checked_without_one(kind: type[OnnxRuntime], tmp_path: Path) -> None:
    runtime, path = kind(), tmp_path / "m.onnx"
    details = runtime.export(small_network(), spec_of("fp16"), path).details
    assert details["provider"] == runtime.provider
    assert details["checked_with"] in (runtime.provider, "CPUExecutionProvider")
    if details["checked_with"] != runtime.provider:  # what the CPU makes of it is not what the GPU does
        assert details["graph"]["after"] is None
        with pytest.raises(MeasurementError, match="not installed here"):
            runtime.profile(path, samples(1))


def test_torch_s_encoder_is_exported_without_its_fused_operation(tmp_path: Path) -> None:
    spec = ExportSpec(precision="fp32", input_shape=(3, 16, 16))
    exported = OnnxRuntime().export(tokens(encoder), spec, tmp_path / "m.onnx")
    assert exported.parity is not None
    assert exported.parity < 1e-5
    assert torch.backends.mha.get_fastpath_enabled()


def test_is_a_plugin() -> None:
    assert load_plugin("runtime", "onnxruntime") is OnnxRuntime


@pytest.mark.parametrize(
    ("flags", "weight_range", "reduced"),
    [({"avx2"}, 64, True), ({"avx512_vnni"}, 127, False), ({"asimddp"}, 127, False)],
)
def test_int8_weight_range_follows_the_target(
    flags: set[str], weight_range: int, reduced: bool, tmp_path: Path
) -> None:
    spec = ExportSpec(precision="int8", input_shape=INPUT_SHAPE, calibration=samples(8), cpu_flags=frozenset(flags))
    details = OnnxRuntime().export(small_network(), spec, tmp_path / "m.onnx").details
    low, high = details["weight_range"]
    assert details["reduce_range"] is reduced
    assert max(-low, high) == weight_range


def test_int8_is_quantized_per_channel_from_all_samples(tmp_path: Path) -> None:
    exported = OnnxRuntime().export(small_network(), spec_of("int8"), tmp_path / "m.onnx")
    assert exported.details["calibration"] == {"method": "min-max", "samples": 16}
    graph = exported.details["graph"]
    assert graph["before"]["QuantizeLinear"] > graph["after"]["QuantizeLinear"]
    assert graph["precisions"] == {"int8": 6}
    assert graph["fused"]["Conv + QuantizeLinear"] == graph["after"]["QLinearConv"] == 5
    assert exported.parity is not None
    assert 0 < exported.parity < 0.25


def test_calibration_ranges_do_not_depend_on_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, logits = OnnxRuntime(), []
    for feed in (1, 5, 64):
        monkeypatch.setattr("hwnas.runtimes.onnx_graph._FEED_SAMPLES", feed)
        runtime.export(small_network(), spec_of("int8"), tmp_path / "m.onnx")
        logits.append(runtime.load(tmp_path / "m.onnx").run(samples(4)))
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-5)
    np.testing.assert_allclose(logits[2], logits[0], atol=1e-5)


def test_fp32_file_holds_its_metadata_and_names(tmp_path: Path) -> None:
    runtime = OnnxRuntime()
    exported = runtime.export(small_network(), spec_of("fp32"), tmp_path / "m.onnx")
    assert runtime.load(exported.path).metadata == {"made-by": "a test"}
    assert exported.details["opset"] == 17
    assert exported.details["input"] == {"name": INPUT_NAME, "shape": ["batch", *INPUT_SHAPE], "dtype": "float32"}
    assert exported.details["output"] == {"name": OUTPUT_NAME, "shape": ["batch", 5], "dtype": "float32"}
    assert "BatchNormalization" not in exported.details["graph"]["before"]  # folded into the convolutions
    assert exported.details["graph"]["fused"]["BatchNorm folded by the export"] == 3


def test_files_load_without_hwnas(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    OnnxRuntime().export(small_network(), spec_of("int8"), path)
    code = (
        "import sys, numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession(sys.argv[1])\n"
        "print(session.run(None, {'input': numpy.zeros((2, 3, 16, 16), 'float32')})[0].shape)\n"
        "assert not [name for name in sys.modules if name.startswith('hwnas')]"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, 5)"


def test_export_is_silent_and_leaves_the_model_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    model = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), small_network()).eval()  # a batch norm that cannot be folded
    n_threads = torch.get_num_threads()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        OnnxRuntime().export(model, spec_of("int8"), tmp_path / "m.onnx")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert not model.training
    assert torch.get_num_threads() == n_threads
    assert not logging.getLogger().filters
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class TwoFaced(nn.Module):
    """Answers something else while it is traced."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(1)[:, :5]
        return flat * 2 if torch.jit.is_tracing() else flat


class FrozenBatch(nn.Module):
    """Works for the batch that it was traced with only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(int(x.shape[0]), -1)[:, :5] if not torch.jit.is_tracing() else x.reshape(1, -1)[:, :5]


class Unexportable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x.flatten(1)[:, :5])


class Infinite(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :5] / 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TwoFaced().eval(), "differs from torch"),
        (lambda: FrozenBatch().eval(), "output of shape"),
        (lambda: Unexportable().eval(), "export failed"),
        (lambda: Infinite().eval(), "not finite"),
        (lambda: small_network().train(), "training mode"),
    ],
)
def test_a_bad_model_is_one_clear_error_and_no_file(make: Callable[[], Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"older")
    with pytest.raises(RuntimeExportError, match=message) as caught:
        OnnxRuntime().export(make(), spec_of("fp32"), path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("shape", [(0, *INPUT_SHAPE), (4, 3, 8, 8), (3, 16, 16)])
def test_calibration_of_the_wrong_shape_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    spec = ExportSpec(precision="int8", input_shape=INPUT_SHAPE, calibration=np.zeros(shape, np.float32))
    with pytest.raises(RuntimeExportError, match="calibration samples of shape"):
        OnnxRuntime().export(small_network(), spec, tmp_path / "m.onnx")


def test_an_input_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    runtime = OnnxRuntime()
    runtime.export(small_network(), spec_of("fp32"), tmp_path / "m.onnx")
    with pytest.raises(RuntimeExportError, match="cannot run"):
        runtime.load(tmp_path / "m.onnx").run(np.zeros((1, 4, 16, 16), np.float32))
