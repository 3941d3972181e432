from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from database import database as database
from loopback import loopback as loopback

from hwnas.core.task import Split, Task
from hwnas.tasks.digits import load


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Networks this small gain nothing from more threads, and lose a lot on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    home = tmp_path / "hwnas-cache"
    monkeypatch.setenv("HWNAS_CACHE", str(home))
    monkeypatch.setenv("HWNAS_CONFIG", str(home / "config"))
    return home


def cut(split: Split, n: int) -> Split:
    return Split(split.inputs[:n], split.labels[:n])


@pytest.fixture(scope="session")
def few_digits() -> Task:
    """Digits with 256 training, 100 validation and 100 test samples."""
    whole = load()
    return replace(
        whole,
        train=cut(whole.train, 256),
        validation=cut(whole.validation, 100),
        test=cut(whole.test, 100),
        fingerprint="few",
    )
