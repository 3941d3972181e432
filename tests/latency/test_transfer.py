from __future__ import annotations

import numpy as np
import pytest
from made_up import random_networks, true_ms

from hwnas.errors import PredictorError
from hwnas.latency.fit import Origin, fit_predictor
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.latency.transfer import choose_networks, fit_transferred

POOL = random_networks(150, seed=1)
NEW = random_networks(60, seed=2)


@pytest.fixture(scope="module")
def known() -> LinearGpPredictor:
    """A device that is three times slower than the one to be learned."""
    origin = Origin(device="slow", runtime="none", spaces=("random",))
    return fit_predictor(POOL, [3 * true_ms(n) for n in POOL], origin, rng=np.random.default_rng(0))


def _errors(predictor: LinearGpPredictor) -> np.ndarray:  # type: ignore[type-arg]
    true = np.array([true_ms(network) for network in NEW])
    return np.abs(np.array([p.latency_ms for p in predictor.predict(NEW)]) / true - 1)


def test_five_measurements_and_a_known_device(known: LinearGpPredictor, origin: Origin) -> None:
    chosen = [POOL[at] for at in choose_networks(POOL, 5, sources=[known])]
    latency = [true_ms(network) for network in chosen]
    pool = [network for network in POOL if network not in chosen]
    rng = np.random.default_rng(0)
    found = fit_transferred(chosen, latency, origin, pool=pool, sources=[known], rng=rng)
    assert np.median(_errors(found)) < 0.08
    card = found.card
    assert (card.n_measurements, card.held_out, card.learned_from) == (5, 5, (known.card.id,))
    assert "5 measurements and 1 known" in card.note
    assert card.mape is not None
    assert card.mape < 0.2
    # What the known device was measured on is inside; the interval is wide enough to be honest.
    answers = found.predict(NEW)
    assert np.mean([answer.in_domain for answer in answers]) > 0.5
    true = [true_ms(network) for network in NEW]
    inside = [a.low_ms <= t <= a.high_ms for a, t in zip(answers, true, strict=True)]
    assert np.mean(inside) > 0.8


def test_without_known_devices_the_card_names_none(origin: Origin) -> None:
    rng = np.random.default_rng(0)
    chosen = [POOL[at] for at in choose_networks(POOL, 12)]
    found = fit_transferred(chosen, [true_ms(n) for n in chosen], origin, pool=POOL, rng=rng)
    assert found.card.learned_from == ()
    assert np.median(_errors(found)) < 0.25


def test_it_needs_a_measurement(origin: Origin) -> None:
    with pytest.raises(PredictorError, match="got 0 networks"):
        fit_transferred([], [], origin, pool=POOL, rng=np.random.default_rng(0))
