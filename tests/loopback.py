from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hwnas.core.device import Device


@dataclass
class Loopback:
    """A real OpenSSH server on 127.0.0.1 that plays the board."""

    folder: Path
    port: int
    server: subprocess.Popen[bytes]

    @property
    def device(self) -> Device:
        """The board."""
        return Device(
            name="loopback", title="a board", kind="cpu", runtime="onnxruntime", precisions=("fp32", "int8"),
            reach="ssh", host="board", python=sys.executable,
        )  # fmt: skip

    @property
    def ssh(self) -> str:
        """What takes the place of `ssh`."""
        return f"ssh -F {self.folder / 'config'}"

    def hang_up(self) -> int:
        """End every connection, as a cut cable does; how many there were."""
        children = subprocess.run(["pgrep", "-P", str(self.server.pid)], capture_output=True, text=True).stdout.split()
        for child in children:
            subprocess.run(["pkill", "-9", "-P", child], check=False)
            subprocess.run(["kill", "-9", child], check=False)
        return len(children)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    settings = {
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
    }
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    command = [program, "-D", "-p", str(port), "-f", str(folder / "sshd_config"), "-E", str(folder / "log")]
    server = subprocess.Popen(command)
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.1)
    server.kill()
    raise AssertionError((folder / "log").read_text())


@pytest.fixture
def loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    if not is_installed():
        pytest.skip("no OpenSSH server on this machine (Debian: openssh-server)")
    folder = tmp_path / "ssh"
    folder.mkdir()
    with running(folder) as board:
        monkeypatch.setenv("HWNAS_SSH_COMMAND", board.ssh)
        yield board


def is_installed() -> bool:
    return shutil.which("sshd") is not None or Path("/usr/sbin/sshd").exists()


@contextmanager
def running(folder: Path) -> Iterator[Loopback]:
    """A server with keys and a configuration of its own, all in an empty folder."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where the server gives up its rights
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    port = _free_port()
    host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (folder / "config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n  IdentitiesOnly yes\n"
        f"  IdentityFile {folder / 'key'}\n  UserKnownHostsFile {folder / 'known_hosts'}\n"
    )
    board = Loopback(folder, port, _start(folder, port))
    try:
        yield board
    finally:
        board.hang_up()
        board.server.kill()
        board.server.wait()
