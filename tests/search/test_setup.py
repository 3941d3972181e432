from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hwnas.search_spaces.mobilenet import SPACE as MOBILENET
from hwnas.search_spaces.nasbench201 import SPACE as NASBENCH201
from recordings import words

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.device import Device
from hwnas.core.task import Task
from hwnas.devices.resolve import find_device
from hwnas.errors import ConfigError, DataError, PredictorError, UnknownPluginError
from hwnas.plugins import plugin_names
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.search.config import SearchConfig
from hwnas.search.setup import (
    Setup,
    best_space_of,
    find_parts,
    find_predictor_set,
    freeze,
    space_for,
    within_domain,
)

NANO = SearchConfig(devices=("jetson-nano",))
MOON = Device(name="moon", title="A rock", kind="cpu", runtime="none", precisions=("fp32", "int8"), channel_multiple=4)


@pytest.fixture
def setup(few_digits: Task) -> Setup:
    return Setup(MOON, MOBILENET.for_task(few_digits), few_digits, ("fp32", "int8"), OnnxRuntime(), MOBILENET.stages)


def test_names_become_parts() -> None:
    setup = find_parts(replace(NANO, space="mobilenet", precisions=("fp16",)), None, None)
    assert setup.device.name == "jetson-nano"
    assert setup.space.name == "mobilenet"
    assert setup.task.name == "digits"
    assert setup.precisions == ("fp16",)
    assert setup.runtime.name == "onnxruntime"
    assert setup.stages == setup.space.stages
    assert setup.joint.multiple == setup.device.channel_multiple


def test_given_parts_are_taken(few_digits: Task, make_space: Callable[..., Any]) -> None:
    space = make_space()
    setup = find_parts(NANO, space, few_digits)
    assert setup.space is space
    assert setup.task is few_digits
    assert setup.stages == ()
    facts = setup.facts()
    assert (facts["device"], facts["space"], facts["data"]) == ("jetson-nano", "plain", "few")
    assert facts["choices"]["width"] == [4, 8, 16]


def test_given_data_are_looked_at(few_digits: Task) -> None:
    inputs = few_digits.test.inputs.astype(np.float32)
    inputs[5] = np.nan
    broken = replace(few_digits, test=replace(few_digits.test, inputs=inputs))
    with pytest.raises(DataError, match="sample 5 of the test split"):
        find_parts(NANO, MOBILENET, broken)


def test_data_of_another_shape_for_a_space_of_one_input(few_digits: Task) -> None:
    with pytest.raises(ConfigError, match="defined for inputs of"):
        find_parts(NANO, NASBENCH201, few_digits)
    # By name, the task is loaded as the space wants it.
    assert find_parts(replace(NANO, space="nasbench201"), None, None).task.input_shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"devices": ("jetson-nao",)}, UnknownPluginError, "did you mean 'jetson-nano'"),
        ({"space": "mobilnet"}, UnknownPluginError, "did you mean 'mobilenet'"),
        ({"task": "digit"}, UnknownPluginError, "did you mean 'digits'"),
        ({"precisions": ("fp31",)}, ConfigError, "unknown precision 'fp31'"),
        ({"precisions": ("int8",)}, ConfigError, "does not run 'int8'; it runs: fp32, fp16"),
    ],
)
def test_wrong_names(change: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        find_parts(replace(NANO, **change), None, None)


def test_the_space_that_is_known_best() -> None:
    assert best_space_of(MOON) == "mobilenet"
    assert best_space_of(find_device("jetson-nano")) in plugin_names("space")


def test_a_device_that_nobody_measured(setup: Setup, recorder: Any) -> None:
    with pytest.raises(
        PredictorError, match=r"'moon' has no latency predictor: .*hwnas device add my-moon --like moon"
    ):
        find_predictor_set(setup, None, 0, recorder)


def test_frozen_predictors_are_those_of_the_beginning(few_digits: Task, recorder: Any, tmp_path: Path) -> None:
    setup = find_parts(replace(NANO, space="mobilenet"), None, few_digits)
    found = find_predictor_set(setup, None, 0, recorder)
    assert tuple(found) == ("fp32", "fp16")
    freeze(found, tmp_path)
    again = find_predictor_set(replace(setup, device=replace(MOON, precisions=setup.precisions)), tmp_path, 0, recorder)
    candidate = setup.space.smallest()
    for precision in setup.precisions:
        assert again[precision].card == found[precision].card
        ops = setup.joint.operations(Candidate(candidate, CompressionPlan(precision)))
        old, new = (predictor[precision].predict([ops])[0] for predictor in (found, again))
        assert new.latency_ms == pytest.approx(old.latency_ms, rel=1e-9)


def test_a_frozen_predictor_is_not_written_again(few_digits: Task, recorder: Any, tmp_path: Path) -> None:
    setup = find_parts(replace(NANO, space="mobilenet", precisions=("fp32",)), None, few_digits)
    found = find_predictor_set(setup, None, 0, recorder)
    freeze(found, tmp_path)
    (tmp_path / "fp32" / "card.json").write_text("mine")
    freeze(found, tmp_path)
    assert (tmp_path / "fp32" / "card.json").read_text() == "mine"


def test_where_all_is_known_nothing_is_left_out_but_the_unknown(setup: Setup, make_predictor: Any) -> None:
    found = within_domain(setup, {p: make_predictor(p) for p in setup.precisions}, seed=0)
    assert found.in_domain_only
    assert found.stages == setup.stages


def test_where_nothing_is_known_everything_stays(setup: Setup, make_predictor: Any) -> None:
    found = within_domain(setup, {p: make_predictor(p, 0) for p in setup.precisions}, seed=0)
    assert found == setup


def test_where_no_pruned_network_is_known_nothing_is_pruned(setup: Setup, make_predictor: Any) -> None:
    def knows(known: set[int]) -> Setup:
        class Knows(make_predictor):  # type: ignore[misc]
            def predict(self, networks: Any) -> Any:
                found = zip(super().predict(networks), networks, strict=True)
                return [replace(prediction, in_domain=network.params in known) for prediction, network in found]

        return within_domain(setup, {precision: Knows(precision) for precision in setup.precisions}, seed=0)

    rng = np.random.default_rng(0)
    samples = [setup.joint.sample(rng) for _ in range(40)]  # those that `within_domain` draws with this seed
    whole = {setup.joint.operations(Candidate(c.architecture)).params for c in samples}
    pruned = {setup.joint.operations(c).params for c in samples}
    assert knows(whole - (pruned - whole)).stages == ()
    assert knows(whole).in_domain_only
    assert knows(whole | pruned).stages == setup.stages


@pytest.mark.parametrize(
    ("task", "space"),
    [("keywords", "ds-cnn"), ("text", "tiny-transformer"), ("digits", "mobilenet"), ("a task of mine", "mobilenet")],
)
def test_a_task_says_which_space_suits_it(task: str, space: str) -> None:
    assert space_for(task, find_device("cpu")) == space
    assert space_for(task, find_device("jetson")) == (space if "-" in space else "nasbench201")


def test_parts_of_a_search_of_words(tmp_path: Path) -> None:
    config = SearchConfig(devices=("cpu",), task="keywords", data=words(tmp_path))
    setup = find_parts(config, None, None)
    assert (setup.space.name, setup.task.input_shape) == ("ds-cnn", (1, 1600))
    assert setup.stages == setup.space.stages != ()
    assert find_parts(config, None, setup.task).space.name == "ds-cnn"
    with pytest.raises(ConfigError, match="must be"):
        find_parts(replace(config, space="nasbench201"), None, None)
    with pytest.raises(ConfigError, match="space 'mobilenet' takes"):
        find_parts(replace(config, space="mobilenet"), None, None)
