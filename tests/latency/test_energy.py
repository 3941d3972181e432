from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_calibrate import CPU, SPACE, TASK, draw, timed

from hwnas.core.measurement import Measurement
from hwnas.core.ops import OpList
from hwnas.core.predictor import energy_predictor
from hwnas.errors import MeasurementError, PredictorError
from hwnas.latency.calibrate import from_measurements
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.trace import operations


def true_mj(network: OpList) -> float:
    """Energy on a made-up device: what is drawn all the time, for each MAC, and for each byte that moves."""
    moved = sum(op.input_bytes + op.output_bytes + op.weight_bytes for op in network)
    return 0.3 + 2e-6 * network.macs + 1e-6 * moved


def with_energy(measured: list[Measurement], known: int) -> list[Measurement]:
    energies = [true_mj(operations(SPACE, m.candidate, TASK)) for m in measured]
    return [
        replace(m, energy_mj=mj if at < known else None)
        for at, (m, mj) in enumerate(zip(measured, energies, strict=True))
    ]


def test_energy_is_learned_beside_latency(tmp_path: Path) -> None:
    measured = with_energy(timed(draw(70)), known=50)
    predictor = from_measurements(CPU, measured)
    assert predictor.energy is not None and energy_predictor(predictor) is predictor.energy
    card = predictor.energy.card
    assert (card.quantity, card.n_measurements, predictor.card.n_measurements) == ("energy", 50, 70)
    assert card.mape is not None and card.mape < 0.05
    networks = [operations(SPACE, m.candidate, TASK) for m in measured[50:]]  # whose energy it never saw
    found = predictor.energy.predict(networks)
    truth = np.array([true_mj(network) for network in networks])
    assert np.abs(np.array([p.energy_mj for p in found]) / truth - 1).mean() < 0.05
    assert all(p.low_mj < p.energy_mj < p.high_mj and p.predictor == card.id for p in found)
    # The latency is what it is without.
    alone = from_measurements(CPU, timed(draw(70)))
    assert [p.latency_ms for p in predictor.predict(networks)] == [p.latency_ms for p in alone.predict(networks)]

    predictor.save(tmp_path)
    again = LinearGpPredictor.load(tmp_path)
    assert again.energy is not None and again.energy.predict(networks) == found
    alone.save(tmp_path)  # replaces both
    assert LinearGpPredictor.load(tmp_path).energy is None


def test_a_damaged_predictor_of_energy_is_said(tmp_path: Path) -> None:
    from_measurements(CPU, with_energy(timed(draw(30)), known=30)).save(tmp_path)
    (tmp_path / "energy" / "model.npz").write_bytes(b"")
    with pytest.raises(PredictorError, match="damaged"):
        LinearGpPredictor.load(tmp_path)


@pytest.mark.parametrize("known", [0, 19])
def test_of_few_energies_none_is_learned(known: int) -> None:
    predictor = from_measurements(CPU, with_energy(timed(draw(30)), known=known))
    assert predictor.energy is None


@pytest.mark.parametrize("energy_mj", [0.0, -1.0, float("nan"), float("inf")])
def test_an_energy_is_above_zero(energy_mj: float) -> None:
    with pytest.raises(MeasurementError, match="energy_mj must be finite and > 0, or null"):
        replace(timed(draw(1))[0], energy_mj=energy_mj)
