"""AOTInductor: a program of `torch.export`, compiled beforehand into a package that holds machine code.

A package is made for this kind of CPU and for one sample a call, and needs a C++ compiler where it is made. Loading
one runs its code: load only packages of your own.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.core.runtime import ExportedModel, ExportSpec, FloatArray, InputArray, as_input
from hwnas.errors import MissingDependencyError
from hwnas.runtimes import torch_graph
from hwnas.runtimes.exporting import cannot_load, cannot_run, export_checked
from hwnas.runtimes.recorded import attempted
from hwnas.runtimes.torch_export import as_precision

__all__ = ["AotInductor", "AotInductorSession"]

_METADATA = "hwnas.json"


class AotInductorSession:
    """A loaded package; one input, one output.

    Args:
        path: the file.
        threads: of torch, in the whole process.
    Raises:
        RuntimeExportError: torch cannot load the file.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        import torch
        from torch._inductor import aoti_load_package

        torch.set_num_threads(threads)
        try:
            if not zipfile.is_zipfile(path):  # torch's own message of such a file is a trace of C++
                raise ValueError("it is no package")
            self._model: Any = aoti_load_package(str(path))
        except Exception as error:
            raise cannot_load("aotinductor", path, error, where=" on this machine") from error
        self._path = path

    def run(self, inputs: InputArray) -> FloatArray:
        """`n x input_shape` -> `n x n_outputs` logits, sample by sample.

        Raises:
            RuntimeExportError: the inputs have the wrong shape, or the runtime failed.
        """
        import torch

        try:
            with torch.inference_mode():
                found = [self._model(torch.from_numpy(sample[None])).numpy() for sample in as_input(inputs)]
            return np.concatenate(found).astype(np.float32)
        except Exception as error:
            raise cannot_run("aotinductor", self._path, inputs, error) from error


class AotInductor:
    """Export by torch.export, compiled by inductor."""

    name: str = "aotinductor"
    suffix: str = ".pt2"
    precisions: tuple[str, ...] = ("fp32", "bf16")

    def version(self) -> str:
        """Version of the installed torch.

        Raises:
            MissingDependencyError: there is no C++ compiler.
        """
        import torch

        if not any(map(shutil.which, ("c++", "g++", "clang++"))):
            raise MissingDependencyError("runtime 'aotinductor' needs a C++ compiler: apt-get install g++")
        return str(torch.__version__)

    def export(self, model: Any, spec: ExportSpec, path: Path) -> ExportedModel:
        """See `export_checked`; at bf16 weights and activations are bf16, input and output stay float."""
        return export_checked(self, model, spec, path, lambda folder, done: _convert(model, done, spec))

    def load(self, path: Path, *, threads: int = 1) -> AotInductorSession:
        """Load a file that `export` wrote.

        Raises:
            RuntimeExportError: the file is missing or broken, or of another kind of machine.
        """
        return AotInductorSession(path, threads=threads)


def _convert(model: Any, done: Path, spec: ExportSpec) -> dict[str, Any]:
    import torch
    from torch._inductor import aoti_compile_and_package

    example = (torch.zeros(1, *spec.input_shape, dtype=getattr(torch, spec.dtype)),)
    with torch.no_grad():
        program = torch.export.export(as_precision(model, spec.precision), example)
        aoti_compile_and_package(program, package_path=str(done))
    with zipfile.ZipFile(done, "a") as archive:
        archive.writestr(f"{done.stem}/extra/{_METADATA}", json.dumps(dict(spec.metadata)))
    graph = attempted(lambda: torch_graph.graph_record(program, compiled=True))
    return {"compiled_for": torch.backends.cpu.get_cpu_capability(), "samples_a_call": 1, "graph": graph}
