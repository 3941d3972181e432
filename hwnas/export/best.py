"""The best file that can be made of a model: where int8 loses too much, other ranges, then layers kept in fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hwnas.compress.sensitive import keep_in_fp32, most_sensitive
from hwnas.core.runtime import ExportedModel, ExportSpec, Runtime, calibration_methods
from hwnas.runtimes.cpu_flags import needs_reduced_range

__all__ = ["BestFile", "ReadAccuracy", "best_file"]

# (file, runtime, "validation" or "test") -> blocks of the manifest's "accuracy", that of the split among them.
ReadAccuracy = Callable[[Path, Runtime, str], Mapping[str, Any]]
MOST_KEPT = 1 / 3  # of the layers may stay in fp32: beyond, little of int8's gain is left
_RANKED_ON = 32  # calibration samples


@dataclass(frozen=True, slots=True)
class BestFile:
    """A file, and what it was made of.

    Attributes:
        exported: the file.
        model: the network, in which `kept` say that they compute in fp32.
        kept: names of layers that were kept in fp32 because int8 harmed them, the most harmed first.
        validation: accuracy on the validation split, as `ReadAccuracy` gives it; None: nobody read it.
    """

    exported: ExportedModel
    model: Any
    kept: tuple[str, ...] = ()
    validation: Mapping[str, Any] | None = None

    @property
    def value(self) -> float:
        """Validation accuracy."""
        assert self.validation is not None
        return float(self.validation["validation"]["value"])


def best_file(
    runtime: Runtime,
    model: Any,
    spec: ExportSpec,
    path: Path,
    read_accuracy: ReadAccuracy | None = None,
    *,
    least: float | None = None,
    may_mix: bool = False,
) -> BestFile:
    """Export a model; again in other ways, while its file has less than `least` on the validation split.

    First with ranges that are set by the other methods of the runtime, of which the best is kept. Then, if it
    `may_mix`, with the layers that int8 harms most in fp32: one, two, four ..., up to a third of them. A mixed file is
    kept if it reaches `least`, for it is slower than one that is int8 throughout.

    Args:
        spec: at int8, if `least` is given.
        path: of the file.
        read_accuracy: reads the accuracy of a file; None: the first file is the best.
    Raises:
        RuntimeExportError: the runtime refused the model.
    """
    exported = runtime.export(model, spec, path)
    if read_accuracy is None:
        return BestFile(exported, model)
    best = BestFile(exported, model, validation=read_accuracy(path, runtime, "validation"))
    if least is None:
        return best
    for method in calibration_methods(runtime)[1:]:
        if best.value >= least:
            break
        other, beside = replace(spec, calibration_method=method), path.with_name(f"{method}{path.suffix}")
        tried = _tried(runtime, best, other, beside, read_accuracy)
        if _takes_place(tried, tried.value > best.value, path):
            best, spec = replace(tried, exported=replace(tried.exported, path=path)), other
    if not may_mix or best.value >= least:
        return best
    for mixed in _mixed(best, spec):
        tried = _tried(runtime, mixed, spec, path.with_name(f"mixed{path.suffix}"), read_accuracy)
        if _takes_place(tried, tried.value >= least, path):
            return replace(tried, exported=replace(tried.exported, path=path))
    return best


def _tried(runtime: Runtime, made_of: BestFile, spec: ExportSpec, path: Path, read_accuracy: ReadAccuracy) -> BestFile:
    exported = runtime.export(made_of.model, spec, path)
    return replace(made_of, exported=exported, validation=read_accuracy(path, runtime, "validation"))


def _takes_place(tried: BestFile, is_better: bool, path: Path) -> bool:
    """Whether a file that was tried is the one that stays; the other goes."""
    if is_better:
        tried.exported.path.replace(path)
    else:
        tried.exported.path.unlink()
    return is_better


def _mixed(best: BestFile, spec: ExportSpec) -> Iterator[BestFile]:
    """The same with more and more layers in fp32."""
    bits = 7 if needs_reduced_range(spec.cpu_flags) else 8
    samples = torch.from_numpy(spec.calibration[:_RANKED_ON])  # type: ignore[index]
    layers, count = most_sensitive(best.model, samples, weight_bits=bits), 1
    while count <= max(1, MOST_KEPT * len(layers)):
        yield replace(best, model=keep_in_fp32(best.model, layers[:count]), kept=tuple(layers[:count]))
        count *= 2
