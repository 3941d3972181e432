"""What runtimes share of an export: checks, torch's ONNX exporter, quiet errors, and the comparison with torch."""

from __future__ import annotations

import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.core.error_text import kind_and_line
from hwnas.core.runtime import (
    ExportedModel,
    ExportSpec,
    FloatArray,
    InputArray,
    Runtime,
    as_input,
    calibration_methods,
    random_input,
)
from hwnas.errors import MissingDependencyError, RuntimeExportError
from hwnas.runtimes import onnx_graph
from hwnas.runtimes.cpu_flags import needs_reduced_range
from hwnas.runtimes.recorded import finished
from hwnas.store import sha256_of, write_atomic

__all__ = [
    *("INPUT_NAME", "MAX_FP32_PARITY", "OPSET", "OUTPUT_NAME", "convert_by_onnx", "export_checked", "export_onnx"),
    *("cannot_load", "cannot_run", "guarded", "installed_version", "kept_in_fp32", "no_native_stderr"),
]

INPUT_NAME, OUTPUT_NAME = "input", "logits"
OPSET = 17
MAX_FP32_PARITY = 1e-4
_PARITY_SAMPLES = 4  # more than one, so that a batch axis that was frozen at export is found

Convert = Callable[[Path, Path], dict[str, Any]]
Quantize = Callable[[Path, Path, ExportSpec, bool, tuple[str, ...]], dict[str, Any]]


def export_checked(runtime: Runtime, model: Any, spec: ExportSpec, path: Path, convert: Convert) -> ExportedModel:
    """Write a model by a runtime's own conversion, load it and compare it with torch.

    fp32 must agree within 1e-4 of the largest output; at other precisions the difference is only recorded. The file
    appears at `path` when all of this went well, and an older file there is replaced in one step.

    Args:
        runtime: loads what was written.
        model: a `torch.nn.Module` on the CPU, in eval mode.
        convert: (empty folder, file to write) -> details of what was done; "graph" is a `GraphRecord`, where the
            runtime tells what it makes of the file.
    Raises:
        RuntimeExportError: a precision that is not offered, int8 without calibration samples, a model that cannot be
            exported, or an answer that is not finite or (fp32) not torch's.
    """
    _check(runtime, model, spec)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder, _one_torch_thread():
        done = Path(folder) / f"done{runtime.suffix}"
        inputs, wanted = guarded(runtime.name, "export", lambda: _answers(model, spec))
        details = guarded(runtime.name, "export", lambda: convert(Path(folder), done))
        parity = _parity(wanted, runtime.load(done).run(inputs))
        data = done.read_bytes()
    if spec.precision == "fp32" and parity > MAX_FP32_PARITY:
        raise RuntimeExportError(
            f"the exported fp32 file differs from torch by {parity:.2g} of the largest output; allowed: "
            f"{MAX_FP32_PARITY:g}. Look for an operation that the exporter translates wrongly"
        )
    write_atomic(path, data)
    details["graph"] = finished(details.get("graph"), model, spec.precision, kept=bool(kept_in_fp32(model)))
    batch, shape = details.pop("samples_a_call", "batch"), list(spec.input_shape)
    layout: dict[str, str] = {}
    if details.pop("channels_last", False) and len(shape) == 3:
        shape, layout = [*shape[1:], shape[0]], {"layout": "NHWC"}
    dtype = details.pop("dtype", spec.dtype)
    details |= {
        "input": {"name": INPUT_NAME, "shape": [batch, *shape], "dtype": dtype, **layout},
        "output": {"name": OUTPUT_NAME, "shape": [batch, int(wanted.shape[1])], "dtype": "float32"},
        "seconds": round(time.perf_counter() - started, 3),
    }
    return ExportedModel(path, sha256_of(path), len(data), parity, details)


def _check(runtime: Runtime, model: Any, spec: ExportSpec) -> None:
    runtime.version()  # says what to install, if it is missing
    if spec.precision not in runtime.precisions:
        raise RuntimeExportError(
            f"runtime {runtime.name!r} cannot export {spec.precision!r}; allowed: {', '.join(runtime.precisions)}"
        )
    if model.training:
        raise RuntimeExportError("the model is in training mode; call model.eval() before the export")
    if spec.precision == "int8" and spec.calibration_method not in calibration_methods(runtime):
        raise RuntimeExportError(
            f"runtime {runtime.name!r} cannot set int8 ranges by {spec.calibration_method!r}; allowed: "
            f"{', '.join(calibration_methods(runtime))}"
        )
    if spec.precision == "int8" or spec.calibration is not None:
        _check_calibration(spec)


def _check_calibration(spec: ExportSpec) -> None:
    """Libraries take what is no sample in their own ways; one of them ends the process."""
    values, shape = spec.calibration, ", ".join(map(str, spec.input_shape))
    is_array = isinstance(values, np.ndarray) and values.ndim > 0
    if values is None or not is_array or not _has_shape_and_type(values, spec):
        got = f"{values.shape} of {values.dtype}" if values is not None and is_array else type(values).__name__
        raise RuntimeExportError(
            f"{spec.precision} needs calibration samples of shape (n, {shape}) with n >= 1, as a numpy array of "
            f"{spec.dtype}, got {got}; pass normalised training samples as ExportSpec.calibration"
        )
    n_ids = spec.n_ids
    good = np.isfinite(values) if n_ids is None else (values >= 0) & (values < n_ids)
    if not good.all():
        first = int(np.argmin(good.reshape(len(good), -1).all(axis=1)))
        odd = "is not finite (NaN, infinity)" if n_ids is None else f"has an id that is not from 0 to {n_ids - 1}"
        raise RuntimeExportError(f"calibration sample {first} {odd}; leave it out of ExportSpec.calibration")


def _has_shape_and_type(values: InputArray, spec: ExportSpec) -> bool:
    is_of_type = values.dtype == np.int64 if spec.n_ids is not None else np.issubdtype(values.dtype, np.floating)
    return len(values) > 0 and values.shape[1:] == tuple(spec.input_shape) and bool(is_of_type)


def kept_in_fp32(model: Any) -> tuple[str, ...]:
    """Names of the modules that say of themselves that they compute in fp32 at every precision."""
    return tuple(name for name, module in model.named_modules() if getattr(module, "keeps_fp32", False))


def export_onnx(model: Any, input_shape: tuple[int, ...], path: Path, *, dtype: str = "float32") -> None:
    """Write an fp32 ONNX file by torch's legacy exporter, which is the quick one; its batch is open."""
    import torch

    # Where it fails, the exporter prints all of its graph, always; the error itself names the operation.
    if (send_graphs := getattr(torch._C, "_jit_set_onnx_log_output_stream", None)) is not None:
        send_graphs("stderr")
    with torch.no_grad(), no_native_stderr(), _no_fused_attention():
        torch.onnx.export(
            model,
            (torch.zeros(1, *input_shape, dtype=getattr(torch, dtype)),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}},
        )


@contextmanager
def _no_fused_attention() -> Iterator[None]:
    """torch's encoder layers run as plain operations: ONNX does not know the fused one that they take in eval mode."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def convert_by_onnx(model: Any, folder: Path, done: Path, spec: ExportSpec, quantize: Quantize) -> dict[str, Any]:
    """The conversion of runtimes that read ONNX, for `export_checked`.

    Args:
        quantize: (fp32 file, file to write, spec with samples, whether weights keep 7 bits, modules that stay in fp32)
            -> details of its method.
    """
    fp32 = folder / "fp32.onnx"
    export_onnx(model, spec.input_shape, fp32, dtype=spec.dtype)
    kept = kept_in_fp32(model)
    details: dict[str, Any] = {}
    if kept and spec.precision != "fp32":
        details["kept_in_fp32"] = list(kept)
    if spec.precision == "int8" and spec.calibration is not None:
        reduce_range = needs_reduced_range(spec.cpu_flags)
        details |= {**quantize(fp32, done, spec, reduce_range, kept), "reduce_range": reduce_range}
    elif spec.precision == "fp16":
        onnx_graph.to_fp16(fp32, done, kept)
    else:
        fp32.replace(done)
    onnx_graph.write_metadata(done, spec.metadata)
    return details | onnx_graph.describe(done)


def installed_version(package: str, install: str) -> str:
    """Version of a distribution, without importing it.

    Raises:
        MissingDependencyError: it is not installed; the message is `install`.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise MissingDependencyError(install) from error


def cannot_load(runtime: str, path: Path, error: Exception, *, where: str = "") -> RuntimeExportError:
    """What a session raises whose file its runtime refuses."""
    return RuntimeExportError(f"{runtime} cannot load {path}: {kind_and_line(error)}; export it again{where}")


def cannot_run(runtime: str, path: Path, inputs: InputArray, error: Exception) -> RuntimeExportError:
    """What a session raises whose runtime refuses an input, or fails."""
    return RuntimeExportError(
        f"{runtime} cannot run {path} on an input of shape {np.shape(inputs)}: {kind_and_line(error)}"
    )


def guarded(runtime: str, step: str, work: Callable[[], Any]) -> Any:
    """Run `work` quietly; whatever the libraries raise becomes a RuntimeExportError."""
    # Quantizers warn through the root logger, of tensors that they quantize whole and not per channel.
    logging.getLogger().addFilter(_is_error)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing and of the legacy exporter's age; the parity check decides
            return work()
    except RuntimeExportError:
        raise
    except Exception as error:
        raise RuntimeExportError(f"{runtime}: {step} failed with {kind_and_line(error)}") from error
    finally:
        logging.getLogger().removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


@contextmanager
def no_native_stderr() -> Iterator[None]:
    """What libraries write to the process's stderr from C++ is held back."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    # An export runs a few small inferences; on a busy machine two threads wait for each other ten times as long.
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _answers(model: Any, spec: ExportSpec) -> tuple[InputArray, FloatArray]:
    """Inputs for the comparison, and what torch answers to them.

    At int8 torch answers to every calibration sample: on a range that is not finite a library may end the process.
    """
    import torch

    if spec.calibration is None:
        inputs = random_input((_PARITY_SAMPLES, *spec.input_shape), spec.n_ids, np.random.default_rng(0))
    else:
        inputs = as_input(spec.calibration if spec.precision == "int8" else spec.calibration[:_PARITY_SAMPLES])
    with torch.no_grad():
        starts = range(0, len(inputs), _PARITY_SAMPLES)
        found = [model(torch.from_numpy(inputs[at : at + _PARITY_SAMPLES].copy())).numpy() for at in starts]
    if not all(np.isfinite(answer).all() for answer in found):
        raise RuntimeExportError("the network's output is not finite; was the training stable?")
    return inputs[:_PARITY_SAMPLES], found[0]


def _parity(wanted: FloatArray, got: FloatArray) -> float:
    """Largest difference from torch / largest output of torch."""
    if got.shape != wanted.shape:
        raise RuntimeExportError(f"the exported file gives an output of shape {got.shape}, torch gives {wanted.shape}")
    if not np.isfinite(got).all():
        raise RuntimeExportError("the exported file's output is not finite, and torch's is; do its values fit 16 bits?")
    largest = float(np.abs(wanted).max())
    difference = float(np.abs(got - wanted).max())
    return difference / largest if largest > 0 else difference
