"""ExecuTorch with XNNPACK, PyTorch's runtime for phones and boards: fp32 and int8 programs.

A program is made for one sample a call. What XNNPACK does not take runs in ExecuTorch's portable operations, which are
slow; the export counts both.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from hwnas.core.profile import TimedOperation
from hwnas.core.runtime import ExportedModel, ExportSpec, FloatArray, InputArray, as_input
from hwnas.errors import MissingDependencyError
from hwnas.runtimes import executorch_graph
from hwnas.runtimes.exporting import (
    cannot_load,
    cannot_run,
    export_checked,
    installed_version,
    kept_in_fp32,
    no_native_stderr,
)
from hwnas.runtimes.recorded import attempted

__all__ = ["ExecuTorch", "ExecuTorchSession"]

_INSTALL = "runtime 'executorch' needs: pip install 'hwnas[executorch]'"


def _load_libraries() -> SimpleNamespace:
    """The parts of ExecuTorch; its CPU detection writes to the process's stderr, which is held back."""
    try:
        with no_native_stderr():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
            from executorch.exir import to_edge_transform_and_lower
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime
    except ImportError as error:
        raise MissingDependencyError(_INSTALL) from error
    return SimpleNamespace(
        partitioner=XnnpackPartitioner,
        quantizer=xnnpack_quantizer,
        lower=to_edge_transform_and_lower,
        set_threads=portable_lib._unsafe_reset_threadpool,
        runtime=Runtime,
    )


class ExecuTorchSession:
    """A loaded program; one input, one output.

    Args:
        path: the file.
        threads: of XNNPACK, in the whole process.
    Raises:
        RuntimeExportError: ExecuTorch cannot load the file.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        parts = _load_libraries()
        try:
            with no_native_stderr():
                parts.set_threads(threads)
                # Reading it here finds a missing file; the program keeps no reference to these bytes.
                self._program = parts.runtime.get().load_program(Path(path).read_bytes())
                self._method = self._program.load_method("forward")
        except Exception as error:
            raise cannot_load("executorch", path, error) from error
        self._path = path

    def run(self, inputs: InputArray) -> FloatArray:
        """`n x input_shape` -> `n x n_outputs` logits, sample by sample.

        Raises:
            RuntimeExportError: the inputs have the wrong shape, or the runtime failed.
        """
        import torch

        found = []
        try:
            for number in range(len(inputs)):
                sample = torch.from_numpy(as_input(inputs[number : number + 1]))
                # A copy: the next call writes over it.
                found.append(np.array(self._method.execute([sample])[0].numpy(), dtype=np.float32))
        except Exception as error:
            raise cannot_run("executorch", self._path, inputs, error) from error
        return np.concatenate(found)


class ExecuTorch:
    """Export by torch.export and XNNPACK's quantizer, run by ExecuTorch."""

    name: str = "executorch"
    suffix: str = ".pte"
    precisions: tuple[str, ...] = ("fp32", "int8")

    def version(self) -> str:
        """Version of the installed ExecuTorch.

        Raises:
            MissingDependencyError: it is not installed.
        """
        return installed_version("executorch", _INSTALL)

    def export(self, model: Any, spec: ExportSpec, path: Path) -> ExportedModel:
        """See `export_checked`; int8 is static and symmetric, with weights per channel. Takes seconds."""
        return export_checked(self, model, spec, path, lambda folder, done: _convert(model, done, spec))

    def load(self, path: Path, *, threads: int = 1) -> ExecuTorchSession:
        """Load a file that `export` wrote.

        Raises:
            RuntimeExportError: the file is missing or broken.
        """
        return ExecuTorchSession(path, threads=threads)

    def profile(
        self, path: Path, inputs: InputArray, *, threads: int = 1, calls: int = 50, warmup: int = 10
    ) -> list[TimedOperation]:
        """See `Profiler`: by ETDump, in which XNNPACK counts whole microseconds."""
        given = {"threads": threads, "calls": calls, "warmup": warmup}
        return executorch_graph.profile(path, _load_libraries(), inputs, **given)


def _convert(model: Any, done: Path, spec: ExportSpec) -> dict[str, Any]:
    import torch

    parts = _load_libraries()
    details: dict[str, Any] = {"metadata": "none: a program holds no text", "samples_a_call": 1}
    example = (torch.zeros(1, *spec.input_shape, dtype=getattr(torch, spec.dtype)),)
    program = torch.export.export(model, example)
    if spec.precision == "int8" and spec.calibration is not None:
        quantized = _quantize(parts, program.module(), spec.calibration, kept_in_fp32(model))
        program = torch.export.export(quantized, example)
        details |= {
            "quantization": "static, symmetric int8 weights per channel, int8 activations (XNNPACKQuantizer)",
            "kept_in_fp32": list(kept_in_fp32(model)),
            "reduce_range": False,  # XNNPACK's sums do not saturate
            "calibration": {"method": "min-max", "samples": len(spec.calibration)},
        }
    before = Counter(_name(node.target) for node in program.graph.nodes if node.op == "call_function")
    with no_native_stderr():
        edge = parts.lower(program, partitioner=[parts.partitioner()])
        nodes = [node for node in edge.exported_program().graph.nodes if node.op == "call_function"]
        lowered = edge.to_executorch()
    done.write_bytes(lowered.buffer)
    names = Counter(_name(node.target) for node in nodes if "getitem" not in str(node.target))
    graph = attempted(lambda: executorch_graph.graph_record(done, parts, before, example[0].numpy()))
    # The parts that XNNPACK takes whole; the graph says what is in them.
    return details | {"delegates": names["executorch_call_delegate"], "graph": graph}


def _quantize(parts: SimpleNamespace, module: Any, samples: InputArray, kept: tuple[str, ...]) -> Any:
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    settings = parts.quantizer.get_symmetric_quantization_config(is_per_channel=True)
    quantizer = parts.quantizer.XNNPACKQuantizer().set_global(settings)
    quantizer.set_filter_function(lambda node: not _is_within(node, kept))
    prepared = prepare_pt2e(module, quantizer)
    with torch.no_grad():
        for number in range(len(samples)):
            prepared(torch.from_numpy(as_input(samples[number : number + 1])))
    return convert_pt2e(prepared)


def _is_within(node: Any, kept: tuple[str, ...]) -> bool:
    """Whether a node of the program came from one of these modules."""
    paths = [str(path) for path, _ in node.meta.get("nn_module_stack", {}).values()]
    return any(path == name or path.endswith(f".{name}") for path in paths for name in kept)


def _name(target: Any) -> str:
    """Of an operation, without namespace and overload: "aten.add.Tensor" is "add"."""
    parts = str(getattr(target, "__name__", target)).split(".")
    return parts[-2] if len(parts) > 1 else parts[0]
