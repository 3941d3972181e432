"""The measuring agent as a child process: start it, ask it, notice when it hangs or dies, end it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hwnas.errors import MeasurementError

__all__ = [
    *("AgentDiedError", "AgentProcess", "AgentRefusedError", "AgentStart", "AgentTimeoutError"),
    *("agent_source", "local_start"),
]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class AgentRefusedError(MeasurementError):
    """The agent answered that it could not do what it was asked."""


class AgentDiedError(MeasurementError):
    """The agent ended, or answered nonsense; a new one must be started."""


class AgentTimeoutError(MeasurementError):
    """The agent did not answer in time; it must be killed."""


@dataclass(frozen=True, slots=True)
class AgentStart:
    """How an agent is started, here or on a board.

    Attributes:
        command: program and arguments, run without a shell.
        preamble: written to its stdin before the first request.
        sends_files: model files must be sent, because the agent does not see this machine's.
        patience_s: how long a lost connection is tried again.
    """

    command: tuple[str, ...]
    preamble: str = ""
    sends_files: bool = False
    patience_s: float = 0.0


_FUTURE = "from __future__ import annotations"
AGENT = Path(__file__).with_name("agent.py")
_PARTS = ("sensors.py", "loaders.py", "agent.py")  # each stands on those before it


def agent_source() -> str:
    """The agent with its parts as one file, for a machine without hwnas."""
    parts = [AGENT.with_name(part).read_text(encoding="utf-8") for part in _PARTS]
    kept = [line for part in parts for line in part.splitlines() if not line.startswith(("from hwnas.", _FUTURE))]
    return "\n".join([_FUTURE, *kept]) + "\n"


def local_start() -> AgentStart:
    """The agent on this machine, with this Python."""
    # -P keeps the agent's own folder off the import path, where other modules of this package lie.
    return AgentStart((sys.executable, "-P", str(AGENT)))


class AgentProcess:
    """A running agent; use it in a `with` statement, which kills it however the block ends.

    Args:
        start: what is started.
        threads: computing threads, also set in the environment of a process on this machine.
    Raises:
        MeasurementError: the program cannot be started.
    """

    def __init__(self, start: AgentStart, *, threads: int) -> None:
        command = start.command
        environment = os.environ | {name: str(threads) for name in _THREAD_VARIABLES}
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=environment,
                text=True,
                encoding="utf-8",
                # Ctrl-C goes to this process only, which then ends the agent.
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise MeasurementError(f"cannot start the measuring agent {list(command)}: {error}") from error
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if start.preamble:
            try:
                self._stdin.write(start.preamble)
                self._stdin.flush()
            except BrokenPipeError:  # it ended at once; the first request says how
                pass

    def __enter__(self) -> AgentProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ask(self, request: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            AgentRefusedError: the answer says that it failed.
            AgentTimeoutError: no answer in `timeout_s`.
            AgentDiedError: the process ended, or what it wrote is no answer.
        """
        try:
            self._stdin.write(json.dumps(dict(request)) + "\n")
            self._stdin.flush()
            line = self._lines.get(timeout=timeout_s)
        except (BrokenPipeError, ValueError) as error:
            raise AgentDiedError(self._ending()) from error
        except queue.Empty as error:
            raise AgentTimeoutError(f"no answer to {request.get('op')!r} within {timeout_s:.0f} s") from error
        if not line:
            raise AgentDiedError(self._ending())
        try:
            answer = json.loads(line)
            ok = answer["ok"]
        except (ValueError, TypeError, KeyError) as error:
            raise AgentDiedError(f"the agent wrote {line[:80]!r} instead of an answer") from error
        if not ok:
            raise AgentRefusedError(str(answer.get("error", "no reason given")))
        return dict(answer)

    def close(self) -> None:
        """Kill the process and free its pipes; more calls do nothing."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join(timeout=5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:  # a request was still in the buffer
                    continue
        self._stderr.close()

    @property
    def _stdin(self) -> IO[str]:
        assert self._process.stdin is not None  # opened as a pipe above
        return self._process.stdin

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")  # the end

    def _ending(self) -> str:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "the agent closed its output but still runs"
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"the agent {how}" + (f": {lines[-1][:200]}" if lines else "")
