"""What a runtime makes of a model's file before it runs it: operations before and after, and what was fused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hwnas.core.json_block import Block
from hwnas.errors import RunFolderError

__all__ = ["MIXED", "GraphRecord", "layers_in_fp32", "records_in"]

KEYS = ("before", "after", "fused", "precisions", "notes")
MIXED = "mixed_precision"  # key of a manifest whose int8 file has layers in fp32 that accuracy needed


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRecord:
    """Operations of one file in one runtime; None is not known.

    Attributes:
        before: operations of the file as it was written, by kind; constants are none.
        after: operations that the runtime really runs, by its own names of them.
        fused: what was merged or folded away, in words, with the number of times ("Conv + Clip": 34).
        precisions: precision -> number of convolutions, linear layers and matrix products that run in it.
        notes: sentences that people should see.
    """

    before: Mapping[str, int] | None = None
    after: Mapping[str, int] | None = None
    fused: Mapping[str, int] | None = None
    precisions: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()

    def ignored(self, precision: str) -> int:
        """How many of those that compute run in fp32, though the file is of a smaller precision; 0 if not known."""
        return 0 if precision == "fp32" else (self.precisions or {}).get("fp32", 0)

    def held_against(self, precision: str, *, kept: bool = False) -> GraphRecord:
        """With a note, if convolutions or matrix products of a smaller precision run in fp32 after all.

        Args:
            precision: of the file.
            kept: whether some of its modules stay in fp32 on purpose.
        """
        in_fp32 = self.ignored(precision)
        if not in_fp32 or self.precisions is None:
            return self
        total = sum(self.precisions.values())
        of = f"all {total}" if in_fp32 == total else f"{in_fp32} of {total}"
        note = f"{of} convolutions, linear layers and matrix products of this {precision} file run in fp32"
        if in_fp32 == total:
            note += ": the runtime stores it smaller, and computes as it does at fp32"
        elif kept:
            note += ", those among them that are kept so on purpose"
        return replace(self, notes=(*self.notes, note))

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them."""
        counts = {name: getattr(self, name) for name in KEYS[:-1]}
        plain = {name: None if found is None else dict(sorted(found.items())) for name, found in counts.items()}
        return {**plain, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, raw: object, where: str = "graph") -> GraphRecord:
        """Read what `to_json` wrote.

        Raises:
            RunFolderError: a key is missing, unknown or of the wrong type; the message names it.
        """
        block = Block(raw, where, KEYS)
        notes = block.items("notes")
        if not all(isinstance(note, str) for note in notes):
            raise block.wrong("notes", "a list of texts")
        return cls(**{name: _counts(block, name) for name in KEYS[:-1]}, notes=tuple(notes))


def records_in(manifest: Mapping[str, Any]) -> list[tuple[str, GraphRecord]]:
    """Of each file of a manifest its runtime and its record; those without one, or with a damaged one, are left out."""
    found = []
    others = manifest.get("others", ())
    for facts in [manifest, *(others if isinstance(others, list) else ())]:
        try:
            found.append((str(facts["runtime"]["name"]), GraphRecord.from_json(facts["details"]["graph"])))
        except (KeyError, TypeError, RunFolderError):
            continue
    return found


def layers_in_fp32(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Layers of an int8 file that are in fp32 because int8 lost too much accuracy; none in most files."""
    block = manifest.get(MIXED)
    layers = block.get("layers_in_fp32") if isinstance(block, Mapping) else None
    return tuple(map(str, layers)) if isinstance(layers, list) else ()


def _counts(block: Block, key: str) -> dict[str, int] | None:
    if block.raw[key] is None:
        return None
    found = block.block(key)
    return {name: found.count(name) for name in found.raw}
