from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hwnas.search_spaces.mobilenet import SPACE as MOBILENET

from hwnas.core.device import Device
from hwnas.core.predictor import LatencyPredictor
from hwnas.core.task import Task
from hwnas.errors import ConfigError, UnknownPluginError
from hwnas.runtimes.cpu_flags import needs_reduced_range
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.runtimes.torch_export import Torch
from hwnas.search.config import SearchConfig
from hwnas.search.setup import Setup
from hwnas.search.targets import Targets, find_targets

JETSONS = SearchConfig(devices=("jetson-nano", "jetson-tx2"), space="mobilenet")
MOON = Device(name="moon", title="A rock", kind="cpu", runtime="none", channel_multiple=4)
STAR = replace(MOON, name="star", title="A sun", runtime="torch", channel_multiple=6, cpu_flags=("avx_vnni",))


@pytest.fixture
def moon(few_digits: Task) -> Setup:
    return Setup(MOON, MOBILENET.for_task(few_digits), few_digits, ("fp32",), OnnxRuntime(), MOBILENET.stages)


def test_one_device_is_as_it_was(few_digits: Task) -> None:
    one = find_targets(replace(JETSONS, devices=("jetson",)), None, few_digits)
    assert one.devices == ("jetson-nano",)
    assert one.facts() == one.first.facts()
    assert one.facts()["device"] == "jetson-nano"
    assert one.first.precisions == ("fp32", "fp16")


def test_several_devices_share_space_task_and_precisions(few_digits: Task) -> None:
    both = find_targets(JETSONS, None, few_digits)
    assert both.devices == ("jetson-nano", "jetson-tx2")
    assert {setup.precisions for setup in both.setups} == {("fp32",)}  # the TX2 has no fp16
    first, second = both.setups
    assert first.space is second.space
    assert first.task is second.task
    # Nobody says what the Nano ran: its files are for ONNX Runtime.
    assert [runtime.name for runtime in both.runtimes] == ["onnxruntime", "tensorrt"]
    assert both.facts()["device"] == ["jetson-nano", "jetson-tx2"]


def test_the_channel_multiple_suits_all(few_digits: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.search.targets.find_device", {"moon": MOON, "star": STAR}.__getitem__)
    monkeypatch.setattr("hwnas.search.setup.find_device", {"moon": MOON, "star": STAR}.__getitem__)
    both = find_targets(replace(JETSONS, devices=("moon", "star")), None, few_digits)
    assert [setup.joint.multiple for setup in both.setups] == [12, 12]
    assert [runtime.name for runtime in both.runtimes] == ["onnxruntime", "torch"]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"devices": ("jetson", "jetson-nano")}, ConfigError, r"'jetson-nano' is named twice \(jetson, jetson-nano\)"),
        ({"devices": ("jetson", "jetson-tx")}, UnknownPluginError, "did you mean 'jetson-tx2'"),
        ({"precisions": ("fp16",)}, ConfigError, "'jetson-tx2' does not run 'fp16'; it runs: fp32"),
        ({"precisions": ("fp23",)}, ConfigError, "unknown precision 'fp23'"),
        (
            {"devices": ("jetson-nano", "edgetpu")},
            ConfigError,
            "no precision in common: jetson-nano runs fp32, fp16; edgetpu runs int8",
        ),
    ],
)
def test_devices_that_do_not_go_together(change: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        find_targets(replace(JETSONS, **change), None, None)


def test_predictors_are_frozen_for_each_device(few_digits: Task, recorder: Any, tmp_path: Path) -> None:
    both = find_targets(JETSONS, None, few_digits)
    found = both.find_predictors(None, 0, recorder)
    both.freeze(found, tmp_path)
    assert sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("card.json")) == [
        "jetson-nano/fp32",
        "jetson-tx2/fp32",
    ]
    again = both.find_predictors(tmp_path, 0, recorder)
    assert {d: of["fp32"].card for d, of in again.items()} == {d: of["fp32"].card for d, of in found.items()}


def test_a_device_that_knows_the_space_decides_for_all(
    moon: Setup, make_predictor: Callable[..., LatencyPredictor]
) -> None:
    both = Targets((moon, replace(moon, device=STAR)))
    knowing, ignorant = {"fp32": make_predictor("fp32")}, {"fp32": make_predictor("fp32", 0)}
    found = both.within_domain({"moon": ignorant, "star": knowing}, seed=0)
    assert found.knowing == {"star"}
    assert {setup.stages for setup in found.setups} == {moon.stages}
    assert both.within_domain({"moon": ignorant, "star": ignorant}, seed=0).knowing == frozenset()


def test_int8_weights_suit_the_device_that_needs_most_care(moon: Setup) -> None:
    star = replace(moon, device=STAR, runtime=Torch())
    assert needs_reduced_range(Targets((star, moon)).cpu_flags)
    assert not needs_reduced_range(Targets((star,)).cpu_flags)
    assert not Targets((star, moon)).saturates  # neither can be measured
    pi = replace(moon, device=replace(MOON, reach="ssh", host="pi@board"))
    assert Targets((star, pi)).saturates
