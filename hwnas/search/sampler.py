"""A sampler for two objectives of which one is known beforehand: latency costs a prediction, accuracy an evaluation.

It learns accuracy from what was evaluated, and proposes what adds most hypervolume in expectation at its known cost.
It stands on optuna and scikit-learn alone, and so works in any study.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hwnas.search.encoding import Encoding, Params, Space, changed, draw
from hwnas.search.improvement import Staircase
from hwnas.search.memory import Memory
from hwnas.search.surrogate import Surrogate

__all__ = ["Describe", "HypervolumeSampler"]

Described = tuple[float, Sequence[float]]
Describe = Callable[[Sequence[Params]], Sequence[Described | None]]
FloatArray = NDArray[np.float64]

_LEAST_ERROR = 1e-3  # errors below are as good as each other
_WORST_LOSS = 5.0  # times the best one
_RENEWED = 16  # trials after which the drawn candidates are others


class HypervolumeSampler(BaseSampler):
    """Proposes the candidate with the largest expected hypervolume improvement at its known cost.

    Args:
        describe: parameters of several candidates -> for each (cost, numbers that the unknown objective may depend
            on), or None: not allowed. Without numbers it is learned from the parameters; candidates with the same cost
            and numbers are taken for the same.
        space: the distributions; None: those that finished trials have in common.
        known: index of the objective that `describe` knows; it is minimised.
        learned: index of the one that is learned; None: the other one of two. In a study with more objectives, the rest
            is left to further samplers, one for each known objective.
        reference: (cost, the other objective): the bad corner of the hypervolume; None: the largest cost seen, and a
            loss of five times the best one. What lies beyond it is not searched.
        seed: a proposal depends on it and on the finished trials, and on nothing else.
        startup: trials before anything is learned; they are spread over the space.
        drawn: candidates from all over the space that are looked at for each proposal.
        changed: the same, of changed members of the front.
    Source: Emmerich, Giannakoglou, Naujoks, Single- and multiobjective evolutionary optimization assisted by Gaussian
        random field metamodels, 2006 (expected hypervolume improvement).
    """

    def __init__(
        self,
        describe: Describe,
        *,
        space: Space | None = None,
        known: int = 0,
        learned: int | None = None,
        reference: tuple[float, float] | None = None,
        seed: int = 0,
        startup: int = 6,
        drawn: int = 512,
        changed: int = 128,
    ) -> None:
        self.describe, self.known, self.reference = describe, known, reference
        self.learned = 1 - known if learned is None else learned
        self.seed, self.startup, self.drawn, self.changed = seed, startup, drawn, changed
        self._space, self._common = space, IntersectionSearchSpace()
        self._random = RandomSampler(seed=seed)
        self._surrogate, self._kernel_of = Surrogate(), 0
        self._scale: _Scale | None = None
        self._drawn: tuple[int, _Pool] | None = None
        self._memory = Memory(startup)
        self._study: Study | None = None
        self._closed: set[int] = set()  # numbers of trials that are finished, or failed
        self._told: list[tuple[Params, float]] = []  # finished trials that are not in the memory yet
        self._least, self._most = np.inf, -np.inf  # of the objective that is learned

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Space:
        """The distributions that are sampled together."""
        return self._common.calculate(study) if self._space is None else self._space

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """Parameters of the next trial."""
        if not search_space:
            return {}
        busy = self._read(study, trial, search_space)
        memory = self._memory
        rng = np.random.default_rng([self.seed, len(memory)])
        pool = self._candidates(search_space, busy, rng)
        if not pool.params:
            return {}
        if len(memory) < self.startup:
            return dict(pool.params[_most_apart(pool.features, memory.features(list(range(len(memory)))))])
        losses = self._losses(study, memory.scores[memory.front])
        stairs = Staircase(memory.costs[memory.front], losses, self._worst(study))
        to_loss = self._learn(study)
        mean, spread = self._surrogate.predict(pool.features)
        gains = stairs.expected(np.array(pool.costs), mean, spread, to_loss)
        return dict(pool.params[int(np.argmax(gains))])

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Remember a trial of this process, so that the study need not be read again."""
        self._begin(study)
        self._close(trial.number, trial.params, values if state == TrialState.COMPLETE else None)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that is not in the common space: drawn."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """For processes that were copied; the order of finished trials differs there anyway."""
        self._random.reseed_rng()

    def _begin(self, study: Study) -> None:
        """Forget what was learned of another study."""
        if study is not self._study:
            self._study, self._memory, self._kernel_of = study, Memory(self.startup), 0
            self._closed, self._told, self._least, self._most = set(), [], np.inf, -np.inf

    def _close(self, number: int, params: Params, values: Sequence[float] | None) -> None:
        if number not in self._closed:
            self._closed.add(number)
            if values is not None:
                self._told.append((params, float(values[self.learned])))

    def _read(self, study: Study, trial: FrozenTrial, space: Space) -> list[tuple[Params, Described]]:
        """Take in what has finished; what others evaluate now.

        The study is read only where trials before this one are not known to be finished: at the beginning of a resumed
        search, and where several processes work on one study.
        """
        self._begin(study)
        running: list[Params] = []
        if len(self._closed) < trial.number:
            for other in study.get_trials(deepcopy=False):
                if other.state.is_finished():
                    values = other.values if other.state == TrialState.COMPLETE else None
                    self._close(other.number, other.params, values)
                elif other.number != trial.number and space.keys() <= other.params.keys():
                    running.append(other.params)
        told = [(params, value) for params, value in self._told if space.keys() <= params.keys()]
        self._told = []
        found = self.describe([params for params, _ in told]) if told else []
        for (params, value), described in zip(told, found, strict=True):
            if described is not None:
                self._remember(study, params, value, described, space)
        return self._described(running)

    def _remember(self, study: Study, params: Params, value: float, described: Described, space: Space) -> None:
        self._least, self._most = min(self._least, value), max(self._most, value)
        minimised = study.directions[self.learned] == StudyDirection.MINIMIZE
        features = self._scaled([(params, described)], space)[0]
        self._memory.add(params, _key(params, described), described[0], value if minimised else -value, features)

    def _losses(self, study: Study, scores: FloatArray) -> FloatArray:
        """The unknown objective, as something to minimise; an accuracy between 0 and 1 becomes an error."""
        is_share = study.directions[self.learned] == StudyDirection.MAXIMIZE and 0 <= self._least <= self._most <= 1
        return 1 + scores if is_share else scores

    def _worst(self, study: Study) -> tuple[float, float]:
        if self.reference is None:
            ends = self._losses(study, np.array([self._memory.scores.min(), self._memory.scores.max()]))
            best, most = float(ends[0]), float(ends[1])
            return float(self._memory.costs.max()), min(_WORST_LOSS * best, most) if best > 0 else most
        minimised = study.directions[self.learned] == StudyDirection.MINIMIZE
        score = self.reference[1] if minimised else -self.reference[1]
        return self.reference[0], float(self._losses(study, np.array([score]))[0])

    def _learn(self, study: Study) -> Callable[[FloatArray], FloatArray]:
        """Bring the surrogate up to date; from its values to losses."""
        memory = self._memory
        lowest = self._losses(study, np.array([memory.scores.min()]))
        to_value, to_loss = _transforms(float(lowest[0]))
        if self._kernel_of != memory.at_kernel:
            # A search that was resumed fits the kernel to what was known when an unbroken one did.
            of = memory.of_kernel
            first = 0 if self._scale is None else self._scale.first
            self._surrogate.fit_kernel(memory.features(of), to_value(self._losses(study, memory.scores[of])), first)
            self._kernel_of = memory.at_kernel
        of = memory.learned
        self._surrogate.condition(memory.features(of), to_value(self._losses(study, memory.scores[of])))
        return to_loss

    def _scaled(self, several: Sequence[tuple[Params, Described]], space: Space) -> FloatArray:
        """Features of `n` candidates: what describes them, and the parameters, both standardised.

        By mean and spread of what is drawn from the space; what never varies there is left out.
        """
        if not several:
            return np.empty((0, 0))
        if self._scale is None:
            rng = np.random.default_rng(self.seed)
            found = self._described(draw(space, self.drawn, rng))
            self._scale = _Scale(Encoding(space), found)
        return self._scale(several)

    def _candidates(self, space: Space, busy: Sequence[tuple[Params, Described]], rng: np.random.Generator) -> _Pool:
        """Allowed candidates that were not seen, each once: drawn ones, and changed members of the front."""
        front = [self._memory.params[at] for at in self._memory.front]
        drawn = draw(space, self.changed, rng) if front else []
        near = [changed(front[int(rng.integers(len(front)))], other, rng) for other in drawn]
        without = {_key(one, described) for one, described in busy} | self._memory.seen
        return self._pool(space, len(self._memory)).joined(self._pool_of(self._described(near), space)).new(without)

    def _pool(self, space: Space, count: int) -> _Pool:
        """Drawn candidates; others each `_RENEWED` trials, because describing them takes time."""
        number = count // _RENEWED
        if self._drawn is None or self._drawn[0] != number:
            rng = np.random.default_rng([self.seed, number, 1])
            found = self._described(draw(space, self.drawn, rng))
            self._drawn = number, self._pool_of(found, space)
        return self._drawn[1]

    def _pool_of(self, several: Sequence[tuple[Params, Described]], space: Space) -> _Pool:
        params, costs = [one for one, _ in several], [described[0] for _, described in several]
        return _Pool(params, costs, [_key(*one) for one in several], self._scaled(several, space))

    def _described(self, params: Sequence[Params]) -> list[tuple[Params, Described]]:
        """The allowed ones."""
        found = self.describe(params) if params else []
        return [(one, described) for one, described in zip(params, found, strict=True) if described is not None]


@dataclass(frozen=True, slots=True)
class _Pool:
    """Candidates to choose from, with their costs, keys and features (`n x d`)."""

    params: Sequence[Params]
    costs: Sequence[float]
    keys: Sequence[Hashable]
    features: FloatArray

    def joined(self, other: _Pool) -> _Pool:
        """Both, one after the other."""
        if not (self.params and other.params):
            return self if self.params else other
        features = np.concatenate([self.features, other.features])
        return _Pool([*self.params, *other.params], [*self.costs, *other.costs], [*self.keys, *other.keys], features)

    def new(self, seen: Set[Hashable]) -> _Pool:
        """Each once, without those that were seen."""
        first = {key: at for at, key in reversed(list(enumerate(self.keys))) if key not in seen}
        at = sorted(first.values())
        params, costs = [self.params[n] for n in at], [self.costs[n] for n in at]
        return _Pool(params, costs, [self.keys[n] for n in at], self.features[at])


class _Scale:
    """Standardises two blocks of features, what describes candidates and their parameters: variances of each add to 1.

    Args:
        encoding: of the parameters.
        several: from which mean and spread are taken.
    """

    def __init__(self, encoding: Encoding, several: Sequence[tuple[Params, Described]]) -> None:
        self._encoding = encoding
        self._blocks = []
        for block in self._raw(several):
            spread = block.std(axis=0)
            varies = spread > 1e-12
            scale = 1 / spread[varies] / np.sqrt(max(1, varies.sum()))
            self._blocks.append((varies, block.mean(axis=0)[varies], scale))

    @property
    def first(self) -> int:
        """Columns of the first block."""
        return len(self._blocks[0][1])

    def __call__(self, several: Sequence[tuple[Params, Described]]) -> FloatArray:
        """`n x d`."""
        blocks = zip(self._raw(several), self._blocks, strict=True)
        return np.concatenate([(raw[:, varies] - mean) * scale for raw, (varies, mean, scale) in blocks], axis=1)

    def _raw(self, several: Sequence[tuple[Params, Described]]) -> tuple[FloatArray, FloatArray]:
        numbers = np.array([described[1] for _, described in several], dtype=float).reshape(len(several), -1)
        return numbers, self._encoding([params for params, _ in several])


def _key(params: Params, described: Described) -> Hashable:
    """The same for candidates that are taken for the same."""
    if len(described[1]) == 0:
        return tuple(sorted(params.items()))
    return np.array([described[0], *described[1]], dtype=float).tobytes()


def _most_apart(pool: FloatArray, seen: FloatArray) -> int:
    """The candidate that is farthest from all that was seen; the first one if nothing was."""
    if len(seen) == 0:
        return 0
    squares = ((pool[:, None, :] - seen[None, :, :]) ** 2).sum(axis=2)
    return int(np.argmax(squares.min(axis=1)))


def _transforms(lowest: float) -> tuple[Callable[[FloatArray], FloatArray], Callable[[FloatArray], FloatArray]]:
    """To what a Gaussian describes well, and back: the logarithm, where losses are positive."""
    if lowest < 0:
        return lambda loss: loss, lambda value: value
    return lambda loss: np.log(np.maximum(loss, _LEAST_ERROR)), np.exp
