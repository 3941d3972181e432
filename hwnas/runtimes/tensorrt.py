"""TensorRT: ONNX files of which the device builds its own engine when it loads them.

An engine belongs to one GPU and one version of TensorRT, so the file that is deployed is the ONNX one; it is made and
checked on the CPU, by ONNX Runtime, and needs TensorRT on the device only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hwnas.core.runtime import ExportedModel, ExportSpec, as_input
from hwnas.runtimes import onnx_graph, onnxruntime_graph
from hwnas.runtimes.exporting import INPUT_NAME, convert_by_onnx, export_checked
from hwnas.runtimes.onnxruntime import OnnxRuntime, OnnxSession
from hwnas.runtimes.recorded import attempted

__all__ = ["TensorRt"]


class TensorRt:
    """The engine computes as the file says: fp32, fp16 between casts, int8 between pairs of Q and DQ."""

    name: str = "tensorrt"
    suffix: str = ".onnx"
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")
    calibration_methods: tuple[str, ...] = tuple(onnx_graph.METHODS)

    def version(self) -> str:
        """Version of ONNX Runtime, which makes and checks the files; that of TensorRT is read on the device.

        Raises:
            MissingDependencyError: it is not installed.
        """
        return OnnxRuntime().version()

    def export(self, model: Any, spec: ExportSpec, path: Path) -> ExportedModel:
        """See `export_checked`; int8 is static QDQ, symmetric, with weights per channel."""
        return export_checked(self, model, spec, path, lambda folder, done: self._convert(model, folder, done, spec))

    def load(self, path: Path, *, threads: int = 1) -> OnnxSession:
        """Load a file that `export` wrote, to be run on the CPU.

        Raises:
            RuntimeExportError: the file is missing or broken.
        """
        return OnnxSession(path, threads=threads)

    def _convert(self, model: Any, folder: Path, done: Path, spec: ExportSpec) -> dict[str, Any]:
        details = convert_by_onnx(model, folder, done, spec, _quantize)
        graph = attempted(lambda: onnxruntime_graph.graph_record(done, "TensorRT"))
        return details | {"engine": "built on the device", "checked_with": self.load(done).provider, "graph": graph}


def _quantize(fp32: Path, done: Path, spec: ExportSpec, reduce_range: bool, kept: tuple[str, ...]) -> dict[str, Any]:
    samples, method = as_input(np.asarray(spec.calibration)), spec.calibration_method
    given = {"input_name": INPUT_NAME, "kept": kept, "method": method}
    onnx_graph.quantize_int8(fp32, done, samples, reduce_range=False, is_symmetric=True, **given)  # type: ignore[arg-type]
    return {
        "quantization": "static QDQ, symmetric: int8 weights per channel, int8 activations",
        "calibration": {"method": method, "samples": len(samples)},
    }
