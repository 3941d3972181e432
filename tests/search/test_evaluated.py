from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwnas.core.candidate import Candidate
from hwnas.search.evaluated import Evaluated, failures_of, trial_rows, write_trials
from hwnas.search.journal import JournalReader
from hwnas.search.study import SearchStudy


def run_trials(
    make_joint: Callable[..., Any],
    make_study: Callable[..., SearchStudy],
    make_budget: Any,
    make_evaluator: Any,
    make_loop: Any,
) -> SearchStudy:
    joint = make_joint()
    study = make_study(joint)
    failing = make_evaluator(joint, lambda candidate: candidate.architecture["width"] == 8)
    make_loop(study, make_budget(joint), failing, 6).run()
    return study


def test_what_another_process_reads_of_the_journal_is_what_the_search_knows(
    make_joint: Any, make_study: Any, make_budget: Any, make_evaluator: Any, make_loop: Any, tmp_path: Path
) -> None:
    from hwnas.search.evaluated import evaluated_of

    before_s = time.time()
    study = run_trials(make_joint, make_study, make_budget, make_evaluator, make_loop)
    reader = JournalReader(tmp_path / "study.journal")
    found = [record for trial in reader.trials() if (record := evaluated_of(trial, ("fake",))) is not None]
    assert found == study.evaluated
    for there, here in zip(found, study.evaluated, strict=True):
        assert there.finished_s is not None
        assert here.finished_s is not None
        assert abs(there.finished_s - here.finished_s) < 5
        assert before_s - 1 <= there.finished_s <= time.time() + 1
    assert failures_of(found) == [f"{r.candidate.id}: {r.failure}" for r in found if r.accuracy is None]
    assert len(trial_rows(found)) == study.n_worked


def test_a_journal_is_read_while_it_is_written(tmp_path: Path, make_joint: Any, make_study: Any) -> None:
    path = tmp_path / "study.journal"
    reader = JournalReader(path)
    assert reader.trials() == []
    assert not path.exists()  # looking makes nothing
    study = make_study(make_joint())
    study.ask()
    assert len(reader.trials()) == 1
    whole = path.read_bytes()
    study.ask()
    more = path.read_bytes()
    path.write_bytes(more[: len(whole) + 20])  # as if the next line were half written
    half = JournalReader(path)
    assert len(half.trials()) == 1
    path.write_bytes(more)
    assert len(half.trials()) == 2
    assert not list(tmp_path.glob("*.lock*"))


def test_rows_leave_out_what_failed(tmp_path: Path, make_joint: Any) -> None:
    candidate = Candidate(make_joint().space.smallest())
    worked = Evaluated(0, candidate, {"a": 1.0, "b": 2.0}, {"a": True, "b": False}, 0.5, finished_s=7.0)
    failed = Evaluated(1, candidate, {"a": 1.0, "b": 2.0}, {"a": True, "b": False}, None, "the loss is nan")
    write_trials(tmp_path, [worked, failed])
    (row,) = (json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines())
    assert row == {
        "id": candidate.id,
        "latency_ms": {"a": 1.0, "b": 2.0},
        "accuracy": 0.5,
        "in_domain": {"a": True, "b": False},
        "finished_s": 7.0,
    }
    assert failures_of([worked, failed]) == [f"{candidate.id}: the loss is nan"]
