from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation
from hwnas.core.predictor import Prediction
from hwnas.core.space import SearchSpace
from hwnas.errors import ConfigError, RunFolderError
from hwnas.search.claims import Alone
from hwnas.search.evaluated import Evaluated
from hwnas.search.joint import JointSpace
from hwnas.search.sampler import HypervolumeSampler
from hwnas.search.study import SearchStudy

MakeJoint = Callable[..., JointSpace]
MakeStudy = Callable[..., SearchStudy]


@pytest.fixture
def joint(make_joint: MakeJoint, make_space: Callable[..., SearchSpace]) -> JointSpace:
    return make_joint(make_space(range(4, 24), (1, 3, 5)))


def result_of(joint: JointSpace, candidate: Candidate) -> tuple[dict[str, Prediction], Evaluation]:
    macs = joint.operations(candidate).macs
    latency_ms = 0.1 + macs / 1e6
    prediction = Prediction(latency_ms, latency_ms / 2, latency_ms * 2, True, None, "fake-1")
    return {"fake": prediction}, Evaluation(macs / (macs + 1e6), 10, "validation", "fp32", "supernet", 1.5)


def step(study: SearchStudy, joint: JointSpace) -> Evaluated:
    proposal = study.ask()
    return study.tell(proposal, *result_of(joint, proposal.candidate))


def test_what_was_told_is_there_after_reopening(joint: JointSpace, make_study: MakeStudy) -> None:
    study = make_study(joint)
    records = [step(study, joint) for _ in range(4)]
    failed = study.ask()
    records.append(study.tell(failed, result_of(joint, failed.candidate)[0], "the loss is nan"))
    study.reject(study.ask(), "over budget")
    assert study.evaluated == records
    again = make_study(joint)
    assert again.evaluated == records
    assert again.evaluated[-1].accuracy is None
    assert again.evaluated[-1].failure == "the loss is nan"
    assert not again.has_open_trials


@pytest.mark.parametrize("torn", [b'{"op_code": 4, "wor', b"\x00\x00", b"{"])
def test_a_last_line_that_was_not_finished(
    joint: JointSpace, make_study: MakeStudy, tmp_path: Path, torn: bytes
) -> None:
    study = make_study(joint)
    records = [step(study, joint) for _ in range(3)]
    path = tmp_path / "study.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    again = make_study(joint)
    assert again.evaluated == records
    records.append(step(again, joint))
    assert make_study(joint).evaluated == records
    assert path.read_bytes().startswith(whole)


def test_every_cut_of_the_last_trial_can_be_resumed(joint: JointSpace, make_study: MakeStudy, tmp_path: Path) -> None:
    """A kill at any byte of the journal loses no finished trial, and the next one is what it would have been."""
    study = make_study(joint)
    records = [step(study, joint) for _ in range(2)]
    path = tmp_path / "study.journal"
    before = len(path.read_bytes())
    third = step(study, joint)
    whole = path.read_bytes()
    for cut in [*range(before, len(whole), 211), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        again = make_study(joint)
        assert again.evaluated == records
        found = step(again, joint)
        # A trial that has lost some of its choices is closed, and proposed again under the next number.
        assert (found.candidate, found.accuracy) == (third.candidate, third.accuracy)
        assert again.evaluated == [*records, found]


@pytest.mark.parametrize("damage", ["nonsense", "binary"])
def test_a_damaged_line(joint: JointSpace, make_study: MakeStudy, tmp_path: Path, damage: str) -> None:
    study = make_study(joint)
    for _ in range(3):
        step(study, joint)
    path = tmp_path / "study.journal"
    lines = path.read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    lines[middle] = {"nonsense": b"not json\n", "binary": b"\xff\xfe\x00\n"}[damage]
    path.write_bytes(b"".join(lines))
    with pytest.raises(RunFolderError, match="damaged"):
        make_study(joint)


def test_a_journal_without_its_first_line_is_not_an_empty_study(
    joint: JointSpace, make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(joint)
    for _ in range(3):
        step(study, joint)
    path = tmp_path / "study.journal"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    with pytest.raises(RunFolderError, match="damaged"):
        make_study(joint)


def test_a_stale_lock_is_cleared(joint: JointSpace, make_study: MakeStudy, tmp_path: Path) -> None:
    step(make_study(joint), joint)
    (tmp_path / "study.journal.lock").touch()
    assert len(make_study(joint).evaluated) == 1
    step(make_study(joint), joint)


def test_a_trial_that_was_running_is_taken_up_again(joint: JointSpace, make_study: MakeStudy) -> None:
    study = make_study(joint)
    step(study, joint)
    asked = study.ask()  # and the process is killed
    again = make_study(joint)
    assert again.has_open_trials
    assert again.ask() == asked
    record = again.tell(asked, *result_of(joint, asked.candidate))
    assert [r.number for r in make_study(joint).evaluated] == [0, 1]
    assert not make_study(joint).has_open_trials
    assert record.candidate == asked.candidate


@pytest.mark.parametrize("sampler", ["hypervolume", "tpe", "nsga2", "nsga3", "random"])
def test_a_resumed_study_proposes_what_an_unbroken_one_would(
    joint: JointSpace, make_study: MakeStudy, sampler: str
) -> None:
    unbroken = make_study(joint, sampler=sampler, name="unbroken")
    wanted = [step(unbroken, joint).candidate for _ in range(14)]
    found = []
    for number in range(14):
        study = make_study(joint, sampler=sampler, name="broken")
        if number % 3 == 2:
            study.ask()  # killed before it was told
            study = make_study(joint, sampler=sampler, name="broken")
        found.append(step(study, joint).candidate)
    assert found == wanted
    other = make_study(joint, sampler=sampler, seed=1, name="other")
    assert [step(other, joint).candidate for _ in range(3)] != wanted[:3]


def test_gp_proposes_too(make_joint: MakeJoint, make_study: MakeStudy) -> None:
    joint = make_joint()
    study = make_study(joint, sampler="gp")
    assert len([step(study, joint) for _ in range(2)]) == 2


def test_enqueued_candidates_come_first(joint: JointSpace, make_study: MakeStudy) -> None:
    study = make_study(joint)
    candidate = Candidate(joint.space.largest())
    study.enqueue(candidate)
    assert study.has_open_trials
    assert study.ask().candidate == candidate


def test_an_enqueued_candidate_survives_a_kill(joint: JointSpace, make_study: MakeStudy) -> None:
    candidate = Candidate(joint.space.largest())
    make_study(joint).enqueue(candidate)
    assert make_study(joint).ask().candidate == candidate


def test_another_storage(joint: JointSpace, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"

    def opened(name: str) -> SearchStudy:
        return SearchStudy(
            joint, devices=("fake",), sampler="random", seed=0, journal=tmp_path / "unused", url=url, name=name
        )

    record = step(opened("one"), joint)
    assert opened("one").evaluated == [record]
    assert opened("two").evaluated == []
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("url", ["no-such-scheme://x", "sqlite:////no/such/folder/x.db"])
def test_a_storage_that_cannot_be_reached(joint: JointSpace, tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        SearchStudy(joint, devices=("fake",), sampler="tpe", seed=0, journal=tmp_path / "unused", url=url)


def on_both(joint: JointSpace, study: SearchStudy) -> Evaluated:
    proposal = study.ask()
    found, evaluation = result_of(joint, proposal.candidate)
    slower = replace(found["fake"], latency_ms=1 / found["fake"].latency_ms, in_domain=False)
    return study.tell(proposal, found | {"other": slower}, evaluation)


@pytest.mark.parametrize("sampler", ["hypervolume", "tpe", "nsga2", "nsga3", "gp", "random"])
def test_each_device_is_an_objective(joint: JointSpace, make_study: MakeStudy, sampler: str) -> None:
    devices = ("fake", "other")
    study = make_study(joint, sampler=sampler, devices=devices)
    records = [on_both(joint, study) for _ in range(3)]
    for _ in range(9 if sampler != "gp" else 1):
        study = make_study(joint, sampler=sampler, devices=devices)  # as if it had been killed
        records.append(on_both(joint, study))
    assert make_study(joint, sampler=sampler, devices=devices).evaluated == records
    for record in records:
        assert list(record.latency_ms) == list(devices)
        assert record.latency_ms["other"] == pytest.approx(1 / record.latency_ms["fake"])
        assert record.in_domain == {"fake": True, "other": False}
    unbroken = make_study(joint, sampler=sampler, devices=devices, name="unbroken")
    assert [on_both(joint, unbroken).candidate for _ in records] == [record.candidate for record in records]


def test_devices_take_turns(joint: JointSpace, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    propose = HypervolumeSampler.sample_relative

    def watched(sampler: HypervolumeSampler, *values: Any) -> Any:
        asked.append(sampler.known)
        return propose(sampler, *values)

    monkeypatch.setattr(HypervolumeSampler, "sample_relative", watched)
    study = make_study(joint, sampler="hypervolume", devices=("fake", "other"))
    for _ in range(5):
        on_both(joint, study)
    assert asked == [0, 1, 0, 1, 0]


class Late(Alone):
    """Claims of a study that is shared, where every claim is free."""

    is_shared = True

    def __init__(self) -> None:
        self.released: list[int] = []
        self.meanwhile: Callable[[int], None] = lambda trial_id: None

    def take_over(self, trial_id: int) -> bool:
        self.meanwhile(trial_id)
        return True

    def release(self, trial_id: int) -> None:
        self.released.append(trial_id)


def test_a_trial_that_was_told_while_it_was_looked_at_is_not_taken_for_a_dead_process_s(
    joint: JointSpace, tmp_path: Path
) -> None:
    url, claims = f"sqlite:///{tmp_path / 'studies.db'}", Late()

    def opened(claims: Alone) -> SearchStudy:
        return SearchStudy(
            joint, devices=("fake",), sampler="random", seed=0, journal=tmp_path / "unused", url=url, claims=claims
        )

    one = opened(Alone())
    proposal = one.ask()
    other = opened(claims)
    claims.meanwhile = lambda trial_id: [one.tell(proposal, *result_of(joint, proposal.candidate))]  # type: ignore[assignment,return-value]
    with other.turn():
        assert claims.released == [proposal.trial_id]
        assert other.running == {proposal.candidate}
        assert not other.has_open_trials
    claims.meanwhile = lambda trial_id: None
    with other.turn():
        assert [record.candidate for record in other.evaluated] == [proposal.candidate]
        assert other.running == set()
    lost = one.ask()
    with other.turn():
        assert other.ask() == lost
