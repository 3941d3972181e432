"""Whose turn it is, and who evaluates what, where several processes work on one study.

PostgreSQL keeps both as advisory locks: they belong to a connection, so that the server frees those of a process that
died, and a trial that runs without its lock is anybody's.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hwnas.core.error_text import first_line
from hwnas.errors import MissingDependencyError, StorageError
from hwnas.search.storage import hidden, is_postgresql

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Alone", "Claims", "PostgresClaims", "make_claims"]

T = TypeVar("T")
KEPT_ALIVE_S = 2.0  # between two looks at the connection
# A server that has just started lost all claims; those who live take theirs back within this time.
GRACE_S = 5 * KEPT_ALIVE_S
PAUSES_S = (0.5, 1, 2, 4, 8, 15, *[30] * 9)  # between attempts: five minutes
# The server takes a process for dead after about a minute without an answer, and a process the server.
_PROBES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_SERVER_PROBES = "; ".join(f"SET tcp_{name} = {value}" for name, value in _PROBES.items())
CONNECTION = {"connect_timeout": 10, "tcp_user_timeout": 60_000, **_PROBES}
_INSTALL = "a study in PostgreSQL needs psycopg: pip install 'hwnas[postgresql]'"


class Claims(Protocol):
    """Port: keeps processes that work on one study out of each other's way."""

    is_shared: bool  # whether there may be other processes

    def turn(self, of: str | None = None) -> AbstractContextManager[None]:
        """A context that one process is in at a time: of those that share the study, or something named `of`."""

    def take(self, trial_id: int) -> bool:
        """Claim a trial; False if a living process has it."""

    def take_over(self, trial_id: int) -> bool:
        """Claim a trial that runs: one of this process, or of a dead one."""

    def release(self, trial_id: int) -> None:
        """Give a trial back."""

    def retrying(self, action: Callable[[], T]) -> T:
        """Do what needs the storage, again after a pause if it could not be reached."""

    def close(self) -> None:
        """Give everything back."""


class Alone:
    """The claims of a process that has its study for itself."""

    is_shared = False

    @contextmanager
    def turn(self, of: str | None = None) -> Iterator[None]:
        """See Claims."""
        yield

    def take(self, trial_id: int) -> bool:
        """See Claims."""
        return True

    def take_over(self, trial_id: int) -> bool:
        """See Claims."""
        return True

    def release(self, trial_id: int) -> None:
        """See Claims."""

    def retrying(self, action: Callable[[], T]) -> T:
        """See Claims."""
        return action()

    def close(self) -> None:
        """See Claims."""


def make_claims(url: str | None, name: str, note: Callable[[str], None]) -> Claims:
    """The claims on the study `name`; nothing is connected before it is needed."""
    return PostgresClaims(url, name, note) if url is not None and is_postgresql(url) else Alone()


class PostgresClaims:
    """Claims as advisory locks of one connection, which a thread keeps and renews.

    Args:
        url: of the database.
        name: of the study.
        note: is told when the database is lost, and when it is back.
    """

    is_shared = True

    def __init__(self, url: str, name: str, note: Callable[[str], None]) -> None:
        self._url, self._name, self._note = url, name, note
        self._connection: Connection[Any] | None = None
        self._held: set[int] = set()
        self._mutex = threading.RLock()
        self._closed = threading.Event()
        self._keeper: threading.Thread | None = None

    @contextmanager
    def turn(self, of: str | None = None) -> Iterator[None]:
        """See Claims; the turn of a process that dies goes to the next.

        Raises:
            StorageError: the database cannot be reached, or was lost meanwhile: another process may have had its turn.
        """
        key = _key(of or self._name)
        self._query("SELECT pg_advisory_lock(%s)", key)
        try:
            yield
        except BaseException:
            with suppress(StorageError):
                self._query("SELECT pg_advisory_unlock(%s)", key)
            raise
        if not self._query("SELECT pg_advisory_unlock(%s)", key):
            raise StorageError(f"the connection to {hidden(self._url)} was lost; try again")

    def take(self, trial_id: int) -> bool:
        """See Claims."""
        return self._take(trial_id, at_age_s=0.0)

    def take_over(self, trial_id: int) -> bool:
        """See Claims; nothing is taken over while the server is young: those who live are taking their claims back."""
        return self._take(trial_id, at_age_s=GRACE_S)

    def _take(self, trial_id: int, *, at_age_s: float) -> bool:
        is_old = "now() - pg_postmaster_start_time() >= make_interval(secs => %s)"
        statement = f"SELECT CASE WHEN {is_old} THEN pg_try_advisory_lock(%s) ELSE false END"
        with self._mutex:
            if trial_id not in self._held and self._query(statement, at_age_s, self._key_of(trial_id)):
                self._held.add(trial_id)
            return trial_id in self._held

    def release(self, trial_id: int) -> None:
        """See Claims; a database that is lost has no claims to give back."""
        with self._mutex:
            self._held.discard(trial_id)
            with suppress(StorageError):
                self._query("SELECT pg_advisory_unlock(%s)", self._key_of(trial_id))

    def retrying(self, action: Callable[[], T]) -> T:
        """See Claims.

        Raises:
            StorageError: it could not be reached for minutes.
        """
        for number, pause_s in enumerate(PAUSES_S):
            try:
                found = action()
            except StorageError as error:
                if number == 0:
                    self._note(f"{hidden(self._url)} cannot be reached ({error}); waiting for it")
                time.sleep(pause_s)
                continue
            if number:
                self._note(f"{hidden(self._url)} is back; going on")
            return found
        try:
            return action()
        except StorageError as error:
            raise StorageError(
                f"{hidden(self._url)} could not be reached for {sum(PAUSES_S) / 60:.0f} minutes ({error}); what was "
                "finished is kept there: go on with --resume, or start the worker again, when it runs"
            ) from error

    def close(self) -> None:
        """See Claims."""
        self._closed.set()
        if self._keeper is not None:
            self._keeper.join()
        with self._mutex:
            self._held.clear()
            if self._connection is not None:
                self._connection.close()

    def _key_of(self, trial_id: int) -> int:
        return _key(f"{self._name}/{trial_id}")

    def _query(self, statement: str, *values: float) -> Any:
        import psycopg

        with self._mutex:
            try:
                row = self._connected().execute(statement, values).fetchone()
            except psycopg.Error as error:
                raise StorageError(first_line(error)) from error
            return None if row is None else row[0]

    def _connected(self) -> Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url)
            for trial_id in list(self._held):
                row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", (self._key_of(trial_id),)).fetchone()
                if row is None or not row[0]:
                    self._held.discard(trial_id)  # another process took it up; who is first tells
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="hwnas-claims", daemon=True)
                self._keeper.start()
        return self._connection

    def _keep(self) -> None:
        """Notice a lost connection also during a long evaluation, and take the claims back."""
        while not self._closed.wait(KEPT_ALIVE_S):
            with suppress(StorageError):
                self._query("SELECT %s::float8", 1.0)


def connect(url: str) -> Connection[Any]:
    """A connection of psycopg.

    Raises:
        MissingDependencyError: psycopg is not installed.
        StorageError: the database cannot be reached.
    """
    try:
        import psycopg
    except ImportError as error:
        raise MissingDependencyError(_INSTALL) from error
    plain = "postgresql://" + url.partition("://")[2]
    try:
        connection = psycopg.connect(plain, autocommit=True, **CONNECTION)  # type: ignore[arg-type]
        connection.execute(_SERVER_PROBES)
        return connection
    except psycopg.Error as error:
        raise StorageError(first_line(error)) from error


def _key(text: str) -> int:
    """A key of an advisory lock: 64 bits with sign."""
    return int.from_bytes(hashlib.sha256(f"hwnas/{text}".encode()).digest()[:8], "big", signed=True)
