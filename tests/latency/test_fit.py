from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from made_up import conv, random_networks

from hwnas.core.ops import OpList, Segment
from hwnas.errors import PredictorError
from hwnas.latency.features import matrix
from hwnas.latency.fit import Origin, cross_validate, fit_model, fit_predictor

Time = Callable[[Sequence[OpList]], list[float]]
TEST = random_networks(60, seed=7)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_linear_device_is_recovered(networks: list[OpList], time_on_device: Time, origin: Origin) -> None:
    predictor = fit_predictor(networks, time_on_device(networks), origin, rng=rng())
    predicted = np.array([p.latency_ms for p in predictor.predict(TEST)])
    assert np.abs(predicted / time_on_device(TEST) - 1).max() < 0.03
    assert predictor.card.mape is not None
    assert predictor.card.mape < 0.01
    assert predictor.card.held_out == len(networks)


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_intervals_cover_what_they_say(noise: float, networks: list[OpList], time_on_device: Time) -> None:
    fresh = random_networks(300, seed=9)
    known, new = matrix(networks, flow=False), matrix(fresh, flow=False)
    covered, claimed = [], []
    for seed in range(4):  # one draw of 120 may be off by 6 %
        random = np.random.default_rng(seed)
        noisy = np.array(time_on_device(networks)) * np.exp(noise * random.standard_normal(len(networks)))
        true = np.array(time_on_device(fresh)) * np.exp(noise * random.standard_normal(len(fresh)))
        _, width, scores = cross_validate(known, noisy, rng=random, folds=5)
        assert scores is not None
        predicted = fit_model(known, noisy, width=width, rng=random).latency_ms(new)
        covered.append(np.mean(np.abs(np.log(predicted / true)) <= width))
        claimed.append(scores.coverage)
    assert np.mean(covered) == pytest.approx(0.9, abs=0.05)
    assert np.mean(claimed) == pytest.approx(0.9, abs=0.05)


def test_a_residual_learns_what_is_not_linear(networks: list[OpList], time_on_device: Time) -> None:
    features = matrix(networks, flow=False)
    total = features.sum(axis=1)
    bent = np.array(time_on_device(networks)) * (1 + 0.3 * np.tanh((total - np.median(total)) / total.std()))
    model = fit_model(features[:100], bent[:100], width=0.1, rng=rng())
    rest = features[100:]
    plain = np.abs(model.prior(rest) / bent[100:] - 1).mean()
    assert len(model.by_columns.alpha) + len(model.by_totals.alpha) > 0
    assert np.abs(model.latency_ms(rest) / bent[100:] - 1).mean() < 0.7 * plain


@pytest.mark.parametrize("count", [1, 2, 4, 5, 10, 19])
def test_few_measurements_give_a_scaled_prior_and_say_so(
    count: int, networks: list[OpList], time_on_device: Time, origin: Origin
) -> None:
    few = networks[:count]
    predictor = fit_predictor(few, time_on_device(few), origin, rng=rng())
    assert f"only {count} measurement" in predictor.card.note
    predicted = np.array([p.latency_ms for p in predictor.predict(TEST)])
    assert np.isfinite(predicted).all()
    assert (predicted > 0).all()
    assert np.corrcoef(predicted, time_on_device(TEST))[0, 1] > 0.8
    if count == 1:
        assert predictor.predict(few)[0].latency_ms == pytest.approx(time_on_device(few)[0])
        assert predictor.card.mape is None


def test_weights_are_never_negative(networks: list[OpList]) -> None:
    random = np.random.default_rng(2)
    model = fit_model(matrix(networks, flow=False), random.uniform(1, 2, len(networks)), width=0.1, rng=rng())
    assert (model.weights >= 0).all()
    assert model.intercept >= 0


def test_cost_that_cannot_be_told_apart_stays_with_the_count(origin: Origin) -> None:
    one = Segment([conv(32, 16)])
    networks = [OpList([one] * n) for n in range(1, 12)]
    latency = [1.0 + 0.5 * len(network) for network in networks]
    predictor = fit_predictor(networks, latency, origin, rng=rng())
    small = OpList([Segment([conv(16, 16)])] * 6)
    (whole, less) = predictor.predict([networks[5], small])
    assert whole.latency_ms == pytest.approx(4.0, rel=0.02)
    assert less.latency_ms >= whole.latency_ms * 0.999
    assert not less.in_domain
    assert less.reason is not None
    assert "conv" in less.reason
    larger = OpList([Segment([conv(32, 32)])] * 6)
    assert predictor.predict([larger])[0].latency_ms > 2 * whole.latency_ms


def test_every_network_is_predicted_without_itself(networks: list[OpList]) -> None:
    latency = np.ones(len(networks))
    latency[3] = 100.0
    held_out, width, scores = cross_validate(matrix(networks, flow=False), latency, rng=rng())
    assert held_out is not None
    assert scores is not None
    assert held_out.predicted[3] < 10
    assert width > 0


def test_the_same_input_gives_the_same_predictor(networks: list[OpList], time_on_device: Time, origin: Origin) -> None:
    first, second = (fit_predictor(networks, time_on_device(networks), origin, rng=rng()) for _ in range(2))
    assert first.card == second.card


def test_precision_is_part_of_the_domain(networks: list[OpList], time_on_device: Time, origin: Origin) -> None:
    small = [network.at("int8") for network in networks]
    predictor = fit_predictor(small, time_on_device(small), replace(origin, precision="int8"), rng=rng())
    inside, outside = predictor.predict([small[0], networks[0]])
    assert inside.in_domain
    assert outside.reason is not None
    assert "measured was int8" in outside.reason


@pytest.mark.parametrize("latency", [[], [1.0], [1.0, float("nan")], [1.0, -1.0], [1.0, 0.0], [1.0, float("inf")]])
def test_bad_latencies_are_refused(latency: list[float], networks: list[OpList], origin: Origin) -> None:
    with pytest.raises(PredictorError):
        fit_predictor(networks[:2], latency, origin, rng=rng())
