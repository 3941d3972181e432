"""A real PostgreSQL on 127.0.0.1, with files of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Database:
    """A server that can be stopped and started.

    Attributes:
        folder: of its files.
        port: on 127.0.0.1.
        programs: folder of `initdb` and `pg_ctl`.
    """

    folder: Path
    port: int
    programs: Path

    @property
    def url(self) -> str:
        """As `--storage` takes it."""
        return f"postgresql://hwnas@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        """Make the files."""
        self._run("initdb", "-U", "hwnas", "-A", "trust", "-N", "-E", "UTF8", "--no-locale")

    def start(self) -> None:
        """Start, and wait until it answers."""
        settings = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "-w", "-t", "120", "-l", str(self.folder / "log"), "-o", settings, "start")

    def stop(self, mode: str = "fast") -> None:
        """End it, and every connection."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), "-D", str(self.folder / "data"), *arguments]
        if os.geteuid() == 0:  # the server refuses to run as root
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        # Not to a pipe: the server keeps it open.
        with (self.folder / "output").open("w") as output:
            done = subprocess.run(command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT)
        assert done.returncode == 0, (self.folder / "output").read_text()


def programs() -> Path | None:
    """Where the server's programs are; None if it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else None if on_path is None else Path(on_path).resolve().parent


def is_usable() -> bool:
    """Whether a server can be started: it is installed, and need not run as root."""
    if os.geteuid() == 0 and subprocess.run(["id", "postgres"], capture_output=True).returncode != 0:
        return False
    return programs() is not None


@contextmanager
def running_database() -> Iterator[Database]:
    """A server with an empty database, ended afterwards."""
    where = programs()
    assert where is not None
    with tempfile.TemporaryDirectory(prefix="hwnas-pg-") as name, socket.socket() as probe:
        folder = Path(name)
        folder.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        probe.bind(("127.0.0.1", 0))
        database = Database(folder, int(probe.getsockname()[1]), where)
        probe.close()
        database.make()
        database.start()
        try:
            yield database
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                database.stop("immediate")


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    if not is_usable():
        pytest.skip("no PostgreSQL server on this machine (Debian: postgresql)")
    with running_database() as server:
        yield server
