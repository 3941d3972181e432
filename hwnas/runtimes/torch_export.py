"""PyTorch itself: a program of `torch.export`, run eagerly, compiled where it is loaded, or on a GPU.

One file for all, of JSON and raw tensors. Files that hold pickled objects are refused. Eager calls pay Python and
dispatch for every operation: their latency is that of a prototype, not of a deployment.
"""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.core.profile import TimedOperation
from hwnas.core.runtime import ExportedModel, ExportSpec, FloatArray, InputArray, as_input
from hwnas.runtimes import torch_graph
from hwnas.runtimes.exporting import cannot_load, cannot_run, export_checked, kept_in_fp32
from hwnas.runtimes.recorded import attempted

__all__ = ["Torch", "TorchCompiled", "TorchCuda", "TorchSession", "as_precision"]


class TorchSession:
    """A loaded program; one input, one output.

    Args:
        path: the file.
        threads: of torch, in the whole process.
        compiled: compiled by inductor, which takes its time at the first call and needs a C++ compiler.
    Raises:
        RuntimeExportError: torch cannot load the file, or it holds what only pickle reads.
    """

    def __init__(self, path: Path, *, threads: int = 1, compiled: bool = False) -> None:
        import torch

        torch.set_num_threads(threads)
        try:
            _refuse_pickles(path)
            with _weights_only(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._module: Any = torch.export.load(str(path)).module()
        except Exception as error:
            raise cannot_load("torch", path, error) from error
        if compiled:
            self._module = torch.compile(self._module, dynamic=False)
        self._path = path

    def run(self, inputs: InputArray) -> FloatArray:
        """`n x input_shape` -> `n x n_outputs` logits.

        Raises:
            RuntimeExportError: the inputs have the wrong shape, or the runtime failed.
        """
        import torch

        try:
            with torch.inference_mode():
                logits = self._module(torch.from_numpy(as_input(inputs)))
            return np.array(logits.numpy(), dtype=np.float32)
        except Exception as error:
            raise cannot_run("torch", self._path, inputs, error) from error


class Torch:
    """Export by torch.export, run eagerly."""

    name: str = "torch"
    suffix: str = ".pt2"
    precisions: tuple[str, ...] = ("fp32", "bf16")
    compiled: bool = False

    def version(self) -> str:
        """Version of the installed torch."""
        import torch

        return str(torch.__version__)

    def export(self, model: Any, spec: ExportSpec, path: Path) -> ExportedModel:
        """See `export_checked`; at bf16 weights and activations are bf16, input and output stay float."""
        return export_checked(self, model, spec, path, lambda folder, done: self._convert(model, done, spec))

    def load(self, path: Path, *, threads: int = 1) -> TorchSession:
        """Load a file that `export` wrote.

        Raises:
            RuntimeExportError: the file is missing or broken, or holds pickled objects.
        """
        return TorchSession(path, threads=threads, compiled=self.compiled)

    def _convert(self, model: Any, done: Path, spec: ExportSpec) -> dict[str, Any]:
        program = _convert(model, done, spec)
        return {"graph": attempted(lambda: torch_graph.graph_record(program, compiled=self.compiled))}

    def profile(
        self, path: Path, inputs: InputArray, *, threads: int = 1, calls: int = 50, warmup: int = 10
    ) -> list[TimedOperation]:
        """See `Profiler`: by torch's profiler, of the program as it runs eagerly."""
        return torch_graph.profile(path, self.load(path, threads=threads), inputs, calls=calls, warmup=warmup)


class TorchCompiled(Torch):
    """Export by torch.export, compiled by inductor where it is loaded."""

    name: str = "torch-compile"
    compiled: bool = True


class TorchCuda(Torch):
    """Export by torch.export, checked on the CPU; timed on the GPU as a CUDA graph."""

    name: str = "torch-cuda"
    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16")


def as_precision(model: Any, precision: str) -> Any:
    """The model itself at fp32, else a copy that computes in 16 bits between a float input and output."""
    import copy

    return model if precision == "fp32" else _in_16_bits(copy.deepcopy(model), precision)


def _convert(model: Any, done: Path, spec: ExportSpec) -> Any:
    """Write the program of a model, and give it."""
    import torch

    network = as_precision(model, spec.precision)
    # Two samples: a batch of one would be taken for fixed.
    example = (torch.zeros(2, *spec.input_shape, dtype=getattr(torch, spec.dtype)),)
    with torch.no_grad():
        program = torch.export.export(network, example, dynamic_shapes=({0: torch.export.Dim("batch")},))
    program.example_inputs = None  # they would be pickled
    torch.export.save(program, str(done), extra_files={"hwnas.json": json.dumps(dict(spec.metadata))})
    return program


def _in_16_bits(network: Any, precision: str) -> Any:
    import copy

    import torch
    from torch import nn

    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]

    class Kept(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, *values: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.module(*[value.float() for value in values]).to(dtype)
            return y

    names = kept_in_fp32(network)
    kept = {name: Kept(copy.deepcopy(network.get_submodule(name))) for name in names}
    rounds_input = not names or names[0] != next(iter(dict(network.named_children())), None)
    network.to(dtype)
    for name, module in kept.items():
        network.set_submodule(name, module)

    class Casting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            given = x.to(dtype) if rounds_input and x.is_floating_point() else x
            y: torch.Tensor = self.network(given).float()
            return y

    return Casting().eval()


def _refuse_pickles(path: Path) -> None:
    """Weights are raw in the archive, unless its own index says otherwise; constants can be anything."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(("_weights_config.json", "_constants_config.json")):
                entries = json.loads(archive.read(name)).get("config", {}).values()
                if any(entry.get("use_pickle", True) for entry in entries):
                    raise ValueError(f"{name} names pickled objects, which are not loaded")


@contextmanager
def _weights_only() -> Iterator[None]:
    """Whatever `torch.export.load` reads with `torch.load`, it reads as plain tensors."""
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before
