from __future__ import annotations

import pytest

from hwnas.core.error_text import first_line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no such layer"), "no such layer"),
        (ValueError("\n  broken \nat line 3"), "broken"),
        (KeyError("deep"), "'deep'"),
        (RuntimeError(), "RuntimeError"),
        (RuntimeError(" \n"), "RuntimeError"),
    ],
)
def test_first_line(error: Exception, said: str) -> None:
    assert first_line(error) == said


@pytest.mark.parametrize(("text", "line"), [("a\nb", "a"), ("\n  a \n", "a"), ("", "ValueError")])
def test_an_error_in_one_line(text: str, line: str) -> None:
    assert first_line(ValueError(text)) == line
