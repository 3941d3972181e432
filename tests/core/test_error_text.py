from __future__ import annotations

import pytest

from hwnas.core.error_text import first_line, kind_and_line


@pytest.mark.parametrize(
    ("error", "line", "with_kind"),
    [
        (ValueError("no such layer"), "no such layer", "ValueError: no such layer"),
        (ValueError("\n  broken \nat line 3"), "broken", "ValueError: broken"),
        (KeyError("deep"), "'deep'", "KeyError: 'deep'"),
        (RuntimeError(), "RuntimeError", "RuntimeError"),
        (RuntimeError(" \n"), "RuntimeError", "RuntimeError"),
        (ValueError("a\nb"), "a", "ValueError: a"),
    ],
)
def test_an_error_in_one_line(error: Exception, line: str, with_kind: str) -> None:
    assert (first_line(error), kind_and_line(error)) == (line, with_kind)
