"""The port of deployment runtimes: export a model, load its file, run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    *("MIN_MAX", "ExportSpec", "ExportedModel", "InputArray", "Runtime", "Session"),
    *("as_input", "calibration_methods", "random_input"),
]

FloatArray = NDArray[np.float32]
InputArray = NDArray[Any]  # float32 values, or int64 ids


def as_input(values: NDArray[Any]) -> InputArray:
    """Values as a session takes them: int64 ids stay, all else becomes float32; in one piece."""
    return np.ascontiguousarray(values, dtype=np.int64 if values.dtype == np.int64 else np.float32)


def random_input(shape: tuple[int, ...], n_ids: int | None, rng: np.random.Generator) -> InputArray:
    """Standard normal values, or valid ids where there are `n_ids` of them."""
    if n_ids is not None:
        return rng.integers(0, n_ids, shape, dtype=np.int64)
    return rng.standard_normal(shape).astype(np.float32)


MIN_MAX = "min-max"


def calibration_methods(runtime: Runtime) -> tuple[str, ...]:
    """How a runtime's int8 ranges can be set, min-max first; its attribute of this name, which it need not have."""
    return tuple(getattr(runtime, "calibration_methods", (MIN_MAX,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSpec:
    """What an export needs beside the model.

    Attributes:
        precision: what the file computes in.
        input_shape: without the batch dimension.
        n_ids: the input is int64 ids from 0 to `n_ids` - 1; None: it is float32.
        calibration: `n x input_shape`, normalised training samples that set int8 ranges; never the test split.
        calibration_method: how these samples set the ranges of activations: "min-max", or another one of the runtime's
            `calibration_methods`.
        cpu_flags: instruction sets of the *target's* CPU; int8 weights lose a bit where it has no VNNI.
        metadata: text pairs written into the file itself.
    """

    precision: str
    input_shape: tuple[int, ...]
    n_ids: int | None = None
    calibration: InputArray | None = field(default=None, repr=False)
    calibration_method: str = MIN_MAX
    cpu_flags: frozenset[str] = frozenset()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        """Type of the input, as numpy and torch name it."""
        return "float32" if self.n_ids is None else "int64"


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A model file that was loaded and run once.

    Attributes:
        path: the file.
        sha256: of its content.
        size_bytes: of the file.
        parity: relative error against torch (largest difference / largest output), None where not comparable.
        details: what the runtime really did (opset, weight range, ...).
    """

    path: Path
    sha256: str
    size_bytes: int
    parity: float | None
    details: Mapping[str, Any]


class Session(Protocol):
    """A loaded model."""

    def run(self, inputs: InputArray) -> FloatArray:
        """`n x input_shape` -> `n x n_outputs` logits."""


class Runtime(Protocol):
    """Port: one deployment runtime."""

    name: str
    suffix: str
    precisions: tuple[str, ...]

    def version(self) -> str:
        """Version of the installed runtime.

        Raises:
            MissingDependencyError: it is not installed.
        """

    def export(self, model: Any, spec: ExportSpec, path: Path) -> ExportedModel:
        """Write `model` (a `torch.nn.Module` on the CPU, in eval mode) to `path`, load it and run it once.

        Raises:
            RuntimeExportError: the runtime refused the model, or its fp32 answer differs by more than 1e-4.
        """

    def load(self, path: Path, *, threads: int = 1) -> Session:
        """Load a file that `export` wrote."""
