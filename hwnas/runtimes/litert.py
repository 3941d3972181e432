"""LiteRT (the successor of TensorFlow Lite) with XNNPACK: fp32 and three kinds of int8 files.

A file is made for one image a call, and takes it as TensorFlow does: height, width, channels. Converting needs far more
than running: a board needs `ai-edge-litert` only.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.core.graph_record import GraphRecord
from hwnas.core.runtime import ExportedModel, ExportSpec, FloatArray, InputArray, as_input
from hwnas.errors import MissingDependencyError
from hwnas.runtimes import litert_graph
from hwnas.runtimes.exporting import (
    cannot_load,
    cannot_run,
    export_checked,
    installed_version,
    kept_in_fp32,
    no_native_stderr,
)
from hwnas.runtimes.recorded import attempted

__all__ = ["LiteRt", "LiteRtSession", "channels_last"]

_INSTALL = "runtime 'litert' needs: pip install 'hwnas[litert]'"
_SIGNATURE, _INPUT = "serving_default", "args_0"  # as litert-torch names them
# Of ai_edge_quantizer, and what they do.
_RECIPES = {"int8": "static_wi8_ai8", "int8-dynamic": "dynamic_wi8_afp32", "int8-weights": "weight_only_wi8_afp32"}
_DONE = {
    "int8": "static, int8 weights per channel, int8 activations",
    "int8-dynamic": "int8 weights per channel, activations in int8 on the range of each call",
    "int8-weights": "int8 weights per channel, computed in float",
}
# Left in float, so that a file takes and gives what it does at fp32.
_BORDER = ("INPUT", "OUTPUT")


class LiteRtSession:
    """A loaded file; one input, one output.

    Args:
        path: the file.
        threads: of XNNPACK.
    Raises:
        RuntimeExportError: LiteRT cannot load the file.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingDependencyError(_INSTALL) from error
        try:
            with no_native_stderr():
                # The bytes, because a path that is missing is an error of its own kind in every version.
                self._interpreter = Interpreter(model_content=Path(path).read_bytes(), num_threads=threads)
                self._interpreter.allocate_tensors()
            given = self._interpreter.get_input_details()[0]
            self._input, self._dtype = given["index"], given["dtype"]  # ids are 32 bits here
            self._output = self._interpreter.get_output_details()[0]["index"]
        except Exception as error:
            raise cannot_load("litert", path, error) from error
        self._path = path

    def graph_record(self) -> GraphRecord:
        """What the file holds, and what XNNPACK takes of it."""
        return litert_graph.graph_record(self._path, self._interpreter)

    def run(self, inputs: InputArray) -> FloatArray:
        """`n x input_shape` (channels first) -> `n x n_outputs` logits, image by image.

        Raises:
            RuntimeExportError: the inputs have the wrong shape, or the runtime failed.
        """
        found = []
        try:
            for image in channels_last(as_input(inputs)).astype(self._dtype, copy=False):
                self._interpreter.set_tensor(self._input, image[None])
                self._interpreter.invoke()
                found.append(self._interpreter.get_tensor(self._output))
        except Exception as error:
            raise cannot_run("litert", self._path, inputs, error) from error
        return np.concatenate(found)


class LiteRt:
    """Export by litert-torch and Google's quantizer, run by LiteRT with XNNPACK."""

    name: str = "litert"
    suffix: str = ".tflite"
    precisions: tuple[str, ...] = ("fp32", "int8", "int8-dynamic", "int8-weights")

    def version(self) -> str:
        """Version of the installed LiteRT.

        Raises:
            MissingDependencyError: it is not installed.
        """
        return installed_version("ai-edge-litert", _INSTALL)

    def export(self, model: Any, spec: ExportSpec, path: Path) -> ExportedModel:
        """See `export_checked`; int8 weights are per channel, input and output stay float."""
        return export_checked(self, model, spec, path, lambda folder, done: self._convert(model, folder, done, spec))

    def load(self, path: Path, *, threads: int = 1) -> LiteRtSession:
        """Load a file that `export` wrote.

        Raises:
            RuntimeExportError: the file is missing or broken.
        """
        return LiteRtSession(path, threads=threads)

    def _convert(self, model: Any, folder: Path, done: Path, spec: ExportSpec) -> dict[str, Any]:
        details: dict[str, Any] = {"metadata": "none", "samples_a_call": 1, "channels_last": True}
        fp32 = folder / "fp32.tflite"
        with _quiet():
            _to_tflite(model, spec, fp32)
            if spec.precision == "fp32":
                fp32.replace(done)
            else:
                samples = spec.calibration if spec.precision == "int8" else None
                _quantize(fp32, done, _RECIPES[spec.precision], samples, _scopes(model))
                details |= {
                    "quantization": f"{_DONE[spec.precision]} (ai-edge-quantizer)",
                    "kept_in_fp32": list(kept_in_fp32(model)),
                    "reduce_range": False,  # XNNPACK's sums do not saturate
                }
                if samples is not None:
                    details |= {"calibration": {"method": "moving min-max", "samples": len(samples)}}
        if spec.n_ids is not None:
            details["dtype"] = "int32"
        return details | {"graph": attempted(self.load(done).graph_record)}


def channels_last(images: InputArray) -> InputArray:
    """`n x channels x height x width` -> `n x height x width x channels`; other inputs as they are."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if images.ndim == 4 else images


def _to_tflite(model: Any, spec: ExportSpec, path: Path) -> None:
    try:
        import litert_torch
    except ImportError as error:
        raise MissingDependencyError(_INSTALL) from error
    import torch

    example = torch.from_numpy(channels_last(np.zeros((1, *spec.input_shape), spec.dtype)))
    wrapped = litert_torch.to_channel_last_io(model, args=[0]) if len(spec.input_shape) == 3 else model
    litert_torch.convert(wrapped.eval(), (example,)).export(str(path))


def _scopes(model: Any) -> list[str]:
    """Patterns of the names that litert-torch gives to what modules compute that stay in fp32."""
    found = [(type(model.get_submodule(name)).__name__, name.rpartition(".")[2]) for name in kept_in_fp32(model)]
    # LiteRT has no layer norm: its variance and root would be rounded one by one.
    return [rf"\b{re.escape(f'{kind}_{name}')}[;/]" for kind, name in found] + [r"\bLayerNorm_"]


def _quantize(fp32: Path, done: Path, recipe_name: str, samples: InputArray | None, kept: list[str]) -> None:
    try:
        from ai_edge_quantizer import quantizer, recipe
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
        from ai_edge_quantizer.qtyping import TFLOperationName
    except ImportError as error:
        raise MissingDependencyError(_INSTALL) from error
    work = quantizer.Quantizer(str(fp32))
    work.load_quantization_recipe(getattr(recipe, recipe_name)())
    for place in _BORDER:
        work.update_quantization_recipe(".*", TFLOperationName(place), algorithm_key=AlgorithmName.NO_QUANTIZE)
    for scope in dict.fromkeys(kept):
        work.update_quantization_recipe(scope, TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE)
    if samples is None:
        done.write_bytes(work.quantize().quantized_model)
        return
    images = channels_last(as_input(samples))
    images = images.astype(np.int32) if images.dtype == np.int64 else images
    found = work.calibrate({_SIGNATURE: [{_INPUT: image[None]} for image in images]})
    done.write_bytes(work.quantize(found).quantized_model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Both libraries write their steps to the terminal, from Python and from C++."""
    with warnings.catch_warnings(), no_native_stderr(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        with contextlib.redirect_stderr(io.StringIO()):
            yield
