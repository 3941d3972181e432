"""ONNX Runtime on CPUs: fp32, fp16 and int8 files that load without hwnas."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hwnas.core.runtime import ExportedModel, ExportSpec, FloatArray
from hwnas.errors import MissingDependencyError, RuntimeExportError
from hwnas.runtimes import onnx_graph
from hwnas.runtimes.exporting import INPUT_NAME, OUTPUT_NAME, convert_by_onnx, export_checked, first_line

__all__ = ["INPUT_NAME", "OUTPUT_NAME", "OnnxRuntime", "OnnxSession"]


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
    Raises:
        RuntimeExportError: onnxruntime cannot load the file.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        ort = _import_onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise RuntimeExportError(f"onnxruntime cannot load {path}: {first_line(error)}; export it again") from error
        self._path = path
        self._input = self._session.get_inputs()[0].name

    @property
    def metadata(self) -> dict[str, str]:
        """The text pairs that were written into the file."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, inputs: FloatArray) -> FloatArray:
        """`n x input_shape` -> `n x n_outputs` logits.

        Raises:
            RuntimeExportError: the inputs have the wrong shape, or the runtime failed.
        """
        try:
            outputs = self._session.run(None, {self._input: np.ascontiguousarray(inputs, dtype=np.float32)})
        except Exception as error:
            raise RuntimeExportError(
                f"onnxruntime cannot run {self._path} on an input of shape {np.shape(inputs)}: {first_line(error)}"
            ) from error
        return np.asarray(outputs[0], dtype=np.float32)


class OnnxRuntime:
    """Export by torch's legacy exporter (the quick one), run by ONNX Runtime's CPU provider."""

    name: str = "onnxruntime"
    suffix: str = ".onnx"
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")

    def version(self) -> str:
        """Version of the installed onnxruntime.

        Raises:
            MissingDependencyError: it is not installed.
        """
        return str(_import_onnxruntime().__version__)

    def export(self, model: Any, spec: ExportSpec, path: Path) -> ExportedModel:
        """See `export_checked`; int8 is static QDQ with weights per channel."""
        convert = partial(convert_by_onnx, model, spec=spec, quantize=_quantize)
        return export_checked(self, model, spec, path, convert)

    def load(self, path: Path, *, threads: int = 1) -> OnnxSession:
        """Load a file that `export` wrote.

        Raises:
            RuntimeExportError: the file is missing or broken.
        """
        return OnnxSession(path, threads=threads)


def _quantize(fp32: Path, done: Path, samples: FloatArray, reduce_range: bool) -> dict[str, Any]:
    onnx_graph.quantize_int8(fp32, done, samples, input_name=INPUT_NAME, reduce_range=reduce_range)
    return {
        "quantization": "static QDQ, int8 weights per channel, uint8 activations",
        "calibration": {"method": "min-max", "samples": len(samples)},
    }
