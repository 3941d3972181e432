from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import ConfigError
from hwnas.search.config import SAMPLERS, SearchConfig


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"devices": ()}, "needs a device"),
        ({"devices": ("cpu", "jetson", "cpu")}, "names each device once, got cpu more than once"),
        ({"sampler": "ransom"}, "no sampler named 'ransom'; Did you mean 'random'"),
        ({"sampler": "zzz"}, "allowed: hypervolume, tpe"),
        ({"n_trials": 0}, "n_trials must be at least 1, got 0"),
        ({"n_trials": -3}, "n_trials must be at least 1, got -3"),
        ({"n_front": 0}, "n_front must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"time_s": 0.0}, "time_s must be a number above 0, got 0.0"),
        ({"time_s": math.inf}, "time_s must be a number above 0, got inf"),
        ({"max_latency_ms": -1.0}, "max_latency_ms must be"),
        ({"max_latency_ms": math.nan}, "max_latency_ms must be"),
        ({"max_size_mb": 0.0}, "max_size_mb must be"),
        ({"max_memory_mb": math.inf}, "max_memory_mb must be"),
        *(
            ({"cluster": address}, "cluster must be local, auto, HOST:PORT or ray://HOST:PORT, got")
            for address in ("", "laptop", "head:", ":6379", "http://head:80", "head:6379/x", "a b:1", "head:6379\n")
        ),
    ],
)
def test_bad_values(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SearchConfig(**{"devices": ("cpu",)} | settings)
    assert said in str(caught.value)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_written_is_read(sampler: str) -> None:
    config = SearchConfig(
        devices=("jetson",),
        space="mobilenet",
        data=Path("photos"),
        n_trials=5,
        time_s=30.0,
        precisions=("fp32", "int8"),
        out=Path("runs/one"),
        cluster="ray://head:10001",
        sampler=sampler,
    )
    assert SearchConfig.from_mapping(json.loads(json.dumps(config.to_json()))) == config


def test_defaults_survive_writing() -> None:
    config = SearchConfig(devices=("cpu",))
    assert SearchConfig.from_mapping(json.loads(json.dumps(config.to_json()))) == config


def test_an_unknown_setting() -> None:
    with pytest.raises(ConfigError, match="unknown settings \\['n_trails'\\]"):
        SearchConfig.from_mapping({"devices": ["cpu"], "n_trails": 3})


@pytest.mark.parametrize(
    ("n_trials", "time_s", "wanted"), [(None, None, 300), (7, None, 7), (None, 60.0, None), (7, 60.0, 7)]
)
def test_trials_wanted(n_trials: int | None, time_s: float | None, wanted: int | None) -> None:
    assert SearchConfig(devices=("cpu",), n_trials=n_trials, time_s=time_s).trials_wanted == wanted
