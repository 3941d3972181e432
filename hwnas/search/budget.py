"""Hard budgets: checked from the predictor alone, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hwnas.core.candidate import Candidate
from hwnas.core.predictor import LatencyPredictor, Prediction
from hwnas.errors import ConfigError, InfeasibleBudgetError
from hwnas.search.joint import JointSpace

__all__ = ["Budget", "Scorer"]


@dataclass
class Scorer:
    """Predicted latency of candidates, by the predictor of each one's precision."""

    joint: JointSpace
    predictors: Mapping[str, LatencyPredictor]
    _known: dict[Candidate, Prediction] = field(default_factory=dict)

    def predict(self, candidate: Candidate) -> Prediction:
        """Latency of one candidate; kept, so that asking twice costs once."""
        if candidate not in self._known:
            if len(self._known) > 100_000:
                self._known.clear()
            predictor = self.predictors[candidate.compression.precision]
            self._known[candidate] = predictor.predict([self.joint.operations(candidate)])[0]
        return self._known[candidate]

    def predict_all(self, candidates: Sequence[Candidate]) -> None:
        """Predict several at once, which is quicker; `predict` then knows them."""
        for precision, predictor in self.predictors.items():
            new = [c for c in candidates if c.compression.precision == precision and c not in self._known]
            if new:
                found = predictor.predict([self.joint.operations(candidate) for candidate in new])
                self._known |= dict(zip(new, found, strict=True))

    def learned(self, predictors: Mapping[str, LatencyPredictor], *, kept: Iterable[Candidate]) -> Scorer:
        """A scorer with newer predictors, which leaves the predictions of `kept` candidates as they were."""
        before = {candidate: self.predict(candidate) for candidate in kept}
        return Scorer(self.joint, {**self.predictors, **predictors}, before)

    def size_mb(self, candidate: Candidate) -> float:
        """Bytes of weights at the candidate's precision, in 1e6 bytes."""
        return sum(op.weight_bytes for op in self.joint.operations(candidate)) / 1e6


@dataclass
class Budget:
    """The hard limits of a search.

    Attributes:
        scorers: device -> what predicts latency and size; all of one joint space.
        max_latency_ms, max_size_mb: None is no limit. The latency is that on each device.
        knowing: devices whose predictors know the space; candidates that one of them knows nothing of are refused.
        fastest_ms, smallest_mb: the best values seen so far, for the message when nothing fits.
    """

    scorers: Mapping[str, Scorer]
    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    knowing: frozenset[str] = frozenset()
    fastest_ms: dict[str, float] = field(default_factory=dict)
    smallest_mb: float = math.inf

    @property
    def scorer(self) -> Scorer:
        """That of the first device."""
        return next(iter(self.scorers.values()))

    @property
    def joint(self) -> JointSpace:
        """The space of the candidates, the same for all devices."""
        return self.scorer.joint

    def predict(self, candidate: Candidate) -> dict[str, Prediction]:
        """Latency of one candidate on each device."""
        return {device: scorer.predict(candidate) for device, scorer in self.scorers.items()}

    def predict_all(self, candidates: Sequence[Candidate]) -> None:
        """Predict several at once, which is quicker; `predict` then knows them."""
        for scorer in self.scorers.values():
            scorer.predict_all(candidates)

    def excess(self, candidate: Candidate) -> float:
        """By how much a candidate breaks its budgets: 0.0 is within, 0.5 is half as much again as allowed.

        What is too much on several devices is added. Infinite for a candidate that is refused because a predictor knows
        nothing of it.
        """
        found = self.predict(candidate)
        if any(device in self.knowing and not prediction.in_domain for device, prediction in found.items()):
            return math.inf
        over = 0.0
        for device, prediction in found.items():
            self.fastest_ms[device] = min(self.fastest_ms.get(device, math.inf), prediction.latency_ms)
            if self.max_latency_ms is not None:
                over += max(0.0, prediction.latency_ms / self.max_latency_ms - 1)
        if self.max_size_mb is not None:
            size_mb = self.scorer.size_mb(candidate)
            self.smallest_mb = min(self.smallest_mb, size_mb)
            over += max(0.0, size_mb / self.max_size_mb - 1)
        return over

    def descend(
        self,
        start: Candidate,
        rng: np.random.Generator,
        *,
        is_wanted: Callable[[Candidate], bool],
        max_steps: int = 400,
    ) -> Candidate | None:
        """Change a candidate step by step until it is within the budgets and wanted; None if that fails.

        A step changes up to three random choices and is kept if the candidate breaks the budgets less. Each step
        costs one prediction.
        """
        joint, here, over = self.joint, start, self.excess(start)
        for _ in range(max_steps):
            if over == 0 and is_wanted(here):
                return here
            there = joint.mutate(here, rng, int(rng.integers(1, 4)))
            if joint.accepts(there) and ((excess := self.excess(there)) < over or excess == 0 or over == math.inf):
                here, over = there, excess
        return here if over == 0 and is_wanted(here) else None

    def find(
        self,
        start: Candidate | None,
        rng: np.random.Generator,
        *,
        seen: Container[Candidate],
        max_starts: int = 10,
    ) -> Candidate | None:
        """A candidate within the budgets that was not seen, near `start` first, then anywhere; else None."""
        for attempt in range(max_starts):
            origin = start if attempt == 0 and start is not None else self.joint.sample(rng)
            if self.joint.accepts(origin):
                found = self.descend(origin, rng, is_wanted=lambda candidate: candidate not in seen)
                if found is not None:
                    return found
        return None

    def require_feasible(self, rng: np.random.Generator) -> None:
        """Make sure that at least one candidate fits.

        Raises:
            InfeasibleBudgetError: none was found; the message names the budget and the best value seen.
            ConfigError: a budget is given that no predictor can check.
        """
        if self.max_latency_ms is None and self.max_size_mb is None:
            return
        if not all(scorer.predictors for scorer in self.scorers.values()):
            raise ConfigError("a budget needs a latency predictor; calibrate the device first")
        if self.find(self.smallest(), rng, seen=()) is not None:
            return
        parts = [] if self.max_latency_ms is None else [self._too_slow(self.max_latency_ms)]
        if self.max_size_mb is not None:
            parts.append(f"size: asked for {self.max_size_mb:g} MB, smallest seen {self.smallest_mb:.4g} MB")
        name = self.joint.space.name
        raise InfeasibleBudgetError(
            f"no candidate of space {name!r} meets the budget; {'; '.join(parts)}. Raise the limit or change --space"
        )

    def _too_slow(self, limit_ms: float) -> str:
        """What was asked for, and the best that was seen on the devices to blame; on all, if each alone would do."""
        seen = {device: self.fastest_ms.get(device, math.inf) for device in self.scorers}
        blamed = [device for device, fastest_ms in seen.items() if fastest_ms > limit_ms] or list(seen)
        on = {device: f" on {device}" if len(seen) > 1 else "" for device in blamed}
        best = ", ".join(f"fastest seen{on[device]} {seen[device]:.4g} ms (predicted)" for device in blamed)
        return f"latency: asked for {limit_ms:g} ms, {best}"

    def smallest(self) -> Candidate:
        """The cheapest architecture at the precision that makes it fastest; on several devices, by the product."""
        joint = self.joint
        architecture = joint.space.smallest()
        values = dict(architecture) | {c.label: c.options[-1] for c in joint.choices[len(joint.space.choices) :]}
        options = [joint.candidate(values | {"precision": precision}) for precision in joint.precisions]
        return min(options, key=lambda candidate: math.prod(p.latency_ms for p in self.predict(candidate).values()))
