from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hwnas.search_spaces.mobilenet import SPACE as MOBILENET
from torch import nn

from hwnas.core.compression import CompressionPlan
from hwnas.core.ops import OpList
from hwnas.core.predictor import EnergyPrediction
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import TaskLike
from hwnas.errors import ConfigError, InfeasibleBudgetError
from hwnas.latency.energy import FittedEnergy
from hwnas.latency.fit import Origin, fit_predictor
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.search.budget import Budget, Scorer
from hwnas.search.joint import JointSpace

MakeJoint = Callable[..., JointSpace]
MakeBudget = Callable[..., Budget]


def test_a_prediction_is_asked_for_once(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    joint = make_joint()
    scorer = make_budget(joint).scorer
    candidate = joint.sample(np.random.default_rng(0))
    assert scorer.predict(candidate) == scorer.predict(candidate)
    assert scorer.predictors[candidate.compression.precision].asked == 1  # type: ignore[attr-defined]


def test_size_is_of_the_weights_at_their_precision(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    joint = make_joint()
    scorer = make_budget(joint).scorer
    values = {"width": 8, "kernel": 3}
    params = (9 * 8 + 8) + 2 * 8 + (32 * 10 + 10)
    assert scorer.size_mb(joint.candidate(values | {"precision": "fp32"})) == pytest.approx(4 * params / 1e6)
    assert scorer.size_mb(joint.candidate(values | {"precision": "int8"})) == pytest.approx(params / 1e6)


def test_memory_is_weights_and_the_largest_operation(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    joint = make_joint()
    scorer = make_budget(joint).scorer
    values = {"width": 16, "kernel": 3}
    # The convolution reads 1 x 8 x 8 and writes 16 x 4 x 4; batch norm and ReLU write over what they read.
    for precision, size in (("fp32", 4), ("int8", 1)):
        candidate = joint.candidate(values | {"precision": precision})
        assert scorer.memory_mb(candidate) == pytest.approx(scorer.size_mb(candidate) + size * (64 + 256) / 1e6)


def test_excess(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    joint = make_joint()
    candidate = joint.candidate({"width": 8, "kernel": 3, "precision": "fp32"})
    free = make_budget(joint)
    latency_ms, size_mb = free.scorer.predict(candidate).latency_ms, free.scorer.size_mb(candidate)
    assert free.excess(candidate) == 0
    assert make_budget(joint, max_latency_ms=latency_ms).excess(candidate) == 0
    assert make_budget(joint, max_latency_ms=latency_ms / 1.5).excess(candidate) == pytest.approx(0.5)
    both = make_budget(joint, max_latency_ms=latency_ms / 1.5, max_size_mb=size_mb / 2)
    assert both.excess(candidate) == pytest.approx(1.5)
    memory_mb = free.scorer.memory_mb(candidate)
    assert make_budget(joint, max_memory_mb=memory_mb).excess(candidate) == 0
    assert make_budget(joint, max_memory_mb=memory_mb / 1.25).excess(candidate) == pytest.approx(0.25)
    assert make_budget(joint, known_macs=0, in_domain_only=True).excess(candidate) == math.inf
    assert make_budget(joint, known_macs=0).excess(candidate) == 0


def with_energy(joint: JointSpace, *, precisions: tuple[str, ...] = ("fp32", "int8"), device: str = "board") -> Scorer:
    """Predictors fitted to a made-up device: 0.2 mJ, and 1 mJ for each million MACs (int8: a third of both)."""
    rng = np.random.default_rng(0)
    predictors = {}
    for precision in ("fp32", "int8"):
        candidates = [replace(joint.sample(rng), compression=CompressionPlan.of(precision)) for _ in range(40)]
        networks = [joint.operations(candidate) for candidate in candidates]
        scale = 1 if precision == "fp32" else 1 / 3
        of_energy = [scale * (0.2 + network.macs / 1e6) for network in networks]
        origin = Origin(device=device, runtime="onnxruntime", precision=precision)
        fitted = fit_predictor(networks, [1 + network.macs / 1e6 for network in networks], origin, rng=rng)
        energy = FittedEnergy(fit_predictor(networks, of_energy, replace(origin, quantity="energy"), rng=rng))
        found = energy if precision in precisions else None
        predictors[precision] = LinearGpPredictor(fitted.model, fitted.card, found)
    return Scorer(joint, predictors)


def test_energy_is_a_budget_of_its_own(make_joint: MakeJoint) -> None:
    joint, rng = make_joint(MOBILENET), np.random.default_rng(1)
    scorer = with_energy(joint)
    candidate = joint.sample(rng)
    scale = 1 if candidate.compression.precision == "fp32" else 1 / 3
    energy_mj = scale * (0.2 + joint.operations(candidate).macs / 1e6)
    assert scorer.energy_mj(candidate) == pytest.approx(energy_mj, rel=0.05)
    predicted_mj = scorer.energy_mj(candidate)
    assert Budget({"board": scorer}, max_energy_mj=predicted_mj).excess(candidate) == 0
    assert Budget({"board": scorer}, max_energy_mj=predicted_mj / 1.5).excess(candidate) == pytest.approx(0.5)
    least_mj = min(scorer.energy_mj(joint.sample(rng)) for _ in range(200))
    budget = Budget({"board": scorer}, max_energy_mj=1.2 * least_mj)
    found = budget.find(None, rng, seen=())
    assert found is not None and scorer.energy_mj(found) <= 1.2 * least_mj


def test_asking_for_energy_twice_costs_once(make_joint: MakeJoint) -> None:
    joint = make_joint(MOBILENET)
    scorer = with_energy(joint)
    asked: list[int] = []

    class Counting(FittedEnergy):
        def predict(self, networks: Sequence[OpList]) -> list[EnergyPrediction]:
            asked.append(len(networks))
            return super().predict(networks)

    counted = {}
    for precision, predictor in scorer.predictors.items():
        assert isinstance(predictor, LinearGpPredictor)
        assert predictor.energy is not None
        counted[precision] = LinearGpPredictor(predictor.model, predictor.card, Counting(predictor.energy.fitted))
    again = Scorer(joint, counted)
    candidates = [joint.sample(np.random.default_rng(seed)) for seed in (0, 1)]
    for _ in range(3):
        assert [again.energy_mj(c) for c in candidates] == [scorer.energy_mj(c) for c in candidates]
    assert asked == [1, 1]
    assert again.learned(scorer.predictors, kept=candidates).energy_mj(candidates[0]) > 0


def test_an_energy_out_of_reach_is_named(make_joint: MakeJoint) -> None:
    scorer = with_energy(make_joint(MOBILENET))
    budget = Budget({"board": scorer}, max_latency_ms=100.0, max_energy_mj=1e-3)
    with pytest.raises(
        InfeasibleBudgetError, match=r"energy: asked for 0\.001 mJ, least seen .* mJ \(predicted\)"
    ) as e:
        budget.require_feasible(np.random.default_rng(0))
    assert "latency" not in str(e.value)


@pytest.mark.parametrize("precisions", [(), ("fp32",)])
def test_an_energy_that_nothing_predicts_is_no_budget(make_joint: MakeJoint, precisions: tuple[str, ...]) -> None:
    budget = Budget({"board": with_energy(make_joint(MOBILENET), precisions=precisions)}, max_energy_mj=1.0)
    missing = ", ".join(p for p in ("fp32", "int8") if p not in precisions)
    with pytest.raises(ConfigError, match=f"nothing predicts the {missing} energy of board"):
        budget.require_feasible(np.random.default_rng(0))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_it_descends_to_a_candidate_that_fits(make_joint: MakeJoint, make_budget: MakeBudget, share: float) -> None:
    joint = make_joint(MOBILENET)
    free = make_budget(joint)
    ends = [free.scorer.predict(c).latency_ms for c in (free.smallest(), joint.candidate(_largest(joint)))]
    limit = ends[0] + share * (ends[1] - ends[0])
    budget = make_budget(joint, max_latency_ms=limit)
    rng = np.random.default_rng(0)
    for _ in range(3):
        start = joint.sample(rng)
        found = budget.descend(start, rng, is_wanted=lambda candidate: True)
        assert found is not None
        assert budget.scorer.predict(found).latency_ms <= limit
        if budget.excess(start) == 0:
            assert found == start


def _largest(joint: JointSpace) -> dict[str, object]:
    return {choice.label: choice.options[-1] for choice in joint.choices} | {
        choice.label: 0.0 for choice in joint.choices if choice.label.startswith("prune.")
    }


def test_descending_gives_up(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    joint = make_joint()
    budget = make_budget(joint, max_latency_ms=1e-6)
    rng = np.random.default_rng(0)
    assert budget.descend(joint.sample(rng), rng, is_wanted=lambda c: True, max_steps=20) is None
    assert budget.find(None, rng, seen=(), max_starts=2) is None


def test_finding_leaves_out_what_was_seen(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    joint = make_joint()
    budget = make_budget(joint)
    rng = np.random.default_rng(0)
    seen: set[object] = set()
    for _ in range(12):
        found = budget.find(None, rng, seen=seen)  # type: ignore[arg-type]
        assert found is not None
        assert found not in seen
        seen.add(found)
    assert budget.find(None, rng, seen=seen) is None  # type: ignore[arg-type]


def test_a_latency_that_nothing_meets(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    joint = make_joint()
    every = joint.all(100)
    assert every is not None
    fastest_ms = min(make_budget(joint).scorer.predict(candidate).latency_ms for candidate in every)
    with pytest.raises(InfeasibleBudgetError) as caught:
        make_budget(joint, max_latency_ms=fastest_ms / 2).require_feasible(np.random.default_rng(0))
    message = str(caught.value)
    assert f"asked for {fastest_ms / 2:g} ms, fastest seen {fastest_ms:.4g} ms" in message
    assert "'plain'" in message
    make_budget(joint, max_latency_ms=fastest_ms).require_feasible(np.random.default_rng(0))


def test_a_size_that_nothing_meets(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    joint = make_joint()
    with pytest.raises(InfeasibleBudgetError, match=r"size: asked for 1e-06 MB, smallest seen 0\.000186 MB"):
        # 4 channels, kernel 1: 8 + 8 + 170 parameters of one byte
        make_budget(joint, max_size_mb=1e-6).require_feasible(np.random.default_rng(0))


def test_a_memory_that_nothing_meets(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    joint = make_joint()
    least_mb = min(make_budget(joint).scorer.memory_mb(candidate) for candidate in joint.all(100) or ())
    said = re.escape(f"memory: asked for 1e-06 MB, least seen {least_mb:.4g} MB (modelled). Raise the limit")
    with pytest.raises(InfeasibleBudgetError, match=said):
        make_budget(joint, max_memory_mb=1e-6).require_feasible(np.random.default_rng(0))
    make_budget(joint, max_memory_mb=least_mb).require_feasible(np.random.default_rng(0))


def test_of_several_limits_the_one_that_nothing_meets_is_to_blame(
    make_joint: MakeJoint, make_budget: MakeBudget
) -> None:
    limits = {"max_latency_ms": 5.0, "max_size_mb": 1e-6, "max_memory_mb": 5.0}
    with pytest.raises(InfeasibleBudgetError) as caught:
        make_budget(make_joint(), **limits).require_feasible(np.random.default_rng(0))
    assert "size: asked for 1e-06 MB, smallest seen 0.000186 MB (counted)" in str(caught.value)
    assert "latency" not in str(caught.value)
    assert "memory" not in str(caught.value)


def build_either(architecture: Any, task: TaskLike) -> nn.Module:
    """Much work and few weights, or the other way round."""
    if architecture["kind"] == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, task.n_outputs))
    convs = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, task.n_outputs))


def test_limits_that_can_be_met_alone_but_not_together(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    joint = make_joint(SearchSpace("either", [Choice("kind", ("conv", "linear"))], build_either), ("fp32",))
    scorer = make_budget(joint).scorer
    conv, linear = (joint.candidate({"kind": kind, "precision": "fp32"}) for kind in ("conv", "linear"))
    limits = {"max_latency_ms": scorer.predict(linear).latency_ms, "max_size_mb": scorer.size_mb(conv)}
    for name, limit in limits.items():
        make_budget(joint, **{name: limit}).require_feasible(np.random.default_rng(0))
    with pytest.raises(InfeasibleBudgetError) as caught:
        make_budget(joint, **limits).require_feasible(np.random.default_rng(0))
    message = str(caught.value)
    assert "no candidate of space 'either' meets all limits together, though each can be met alone" in message
    assert f"fastest seen within the others {scorer.predict(conv).latency_ms:.4g} ms (predicted)" in message
    assert f"smallest seen within the others {scorer.size_mb(linear):.4g} MB (counted)" in message


def test_nothing_that_the_predictor_knows(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    budget = make_budget(make_joint(), known_macs=0, in_domain_only=True, max_memory_mb=1.0)
    with pytest.raises(InfeasibleBudgetError, match="least seen: none that the predictor knows"):
        budget.require_feasible(np.random.default_rng(0))


def test_a_budget_without_a_predictor(make_joint: MakeJoint) -> None:
    scorer = Scorer(make_joint(), {})
    with pytest.raises(ConfigError, match="needs a latency predictor"):
        Budget({"fake": scorer}, max_latency_ms=1.0).require_feasible(np.random.default_rng(0))
    Budget({"fake": scorer}).require_feasible(np.random.default_rng(0))


def test_the_smallest_takes_the_fastest_precision_and_cuts_most(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    joint = make_joint(MOBILENET, ("fp32", "fp16", "int8"))
    found = make_budget(joint).smallest()
    assert found.compression.precision == "int8"
    assert dict(found.compression.prune) == dict.fromkeys(joint.stages, 0.5)


BOTH = ("fake", "other")


def test_a_limit_holds_on_each_device(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    joint = make_joint()
    candidate = joint.candidate({"width": 16, "kernel": 3, "precision": "fp32"})
    free = make_budget(joint, devices=BOTH)
    fake_ms, other_ms = (prediction.latency_ms for prediction in free.predict(candidate).values())
    assert fake_ms < other_ms
    assert make_budget(joint, devices=BOTH, max_latency_ms=other_ms).excess(candidate) == 0
    assert make_budget(joint, devices=BOTH, max_latency_ms=fake_ms).excess(candidate) == pytest.approx(
        other_ms / fake_ms - 1
    )


def test_a_device_that_knows_the_space_refuses_what_it_does_not_know(
    make_joint: MakeJoint, make_budget: MakeBudget
) -> None:
    joint = make_joint()
    candidate = joint.candidate({"width": 16, "kernel": 3, "precision": "fp32"})
    budget = make_budget(joint, devices=BOTH, known_macs=0)
    assert budget.excess(candidate) == 0
    budget.knowing = frozenset({"other"})
    assert budget.excess(candidate) == math.inf


def test_the_device_that_is_too_slow_is_named(make_joint: MakeJoint, make_budget: MakeBudget) -> None:
    joint = make_joint()
    free = make_budget(joint, devices=BOTH)
    every = [free.predict(candidate) for candidate in joint.all(100) or ()]
    fastest = {device: min(found[device].latency_ms for found in every) for device in BOTH}
    assert fastest["fake"] < fastest["other"]
    between = (fastest["fake"] + fastest["other"]) / 2
    with pytest.raises(InfeasibleBudgetError) as caught:
        make_budget(joint, devices=BOTH, max_latency_ms=between).require_feasible(np.random.default_rng(0))
    said = f"latency on other: asked for {between:g} ms, fastest seen {fastest['other']:.4g} ms (predicted)"
    assert said in str(caught.value)
    assert "on fake" not in str(caught.value)
