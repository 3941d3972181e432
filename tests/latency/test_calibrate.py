from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up import true_ms

from hwnas.core.candidate import Candidate
from hwnas.core.measurement import Measurement
from hwnas.core.predictor import LatencyPredictor
from hwnas.core.task import TaskShape
from hwnas.errors import InvalidArchitectureError, MeasurementError
from hwnas.latency import calibrate
from hwnas.latency.calibrate import (
    calibrate_local,
    from_measurements,
    learn_from,
    predictors_from_measurements,
)
from hwnas.latency.draw import draw_candidates
from hwnas.plugins import load_plugin
from hwnas.trace import operations

TASK = TaskShape((1, 16, 16), 10)
CPU = load_plugin("device", "cpu")
SPACE = load_plugin("space", "mobilenet").for_task(TASK)


def timed(candidates: Sequence[Candidate]) -> list[Measurement]:
    """Measurements of a made-up device, 1 % noise."""
    rng = np.random.default_rng(0)
    found = []
    for candidate in candidates:
        ms = true_ms(operations(SPACE, candidate, TASK)) * np.exp(0.01 * rng.standard_normal())
        found.append(
            Measurement(
                candidate=candidate,
                device="cpu",
                runtime="onnxruntime",
                runtime_version="1",
                stable=True,
                samples_ms=((ms, 1.1 * ms), (1.2 * ms,)),
                time="2026-01-01T00:00:00",
                threads=1,
                input_shape=(1, 16, 16),
                precision=candidate.compression.precision,
            )
        )
    return found


def draw(count: int, precisions: tuple[str, ...] = ("fp32",)) -> list[Candidate]:
    return draw_candidates(SPACE, precisions, count, rng=np.random.default_rng(0))


def test_from_measurements_to_a_good_predictor() -> None:
    predictor = from_measurements(CPU, timed(draw(50)))
    card = predictor.card
    assert (card.device, card.runtime, card.runtime_version, card.threads) == ("cpu", "onnxruntime", "1", 1)
    assert (card.statistic, card.spaces, card.input_shapes) == ("p10", ("mobilenet",), ((1, 16, 16),))
    assert card.n_measurements == card.held_out == 50
    assert card.mape is not None
    assert card.mape < 0.05
    new = draw_candidates(SPACE, ["fp32"], 60, rng=np.random.default_rng(5))
    networks = [operations(SPACE, candidate, TASK) for candidate in new]
    answers = predictor.predict(networks)
    true = np.array([true_ms(network) for network in networks])
    assert np.median(np.abs(np.array([a.latency_ms for a in answers]) / true / 1.02 - 1)) < 0.05
    assert np.mean([a.in_domain for a in answers]) > 0.8


def test_precisions_are_fitted_apart() -> None:
    given = timed(draw(6, ("fp32", "int8")))
    with pytest.raises(MeasurementError, match="mix precision"):
        from_measurements(CPU, given)
    found = predictors_from_measurements(CPU, given)
    assert list(found) == ["fp32", "int8"]
    assert all(p.card.n_measurements == 6 for p in found.values())


@pytest.mark.parametrize("count", [1, 2, 7])
def test_few_measurements_are_enough_to_begin(count: int) -> None:
    predictor = from_measurements(CPU, timed(draw(count)))
    assert f"learned from {count} measurement" in predictor.card.note


def test_bad_measurements_are_refused() -> None:
    good = timed(draw(4))
    stranger = replace(good[0].candidate.architecture, choices=(("width", 3),))
    with pytest.raises(InvalidArchitectureError):
        from_measurements(CPU, [*good, replace(good[0], candidate=Candidate(stranger))])
    with pytest.raises(MeasurementError, match="no input_shape"):
        from_measurements(CPU, [replace(m, input_shape=None) for m in good])
    with pytest.raises(MeasurementError, match="nothing to calibrate"):
        predictors_from_measurements(CPU, [])
    constant = [replace(m, samples_ms=((1.0,),)) for m in good]
    with pytest.raises(MeasurementError, match="all 4 latencies"):
        from_measurements(CPU, constant)


@pytest.mark.slow
def test_this_machine_calibrates_itself_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    steps: list[tuple[int, int]] = []
    found = calibrate_local(
        CPU, SPACE, TASK, ["fp32"], threads=1, budget_s=25, on_progress=lambda done, total: steps.append((done, total))
    )
    card = found["fp32"].card
    assert card.n_measurements >= 3
    assert card.statistic == "p10"
    assert steps[-1][0] == steps[-1][1]
    monkeypatch.setattr(calibrate, "collect", None)  # nothing is measured a second time
    again = calibrate_local(CPU, SPACE, TASK, ["fp32"], threads=1)
    assert again["fp32"].card == card
    with pytest.raises(TypeError):
        calibrate_local(CPU, SPACE, TASK, ["fp32"], threads=2)


def test_a_device_elsewhere_cannot_be_calibrated_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    with pytest.raises(MeasurementError, match="cannot be measured from here"):
        calibrate_local(replace(CPU, name="elsewhere", reach="none"), SPACE, TASK, ["fp32"], threads=1)


@pytest.fixture
def calibrated(monkeypatch: pytest.MonkeyPatch) -> LatencyPredictor:
    """This machine, calibrated on a made-up device's latencies."""
    monkeypatch.setattr(calibrate, "collect", lambda space, task, device, batch, **_: here(batch))
    return calibrate_local(CPU, SPACE, TASK, ["fp32"], threads=1, budget_s=30)["fp32"]


def here(candidates: Sequence[Candidate], factor: float = 1.0) -> list[Measurement]:
    version = load_plugin("runtime", "onnxruntime")().version()
    return [
        replace(m, runtime_version=version, samples_ms=tuple(tuple(factor * ms for ms in row) for row in m.samples_ms))
        for m in timed(candidates)
    ]


def test_a_predictor_learns_from_what_a_search_measured(calibrated: LatencyPredictor) -> None:
    models = [Candidate(SPACE.sample(np.random.default_rng(seed))) for seed in range(8)]
    learned, (said,) = learn_from(CPU, SPACE, TASK, here(models), threads=1)
    assert "learned from 8 measured models" in said
    again = calibrate_local(CPU, SPACE, TASK, ["fp32"], threads=1)["fp32"]
    assert again.card.n_measurements == calibrated.card.n_measurements + 8
    assert learned["fp32"].card == again.card
    _, (_,) = learn_from(CPU, SPACE, TASK, here(models[:1]), threads=1)  # the same once more
    assert calibrate_local(CPU, SPACE, TASK, ["fp32"], threads=1)["fp32"].card.n_measurements >= 8


@pytest.mark.parametrize(
    ("factor", "unstable", "message"),
    [(3.0, False, "do not fit what cpu was calibrated on"), (1.0, True, None)],
)
def test_what_it_does_not_learn_from(
    calibrated: LatencyPredictor, factor: float, unstable: bool, message: str | None
) -> None:
    models = [Candidate(SPACE.sample(np.random.default_rng(seed))) for seed in range(8)]
    measured = [replace(m, stable=not unstable) for m in here(models, factor)]
    learned, said = learn_from(CPU, SPACE, TASK, measured, threads=1)
    assert learned == {}
    assert [message in sentence for sentence in said if message] == ([True] if message else [])
    assert calibrate_local(CPU, SPACE, TASK, ["fp32"], threads=1)["fp32"].card == calibrated.card


def test_a_measurement_that_contradicts_an_earlier_one(calibrated: LatencyPredictor) -> None:
    _, (said,) = learn_from(CPU, SPACE, TASK, here([Candidate(SPACE.largest())], 2.0), threads=1)
    assert "stays as it is" in said
