"""Hard budgets: checked from the predictor and the list of operations alone, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hwnas.core.candidate import Candidate
from hwnas.core.predictor import EnergyPredictor, LatencyPredictor, Prediction, energy_predictor
from hwnas.errors import ConfigError, InfeasibleBudgetError
from hwnas.search.joint import PRECISION, PRUNE, JointSpace

__all__ = ["Budget", "Limit", "Scorer"]

_MOST_KNOWN = 100_000  # predictions that a scorer keeps


@dataclass
class Scorer:
    """Predicted latency and energy of candidates, by the predictor of each one's precision."""

    joint: JointSpace
    predictors: Mapping[str, LatencyPredictor]
    _known: dict[Candidate, Prediction] = field(default_factory=dict)
    _known_mj: dict[Candidate, float] = field(default_factory=dict, init=False)

    @property
    def of_energy(self) -> Mapping[str, EnergyPredictor | None]:
        """Precision -> what predicts its energy; None where nobody read it."""
        return {precision: energy_predictor(predictor) for precision, predictor in self.predictors.items()}

    def predict(self, candidate: Candidate) -> Prediction:
        """Latency of one candidate; kept, so that asking twice costs once."""
        if candidate not in self._known:
            if len(self._known) > _MOST_KNOWN:
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

    def latency_ms(self, candidate: Candidate) -> float:
        """Predicted latency."""
        return self.predict(candidate).latency_ms

    def energy_mj(self, candidate: Candidate) -> float:
        """Predicted energy of an inference; NaN where nobody read it. Kept as `predict` keeps latencies."""
        predictor = energy_predictor(self.predictors[candidate.compression.precision])
        if predictor is None:
            return math.nan
        if candidate not in self._known_mj:
            if len(self._known_mj) > _MOST_KNOWN:
                self._known_mj.clear()
            self._known_mj[candidate] = predictor.predict([self.joint.operations(candidate)])[0].energy_mj
        return self._known_mj[candidate]

    def size_mb(self, candidate: Candidate) -> float:
        """Bytes of weights at the candidate's precision, in 1e6 bytes."""
        return sum(op.weight_bytes for op in self.joint.operations(candidate)) / 1e6

    def memory_mb(self, candidate: Candidate) -> float:
        """Modelled peak memory at batch 1, in 1e6 bytes: the weights, and what the largest operation reads and writes.

        A lower bound: tensors that wait for a later operation, and the runtime itself, come on top.
        """
        return self.size_mb(candidate) + self.joint.operations(candidate).peak_activation_bytes / 1e6


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure of candidates that must not exceed a value.

    Attributes:
        setting: what it is called in the settings.
        name, unit: of the figure.
        most: the largest value allowed.
        value: of a candidate.
        best: what the candidate with the least of it is called.
        source: where the value comes from.
    """

    setting: str
    name: str
    unit: str
    most: float
    value: Callable[[Candidate], float]
    best: str
    source: str

    def say(self, reached: float, where: str = "") -> str:
        """What was asked for, and the best value that was seen."""
        known = math.isfinite(reached)
        seen = f"{reached:.4g} {self.unit} ({self.source})" if known else "none that the predictor knows"
        return f"{self.name}: asked for {self.most:g} {self.unit}, {self.best} seen{where}{'' if known else ':'} {seen}"


@dataclass
class Budget:
    """The hard limits of a search.

    Attributes:
        scorers: device -> what predicts latency, and counts size and memory; all of one joint space.
        max_latency_ms, max_size_mb, max_memory_mb, max_energy_mj: None is no limit. Latency and energy are those on
            each device.
        knowing: devices whose predictors know the space; candidates that one of them knows nothing of are refused.
    """

    scorers: Mapping[str, Scorer]
    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    max_memory_mb: float | None = None
    knowing: frozenset[str] = frozenset()
    max_energy_mj: float | None = None
    # The least value of each limit's figure that was seen, and of the candidates that break no other limit.
    _least: dict[str, float] = field(default_factory=dict, init=False)
    _least_within: dict[str, float] = field(default_factory=dict, init=False)

    @property
    def limits(self) -> list[Limit]:
        """Those that were given; one of latency for each device."""
        found = []
        for device, scorer in self.scorers.items():
            on = f" on {device}" if len(self.scorers) > 1 else ""
            if (most_ms := self.max_latency_ms) is not None:
                at = ("latency" + on, "ms", most_ms, scorer.latency_ms, "fastest", "predicted")
                found.append(Limit("max_latency_ms", *at))
            if (most_mj := self.max_energy_mj) is not None:
                at = ("energy" + on, "mJ", most_mj, scorer.energy_mj, "least", "predicted")
                found.append(Limit("max_energy_mj", *at))
        if self.max_size_mb is not None:
            found.append(
                Limit("max_size_mb", "size", "MB", self.max_size_mb, self.scorer.size_mb, "smallest", "counted")
            )
        if self.max_memory_mb is not None:
            found.append(
                Limit("max_memory_mb", "memory", "MB", self.max_memory_mb, self.scorer.memory_mb, "least", "modelled")
            )
        return found

    @property
    def scorer(self) -> Scorer:
        """That of the first device."""
        return next(iter(self.scorers.values()))

    @property
    def joint(self) -> JointSpace:
        """The space of the candidates, the same for all devices."""
        return self.scorer.joint

    def narrowed(self, most_cut: Mapping[str, float]) -> Budget:
        """The same limits for candidates whose stages lose no more than that."""
        joint = replace(self.joint, most_cut=most_cut)
        return replace(self, scorers={device: replace(scorer, joint=joint) for device, scorer in self.scorers.items()})

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
        values = [(limit, value := limit.value(candidate), max(0.0, value / limit.most - 1)) for limit in self.limits]
        total = sum(over for _, _, over in values)
        for limit, value, over in values:
            self._least[limit.name] = min(value, self._least.get(limit.name, math.inf))
            if total == over:
                self._least_within[limit.name] = min(value, self._least_within.get(limit.name, math.inf))
        return total

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
            InfeasibleBudgetError: none was found; the message names the limit that is to blame, or says that only their
                combination is, and the best values seen.
            ConfigError: a budget is given that no predictor can check.
        """
        limits = self.limits
        if not limits:
            return
        if not all(scorer.predictors for scorer in self.scorers.values()):
            raise ConfigError("a budget needs a latency predictor; calibrate the device first")
        self._require_energy()
        if self.find(self.smallest(), rng, seen=()) is not None:
            return
        space = f"candidate of space {self.joint.space.name!r}"
        instead = "take a smaller network" if self.joint.space.of_one_network else "change --space"
        if said := self._unreachable(limits, rng):
            raise InfeasibleBudgetError(f"no {space} meets the budget; {'; '.join(said)}. Raise the limit or {instead}")
        said = [limit.say(self._least_within.get(limit.name, math.inf), " within the others") for limit in limits]
        raise InfeasibleBudgetError(
            f"no {space} meets all limits together, though each can be met alone; {'; '.join(said)}. "
            f"Raise one of them or {instead}"
        )

    def _require_energy(self) -> None:
        for device, scorer in self.scorers.items() if self.max_energy_mj is not None else ():
            if missing := [precision for precision, found in scorer.of_energy.items() if found is None]:
                raise ConfigError(
                    f"max_energy_mj: nothing predicts the {', '.join(missing)} energy of {device}, for nobody read it. "
                    "Measure a board whose sensor can be read (`hwnas device add` says which), give "
                    "`hwnas calibrate` a table with --energy-column, or leave the limit out"
                )

    def _unreachable(self, limits: Sequence[Limit], rng: np.random.Generator) -> list[str]:
        """What is to be said of each setting that cannot be met even if it is the only one."""
        said = []
        for setting in dict.fromkeys(limit.setting for limit in limits):
            own = [limit for limit in limits if limit.setting == setting]
            others = {limit.setting: None for limit in limits if limit.setting != setting}
            alone = replace(self, **others)  # type: ignore[arg-type]
            if others and alone.find(alone.smallest(), rng, seen=()) is not None:
                continue
            least = {limit.name: min(b._least.get(limit.name, math.inf) for b in (self, alone)) for limit in own}
            # Of several devices those that are too slow, or all if each alone would do.
            blamed = [limit for limit in own if least[limit.name] > limit.most] or own
            said += [limit.say(least[limit.name]) for limit in blamed]
        return said

    def smallest(self) -> Candidate:
        """The cheapest architecture at the precision that makes it fastest; on several devices, by the product."""
        joint = self.joint
        architecture = joint.space.smallest()
        values = dict(architecture) | {PRUNE + stage: joint.ratios(stage)[-1] for stage in joint.stages}
        options = [joint.candidate(values | {PRECISION: precision}) for precision in joint.precisions]
        return min(options, key=lambda candidate: math.prod(p.latency_ms for p in self.predict(candidate).values()))
