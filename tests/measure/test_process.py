from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from hwnas.errors import MeasurementError
from hwnas.measure.process import (
    AgentDiedError,
    AgentProcess,
    AgentRefusedError,
    AgentStart,
    AgentTimeoutError,
    local_start,
)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_asks_and_ends() -> None:
    with AgentProcess(local_start(), threads=1) as agent:
        assert agent.ask({"op": "info"}, timeout_s=300)["runtime"] == "onnxruntime"
        with pytest.raises(AgentRefusedError, match="unknown op"):
            agent.ask({"op": "dance"}, timeout_s=300)
    assert not is_alive(agent.pid)


def test_an_interruption_ends_the_agent() -> None:
    with pytest.raises(KeyboardInterrupt), AgentProcess(local_start(), threads=1) as agent:
        raise KeyboardInterrupt
    assert not is_alive(agent.pid)


def test_threads_reach_the_environment() -> None:
    code = "import os, sys; sys.stdin.readline(); print('{\"ok\": true, \"n\": ' + os.environ['OMP_NUM_THREADS'] + '}')"
    with AgentProcess(AgentStart((sys.executable, "-c", code)), threads=3) as agent:
        assert agent.ask({"op": "any"}, timeout_s=300)["n"] == 3


def test_a_killed_agent_says_by_which_signal() -> None:
    with AgentProcess(local_start(), threads=1) as agent:
        os.kill(agent.pid, signal.SIGKILL)
        with pytest.raises(AgentDiedError, match="killed by signal 9"):
            agent.ask({"op": "info"}, timeout_s=300)


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("import time; time.sleep(6000)", AgentTimeoutError, "no answer to 'info'"),
        ("raise SystemExit('out of luck')", AgentDiedError, "exit code 1: out of luck"),
        ("print('hello', flush=True); input()", AgentDiedError, "'hello"),
        ("print('[1]', flush=True); input()", AgentDiedError, "instead of an answer"),
    ],
)
def test_a_bad_agent_is_noticed(code: str, error: type[Exception], message: str) -> None:
    started = time.monotonic()
    timeout_s = 0.3 if error is AgentTimeoutError else 300
    with (
        AgentProcess(AgentStart((sys.executable, "-c", code)), threads=1) as agent,
        pytest.raises(error, match=message),
    ):
        agent.ask({"op": "info"}, timeout_s=timeout_s)
    assert time.monotonic() - started < 600  # it does not wait for the sleeper
    assert not is_alive(agent.pid)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(MeasurementError, match="cannot start"):
        AgentProcess(AgentStart(("/no/such/program",)), threads=1)
