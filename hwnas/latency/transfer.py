"""A predictor of a new device from few measurements: what the known devices and physics say, in an ordinary file.

The posterior of `hwnas.latency.posterior` is computed on a pool of networks of the space; the predictor that is kept is
then fitted to it as to measurements. So it needs none of the known devices any more, explains itself by operations, and
is read, checked and run like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwnas.core.ops import OpList
from hwnas.core.predictor import LatencyPredictor
from hwnas.latency.features import features_matrix
from hwnas.latency.fit import Origin, check_latencies, finish_predictor, fit_model
from hwnas.latency.posterior import Pool, Posterior, posterior
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.latency.scores import Scores, score

__all__ = ["FEW", "HALF_WIDTH", "choose_networks", "fit_transferred"]

FloatArray = NDArray[np.float64]

FEW = 100  # measurements up to which known devices are of use
_MIN_FOR_SCORES = 5
# Standard deviations in half a 90 % interval: a little more than a normal distribution's 1.645, for heavy tails.
HALF_WIDTH = 1.75


def fit_transferred(
    networks: Sequence[OpList],
    latency_ms: Sequence[float] | FloatArray,
    origin: Origin,
    *,
    pool: Sequence[OpList],
    sources: Sequence[LatencyPredictor] = (),
    rng: np.random.Generator,
    support: int = 300,
) -> LinearGpPredictor:
    """Learn a device from measurements of a few networks, and write its card.

    Args:
        networks: `n` >= 1, measured.
        latency_ms: `n`, > 0 and finite.
        pool: other networks of the same space, at the same precision: what the predictor will be asked for.
        sources: predictors of known devices, best of the same space; none is needed.
        support: most points that the residual keeps.
    Raises:
        PredictorError: no networks, not as many latencies, or a latency is not > 0 and finite.
    """
    latency = check_latencies(networks, latency_ms)
    everything = [*networks, *pool]
    features, flow = features_matrix(everything)
    found = posterior(Pool(features, _known_ms(sources, everything)), np.arange(len(networks)), latency)
    width = HALF_WIDTH * float(np.sqrt(np.mean(found.spread**2)))
    model = replace(fit_model(features, found.latency_ms, width=width, rng=rng, support=support), flow=int(flow))
    used = tuple(source.card.id for source in sources) if found.known_share > 0.01 else ()
    scores = _scores(latency, found) if len(networks) >= _MIN_FOR_SCORES else None
    # Networks of the pool were not measured here. Where known devices were, they are no terra incognita.
    seen = everything if used else list(networks)
    count = len(networks)
    note = f"learned from {count} measurement{'s' * (count != 1)}" + (
        f" and {len(used)} known predictors" if used else ""
    )
    noted = replace(origin, note=f"{origin.note}; {note}" if origin.note else note)
    return finish_predictor(
        model, noted, seen, features[: len(seen)], n=len(networks), scores=scores, learned_from=used
    )


def choose_networks(networks: Sequence[OpList], count: int, *, sources: Sequence[LatencyPredictor] = ()) -> list[int]:
    """Which networks to measure, so that the others are known best: indices, the most telling first.

    Args:
        networks: candidates, up to about a thousand.
        sources: predictors of known devices, if any.
    """
    features, _ = features_matrix(networks)
    return Pool(features, _known_ms(sources, networks)).design(count, np.arange(len(networks)))


def _known_ms(sources: Sequence[LatencyPredictor], networks: Sequence[OpList]) -> FloatArray:
    """What known devices need for networks, each at the precision that its predictor knows: `m x k`."""
    columns = []
    for source in sources:
        converted = [network.at(source.card.precision) for network in networks]
        columns.append([prediction.latency_ms for prediction in source.predict(converted)])
    return np.array(columns, dtype=float).reshape(len(sources), len(networks)).T


def _scores(latency: FloatArray, found: Posterior) -> Scores:
    factor = np.exp(HALF_WIDTH * found.left_out_spread)
    return score(latency, found.left_out_ms, found.left_out_ms / factor, found.left_out_ms * factor)
