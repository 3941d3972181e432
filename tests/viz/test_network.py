from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import TaskShape
from hwnas.latency.run_networks import RunNetworks
from hwnas.plugins import load_plugin
from hwnas.store import read_front
from hwnas.trace import operations
from hwnas.viz.network import Networks, stages_of

SHAPE = TaskShape((3, 32, 32), 10)


def test_milliseconds_of_the_parts_add_up_to_the_prediction(run_dir: Path) -> None:
    front = read_front(run_dir)
    networks = Networks(RunNetworks(run_dir, front))
    for model in front.models:
        drawn = networks.drawn(model, SHAPE)
        assert drawn["missing"] == {}
        total = sum(drawn["ms"]["jetson-nano"]) + drawn["network_ms"]["jetson-nano"]
        assert total == pytest.approx(model.latency["jetson-nano"].predicted, rel=1e-3)
        assert sum(op[2] for op in drawn["operations"]) == model.macs


@pytest.mark.parametrize("name", ["mobilenet", "nasbench201"])
def test_every_operation_is_in_one_part_of_one_block(name: str) -> None:
    space = load_plugin("space", name).for_task(SHAPE)
    candidate = Candidate(space.largest(), CompressionPlan.of("fp32", {space.stages[0]: 0.5}))
    network, names = operations(space, candidate, SHAPE), space.segment_names(candidate)
    stages = stages_of(network, names, dict(candidate.compression.prune))
    places = [place for stage in stages for block in stage["blocks"] for part in block for place in part[2]]
    assert places == list(range(len(network)))
    assert [stage["name"] for stage in stages if stage["pruned"]] == [space.stages[0]]
    assert set(space.stages) <= {stage["name"] for stage in stages}
    assert stages[-1]["output"] == [10]
    assert not any("upsample" in part[0] for stage in stages for block in stage["blocks"] for part in block)


def test_parts_are_named_as_an_engineer_would() -> None:
    space = load_plugin("space", "mobilenet").for_task(SHAPE)
    values = dict(space.largest()) | {"s2.0.kernel": 5, "s2.0.se": 1}
    candidate = Candidate(space.architecture(values))
    stages = stages_of(operations(space, candidate, SHAPE), space.segment_names(candidate), {})
    first = next(stage for stage in stages if stage["name"] == "s2")["blocks"][0]
    words = [text for text, _, _ in first]
    assert words[0].startswith("1\u00d71 \u2192 ")
    assert words[1] == "depthwise 5\u00d75 /2"
    assert words[2].startswith("squeeze-excite ")
    assert words[3] == "1\u00d71 \u2192 40"


def test_a_plain_space_is_drawn_by_the_size_of_its_feature_maps() -> None:
    def build(architecture: object, task: object) -> nn.Module:
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, padding=1), nn.AdaptiveAvgPool2d(1)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 10))

    space = SearchSpace("plain", [Choice("x", (1,))], build)
    candidate = Candidate(space.smallest())
    stages = stages_of(operations(space, candidate, SHAPE), space.segment_names(candidate), {})
    assert [stage["name"] for stage in stages] == ["32x32", "16x16", "1x1", "vector"]
    assert stages[1]["output"] == [8, 16, 16]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"space": "not-there"}, "not-there"),
        ({"space": "nasbench201"}, "space"),
    ],
)
def test_a_network_that_cannot_be_built_is_said(run_dir: Path, change: dict[str, str], words: str) -> None:
    front = replace(read_front(run_dir), **change)  # type: ignore[arg-type]
    assert words in Networks(RunNetworks(run_dir, front)).drawn(front.models[0], SHAPE)["missing"][""]


def test_a_predictor_that_is_not_there_leaves_the_network(run_dir: Path, tmp_path: Path) -> None:
    front = read_front(run_dir)
    drawn = Networks(RunNetworks(tmp_path, front)).drawn(front.models[0], SHAPE)
    assert drawn["stages"]
    assert drawn["ms"] == {}
    assert "has no predictor" in drawn["missing"]["jetson-nano"]


def test_a_damaged_predictor_is_passed_over(run_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(run_dir / "predictors", tmp_path / "predictors")
    for model in tmp_path.glob("predictors/*/model.npz"):
        model.write_bytes(b"no model")
    front = read_front(run_dir)
    assert Networks(RunNetworks(tmp_path, front)).drawn(front.models[0], SHAPE)["missing"].keys() == {"jetson-nano"}


def test_without_a_manifest_nothing_is_guessed(run_dir: Path) -> None:
    front = read_front(run_dir)
    drawn = Networks(RunNetworks(run_dir, front)).drawn(front.models[0], None)
    assert "no manifest" in drawn["missing"][""]
    assert drawn["stages"] == []
