"""ONNX Runtime on CPUs: fp32, fp16 and int8 files that load without hwnas."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from hwnas.core.runtime import ExportedModel, ExportSpec, FloatArray
from hwnas.errors import MissingDependencyError, RuntimeExportError
from hwnas.runtimes import onnx_graph
from hwnas.runtimes.cpu_flags import needs_reduced_range
from hwnas.store import sha256_of, write_atomic

__all__ = ["INPUT_NAME", "MAX_FP32_PARITY", "OPSET", "OUTPUT_NAME", "OnnxRuntime", "OnnxSession"]

INPUT_NAME, OUTPUT_NAME = "input", "logits"
OPSET = 17
MAX_FP32_PARITY = 1e-4

_PARITY_SAMPLES = 4  # more than one, so that a batch axis that was frozen at export is found


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
            raise RuntimeExportError(
                f"onnxruntime cannot load {path}: {_first_line(error)}; export it again"
            ) from error
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
                f"onnxruntime cannot run {self._path} on an input of shape {np.shape(inputs)}: {_first_line(error)}"
            ) from error
        return np.asarray(outputs[0], dtype=np.float32)


class OnnxRuntime:
    """Export by torch's legacy exporter (the quick one), run by ONNX Runtime's CPU provider."""

    name: ClassVar[str] = "onnxruntime"
    suffix: ClassVar[str] = ".onnx"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")

    def version(self) -> str:
        """Version of the installed onnxruntime.

        Raises:
            MissingDependencyError: it is not installed.
        """
        return str(_import_onnxruntime().__version__)

    def export(self, model: Any, spec: ExportSpec, path: Path) -> ExportedModel:
        """Write `model` (a `torch.nn.Module` on the CPU, in eval mode) to `path`, load it and compare it with torch.

        fp32 must agree within 1e-4 of the largest output; for fp16 and int8 the difference is only recorded. The file
        appears at `path` when all of this went well, and an older file there is replaced in one step.

        Raises:
            RuntimeExportError: a precision that is not offered, int8 without calibration samples, a model that
                cannot be exported, or an answer that is not finite or (fp32) not torch's.
        """
        self._check(model, spec)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="hwnas-") as folder, _one_torch_thread():
            fp32, done = Path(folder) / "fp32.onnx", Path(folder) / "done.onnx"
            _guarded("export", lambda: _export_fp32(model, spec.input_shape, fp32))
            details = _guarded("convert", lambda: _convert(fp32, done, spec))
            parity, n_outputs = _parity(model, OnnxSession(done), spec)
            data = done.read_bytes()
        if spec.precision == "fp32" and parity > MAX_FP32_PARITY:
            raise RuntimeExportError(
                f"the exported fp32 file differs from torch by {parity:.2g} of the largest output; allowed: "
                f"{MAX_FP32_PARITY:g}. Look for an operation that torch.onnx.export translates wrongly"
            )
        write_atomic(path, data)
        details |= {
            "input": {"name": INPUT_NAME, "shape": ["batch", *spec.input_shape], "dtype": "float32"},
            "output": {"name": OUTPUT_NAME, "shape": ["batch", n_outputs], "dtype": "float32"},
            "seconds": round(time.perf_counter() - started, 3),
        }
        return ExportedModel(path, sha256_of(path), len(data), parity, details)

    def load(self, path: Path, *, threads: int = 1) -> OnnxSession:
        """Load a file that `export` wrote.

        Raises:
            RuntimeExportError: the file is missing or broken.
        """
        return OnnxSession(path, threads=threads)

    def _check(self, model: Any, spec: ExportSpec) -> None:
        _import_onnxruntime()
        if spec.precision not in self.precisions:
            raise RuntimeExportError(
                f"runtime {self.name!r} cannot export {spec.precision!r}; allowed: {', '.join(self.precisions)}"
            )
        if model.training:
            raise RuntimeExportError("the model is in training mode; call model.eval() before the export")
        if spec.precision != "int8":
            return
        shape = None if spec.calibration is None else spec.calibration.shape
        if shape is None or shape[0] == 0 or tuple(shape[1:]) != tuple(spec.input_shape):
            raise RuntimeExportError(
                f"int8 needs calibration samples of shape (n, {', '.join(map(str, spec.input_shape))}) with n >= 1, "
                f"got {shape}; pass normalised training samples as ExportSpec.calibration"
            )


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"


def _guarded(step: str, work: Callable[[], Any]) -> Any:
    """Run `work` quietly; whatever torch or onnxruntime raise becomes a RuntimeExportError."""
    # The quantizer warns through the root logger, of tensors that it quantizes whole and not per channel.
    logging.getLogger().addFilter(_is_error)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing and of the legacy exporter's age; the parity check decides
            return work()
    except Exception as error:
        raise RuntimeExportError(f"onnxruntime: {step} failed with {_first_line(error)}") from error
    finally:
        logging.getLogger().removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


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


def _export_fp32(model: Any, input_shape: tuple[int, ...], path: Path) -> None:
    import torch

    with torch.no_grad():
        torch.onnx.export(
            model,
            (torch.zeros(1, *input_shape),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}},
        )


def _convert(fp32: Path, done: Path, spec: ExportSpec) -> dict[str, Any]:
    before = onnx_graph.describe(fp32)
    details: dict[str, Any] = {"nodes_fp32": before["nodes"]}
    if spec.precision == "int8" and spec.calibration is not None:
        reduce_range = needs_reduced_range(spec.cpu_flags)
        onnx_graph.quantize_int8(fp32, done, spec.calibration, input_name=INPUT_NAME, reduce_range=reduce_range)
        details |= {
            "quantization": "static QDQ, int8 weights per channel, uint8 activations",
            "reduce_range": reduce_range,
            "calibration": {"method": "min-max", "samples": len(spec.calibration)},
        }
    elif spec.precision == "fp16":
        onnx_graph.to_fp16(fp32, done)
    else:
        fp32.replace(done)
    onnx_graph.write_metadata(done, spec.metadata)
    return details | onnx_graph.describe(done)


def _parity(model: Any, session: OnnxSession, spec: ExportSpec) -> tuple[float, int]:
    """Largest difference from torch / largest output of torch, and the number of outputs."""
    import torch

    if spec.calibration is not None and len(spec.calibration):
        inputs = np.asarray(spec.calibration[:_PARITY_SAMPLES], dtype=np.float32)
    else:
        inputs = np.random.default_rng(0).standard_normal((_PARITY_SAMPLES, *spec.input_shape)).astype(np.float32)
    with torch.no_grad():
        wanted = model(torch.from_numpy(inputs.copy())).numpy()
    got = session.run(inputs)
    if got.shape != wanted.shape:
        raise RuntimeExportError(f"the exported file gives an output of shape {got.shape}, torch gives {wanted.shape}")
    if not (np.isfinite(wanted).all() and np.isfinite(got).all()):
        raise RuntimeExportError("an output is not finite, in torch or in the exported file; was the training stable?")
    largest = float(np.abs(wanted).max())
    difference = float(np.abs(got - wanted).max())
    return (difference / largest if largest > 0 else difference), int(wanted.shape[1])
