from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from database import Database

from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.errors import ConfigError
from hwnas.search.config import SearchConfig
from hwnas.search.effort import Clock, plan_effort
from hwnas.search.events import Silent
from hwnas.search.runfolder import RunFolder
from hwnas.search.targets import find_targets
from hwnas.search.together import Invitation, check_storage, open_study

NOWHERE = "postgresql://hwnas:secret@127.0.0.1:1/postgres"


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    return SearchConfig(devices=("jetson-nano",), precisions=("fp32",), out=tmp_path / "run")


@pytest.mark.parametrize("time_s", [None, 60.0])
def test_an_invitation_arrives_as_it_was_sent(
    config: SearchConfig, few_digits: Task, make_space: Callable[..., SearchSpace], time_s: float | None
) -> None:
    targets = find_targets(config, make_space(), few_digits)
    effort = plan_effort(config, targets.joint, targets.first.task, Clock.starting_now(time_s))
    sent = Invitation.of(effort, 7, None if time_s else 40, time_s)
    found = Invitation.from_json(json.loads(json.dumps({**sent.to_json(), "has_ended": False})))
    assert found == sent
    assert found.left_s is None if time_s is None else 50 < (found.left_s or 0) <= 60
    assert replace(sent, until_s=time.time() - 5).left_s == 0


def test_a_storage_that_cannot_be_reached_is_said_before_anything_is_made() -> None:
    check_storage(None)
    check_storage("sqlite:///x.db")
    with pytest.raises(ConfigError, match=r"//hwnas:\*\*\*@127.0.0.1:1/postgres' cannot be used: ") as caught:
        check_storage(NOWHERE)
    assert "\n" not in str(caught.value)


def test_a_study_of_another_search_or_version_is_refused(
    config: SearchConfig,
    few_digits: Task,
    make_space: Callable[..., SearchSpace],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    targets = find_targets(config, make_space(), few_digits)
    folder = RunFolder.open(replace(config, storage=database.url), label="x")
    folder.check_same(targets.facts())
    with pytest.raises(ConfigError, match="holds no study 'hwnas-run-"):
        open_study(folder, targets, Silent(), joins=True)
    open_study(folder, targets, Silent()).close()
    assert folder.study_name() == folder.found["study"]
    for joins in (False, True):
        open_study(folder, targets, Silent(), joins=joins).close()
    other = RunFolder(folder.path, replace(folder.config, seed=5))
    with pytest.raises(ConfigError, match="is of another search"):
        open_study(other, targets, Silent(), joins=True)
    monkeypatch.setattr("hwnas.search.together.version", lambda name: "9.9")
    with pytest.raises(ConfigError, match=r"is of another version \(0\.\S+, here 9\.9\)"):
        open_study(folder, targets, Silent())
