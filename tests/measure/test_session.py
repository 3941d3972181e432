from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.measurement import Measurement
from hwnas.core.runtime import ExportSpec
from hwnas.errors import ConfigError
from hwnas.measure import session as session_module
from hwnas.measure.process import AgentProcess, AgentStart, local_start
from hwnas.measure.session import MeasureItem, MeasurementFailure, measure_files
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.testing.networks import small_network

SHAPE = (3, 16, 16)


def item(path: Path, name: str) -> MeasureItem:
    return MeasureItem(Candidate(Architecture.of("test", {"name": name})), path, "fp32", SHAPE)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[MeasureItem]:
    folder, found = tmp_path_factory.mktemp("models"), []
    for width in (8, 64):
        path = folder / f"{width}.onnx"
        OnnxRuntime().export(small_network(width=width), ExportSpec(precision="fp32", input_shape=SHAPE), path)
        found.append(item(path, str(width)))
    return found


def measure(items: list[MeasureItem], **settings: object) -> list[Measurement | MeasurementFailure]:
    wanted: dict[str, object] = {"device": "cpu", "runtime": "onnxruntime", "threads": 1, "seconds_per_model": 0.2}
    return measure_files(items, **(wanted | settings))  # type: ignore[arg-type]


def test_measures_all_in_order_with_raw_rounds(items: list[MeasureItem]) -> None:
    steps: list[tuple[int, int]] = []
    found = measure(items, on_progress=lambda done, total: steps.append((done, total)))
    for wanted, got in zip(items, found, strict=True):
        assert isinstance(got, Measurement)
        assert got.candidate == wanted.candidate
        assert len(got.samples_ms) >= 12
        assert all(len(samples) >= 5 for samples in got.samples_ms)
        assert (got.device, got.runtime, got.runtime_version) == ("cpu", "onnxruntime", OnnxRuntime().version())
        assert (got.threads, got.batch, got.input_shape, got.precision) == (1, 1, SHAPE, "fp32")
        assert got.stable is not None
        assert got.warmup is not None
        assert got.warmup >= 10
        assert Measurement.from_json(got.to_json()) == got
    small, large = (got.percentile_ms(10) for got in found if isinstance(got, Measurement))
    assert small < large
    assert steps == sorted(steps)
    assert steps[-1] == (2, 2)


def test_broken_files_are_failures_and_the_rest_goes_on(items: list[MeasureItem], tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    broken, absent = item(tmp_path / "broken.onnx", "broken"), item(tmp_path / "absent.onnx", "absent")
    found = measure([broken, items[0], absent])
    assert isinstance(found[0], MeasurementFailure)
    assert "INVALID_PROTOBUF" in found[0].reason or "Protobuf" in found[0].reason
    assert isinstance(found[1], Measurement)
    assert isinstance(found[2], MeasurementFailure)
    assert "absent.onnx" in found[2].reason


# An agent that misbehaves when it is asked to load "bad.onnx", and is the real one for every other model.
MISBEHAVING = """
import importlib.util, json, os, sys, time
spec = importlib.util.spec_from_file_location("agent", sys.argv[1])
agent = importlib.util.module_from_spec(spec)
spec.loader.exec_module(agent)
load = agent.load
def bad_load(models, request):
    if request["path"].endswith("bad.onnx"):
        {deed}
    return load(models, request)
agent.OPERATIONS["load"] = bad_load
agent.main()
"""


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("os.abort()", "killed by signal 6"),
        ("os._exit(3)", "exit code 3"),
        ("time.sleep(6000)", "no answer to 'load'"),
    ],
)
def test_a_model_that_ends_the_agent_is_a_failure(
    deed: str, reason: str, items: list[MeasureItem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()
    assert isinstance(measure(items[:1])[0], Measurement)
    # As long as this machine needs for an honest agent, several times over, and no longer.
    monkeypatch.setattr(session_module, "LOAD_TIMEOUT_S", max(3.0, 4 * (time.monotonic() - started)))
    script = tmp_path / "misbehaving.py"
    script.write_text(MISBEHAVING.replace("{deed}", deed))
    bad = item(tmp_path / "bad.onnx", "bad")
    found = measure(
        [items[0], bad, items[1]], start=AgentStart((sys.executable, "-P", str(script), local_start().command[-1]))
    )
    assert isinstance(found[0], Measurement)
    assert isinstance(found[1], MeasurementFailure)
    assert reason in found[1].reason
    assert isinstance(found[2], Measurement)


SENSING = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("agent", sys.argv[1])
agent = importlib.util.module_from_spec(spec)
spec.loader.exec_module(agent)

class Sensor:
    name = "made up"
    def during(self, work):
        work()
        return 30.0

agent._energy_sensor = lambda runtime: Sensor()
agent.main()
"""


def test_energy_is_kept_where_there_is_a_sensor(items: list[MeasureItem], tmp_path: Path) -> None:
    script = tmp_path / "sensing.py"
    script.write_text(SENSING)
    start = AgentStart((sys.executable, "-P", str(script), local_start().command[-1]))
    for found in measure(items, start=start):
        assert isinstance(found, Measurement)
        assert found.energy_mj is not None
        assert 0 < found.energy_mj <= 3.0  # 30 mJ of ten calls or more


def test_an_agent_killed_in_the_middle_loses_nothing(items: list[MeasureItem], monkeypatch: pytest.MonkeyPatch) -> None:
    agents: list[AgentProcess] = []

    class Watched(AgentProcess):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            agents.append(self)

    monkeypatch.setattr(session_module, "AgentProcess", Watched)

    killed: list[int] = []

    def kill_once(done: int, total: int) -> None:
        if done == 1 and not killed:
            killed.append(agents[-1].pid)
            os.kill(killed[0], signal.SIGKILL)

    found = measure(items, on_progress=kill_once)
    assert killed
    assert len(agents) in (4, 5)  # four that take turns, and one more unless the killed one's turn was just over
    assert all(isinstance(got, Measurement) and len(got.samples_ms) >= 12 for got in found)


def test_an_interruption_leaves_no_agent(items: list[MeasureItem], monkeypatch: pytest.MonkeyPatch) -> None:
    agents: list[AgentProcess] = []

    class Watched(AgentProcess):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            agents.append(self)

    monkeypatch.setattr(session_module, "AgentProcess", Watched)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(items, on_progress=interrupt)
    assert len(agents) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(agents[0].pid, 0)


def test_what_stays_unstable_is_marked_and_keeps_all_samples(items: list[MeasureItem], tmp_path: Path) -> None:
    # Each round has a speed of its own, whatever the machine does.
    script = tmp_path / "erratic.py"
    script.write_text(
        "import json, sys\n"
        "rounds = 0\n"
        "for line in sys.stdin:\n"
        "    request, answer = json.loads(line), {'ok': True}\n"
        "    if request['op'] == 'run':\n"
        "        rounds += 1\n"
        "        answer['samples_ms'] = [2.0 * 1.07 ** (rounds * 7 % 24)] * request['calls']\n"
        "    print(json.dumps(answer), flush=True)\n"
    )
    (found,) = measure(items[:1], start=AgentStart((sys.executable, str(script))))
    assert isinstance(found, Measurement)
    assert found.stable is False
    assert len(found.samples_ms) % 3 == 0  # one pass and two repeats
    assert len(found.samples_ms) >= 36
    assert found.runtime_version is None


def test_more_models_than_one_group(items: list[MeasureItem], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "GROUP", 1)
    found = measure(items)
    assert [got.candidate for got in found] == [wanted.candidate for wanted in items]


def test_nothing_to_measure() -> None:
    assert measure([]) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runtime": "abacus"}, "allowed: aotinductor, executorch, litert, "),
        ({"threads": 0}, "threads must be >= 1"),
        ({"seconds_per_model": 0.0}, "seconds_per_model > 0"),
        ({"seconds_per_model": float("nan")}, "seconds_per_model > 0"),
    ],
)
def test_bad_settings(settings: dict[str, object], message: str, items: list[MeasureItem]) -> None:
    with pytest.raises(ConfigError, match=message):
        measure(items, **settings)


def test_importing_is_light() -> None:
    code = "import sys, hwnas.measure.collect; assert not {'torch', 'onnxruntime', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
