"""The kill benchmark in small: a few kills of real `hwnas search` processes, at moments that the seed chooses."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SOURCE = Path(__file__).parents[2] / "benchmarks" / "search" / "kill.py"
SMALL = """
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock
from hwnas.elastic.space import ElasticSpace


def blocks(task):
    return [
        ElasticConvBlock("stem.width", task.input_shape[0], (4, 8), stride=2),
        ElasticConvBlock("body.width", 8, (8, 16), stride=2),
        ElasticConvBlock("head.width", 16, (8, 16, 24), kernel=1),
        ElasticClassifier(24, task.n_outputs),
    ]


SPACE = ElasticSpace("small", blocks)
"""


@pytest.fixture(scope="module")
def kill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def epochs(search: Any) -> int:
    path = search.out / "supernet.json"
    return int(json.loads(path.read_text())["epoch"]) if path.exists() else 0


@pytest.mark.slow
def test_killed_again_and_again_a_search_ends_as_the_unbroken_one(kill: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    epoch, trial = int(rng.integers(1, 29)), int(rng.integers(1, 5))
    moments: list[tuple[str, Callable[[Any], bool]]] = [
        ("training", lambda search: epochs(search) >= epoch),
        ("searching", lambda search: len(search.finished_trials()) >= trial),
        ("finishing", lambda search: bool(search.finished_models())),
        ("the front is there, the report may not be", lambda search: (search.out / "front.json").exists()),
    ]
    waiting = iter(moments)

    def wait(search: Any, process: subprocess.Popen[bytes]) -> str | None:
        name, it_comes = next(waiting)
        return name if kill.until(process, lambda: it_comes(search), 0.001) else None

    toll, _, _ = kill.run(tmp_path, kills=len(moments), trials=5, source=SMALL, wait=wait)
    assert toll.is_clean, toll
    assert list(toll.moments) == [name for name, _ in moments]
    assert toll.searches == 1
