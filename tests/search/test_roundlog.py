from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwnas.search.roundlog import ROUNDS, DoneRound, RoundLog, rounds_are_over

ASKED = {"trials": 40, "n_front": 8}


def test_a_log_that_is_opened_again_knows_what_was_done(tmp_path: Path) -> None:
    log = RoundLog.open(tmp_path, ASKED)
    assert log.done(1) is None
    assert rounds_are_over(tmp_path)  # a run of an earlier version has no log
    log.end_round(1, 40, ["a", "b"])
    log.learn(1, {"cpu": ("fp32",)})
    log.end_round(2, 48, ["c"])
    again = RoundLog.open(tmp_path, ASKED)
    assert again.done(1) == DoneRound(40, ("a", "b"), {"cpu": ("fp32",)})
    assert again.done(2) == DoneRound(48, ("c",), None)
    assert again.done(3) is None
    assert not rounds_are_over(tmp_path)
    again.end()
    assert rounds_are_over(tmp_path)


def test_a_round_that_was_read_back_stays_as_it_is(tmp_path: Path) -> None:
    log = RoundLog.open(tmp_path, ASKED)
    log.end_round(1, 40, ["a"])
    log.learn(1, {"cpu": ("fp32",)})
    log.end_round(1, 45, ["a"])
    assert log.done(1) == DoneRound(40, ("a",), {"cpu": ("fp32",)})
    log.end_round(2, 48, ["c"])
    log.end_round(1, 45, ["a", "d"])  # it was made anew
    assert log.done(1) == DoneRound(45, ("a", "d"))
    assert log.done(2) is None


@pytest.mark.parametrize("change", [{"trials": 50}, {"n_front": 3}])
def test_other_settings_begin_anew(tmp_path: Path, change: dict[str, int]) -> None:
    RoundLog.open(tmp_path, ASKED).end_round(1, 40, ["a"])
    assert RoundLog.open(tmp_path, ASKED).done(1) is not None
    assert RoundLog.open(tmp_path, ASKED | change).done(1) is None


def test_a_search_that_has_ended_begins_anew(tmp_path: Path) -> None:
    log = RoundLog.open(tmp_path, ASKED)
    log.end_round(1, 40, ["a"])
    log.end()
    assert RoundLog.open(tmp_path, ASKED).done(1) is None


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 1}', '{"schema": 2}', '{"schema": 1, "over": false}'])
def test_a_damaged_log_costs_time_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / ROUNDS).write_text(content)
    assert RoundLog.open(tmp_path, ASKED).rounds == []
    assert not rounds_are_over(tmp_path)


def test_what_is_written(tmp_path: Path) -> None:
    RoundLog.open(tmp_path, ASKED).end_round(1, 40, ["a"])
    raw = json.loads((tmp_path / ROUNDS).read_text())
    entry = {"n_trials": 40, "models": ["a"], "learned": None}
    assert raw == {"schema": 1, "over": False, "asked": ASKED, "rounds": [entry]}
