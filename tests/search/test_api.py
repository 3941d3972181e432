from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import hwnas
from hwnas.core.task import Task
from hwnas.errors import ConfigError
from hwnas.search import api
from hwnas.search.config import SearchConfig
from hwnas.search.events import Silent


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[SearchConfig, dict[str, Any]]]:
    """What reaches the search, which is tested by itself."""
    found: list[tuple[SearchConfig, dict[str, Any]]] = []

    def instead(config: SearchConfig, listener: object, **given: Any) -> None:
        found.append((config, {"listener": listener, **given}))

    monkeypatch.setattr(api, "run_search", instead)
    return found


def test_every_setting_reaches_the_search(asked: list[Any]) -> None:
    hwnas.search(
        device="jetson",
        space="mobilenet",
        task="images",
        data="photos",
        trials=5,
        time_s=60.0,
        max_latency_ms=3.0,
        max_energy_mj=9.0,
        max_size_mb=1.5,
        max_memory_mb=2.5,
        precision="fp16",
        seed=4,
        out="runs/mine",
        storage="sqlite:///x.db",
        resume=True,
        n_front=3,
        sampler="random",
        allow_out_of_domain=True,
    )
    ((config, given),) = asked
    assert config == SearchConfig(
        devices=("jetson",),
        space="mobilenet",
        task="images",
        data=Path("photos"),
        n_trials=5,
        time_s=60.0,
        max_latency_ms=3.0,
        max_energy_mj=9.0,
        max_size_mb=1.5,
        max_memory_mb=2.5,
        precisions=("fp16",),
        seed=4,
        out=Path("runs/mine"),
        storage="sqlite:///x.db",
        resume=True,
        n_front=3,
        sampler="random",
        allow_out_of_domain=True,
    )
    assert type(given.pop("listener")) is Silent  # this is no notebook
    assert given == {"space": None, "task": None}


def test_what_is_left_out_is_as_in_the_settings(asked: list[Any]) -> None:
    hwnas.search(device="cpu")
    assert asked[0][0] == SearchConfig(devices=("cpu",))
    # Every setting can be given.
    assert len(inspect.signature(api.search).parameters) == len(SearchConfig.__dataclass_fields__) + 1


def test_objects_are_handed_on(asked: list[Any], few_digits: Task, make_space: Any) -> None:
    space = make_space()
    hwnas.search(device=["cpu"], space=space, task=few_digits, precision=["fp32", "int8"])
    ((config, given),) = asked
    assert (config.space, config.task, config.precisions) == ("plain", "digits", ("fp32", "int8"))
    assert given["space"] is space
    assert given["task"] is few_digits


def test_wrong_settings() -> None:
    with pytest.raises(ConfigError, match="each device once, got cpu more"):
        hwnas.search(device=["cpu", "jetson", "cpu"])
    with pytest.raises(TypeError):
        hwnas.search(device="cpu", trails=3)
