"""Where the work of a search is done: one piece after the other in this process, or several at a time elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from hwnas.errors import HwnasError

__all__ = ["InTurn", "Pool"]

J = TypeVar("J")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Pool(Protocol[J, R_co]):
    """Port: takes jobs and hands back what became of each, in the order in which they end."""

    @property
    def size(self) -> int:
        """Jobs that are done at a time, at least 1."""

    @property
    def n_free(self) -> int:
        """Jobs that could begin now."""

    def begin(self, job: J) -> None:
        """Begin a job; one must be able to."""

    def next(self) -> tuple[J, R_co | HwnasError] | None:
        """Wait until a job has ended; None if none has, but `n_free` may be another."""


@dataclass
class InTurn(Generic[J, R]):
    """Does one job at a time, here.

    Attributes:
        do: does a job.
    """

    do: Callable[[J], R]
    size: int = field(default=1, init=False)
    _begun: list[J] = field(default_factory=list)

    @property
    def n_free(self) -> int:
        """See Pool."""
        return 1 - len(self._begun)

    def begin(self, job: J) -> None:
        """See Pool."""
        self._begun.append(job)

    def next(self) -> tuple[J, R | HwnasError] | None:
        """See Pool; the job is done now."""
        job = self._begun.pop()
        try:
            return job, self.do(job)
        except HwnasError as error:
            return job, error
