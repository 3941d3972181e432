from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from database import Database

from hwnas.errors import MissingDependencyError, StorageError
from hwnas.search import claims
from hwnas.search.claims import Alone, PostgresClaims, connect, make_claims
from hwnas.search.storage import for_optuna

SCRIPT = Path(__file__).with_name("sharing.py")
NOWHERE = "postgresql://hwnas@127.0.0.1:1/postgres"
Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def begin(database: Database, tmp_path: Path) -> Iterator[Begin]:
    """`begin(name, n_trials, pause_s)` starts a process of a shared study, whose log is tmp_path/log."""
    begun: list[subprocess.Popen[str]] = []

    def start(name: str, n_trials: int, pause_s: float, sampler: str = "random") -> subprocess.Popen[str]:
        words = (database.url, name, str(n_trials), str(pause_s), str(tmp_path / "log"), sampler)
        begun.append(
            subprocess.Popen([sys.executable, str(SCRIPT), *words], cwd=tmp_path, text=True, stdout=subprocess.PIPE)
        )
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def lines(log: Path, what: str) -> list[tuple[str, str]]:
    """(process, candidate) of the evaluations that began, or ended."""
    found = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(pid, candidate) for pid, event, candidate in found if event == what]


def until(what: Callable[[], object], seconds: float = 120.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if what():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def output_of(process: subprocess.Popen[str]) -> str:
    text = process.communicate(timeout=300)[0]
    assert process.returncode == 0, text
    return text


def told(database: Database, name: str) -> list[str]:
    """Candidates of the finished trials of a study, read by optuna alone."""
    trials = optuna.load_study(study_name=name, storage=for_optuna(database.url)).get_trials(deepcopy=False)
    # One without parameters was begun when the server went, and stands for no candidate; the next look closes it.
    assert not [trial for trial in trials if trial.params and not trial.state.is_finished()]
    return [trial.user_attrs["hwnas"]["id"] for trial in trials if trial.values]


@pytest.mark.parametrize("sampler", ["random", "hypervolume"])
def test_processes_share_trials_and_no_candidate_is_evaluated_twice(
    begin: Begin, database: Database, tmp_path: Path, sampler: str
) -> None:
    processes = [begin(f"shared-{sampler}", 40, 0.1, sampler) for _ in range(2)]
    assert all("40 records" in output_of(process) for process in processes)
    ids = told(database, f"shared-{sampler}")
    assert len(ids) == len(set(ids)) == 40
    ended = lines(tmp_path / "log", "end")
    assert sorted(candidate for _, candidate in ended) == sorted(ids)
    shares = Counter(pid for pid, _ in ended)
    assert len(shares) == 2
    assert min(shares.values()) >= 5


def test_what_a_killed_process_evaluated_is_done_by_another(begin: Begin, database: Database, tmp_path: Path) -> None:
    log = tmp_path / "log"
    victim = begin("killed", 12, 0.5)
    other = begin("killed", 12, 0.5)
    until(lambda: len([1 for pid, _ in lines(log, "end") if pid == str(victim.pid)]) >= 1)
    until(lambda: [pid for pid, _ in lines(log, "begin")].count(str(victim.pid)) >= 2)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    mine = [[c for pid, c in lines(log, what) if pid == str(victim.pid)] for what in ("begin", "end")]
    assert "12 records" in output_of(other)
    ids = told(database, "killed")
    assert len(ids) == len(set(ids)) == 12
    assert set(mine[0]) <= set(ids)
    lost = set(mine[0]) - set(mine[1])
    assert len(lost) == 1
    assert lost <= {candidate for pid, candidate in lines(log, "end") if pid == str(other.pid)}


def test_an_interrupted_process_gives_its_trial_back(begin: Begin, database: Database, tmp_path: Path) -> None:
    log = tmp_path / "log"
    victim = begin("interrupted", 4, 60.0)
    until(lambda: lines(log, "begin"))
    victim.send_signal(signal.SIGINT)
    victim.communicate(timeout=60)
    assert "4 records" in output_of(begin("interrupted", 4, 0.1))
    assert lines(log, "begin")[0][1] in told(database, "interrupted")


def test_a_server_that_is_stopped_and_started_costs_nothing(begin: Begin, database: Database, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [begin("restarted", 30, 0.3) for _ in range(2)]
    until(lambda: len(lines(log, "end")) >= 5)
    database.stop()
    time.sleep(3)
    before = len(lines(log, "end"))
    database.start()
    said = [output_of(process) for process in processes]
    assert all("30 records" in text for text in said)
    assert all("cannot be reached" in text and "is back" in text for text in said)
    ids = told(database, "restarted")
    assert len(ids) == len(set(ids)) == 30 > before
    # Each was evaluated once: who lived through it has kept its claim, and told its result.
    assert sorted(candidate for _, candidate in lines(log, "end")) == sorted(ids)


def test_one_turn_at_a_time(database: Database) -> None:
    one, other = (PostgresClaims(database.url, "turns", print) for _ in range(2))
    order = []

    def second() -> None:
        with other.turn():
            order.append("second")

    with one.turn():
        thread = threading.Thread(target=second)
        thread.start()
        with PostgresClaims(database.url, "another study", print).turn():
            order.append("elsewhere")
        time.sleep(0.3)
        order.append("first")
    thread.join()
    assert order == ["elsewhere", "first", "second"]
    one.close()
    other.close()


def test_a_claim_is_one_process_s_until_it_gives_it_back(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "GRACE_S", 0.0)
    one, other = (PostgresClaims(database.url, "claimed", print) for _ in range(2))
    assert one.take(1)
    assert one.take(1)
    assert one.take_over(1)
    assert not other.take(1)
    assert not other.take_over(1)
    assert other.take(2)
    one.release(1)
    assert other.take_over(1)
    other.close()
    assert one.take(1)
    assert one.take(2)
    one.close()


def test_claims_survive_the_server(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "KEPT_ALIVE_S", 0.1)
    one, other = (PostgresClaims(database.url, "kept", print) for _ in range(2))
    assert one.take(1)
    with pytest.raises(StorageError, match="was lost"), other.turn():
        database.stop()
        database.start()
        assert not other.take_over(1)  # a young server knows no claims yet
    time.sleep(1)
    monkeypatch.setattr(claims, "GRACE_S", 0.0)
    assert not other.take_over(1)
    one.close()
    other.close()


def test_a_database_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "PAUSES_S", (0.01, 0.01))
    notes: list[str] = []
    tried = []

    def action() -> None:
        tried.append(1)
        connect(NOWHERE)

    with pytest.raises(StorageError, match=r"could not be reached for 0 minutes .*--resume") as caught:
        PostgresClaims(NOWHERE.replace("hwnas@", "hwnas:secret@"), "x", notes.append).retrying(action)
    assert len(tried) == 3
    assert len(notes) == 1
    assert "secret" not in notes[0] + str(caught.value)
    assert "\n" not in notes[0] + str(caught.value)


def test_without_psycopg_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'hwnas\[postgresql\]'"):
        connect(NOWHERE)


@pytest.mark.parametrize("url", [None, "sqlite:///x.db"])
def test_other_studies_are_one_process_s(url: str | None) -> None:
    alone = make_claims(url, "x", print)
    assert isinstance(alone, Alone)
    assert not alone.is_shared
    with alone.turn():
        assert alone.take(1)
        assert alone.take_over(1)
    alone.release(1)
    assert alone.retrying(lambda: 3) == 3
    alone.close()
