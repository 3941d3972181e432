"""What errors of somebody else's say, in one line."""

from __future__ import annotations

__all__ = ["first_line", "kind_and_line"]


def first_line(error: BaseException) -> str:
    """The first line that is not empty; of an error without a message, its kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def kind_and_line(error: BaseException) -> str:
    """Kind and first line of an error, such as "KeyError: 'width'"."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"
