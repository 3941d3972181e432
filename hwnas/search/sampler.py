"""A sampler for two objectives of which one is known beforehand: latency costs a prediction, accuracy an evaluation.

It learns accuracy from what was evaluated, and proposes what adds most hypervolume in expectation at its known cost.
It stands on optuna and scikit-learn alone, and so works in any study.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hwnas.search.improvement import Staircase
from hwnas.search.surrogate import Surrogate

__all__ = ["Describe", "HypervolumeSampler"]

Params = Mapping[str, Any]
Described = tuple[float, Sequence[float]]
Describe = Callable[[Sequence[Params]], Sequence[Described | None]]
FloatArray = NDArray[np.float64]
Space = dict[str, BaseDistribution]

_LEAST_ERROR = 1e-3  # errors below are as good as each other
_WORST_LOSS = 5.0  # times the best one
_RENEWED = 16  # trials after which the drawn candidates are others
_MOST_LEARNED = 300  # evaluations that the surrogate is fitted to; those near the front, and some of the others


class HypervolumeSampler(BaseSampler):
    """Proposes the candidate with the largest expected hypervolume improvement at its known cost.

    Args:
        describe: parameters of several candidates -> for each (cost, numbers that the unknown objective may depend
            on), or None: not allowed. Without numbers it is learned from the parameters; candidates with the same cost
            and numbers are taken for the same.
        space: the distributions; None: those that finished trials have in common.
        known: index of the objective that `describe` knows; it is minimised. The other one is learned.
        reference: (cost, the other objective): the bad corner of the hypervolume; None: the largest cost seen, and a
            loss of five times the best one. What lies beyond it is not searched.
        seed: a proposal depends on it and on the finished trials, and on nothing else.
        startup: trials before anything is learned; they are spread over the space.
        drawn, changed: candidates that are looked at for each proposal: drawn from the space, and changed members of
            the front.
    Source: Emmerich, Giannakoglou, Naujoks, Single- and multiobjective evolutionary optimization assisted by Gaussian
        random field metamodels, 2006 (expected hypervolume improvement).
    """

    def __init__(
        self,
        describe: Describe,
        *,
        space: Space | None = None,
        known: int = 0,
        reference: tuple[float, float] | None = None,
        seed: int = 0,
        startup: int = 6,
        drawn: int = 512,
        changed: int = 128,
    ) -> None:
        self.describe, self.known, self.reference = describe, known, reference
        self.seed, self.startup, self.drawn, self.changed = seed, startup, drawn, changed
        self._space, self._common = space, IntersectionSearchSpace()
        self._random = RandomSampler(seed=seed)
        self._surrogate, self._kernel_of = Surrogate(), 0
        self._scale: _Scale | None = None
        self._drawn: tuple[int, list[tuple[Params, Described]]] | None = None
        self._trials: dict[int, tuple[FrozenTrial, Described | None]] = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Space:
        """The distributions that are sampled together."""
        return self._common.calculate(study) if self._space is None else self._space

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """Parameters of the next trial."""
        if not search_space:
            return {}
        seen = self._finished(study, search_space)
        costs = np.array([described[0] for _, described in seen], dtype=float)
        features = self._scaled([t.params for t, _ in seen], [described for _, described in seen], search_space)
        losses = self._losses(study, [t.values[1 - self.known] for t, _ in seen])
        front = _front(costs, losses)
        rng = np.random.default_rng([self.seed, len(seen)])
        busy = self._running(study, trial, search_space)
        params, pool = self._candidates(search_space, [seen[at][0].params for at in front], seen, busy, rng)
        if not params:
            return {}
        pool_features = self._scaled(params, pool, search_space)
        if len(seen) < self.startup:
            return dict(params[_most_apart(pool_features, features)])
        stairs = Staircase(costs[front], losses[front], self._worst(study, costs, losses))
        to_loss = self._learn(costs, features, losses)
        mean, spread = self._surrogate.predict(pool_features)
        gains = stairs.expected(np.array([described[0] for described in pool]), mean, spread, to_loss)
        return dict(params[int(np.argmax(gains))])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that is not in the common space: drawn."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """For processes that were copied; the order of finished trials differs there anyway."""
        self._random.reseed_rng()

    def _finished(self, study: Study, space: Space) -> list[tuple[FrozenTrial, Described]]:
        """Finished trials of the space, each described once."""
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        new = [t for t in finished if t.number not in self._trials and space.keys() <= t.params.keys()]
        for trial, described in zip(new, self.describe([t.params for t in new]) if new else [], strict=True):
            self._trials[trial.number] = (trial, described)
        kept = (self._trials[number] for number in sorted(self._trials))
        return [(trial, described) for trial, described in kept if described is not None]

    def _running(self, study: Study, trial: FrozenTrial, space: Space) -> list[tuple[Params, Described]]:
        """What others evaluate now; it is not proposed again."""
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        others = [t.params for t in running if t.number != trial.number and space.keys() <= t.params.keys()]
        return self._described(others)

    def _losses(self, study: Study, values: Sequence[float]) -> FloatArray:
        """The unknown objective, as something to minimise; an accuracy between 0 and 1 becomes an error."""
        found = np.array(values, dtype=float)
        if study.directions[1 - self.known] == StudyDirection.MINIMIZE:
            return found
        return 1 - found if len(found) == 0 or (found.min() >= 0 and found.max() <= 1) else -found

    def _worst(self, study: Study, costs: FloatArray, losses: FloatArray) -> tuple[float, float]:
        if self.reference is None:
            best, most = float(losses.min()), float(losses.max())
            return float(costs.max()), min(_WORST_LOSS * best, most) if best > 0 else most
        return self.reference[0], float(self._losses(study, [self.reference[1]])[0])

    def _learn(self, costs: FloatArray, features: FloatArray, losses: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """Bring the surrogate up to date; from its values to losses."""
        to_value, to_loss = _transforms(losses)
        count = _checkpoint(len(costs), self.startup)
        if self._kernel_of != count:
            # A search that was resumed fits the kernel to what was known when an unbroken one did.
            of = _most_telling(costs[:count], losses[:count])
            first = 0 if self._scale is None else self._scale.first
            self._surrogate.fit_kernel(features[of], to_value(losses[of]), first)
            self._kernel_of = count
        of = _most_telling(costs, losses)
        self._surrogate.condition(features[of], to_value(losses[of]))
        return to_loss

    def _scaled(self, params: Sequence[Params], described: Sequence[Described], space: Space) -> FloatArray:
        """Features of `n` candidates: what describes them, and the parameters, both standardised.

        By mean and spread of what is drawn from the space; what never varies there is left out.
        """
        if not described:
            return np.empty((0, 0))
        if self._scale is None:
            rng = np.random.default_rng(self.seed)
            found = self._described([_drawn(space, rng) for _ in range(self.drawn)])
            self._scale = _Scale(*_blocks([one for one, _ in found], [known for _, known in found], space))
        return self._scale(*_blocks(params, described, space))

    def _candidates(
        self,
        space: Space,
        front: Sequence[Params],
        seen: Sequence[tuple[Any, Described]],
        busy: Sequence[tuple[Params, Described]],
        rng: np.random.Generator,
    ) -> tuple[list[Params], list[Described]]:
        """Allowed candidates that were not seen, each once: drawn ones, and changed members of the front."""
        changed: list[Params] = []
        for _ in range(self.changed if front else 0):
            changed.append(_changed(front[int(rng.integers(len(front)))], _drawn(space, rng), rng))
        known = {_key(trial.params, described) for trial, described in seen}
        known |= {_key(one, described) for one, described in busy}
        params: list[Params] = []
        found: list[Described] = []
        for one, described in [*self._pool(space, len(seen)), *self._described(changed)]:
            if (key := _key(one, described)) not in known:
                known.add(key)
                params.append(one)
                found.append(described)
        return params, found

    def _pool(self, space: Space, count: int) -> list[tuple[Params, Described]]:
        """Drawn candidates; others each `_RENEWED` trials, because describing them takes time."""
        number = count // _RENEWED
        if self._drawn is None or self._drawn[0] != number:
            rng = np.random.default_rng([self.seed, number, 1])
            self._drawn = number, self._described([_drawn(space, rng) for _ in range(self.drawn)])
        return self._drawn[1]

    def _described(self, params: Sequence[Params]) -> list[tuple[Params, Described]]:
        """The allowed ones."""
        found = self.describe(params) if params else []
        return [(one, described) for one, described in zip(params, found, strict=True) if described is not None]


class _Scale:
    """Standardises two blocks of features, so that the variances of each add to 1."""

    def __init__(self, *blocks: FloatArray) -> None:
        self._blocks = []
        for block in blocks:
            spread = block.std(axis=0)
            varies = spread > 1e-12
            scale = 1 / spread[varies] / np.sqrt(max(1, varies.sum()))
            self._blocks.append((varies, block.mean(axis=0)[varies], scale))

    @property
    def first(self) -> int:
        """Columns of the first block."""
        return len(self._blocks[0][1])

    def __call__(self, *blocks: FloatArray) -> FloatArray:
        parts = [(b[:, varies] - mean) * scale for b, (varies, mean, scale) in zip(blocks, self._blocks, strict=True)]
        return np.concatenate(parts, axis=1)


def _blocks(params: Sequence[Params], described: Sequence[Described], space: Space) -> tuple[FloatArray, FloatArray]:
    """Features of `n` candidates as they are: what describes them, and the parameters."""
    numbers = np.array([known[1] for known in described], dtype=float).reshape(len(params), -1)
    encoded = np.array([_encoded(one, space) for one in params], dtype=float).reshape(len(params), -1)
    return numbers, encoded


def _encoded(params: Params, space: Space) -> list[float]:
    found: list[float] = []
    for name, distribution in space.items():
        value = params[name]
        if isinstance(distribution, CategoricalDistribution):
            if all(isinstance(choice, int | float) for choice in distribution.choices):
                found.append(float(value))
            else:
                found += [float(value == choice) for choice in distribution.choices]
        else:
            found.append(float(np.log(value)) if getattr(distribution, "log", False) else float(value))
    return found


def _key(params: Params, described: Described) -> Hashable:
    """The same for candidates that are taken for the same."""
    if len(described[1]) == 0:
        return tuple(sorted(params.items()))
    return np.array([described[0], *described[1]], dtype=float).tobytes()


def _checkpoint(count: int, first: int) -> int:
    """The last of `first`, a tenth more, and so on, that is not above `count`."""
    at = first
    while (after := int(1.1 * at) + 1) <= count:
        at = after
    return at


def _drawn(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    return {name: _draw(distribution, rng) for name, distribution in space.items()}


def _draw(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(rng.integers(len(distribution.choices)))]
    if isinstance(distribution, IntDistribution):
        steps = (distribution.high - distribution.low) // distribution.step
        return distribution.low + distribution.step * int(rng.integers(steps + 1))
    assert isinstance(distribution, FloatDistribution)
    if distribution.log:
        return float(np.exp(rng.uniform(np.log(distribution.low), np.log(distribution.high))))
    return float(rng.uniform(distribution.low, distribution.high))


def _changed(start: Params, drawn: Params, rng: np.random.Generator) -> Params:
    """`start` with one to three of its parameters as drawn."""
    names = [name for name in drawn if drawn[name] != start[name]]
    chosen = rng.permutation(len(names))[: int(rng.integers(1, 4))]
    return {**{name: start[name] for name in drawn}, **{names[at]: drawn[names[at]] for at in chosen}}


def _front(costs: FloatArray, losses: FloatArray) -> list[int]:
    """Indices of the non-dominated, cheapest first."""
    found, best = [], np.inf
    for at in np.lexsort((losses, costs)):
        if losses[at] < best:
            found.append(int(at))
            best = losses[at]
    return found


def _most_apart(pool: FloatArray, seen: FloatArray) -> int:
    """The candidate that is farthest from all that was seen; the first one if nothing was."""
    if len(seen) == 0:
        return 0
    squares = ((pool[:, None, :] - seen[None, :, :]) ** 2).sum(axis=2)
    return int(np.argmax(squares.min(axis=1)))


def _most_telling(costs: FloatArray, losses: FloatArray) -> NDArray[np.int64]:
    """Indices of what is learned from: all, or the nearest to the front and some of the rest."""
    if len(costs) <= _MOST_LEARNED:
        return np.arange(len(costs))
    front = _front(costs, losses)
    best = losses[front][np.searchsorted(costs[front], costs, side="right") - 1]
    order = np.argsort(losses - best, kind="stable")
    near, rest = order[: 2 * _MOST_LEARNED // 3], order[2 * _MOST_LEARNED // 3 :]
    some = np.random.default_rng(len(costs)).permutation(rest)[: _MOST_LEARNED - len(near)]
    return np.concatenate([near, some])


def _transforms(losses: FloatArray) -> tuple[Callable[[FloatArray], FloatArray], Callable[[FloatArray], FloatArray]]:
    """To what a Gaussian describes well, and back: the logarithm, where losses are positive."""
    if losses.min() < 0:
        return lambda loss: loss, lambda value: value
    return lambda loss: np.log(np.maximum(loss, _LEAST_ERROR)), np.exp
