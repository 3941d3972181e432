from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.ops import BYTES
from hwnas.core.task import TaskShape
from hwnas.latency.run_networks import RunNetworks
from hwnas.plugins import load_plugin
from hwnas.store import read_front
from hwnas.trace import operations
from hwnas.viz.bought import Bargains

SHAPE = TaskShape((3, 32, 32), 10)
DEVICE = "jetson-nano"


def test_a_model_stands_beside_its_own_architecture_at_fp32(run_dir: Path) -> None:
    """Latency by the frozen fp32 predictor, weights by the trace: both done anew here."""
    front, known = read_front(run_dir), RunNetworks(run_dir, read_front(run_dir))
    space = load_plugin("space", "mobilenet").for_task(SHAPE)
    seen = 0
    for model in front.models:
        found = Bargains(known, front).of(model, SHAPE)
        if model.compression == CompressionPlan():
            assert found is None
            continue
        assert found is not None
        seen += 1
        plain = operations(space, Candidate(model.architecture), SHAPE, multiple=8)
        predictor = known.predictor_like(model.latency[DEVICE].predictor, "fp32")
        assert predictor is not None
        assert predictor.card.precision == "fp32"
        before = predictor.predict([plain])[0].latency_ms
        assert found["latency"][DEVICE]["before"] == pytest.approx(before, rel=1e-4)
        assert found["latency"][DEVICE]["after"] == model.latency[DEVICE].predicted
        assert found["weights"]["before"] == 4 * plain.params
        assert found["weights"]["after"] == BYTES[model.compression.precision] * model.params
        (mine,) = [choice for choice in found["choices"] if choice["mine"]]
        assert mine["latency"][DEVICE] == pytest.approx(model.latency[DEVICE].predicted, rel=1e-4)
        assert mine["macs"] == model.macs
        kinds = {(choice["precision"], choice["cut"]) for choice in found["choices"]}
        cuts = (False, True) if model.compression.prune else (False,)
        assert kinds == {(precision, cut) for precision in ("fp32", "fp16") for cut in cuts}
    assert seen >= 3


def test_accuracies_are_compared_only_where_both_were_read_alike(run_dir: Path) -> None:
    front = read_front(run_dir)
    known = RunNetworks(run_dir, front)
    model = next(model for model in front.models if model.compression != CompressionPlan())
    plain = Candidate(model.architecture).id
    assert accuracy(Bargains(known, front), model) is None
    trials = [{"id": plain, "accuracy": 0.8}, {"id": model.id, "accuracy": 0.75}, {"accuracy": "x"}]
    found = accuracy(Bargains(known, front, trials), model)
    assert found == {"before": 0.8, "after": 0.75, "read": "before finishing, validation split"}
    # What was not searched itself may have been read for the comparison; what was searched counts as it was.
    assert accuracy(Bargains(known, front, trials[1:], twins={plain: 0.79}), model) == {**found, "before": 0.79}
    assert accuracy(Bargains(known, front, trials, twins={plain: 0.79}), model) == found
    twin = replace(model, id=plain, compression=CompressionPlan())
    beside = replace(front, models=(*front.models, twin))
    found = accuracy(Bargains(known, beside, trials), model)
    assert found == {"before": twin.accuracy, "after": model.accuracy, "read": "files, test split"}
    other = replace(twin, accuracy_detail=replace(twin.accuracy_detail, split="validation"))
    beside = replace(front, models=(*front.models, other))
    assert accuracy(Bargains(known, beside), model) is None


def accuracy(bargains: Bargains, model: object) -> object:
    found = bargains.of(model, SHAPE)  # type: ignore[arg-type]
    assert found is not None
    return found["accuracy"]


def test_a_network_that_was_there_already_is_what_its_models_stand_beside(run_dir: Path) -> None:
    front = read_front(run_dir)
    original, model = front.models[0], front.models[1]
    found = Bargains(RunNetworks(run_dir, front), front, (), original).of(model, SHAPE)
    assert found is not None
    assert found["against"] == "original"
    assert found["latency"][DEVICE]["before"] == original.latency[DEVICE].predicted
    assert found["accuracy"]["before"] == original.accuracy
    assert Bargains(RunNetworks(run_dir, front), front, (), original).of(original, SHAPE) is None


def test_what_is_missing_is_said(run_dir: Path, tmp_path: Path) -> None:
    front = read_front(run_dir)
    model = next(model for model in front.models if model.compression != CompressionPlan())
    found = Bargains(RunNetworks(tmp_path, front), front).of(model, SHAPE)  # no predictors there
    assert found is not None
    assert found["latency"][DEVICE]["before"] is None
    assert found["choices"] == []
    assert found["weights"]["before"] is not None
    found = Bargains(RunNetworks(run_dir, front), front).of(model, None)
    assert found is not None
    assert "manifest" in found["missing"]
    assert found["weights"] == {"before": None, "after": None}
