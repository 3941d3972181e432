"""Reaching a board: the agent runs there over the system's ssh or adb, and nothing is installed or left behind.

The agent's source goes through the connection, and so do model files; they lie in a temporary folder that the agent
takes away when it ends. Host keys are checked as ssh is configured, and never accepted on the way.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

from hwnas.core.device import ADB, Device
from hwnas.errors import MeasurementError
from hwnas.measure.loaders import PACKAGES
from hwnas.measure.process import (
    AgentDiedError,
    AgentProcess,
    AgentRefusedError,
    AgentStart,
    agent_source,
    local_start,
)
from hwnas.measure.session import RUNTIMES

__all__ = ["agent_of", "describe_board", "flags_of", "reached"]

PATIENCE_S = 180.0  # for a lost connection, or a board that starts again
_OPTIONS = {
    "BatchMode": "yes",  # nobody is there to answer
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
}
# Reads so many characters of source from stdin and runs them; what follows on stdin are requests.
_BOOT = (
    "import sys; exec(compile(sys.stdin.read(int(sys.stdin.readline())), 'agent', 'exec'), {'__name__': '__main__'})"
)
# What ssh and the shell there write last -> what to do.
_HINTS = {
    "Host key verification failed": "its host key is unknown or has changed; check it, then run ssh there by hand once",
    "Permission denied": "the board refuses the key; ssh there by hand, then ssh-copy-id",
    "Could not resolve": "no such host; check the name",
    "Connection refused": "nothing answers there; is sshd running?",
    "timed out": "nothing answers there; is the board on?",
    "No route to host": "nothing answers there; is the board on?",
    "not found": "there is no such Python; name it with --python",
    "No such file": "there is no such Python; name it with --python",
    "inaccessible": "there is no such Python; name it with --python",
    "no devices": "adb sees no device; plug it in and allow debugging, then try `adb devices`",
    "unauthorized": "allow debugging on the device's screen, then try `adb devices`",
    "offline": "adb lost the device; `adb reconnect`",
    "more than one device": "name the device's serial number: adb:SERIAL, as `adb devices` shows it",
}


def agent_of(device: Device) -> AgentStart:
    """How models are timed on a device.

    `$HWNAS_SSH_COMMAND` takes the place of `ssh`, as for another configuration: "ssh -F FILE"; `$HWNAS_ADB_COMMAND`
    that of `adb`.

    Raises:
        MeasurementError: it cannot be reached from here.
    """
    if device.is_local:
        return local_start()
    if device.host is None:
        raise MeasurementError(
            f"device {device.name!r} cannot be measured from here (reach: {device.reach}); add yours with "
            "`hwnas device add NAME --host user@board`, or measure this machine with --device cpu"
        )
    if device.runtime not in RUNTIMES:
        raise MeasurementError(
            f"the runtime of device {device.name!r} ({device.runtime}) cannot be timed; add the board as one of your "
            f"own: `hwnas device add my-{device.name} --like {device.name} --host {device.host} --runtime R`, with R "
            f"one of {', '.join(RUNTIMES)}"
        )
    source = agent_source()
    # One word for the shell there: the host is no part of it, and begins with no "-".
    remote = shlex.join([device.python, "-u", "-c", _BOOT])
    command = (*_connection(device.host), remote)
    return AgentStart(command, f"{len(source)}\n{source}", sends_files=True, patience_s=PATIENCE_S)


def _connection(host: str) -> list[str]:
    """The command that runs another one there; without a terminal, so that bytes arrive as they were sent."""
    if host.startswith(ADB):
        serial = host.removeprefix(ADB)
        adb = shlex.split(os.environ.get("HWNAS_ADB_COMMAND", "adb"))
        return [*adb, *(["-s", serial] if serial else []), "shell", "-T"]
    options = [word for key, value in _OPTIONS.items() for word in ("-o", f"{key}={value}")]
    return [*shlex.split(os.environ.get("HWNAS_SSH_COMMAND", "ssh")), *options, "-T", host]


def describe_board(device: Device, *, timeout_s: float = 60.0) -> dict[str, Any]:
    """What the agent finds there: runtime and its version, CPU and its flags, memory, power mode, clock,
    temperature, energy sensor.

    Raises:
        MeasurementError: the board cannot be reached, or lacks Python or the runtime; the message says what to do.
    """
    with AgentProcess(agent_of(device), threads=1) as agent:
        try:
            return agent.ask({"op": "info", "runtime": device.runtime}, timeout_s=timeout_s)
        except AgentRefusedError as error:
            _, package = PACKAGES.get(device.runtime, (device.runtime, device.runtime))
            raise MeasurementError(
                f"{device.host or 'this machine'} has no runtime {device.runtime!r} for {device.python} ({error}); "
                f"install it there: {device.python} -m pip install {package}"
            ) from error
        except AgentDiedError as error:
            by = "adb" if device.reach == "adb" else "ssh"
            hint = next((hint for text, hint in _HINTS.items() if text in str(error)), f"{by} there by hand to see why")
            raise MeasurementError(f"cannot measure on {device.host or sys.executable}: {error}; {hint}") from error


def reached(device: Device) -> AgentStart:
    """`agent_of`, after a first contact that says at once what is wrong with a board.

    Raises:
        MeasurementError: see `describe_board`.
    """
    start = agent_of(device)
    # A runtime of this CPU was imported here when its version was asked for; that says nothing of a GPU.
    if not device.is_local or device.kind == "gpu":
        describe_board(device)
    return start


def flags_of(device: Device) -> frozenset[str]:
    """Instruction sets of a device's CPU; empty if they are not known."""
    from hwnas.runtimes.cpu_flags import read_cpu_flags

    return read_cpu_flags() if device.is_local else frozenset(device.cpu_flags)
