"""What compression bought each model of a front: beside the same network uncompressed, by the same predictors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hwnas.core.candidate import Candidate
from hwnas.core.compression import PRECISIONS, CompressionPlan
from hwnas.core.front import Front, FrontModel
from hwnas.core.ops import WEIGHT_BYTES, OpList
from hwnas.core.task import TaskShape
from hwnas.latency.run_networks import RunNetworks

__all__ = ["Bargains"]

_FILES, _SEARCHED = "files, {split} split", "before finishing, validation split"


class Bargains:
    """Sets the models of a run against what they would be uncompressed.

    Args:
        known: networks and frozen predictors of the run.
        front: of the run.
        trials: searched candidates as in `trials.jsonl`.
        original: the network that the run began with; None: models are set against their own architectures.
        twins: id of an uncompressed network -> its accuracy, read as those of the candidates.
    """

    def __init__(
        self,
        known: RunNetworks,
        front: Front,
        trials: Sequence[Mapping[str, Any]] = (),
        original: FrontModel | None = None,
        twins: Mapping[str, float] | None = None,
    ) -> None:
        self._known, self.original = known, original
        self._models = {model.id: model for model in front.models}
        pairs = ((trial.get("id"), trial.get("accuracy")) for trial in trials)
        searched = {str(name): float(value) for name, value in pairs if isinstance(value, int | float)}
        self._searched = dict(twins or {}) | searched

    def of(self, model: FrontModel, shape: TaskShape | None) -> dict[str, Any] | None:
        """What compression changed, as plain values; None: nothing is compressed in it.

        Returns:
            "against": "original" or "architecture"; "latency": device -> {"before", "after"}, both predicted ms;
            "weights": {"before", "after"} in bytes, counted from parameters; "accuracy": {"before", "after", "read"},
            None if the uncompressed network was never evaluated; "choices": the same architecture at each precision,
            with and without the cuts; "missing": what is not known, in words. Values that are not known are None.
        """
        if self.original is not None:
            return None if model.id == self.original.id else self._against_original(model, self.original)
        plain = Candidate(model.architecture)
        if model.compression == plain.compression:
            return None
        before: dict[str, float | None] = dict.fromkeys(model.latency)
        weights: dict[str, int | None] = {"before": None, "after": None}
        choices: list[dict[str, Any]] = []
        missing = None if shape else "the model has no manifest that says what its input is"
        if shape is not None:
            uncut = self._traced(model, CompressionPlan(), shape)
            cut = self._traced(model, replace(model.compression, precision="fp32"), shape)
            if isinstance(uncut, str) or isinstance(cut, str):
                missing = next(why for why in (uncut, cut) if isinstance(why, str))
            else:
                choices = self._choices(model, uncut, cut)
                plainly = (choice for choice in choices if choice["precision"] == "fp32" and not choice["cut"])
                before |= next((choice["latency"] for choice in plainly), {})
                weights = {"before": _bytes(uncut, "fp32"), "after": _bytes(cut, model.compression.precision)}
        return {
            "against": "architecture",
            "latency": {d: {"before": before[d], "after": entry.predicted} for d, entry in model.latency.items()},
            "weights": weights,
            "accuracy": self._accuracy(model, plain.id),
            "choices": choices,
            "missing": missing,
        }

    def _traced(self, model: FrontModel, plan: CompressionPlan, shape: TaskShape) -> OpList | str:
        traced = self._known.traced(Candidate(model.architecture, plan), shape)
        return traced if isinstance(traced, str) else traced[0]

    def _choices(self, model: FrontModel, uncut: OpList, cut: OpList) -> list[dict[str, Any]]:
        """One architecture at every precision that its devices have a predictor for, whole and cut as the model is."""
        own = (model.compression.precision, bool(model.compression.prune))
        pairs = [(precision, is_cut) for precision in PRECISIONS for is_cut in sorted({False, own[1]})]
        found = []
        for precision, is_cut in pairs:
            network = (cut if is_cut else uncut).at(precision)
            latency = {
                device: self._predicted(entry.predictor, precision, network) for device, entry in model.latency.items()
            }
            if all(ms is None for ms in latency.values()):
                continue  # no device runs it
            what = {"precision": precision, "cut": is_cut, "mine": (precision, is_cut) == own}
            weights = _bytes(network, precision)
            found.append({**what, "latency": latency, "weights": weights, "macs": network.macs})
        return found

    def _predicted(self, predictor: str, precision: str, network: OpList) -> float | None:
        found = self._known.predictor_like(predictor, precision)
        return None if found is None else float(f"{found.predict([network])[0].latency_ms:.5g}")

    def _accuracy(self, model: FrontModel, plain: str) -> dict[str, Any] | None:
        """Of both networks, read in the same way; None if the uncompressed one was never evaluated."""
        other = self._models.get(plain)
        if other is not None and _reading(other) == _reading(model):
            read = _FILES.format(split=model.accuracy_detail.split)
            return {"before": other.accuracy, "after": model.accuracy, "read": read}
        if plain in self._searched and model.id in self._searched:
            return {"before": self._searched[plain], "after": self._searched[model.id], "read": _SEARCHED}
        return None

    def _against_original(self, model: FrontModel, original: FrontModel) -> dict[str, Any]:
        same = _reading(original) == _reading(model)
        read = _FILES.format(split=model.accuracy_detail.split)
        before, after = original.params, model.params
        return {
            "against": "original",
            "latency": {
                device: {"before": original.latency[device].predicted, "after": entry.predicted}
                for device, entry in model.latency.items()
            },
            "weights": {
                "before": before * WEIGHT_BYTES[original.compression.precision],
                "after": after * WEIGHT_BYTES[model.compression.precision],
            },
            "accuracy": {"before": original.accuracy, "after": model.accuracy, "read": read} if same else None,
            "choices": [],
            "missing": None,
        }


def _reading(model: FrontModel) -> tuple[str, str]:
    return model.accuracy_detail.split, model.accuracy_detail.source


def _bytes(network: OpList, precision: str) -> int:
    """Of the weights, counted: the size of a file's larger part."""
    return sum(op.weight_bytes for op in network.at(precision))
