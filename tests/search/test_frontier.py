from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.core.device import Device
from hwnas.core.evaluation import Evaluation
from hwnas.core.front import Front
from hwnas.core.measurement import Measurement
from hwnas.core.pareto import hypervolume_2d
from hwnas.core.task import Task
from hwnas.export.bundle import facts_for
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.search.budget import Budget
from hwnas.search.evaluated import Evaluated
from hwnas.search.finish import Finished
from hwnas.search.frontier import assemble, measure_finished, model_of, still_wanted
from hwnas.search.joint import JointSpace
from hwnas.search.setup import Setup
from hwnas.search.targets import Targets
from hwnas.viz.table import front_rows

MOON = Device(name="moon", title="A rock", kind="cpu", runtime="none")
REFERENCE = {"moon": (1.0, 0.9)}


@pytest.fixture
def joint(make_joint: Callable[..., JointSpace], make_space: Callable[..., Any]) -> JointSpace:
    return make_joint(make_space(range(4, 24), (3,)), ("fp32",))


@pytest.fixture
def budget(joint: JointSpace, make_budget: Callable[..., Budget]) -> Budget:
    return make_budget(joint, devices=("moon",))


@pytest.fixture
def setup(few_digits: Task, joint: JointSpace) -> Setup:
    return Setup(MOON, joint.space, few_digits, ("fp32",), OnnxRuntime())


def accuracy_of(value: float, split: str, n: int) -> Evaluation:
    return Evaluation(value, n, split, "fp32", "deployed-file", 0.0)


def pairs_of(
    rows: Sequence[tuple[float, float]], joint: JointSpace, budget: Budget, n: int = 1000
) -> list[tuple[Evaluated, Finished]]:
    """Models of width 4, 5, ...: wider ones are slower; rows are accuracies on the validation and the test split."""
    pairs = []
    for number, (validation, test) in enumerate(rows):
        candidate = joint.candidate({"width": 4 + number, "kernel": 3, "precision": "fp32"})
        latency_ms = budget.predict(candidate)["moon"].latency_ms
        artifact = {"path": f"models/{number}", "sha256": "0", "size_bytes": 9, "format": "onnx"}
        manifest = {"artifact": artifact, "macs": 10 + number, "params": 20}
        made = Finished(candidate, manifest, accuracy_of(test, "test", n), accuracy_of(validation, "validation", n))
        pairs.append((Evaluated(number, candidate, {"moon": latency_ms}, {"moon": True}, validation), made))
    return pairs


@pytest.mark.parametrize(
    ("accuracies", "n", "kept"),
    [
        ([], 1000, []),
        ([0.5], 1000, [0]),
        ([0.5, 0.6, 0.7], 1000, [0, 1, 2]),
        ([0.7, 0.5, 0.8], 1000, [0, 2]),  # the second is slower and clearly worse
        ([0.7, 0.695, 0.8], 1000, [0, 1, 2]),  # not clearly
        ([0.7, 0.5, 0.8], 10, [0, 1, 2]),  # ten samples cannot tell
        ([0.0, 0.0, 1.0], 50, [0, 1, 2]),
    ],
)
def test_what_is_clearly_beaten_is_not_wanted(
    joint: JointSpace, budget: Budget, accuracies: list[float], n: int, kept: list[int]
) -> None:
    found = still_wanted(pairs_of([(accuracy, 0.1) for accuracy in accuracies], joint, budget, n))
    assert [record.number for record, _ in found] == kept


def test_the_test_split_decides_nothing(joint: JointSpace, budget: Budget, setup: Setup) -> None:
    validation = [0.5, 0.9, 0.6, 0.95]
    fronts = [
        assemble(
            pairs_of([*zip(validation, test, strict=True)], joint, budget),
            {},
            budget,
            Targets((setup,)),
            REFERENCE,
            seed=0,
        )
        for test in ([0.1, 0.2, 0.9, 0.3], [0.9, 0.1, 0.1, 0.1])
    ]
    assert [m.id for m in fronts[0].models] == [m.id for m in fronts[1].models]
    assert len(fronts[0].models) == 3
    assert [m.accuracy for m in fronts[0].models] == [0.1, 0.2, 0.3]


def test_a_front_says_where_its_figures_come_from(joint: JointSpace, budget: Budget, setup: Setup) -> None:
    pairs = pairs_of([(0.5, 0.4), (0.9, 0.8)], joint, budget)
    front = assemble(pairs, {}, budget, Targets((setup,)), REFERENCE, seed=7)
    assert Front.from_json(front.to_json()) == front
    assert (front.task, front.space, front.seed, front.devices) == ("digits", "plain", 7, ("moon",))
    for model, (record, made) in zip(front.models, pairs, strict=True):
        entry = model.latency["moon"]
        assert (entry.predicted, entry.source, entry.measured) == (record.latency_ms["moon"], "predicted", None)
        assert entry.predictor == "fake-fp32"
        assert model.energy_mj == {"moon": None}
        assert model.accuracy_detail is made.test
        assert model.macs == made.manifest["macs"]


def test_a_file_with_layers_in_fp32_lies_between_the_two_precisions(
    make_joint: Callable[..., JointSpace], make_space: Callable[..., Any], make_budget: Callable[..., Budget]
) -> None:
    joint = make_joint(make_space((8, 16), (3,)), ("fp32", "int8"))
    budget = make_budget(joint, devices=("moon",))
    fp32, int8 = (joint.candidate({"width": 8, "kernel": 3, "precision": name}) for name in ("fp32", "int8"))
    whole, small = (budget.predict(candidate)["moon"] for candidate in (fp32, int8))
    artifact = {"path": "models/m", "sha256": "0", "size_bytes": 9, "format": "onnx"}
    manifest: dict[str, Any] = {"artifact": artifact, "macs": 10, "params": 20}
    read = [accuracy_of(0.5, split, 10) for split in ("test", "validation")]
    plain = model_of(Finished(int8, manifest, *read), budget, ("moon",), {}).latency["moon"]
    assert (plain.predicted, plain.in_domain) == (small.latency_ms, True)
    manifest["mixed_precision"] = {"share_of_macs": 0.25}
    mixed = model_of(Finished(int8, manifest, *read), budget, ("moon",), {}).latency["moon"]
    assert mixed.predicted == pytest.approx(0.75 * small.latency_ms + 0.25 * whole.latency_ms)
    assert (mixed.low, mixed.high) == (small.low_ms, whole.high_ms)
    assert not mixed.in_domain


@pytest.mark.parametrize("seed", range(5))
def test_the_hypervolume_is_that_of_the_models(joint: JointSpace, budget: Budget, setup: Setup, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = pairs_of([(float(a), float(b)) for a, b in rng.uniform(0.05, 1, (12, 2))], joint, budget)
    middle = pairs[7][0].latency_ms["moon"]
    reference = {"moon": (middle, 0.9)}  # slower models lie beyond it and count nothing
    front = assemble(pairs, {}, budget, Targets((setup,)), reference, seed=0)
    costs = front.costs("moon")
    inside = costs[(costs <= np.array(reference["moon"])).all(axis=1)]
    assert front.hypervolume["moon"] == pytest.approx(hypervolume_2d(inside, np.array(reference["moon"])))
    assert front.reference_point == reference


def test_only_this_machine_is_measured(
    joint: JointSpace, budget: Budget, setup: Setup, recorder: Any, tmp_path: Path
) -> None:
    assert (
        measure_finished([made for _, made in pairs_of([(0.5, 0.5)], joint, budget)], setup, tmp_path, recorder) == {}
    )
    assert recorder.phases == []


def test_a_model_stays_that_is_not_beaten_on_one_device(
    joint: JointSpace, make_budget: Callable[..., Budget], setup: Setup
) -> None:
    both = make_budget(joint, devices=("moon", "star"))
    targets = Targets((setup, replace(setup, device=replace(MOON, name="star"))))
    pairs = pairs_of([(0.9, 0.9), (0.5, 0.5), (0.3, 0.3)], joint, both)
    # The second model is beaten on the moon, and the fastest on the star; the third is beaten on both.
    measured = {
        device: {made.candidate.id: measurement(made, device, ms) for (_, made), ms in zip(pairs, found, strict=True)}
        for device, found in {"moon": (1.0, 2.0, 3.0), "star": (2.0, 1.0, 3.0)}.items()
    }
    reference = {"moon": (4.0, 0.9), "star": (8.0, 0.9)}
    front = assemble(pairs, measured, both, targets, reference, seed=0)
    assert Front.from_json(front.to_json()) == front
    assert front.devices == ("moon", "star")
    assert [model.accuracy for model in front.models] == [0.9, 0.5]
    assert [front.models[1].latency[device].best_ms for device in front.devices] == [2.0, 1.0]
    assert front.models[1].energy_mj == {"moon": None, "star": None}
    for device in front.devices:
        wanted = hypervolume_2d(front.costs(device), np.array(reference[device]))
        assert front.hypervolume[device] == pytest.approx(wanted)
    rows = front_rows(front, "star")
    assert [(row.front_of, row.on_every_front) for row in rows] == [(("star",), False), (("moon", "star"), True)]
    assert rows[1].remarks == ("on both fronts",)


def measurement(made: Finished, device: str, latency_ms: float) -> Measurement:
    return Measurement(
        candidate=made.candidate,
        device=device,
        runtime="onnxruntime",
        runtime_version=None,
        samples_ms=((latency_ms,),),
        stable=True,
        time="2026-01-01T00:00:00+00:00",
    )


def test_each_device_measures_the_file_of_its_runtime() -> None:
    manifest = {
        "artifact": {"path": "model.onnx"},
        "runtime": {"name": "onnxruntime"},
        "others": [{"artifact": {"path": "model.pte"}, "runtime": {"name": "executorch"}}],
    }
    for runtime, path in (("onnxruntime", "model.onnx"), ("executorch", "model.pte"), ("tensorrt", "model.onnx")):
        assert facts_for(manifest, runtime)["artifact"]["path"] == path
