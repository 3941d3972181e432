from __future__ import annotations

import json
import math
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import add, conv, random_networks, true_ms

from hwnas.core.ops import Op, OpList, Segment
from hwnas.errors import PredictorError, SchemaError
from hwnas.latency.fit import Origin, fit_predictor
from hwnas.latency.inventory import POINT, inventory_of
from hwnas.latency.model import Smooth
from hwnas.latency.predictor import LinearGpPredictor

NETWORKS = random_networks(60, seed=0)
PREDICTOR = fit_predictor(
    NETWORKS,
    [true_ms(network) for network in NETWORKS],
    Origin(device="made-up", runtime="none", spaces=("random",), input_shapes=((3, 32, 32),)),
    rng=np.random.default_rng(0),
)


def without_residual(predictor: LinearGpPredictor) -> LinearGpPredictor:
    nothing = {"by_columns": Smooth.none(), "by_totals": Smooth.none(), "columns": np.zeros(0, dtype=np.int64)}
    model = replace(predictor.model, **nothing, op_points=np.zeros((0, POINT)), op_alpha=np.zeros(0))
    return LinearGpPredictor(model, replace(predictor.card, id=f"made-up@{model.fingerprint}"))


LINEAR = without_residual(PREDICTOR)


def test_predictions_come_in_order_and_are_sound() -> None:
    answers = PREDICTOR.predict(NETWORKS)
    for answer, network in zip(answers, NETWORKS, strict=True):
        assert 0 < answer.low_ms < answer.latency_ms < answer.high_ms < math.inf
        assert answer.in_domain
        assert answer.reason is None
        assert answer.predictor == PREDICTOR.card.id
        assert answer == PREDICTOR.predict([network])[0]
    assert PREDICTOR.predict([]) == []


@pytest.mark.parametrize("single", [False, True], ids=["networks", "operations too"])
def test_the_batch_path_equals_the_matrix_path(single: bool) -> None:
    from hwnas.latency.features import matrix

    predictor = PREDICTOR
    if single:  # whether or not the fit found that single operations matter
        points = inventory_of(NETWORKS[:5], flow=False).points
        model = replace(predictor.model, op_points=points, op_alpha=np.linspace(-0.02, 0.03, len(points)))
        predictor = LinearGpPredictor(model, replace(predictor.card, id=f"made-up@{model.fingerprint}"))
    slow = predictor.model.latency_ms(matrix(NETWORKS, flow=False), inventory_of(NETWORKS, flow=False))
    np.testing.assert_allclose([p.latency_ms for p in predictor.predict(NETWORKS)], slow)
    plain = PREDICTOR.model.latency_ms(matrix(NETWORKS, flow=False))
    assert np.abs(slow / plain - 1).max() < 1
    assert not single or np.abs(slow / plain - 1).max() > 0.01


@pytest.mark.parametrize(
    "op",
    [conv(16, 8), conv(256, 64), conv(16, 8, 11), add(512, 64), Op("softmax", ((10,),), (10,)), Op("other", (), (1,))],
    ids=lambda op: op.kind,
)
def test_more_work_never_lowers_the_prior(op: Op) -> None:
    for network in NETWORKS[:10]:
        before = sum(ms for _, ms in LINEAR.breakdown(network).ops)
        after = sum(ms for _, ms in LINEAR.breakdown(OpList([*network.segments, Segment([op])])).ops)
        assert after >= before


@pytest.mark.parametrize("kind", ["linear", "matmul", "softmax", "resize", "grouped", "embedding", "reduce", "other"])
def test_a_kind_never_measured_costs_something_and_is_named(kind: str) -> None:
    shape = (64, 32, 32)
    op = Op(kind, (shape,), shape, macs=10**7 if kind in ("linear", "matmul", "grouped") else 0, detail="strange")
    network = OpList([*NETWORKS[0].segments, Segment([op])])
    (answer,) = PREDICTOR.predict([network])
    assert not answer.in_domain
    assert answer.reason == f"no {kind} (strange) operation was measured"
    assert PREDICTOR.breakdown(network).ops[-1][1] > 0


def test_out_of_domain_the_interval_is_wider_and_the_residual_fades() -> None:
    large = OpList([Segment([conv(256, 64)])] * 4)
    inside, outside = PREDICTOR.predict([NETWORKS[0], large])
    assert outside.high_ms / outside.latency_ms > 1.5 * inside.high_ms / inside.latency_ms
    assert outside.latency_ms == pytest.approx(true_ms(large), rel=0.5)
    assert outside.reason is not None
    assert "conv" in outside.reason
    assert "MACs" in outside.reason


def test_a_network_without_operations_has_a_latency() -> None:
    for empty in (OpList([]), OpList([Segment([])])):
        (answer,) = PREDICTOR.predict([empty])
        assert answer.latency_ms > 0
        assert not answer.in_domain


@pytest.mark.parametrize("predictor", [PREDICTOR, LINEAR], ids=["whole", "linear"])
def test_the_breakdown_adds_up_to_the_prediction(predictor: LinearGpPredictor) -> None:
    large = OpList([Segment([conv(256, 64)])] * 4)  # out of domain
    for network in (*NETWORKS[:5], large, OpList([])):
        found = predictor.breakdown(network)
        assert [op for op, _ in found.ops] == list(network)
        assert found.total_ms == predictor.predict([network])[0].latency_ms
        assert math.fsum([found.network_ms, *(ms for _, ms in found.ops)]) == pytest.approx(found.total_ms, rel=1e-9)
        assert min([found.network_ms, *(ms for _, ms in found.ops)]) >= 0


def test_without_a_residual_the_breakdown_is_the_prior() -> None:
    from hwnas.latency.features import matrix

    found = LINEAR.breakdown(NETWORKS[0])
    assert found.network_ms == pytest.approx(LINEAR.model.intercept)
    assert found.total_ms == pytest.approx(float(LINEAR.model.prior(matrix(NETWORKS[:1], flow=False))[0]))


def test_files_round_trip_and_are_small(tmp_path: Path) -> None:
    PREDICTOR.save(tmp_path / "a" / "b")
    again = LinearGpPredictor.load(tmp_path / "a" / "b")
    assert again.card == PREDICTOR.card
    assert again.predict(NETWORKS) == PREDICTOR.predict(NETWORKS)
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"model.npz", "card.json"}
    assert sum(path.stat().st_size for path in (tmp_path / "a" / "b").iterdir()) < 2**20


Damage = Callable[[Path], object]


def _card(change: dict[str, Any]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "card.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    return damage


def _arrays(change: dict[str, Any], drop: Sequence[str] = ()) -> Damage:
    def damage(folder: Path) -> None:
        with np.load(folder / "model.npz") as file:
            arrays = {name: file[name] for name in file.files if name not in drop}
        np.savez(folder / "model.npz", **(arrays | change))

    return damage


def _bomb(folder: Path) -> None:
    header = np.lib.format.header_data_from_array_1_0(np.zeros(1))
    with zipfile.ZipFile(folder / "model.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.npy", bytes(50_000_000) + struct.pack("<I", len(header)))


def _flip(folder: Path) -> None:
    path = folder / "model.npz"
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 3, len(data) // 3 + 200):
        data[at] ^= 0xFF
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda folder: (folder / "model.npz").unlink(), PredictorError),
        (lambda folder: (folder / "card.json").unlink(), PredictorError),
        (lambda folder: (folder / "model.npz").write_bytes(b""), PredictorError),
        (lambda folder: (folder / "model.npz").write_bytes(b"PK\x03\x04 not a zip"), PredictorError),
        (lambda folder: (folder / "model.npz").write_bytes((folder / "model.npz").read_bytes()[:900]), PredictorError),
        (lambda folder: (folder / "card.json").write_text("{"), PredictorError),
        (lambda folder: (folder / "card.json").write_text("[1]"), PredictorError),
        (lambda folder: (folder / "card.json").write_text("[" * 100_000), PredictorError),
        (lambda folder: (folder / "card.json").write_bytes(b"\xff\xfe\x00"), PredictorError),
        (_card({"schema": 1}), SchemaError),
        (_card({"new": 1}), SchemaError),
        (_card({"op_ranges": [1]}), PredictorError),
        (_card({"op_ranges": {"conv": {"macs": [1]}}}), PredictorError),
        (_card({"op_ranges": {"conv": {"macs": ["a", "b"]}}}), PredictorError),
        (_card({"input_shapes": 3}), PredictorError),
        (_card({"id": 3}), PredictorError),
        (_card({"id": "made-up/none-fp32@0000000000"}), PredictorError),
        (_arrays({"schema": np.array("ops-99")}), SchemaError),
        (_arrays({}, drop=["schema"]), SchemaError),
        (_arrays({}, drop=["weights"]), PredictorError),
        (_arrays({}, drop=["by_totals.support"]), PredictorError),
        (_arrays({"weights": np.array([{"run": "this"}], dtype=object)}), PredictorError),
        (_arrays({"weights": np.array(["text"])}), PredictorError),
        (_arrays({"weights": np.full(3, 1.0)}), PredictorError),
        (_arrays({"op_alpha": np.full(5, np.nan)}), PredictorError),
        (_arrays({"intercept": np.array([1.0, 2.0])}), PredictorError),
        (_arrays({"intercept": np.array(-1.0)}), PredictorError),
        (_arrays({"width": np.array(0.5)}), PredictorError),
        (_bomb, PredictorError),
        (_flip, PredictorError),
    ],
)
def test_damaged_and_hostile_files_are_refused(damage: Damage, error: type[Exception], tmp_path: Path) -> None:
    PREDICTOR.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(error):
        LinearGpPredictor.load(tmp_path)
