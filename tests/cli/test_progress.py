from __future__ import annotations

import pytest

from hwnas.cli.progress import progress_listener, step_progress


def test_without_a_terminal_there_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_listener() as listener:
        listener.phase("search", 1)
        listener.advance()
    assert capsys.readouterr().out == "search (1 steps)\n  done 1/1 in 0 s\n"


def test_steps_become_one_phase(capsys: pytest.CaptureFixture[str]) -> None:
    with step_progress("measure") as on_progress:
        for done in (1, 2, 5):
            on_progress(done, 5)
    assert capsys.readouterr().out == "measure (5 steps)\n  done 5/5 in 0 s\n"
    with step_progress("measure", quiet=True) as on_progress:
        on_progress(1, 2)
    assert capsys.readouterr().out == ""
