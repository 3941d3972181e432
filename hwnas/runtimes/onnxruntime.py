"""ONNX Runtime: fp32, fp16 and int8 files that load without hwnas.

On CPUs; and with the CUDA and TensorRT providers, where they are installed. A file for these can be made on a machine
without a GPU: there it is checked on the CPU, which its details then say.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hwnas.core.profile import TimedOperation
from hwnas.core.runtime import ExportedModel, ExportSpec, FloatArray, InputArray, as_input
from hwnas.errors import MissingDependencyError
from hwnas.runtimes import onnx_graph, onnxruntime_graph
from hwnas.runtimes.exporting import INPUT_NAME, OUTPUT_NAME, cannot_load, cannot_run, convert_by_onnx, export_checked
from hwnas.runtimes.recorded import attempted

__all__ = ["INPUT_NAME", "OUTPUT_NAME", "OnnxRuntime", "OnnxRuntimeCuda", "OnnxRuntimeTensorRt", "OnnxSession"]

CPU = "CPUExecutionProvider"


def _import_onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("runtime 'onnxruntime' needs: pip install onnx onnxruntime") from error
    return onnxruntime  # type: ignore[no-any-return]


class OnnxSession:
    """A loaded ONNX file; one input, one output.

    Args:
        path: the file.
        threads: threads within one operation; operations run one after the other.
        provider: what runs it, if it is there, else the CPU; what it does not know, the CPU runs.
    Raises:
        RuntimeExportError: onnxruntime cannot load the file.
    """

    def __init__(self, path: Path, *, threads: int = 1, provider: str = CPU) -> None:
        ort = _import_onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        providers = [provider, CPU] if provider in ort.get_available_providers() and provider != CPU else [CPU]
        try:
            self._session = ort.InferenceSession(str(path), options, providers=providers)
        except Exception as error:
            raise cannot_load("onnxruntime", path, error) from error
        self._path = path
        self._input = self._session.get_inputs()[0].name

    @property
    def provider(self) -> str:
        """What really runs it."""
        return str(self._session.get_providers()[0])

    @property
    def metadata(self) -> dict[str, str]:
        """The text pairs that were written into the file."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, inputs: InputArray) -> FloatArray:
        """`n x input_shape` -> `n x n_outputs` logits.

        Raises:
            RuntimeExportError: the inputs have the wrong shape, or the runtime failed.
        """
        try:
            outputs = self._session.run(None, {self._input: as_input(inputs)})
        except Exception as error:
            raise cannot_run("onnxruntime", self._path, inputs, error) from error
        return np.asarray(outputs[0], dtype=np.float32)


class OnnxRuntime:
    """Export by torch's legacy exporter (the quick one), run by ONNX Runtime's CPU provider."""

    name: str = "onnxruntime"
    suffix: str = ".onnx"
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")
    calibration_methods: tuple[str, ...] = tuple(onnx_graph.METHODS)
    provider: str = CPU

    def version(self) -> str:
        """Version of the installed onnxruntime.

        Raises:
            MissingDependencyError: it is not installed.
        """
        return str(_import_onnxruntime().__version__)

    def export(self, model: Any, spec: ExportSpec, path: Path) -> ExportedModel:
        """See `export_checked`; int8 is static QDQ with weights per channel."""
        return export_checked(self, model, spec, path, lambda folder, done: self._convert(model, folder, done, spec))

    def load(self, path: Path, *, threads: int = 1) -> OnnxSession:
        """Load a file that `export` wrote.

        Raises:
            RuntimeExportError: the file is missing or broken.
        """
        return OnnxSession(path, threads=threads, provider=self.provider)

    def profile(
        self, path: Path, inputs: InputArray, *, threads: int = 1, calls: int = 50, warmup: int = 10
    ) -> list[TimedOperation]:
        """See `Profiler`: by onnxruntime's trace, which counts whole microseconds."""
        given = {"threads": threads, "calls": calls, "warmup": warmup}
        return onnxruntime_graph.profile(path, inputs, provider=self.provider, **given)

    def _convert(self, model: Any, folder: Path, done: Path, spec: ExportSpec) -> dict[str, Any]:
        details = convert_by_onnx(model, folder, done, spec, _quantize)
        graph = attempted(lambda: onnxruntime_graph.graph_record(done, self.provider))
        return details | {"provider": self.provider, "checked_with": self.load(done).provider, "graph": graph}


class OnnxRuntimeCuda(OnnxRuntime):
    """The same files, run by the CUDA provider (package onnxruntime-gpu)."""

    name: str = "onnxruntime-cuda"
    precisions: tuple[str, ...] = ("fp32", "fp16")
    provider: str = "CUDAExecutionProvider"


class OnnxRuntimeTensorRt(OnnxRuntime):
    """The same files, run by the TensorRT provider, which builds its engine where the file is loaded."""

    name: str = "onnxruntime-tensorrt"
    precisions: tuple[str, ...] = ("fp32", "fp16")
    provider: str = "TensorrtExecutionProvider"


def _quantize(fp32: Path, done: Path, spec: ExportSpec, reduce_range: bool, kept: tuple[str, ...]) -> dict[str, Any]:
    samples, method = as_input(np.asarray(spec.calibration)), spec.calibration_method
    onnx_graph.quantize_int8(
        fp32, done, samples, input_name=INPUT_NAME, reduce_range=reduce_range, kept=kept, method=method
    )
    return {
        "quantization": "static QDQ, int8 weights per channel, uint8 activations",
        "calibration": {"method": method, "samples": len(samples)},
    }
