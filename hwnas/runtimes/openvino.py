"""OpenVINO on Intel and ARM CPUs: fp32, fp16 and int8 files, in ONNX, which OpenVINO reads itself.

One file serves as well as OpenVINO's own two (graph and weights): the runtime makes the same network of both. int8 is
quantized by NNCF.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hwnas.core.graph_record import GraphRecord
from hwnas.core.profile import TimedOperation
from hwnas.core.runtime import MIN_MAX, ExportedModel, ExportSpec, FloatArray, InputArray, as_input
from hwnas.errors import MissingDependencyError
from hwnas.runtimes import onnx_graph, openvino_graph
from hwnas.runtimes.exporting import INPUT_NAME, cannot_load, cannot_run, convert_by_onnx, export_checked
from hwnas.runtimes.recorded import attempted

__all__ = ["SETTINGS", "OpenVino", "OpenVinoSession"]

# How a file is loaded. Without the precision, a CPU with bf16 computes fp32 files in bf16, and refuses some int8 files
# (OpenVINO 2026.4.1 on a Xeon with AMX: "No suitable implementations").
SETTINGS: dict[str, Any] = {
    "NUM_STREAMS": 1,
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,
}
_CUT_OFF = 1e-4  # share of values at each end that "percentile" leaves out of the range
_INSTALL = "runtime 'openvino' needs: pip install 'hwnas[openvino]'"


def _import_openvino() -> ModuleType:
    try:
        import openvino
    except ImportError as error:
        raise MissingDependencyError(_INSTALL) from error
    return openvino  # type: ignore[no-any-return]


class OpenVinoSession:
    """A loaded file; one input, one output.

    Args:
        path: the file.
        threads: of one inference; there is one stream.
    Raises:
        RuntimeExportError: OpenVINO cannot load the file.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        core = _import_openvino().Core()
        try:
            self._compiled = core.compile_model(str(path), "CPU", SETTINGS | {"INFERENCE_NUM_THREADS": threads})
        except Exception as error:
            raise cannot_load("openvino", path, error) from error
        self._path = path

    def graph_record(self) -> GraphRecord:
        """What the file holds, and what really runs."""
        return openvino_graph.graph_record(self._path, self._compiled)

    def run(self, inputs: InputArray) -> FloatArray:
        """`n x input_shape` -> `n x n_outputs` logits.

        Raises:
            RuntimeExportError: the inputs have the wrong shape, or the runtime failed.
        """
        try:
            outputs = self._compiled(as_input(inputs))
        except Exception as error:
            raise cannot_run("openvino", self._path, inputs, error) from error
        return np.array(outputs[0], dtype=np.float32)


class OpenVino:
    """Export by torch's ONNX exporter and NNCF, run by OpenVINO's CPU plugin."""

    name: str = "openvino"
    suffix: str = ".onnx"
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")
    calibration_methods: tuple[str, ...] = (MIN_MAX, "percentile")

    def version(self) -> str:
        """Version of the installed OpenVINO.

        Raises:
            MissingDependencyError: it is not installed.
        """
        return str(_import_openvino().__version__).split("-")[0]

    def export(self, model: Any, spec: ExportSpec, path: Path) -> ExportedModel:
        """See `export_checked`. fp16 stores weights in 16 bits; a CPU computes with them in fp32."""
        return export_checked(self, model, spec, path, lambda folder, done: self._convert(model, folder, done, spec))

    def load(self, path: Path, *, threads: int = 1) -> OpenVinoSession:
        """Load a file that `export` wrote.

        Raises:
            RuntimeExportError: the file is missing or broken.
        """
        return OpenVinoSession(path, threads=threads)

    def profile(
        self, path: Path, inputs: InputArray, *, threads: int = 1, calls: int = 50, warmup: int = 10
    ) -> list[TimedOperation]:
        """See `Profiler`: by OpenVINO's performance counters, which count whole microseconds."""
        settings = SETTINGS | {"INFERENCE_NUM_THREADS": threads}
        return openvino_graph.profile(path, inputs, settings=settings, calls=calls, warmup=warmup)

    def _convert(self, model: Any, folder: Path, done: Path, spec: ExportSpec) -> dict[str, Any]:
        details = convert_by_onnx(model, folder, done, spec, _quantize)
        return details | {"graph": attempted(self.load(done).graph_record), "load_with": SETTINGS}


def _quantize(fp32: Path, done: Path, spec: ExportSpec, reduce_range: bool, kept: tuple[str, ...]) -> dict[str, Any]:
    """NNCF on the ONNX graph; weights keep 7 bits where the target's u8 x s8 sums saturate at 16 bits."""
    import onnx

    samples = as_input(np.asarray(spec.calibration))
    with _quiet():
        try:
            import nncf
            from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
        except ImportError as error:
            raise MissingDependencyError(_INSTALL) from error
        fix = OverflowFix.ENABLE if reduce_range else OverflowFix.DISABLE
        model = onnx.load(str(fp32))
        names = onnx_graph.nodes_within(model.graph, kept)
        quantized = nncf.quantize(
            model,
            nncf.Dataset([{INPUT_NAME: sample[None]} for sample in samples]),
            ignored_scope=nncf.IgnoredScope(names=names, validate=False) if names else None,
            subset_size=len(samples),
            # With activations that are not symmetric (MIXED) most convolutions run in fp32, between conversions.
            preset=nncf.QuantizationPreset.PERFORMANCE,
            advanced_parameters=AdvancedQuantizationParameters(
                overflow_fix=fix,
                # Measured: with it, files lost half a point more than the simulation foretells (residual networks).
                disable_bias_correction=True,
                # The mean over samples, which is NNCF's own choice, cuts off what few samples reach.
                activations_range_estimator_params=_ranges(spec.calibration_method),
            ),
        )
    onnx.save(quantized, str(done))
    return {
        "quantization": "NNCF, static, int8 weights per channel, symmetric 8-bit activations",
        "calibration": {"method": spec.calibration_method, "samples": len(samples)},
    }


def _ranges(method: str) -> Any:
    """How NNCF reads ranges: from the least and the most of all samples, or cut off at both ends of each."""
    from nncf.quantization.range_estimator import (
        AggregatorType,
        RangeEstimatorParameters,
        RangeEstimatorParametersSet,
        StatisticsCollectorParameters,
        StatisticsType,
    )

    if method == MIN_MAX:
        return RangeEstimatorParametersSet.MINMAX
    ends = (StatisticsType.QUANTILE, AggregatorType.MIN), (StatisticsType.QUANTILE, AggregatorType.MAX)
    low, high = (StatisticsCollectorParameters(kind, of, quantile_outlier_prob=_CUT_OFF) for kind, of in ends)
    return RangeEstimatorParameters(min=low, max=high)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """NNCF shows bars of its own and says how to install what is not wanted here."""
    logger = logging.getLogger("nncf")
    before, logger.disabled = logger.disabled, True
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.disabled = before
