"""TensorRT: ONNX files of which the device builds its own engine when it loads them.

An engine belongs to one GPU and one version of TensorRT, so the file that is deployed is the ONNX one; it is made and
checked on the CPU, by ONNX Runtime, and needs TensorRT on the device only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwnas.core.runtime import ExportSpec, InputArray
from hwnas.runtimes import onnx_graph
from hwnas.runtimes.exporting import INPUT_NAME, convert_by_onnx
from hwnas.runtimes.onnxruntime import OnnxRuntime

__all__ = ["TensorRt"]


class TensorRt(OnnxRuntime):
    """The engine computes as the file says: fp32, fp16 between casts, int8 between pairs of Q and DQ."""

    name: str = "tensorrt"

    def _convert(self, model: Any, folder: Path, done: Path, spec: ExportSpec) -> dict[str, Any]:
        details = convert_by_onnx(model, folder, done, spec, _quantize)
        return details | {"engine": "built on the device", "checked_with": self.load(done).provider}


def _quantize(fp32: Path, done: Path, samples: InputArray, reduce_range: bool, kept: tuple[str, ...]) -> dict[str, Any]:
    onnx_graph.quantize_int8(
        fp32, done, samples, input_name=INPUT_NAME, reduce_range=False, kept=kept, is_symmetric=True
    )
    return {
        "quantization": "static QDQ, symmetric: int8 weights per channel, int8 activations",
        "calibration": {"method": "min-max", "samples": len(samples)},
    }
