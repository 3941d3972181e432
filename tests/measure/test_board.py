from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from loopback import Loopback

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.device import Device
from hwnas.core.measurement import Measurement
from hwnas.core.runtime import ExportSpec
from hwnas.errors import MeasurementError
from hwnas.measure.board import agent_of, describe_board, flags_of
from hwnas.measure.process import AgentProcess
from hwnas.measure.session import MeasureItem, MeasurementFailure, measure_files
from hwnas.runtimes.cpu_flags import read_cpu_flags
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.testing.networks import small_network

SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("board") / "m.onnx"
    OnnxRuntime().export(small_network(), ExportSpec(precision="fp32", input_shape=SHAPE), path)
    return path


def items(*paths: Path) -> list[MeasureItem]:
    return [
        MeasureItem(Candidate(Architecture.of("s", {"n": number})), path, "fp32", SHAPE)
        for number, path in enumerate(paths)
    ]


def measure(board: Loopback, given: list[MeasureItem], **settings: object) -> list[Measurement | MeasurementFailure]:
    wanted: dict[str, object] = {"start": agent_of(board.device), "seconds_per_model": 0.3} | settings
    return measure_files(given, device="loopback", runtime="onnxruntime", threads=1, **wanted)  # type: ignore[arg-type]


def left_behind() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("hwnas-agent-*"))


def assert_gone(before: set[Path]) -> None:
    """The agent ends after its host, and tests beside this one have agents of their own."""
    end_s = time.monotonic() + 60
    while not left_behind() <= before and time.monotonic() < end_s:
        time.sleep(0.1)
    assert left_behind() <= before


def test_the_board_is_described(loopback: Loopback) -> None:
    found = describe_board(loopback.device)
    assert found["runtime_version"] == OnnxRuntime().version()
    assert set(found["cpu_flags"]) == read_cpu_flags()
    assert found["memory_bytes"] > 10**8


def test_models_are_sent_timed_and_taken_away(loopback: Loopback, model: Path) -> None:
    before = left_behind()
    for found in measure(loopback, items(model, model)):
        assert isinstance(found, Measurement)
        assert found.device == "loopback"
        assert found.runtime_version == OnnxRuntime().version()
    assert_gone(before)


def test_a_connection_that_is_cut_costs_nothing(loopback: Loopback, model: Path) -> None:
    cut: list[int] = []

    def on_progress(done: int, total: int) -> None:
        if not cut and done:
            cut.append(loopback.hang_up())

    found = measure(loopback, items(model, model, model), on_progress=on_progress)
    assert cut
    assert cut[0] > 0
    assert all(isinstance(result, Measurement) for result in found)


def test_a_board_that_stays_away_keeps_what_was_measured(loopback: Loopback, model: Path) -> None:
    start = replace(agent_of(loopback.device), patience_s=2.0)
    ended = threading.Event()

    def on_progress(done: int, total: int) -> None:
        if done and not ended.is_set():
            ended.set()
            loopback.server.kill()
            loopback.hang_up()

    found = measure(loopback, items(model, model, model), on_progress=on_progress, start=start)
    assert ended.is_set()
    assert all(isinstance(result, Measurement) or "does not come back" in result.reason for result in found)


def test_a_model_that_the_board_cannot_load_is_marked(loopback: Loopback, model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    bad, good = measure(loopback, items(broken, model))
    assert isinstance(bad, MeasurementFailure)
    assert isinstance(good, Measurement)


def test_an_unknown_host_key_is_refused(loopback: Loopback) -> None:
    (loopback.folder / "known_hosts").write_text("")
    with pytest.raises(MeasurementError, match="host key is unknown or has changed"):
        describe_board(loopback.device)


def test_a_changed_host_key_is_refused(loopback: Loopback) -> None:
    known = (loopback.folder / "known_hosts").read_text().split()[0]
    other = (loopback.folder / "key.pub").read_text().split()[:2]
    (loopback.folder / "known_hosts").write_text(f"{known} {' '.join(other)}\n")
    with pytest.raises(MeasurementError, match="host key is unknown or has changed"):
        describe_board(loopback.device)


def test_a_wrong_key_is_refused(loopback: Loopback) -> None:
    (loopback.folder / "authorized_keys").write_text("")
    with pytest.raises(MeasurementError, match="refuses the key"):
        describe_board(loopback.device)


def test_a_full_disk_there_is_said(loopback: Loopback, model: Path, tmp_path: Path) -> None:
    before, python = left_behind(), tmp_path / "python"
    # Files of this process end after a block, as on a full disk.
    python.write_text(f'#!/bin/sh\nulimit -f 1\nexec {loopback.device.python} "$@"\n')
    python.chmod(0o755)
    found = measure(loopback, items(model), start=agent_of(replace(loopback.device, python=str(python))))
    assert isinstance(found[0], MeasurementFailure)
    assert "File too large" in found[0].reason
    assert_gone(before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"python": "/no/such/python"}, "name it with --python"),
        ({"runtime": "abacus"}, "\\(abacus\\) cannot be timed; add the board as one of your own"),
        ({"runtime": "onnxruntime-cuda"}, "-m pip install onnxruntime-gpu"),
        ({"host": "no-such-board.invalid"}, "no such host"),
    ],
)
def test_what_is_missing_is_said(loopback: Loopback, change: dict[str, str], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        describe_board(replace(loopback.device, **change))  # type: ignore[arg-type]


def test_a_port_where_nobody_listens(loopback: Loopback) -> None:
    loopback.server.kill()
    loopback.server.wait()
    with pytest.raises(MeasurementError, match="nothing answers there"):
        describe_board(loopback.device)


def test_no_file_leaves_its_folder_there(loopback: Loopback) -> None:
    with AgentProcess(agent_of(loopback.device), threads=1) as agent:
        agent.ask({"op": "info"}, timeout_s=300)
        with pytest.raises(MeasurementError, match="no plain file name"):
            agent.ask({"op": "put", "name": "../a.onnx", "data": ""}, timeout_s=300)


def test_what_a_killed_agent_left_is_taken_away_by_the_next(loopback: Loopback, model: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = Path(tempfile.mkdtemp(prefix=f"hwnas-agent-{gone.pid}-"))
    (left / "m.onnx").write_bytes(b"0")
    measure(loopback, items(model))
    assert not left.exists()


def test_a_device_that_nobody_reaches() -> None:
    device = Device(name="far", title="far", kind="cpu", runtime="onnxruntime")
    with pytest.raises(MeasurementError, match="hwnas device add NAME --host"):
        agent_of(device)
    assert flags_of(device) == frozenset()


ADB = """#!/bin/sh
# Plays adb: the words that it must be given, and the shell of a device that is this machine.
test "$1 $2 $3 $4" = "-s phone-1 shell -T" || { echo "adb: no devices/emulators found" >&2; exit 1; }
shift 4
exec sh -c "$*"
"""


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    script = tmp_path / "adb"
    script.write_text(ADB)
    script.chmod(0o755)
    monkeypatch.setenv("HWNAS_ADB_COMMAND", str(script))
    return Device(
        name="phone", title="a phone", kind="cpu", runtime="onnxruntime", precisions=("fp32",), reach="adb",
        host="adb:phone-1", python=sys.executable,
    )  # fmt: skip


def test_a_phone_is_measured_over_adb(phone: Device, model: Path) -> None:
    before = left_behind()
    assert describe_board(phone)["runtime_version"] == OnnxRuntime().version()
    start = agent_of(phone)
    (found,) = measure_files(
        items(model), device="phone", runtime="onnxruntime", threads=1, seconds_per_model=0.2, start=start
    )
    assert isinstance(found, Measurement)
    assert_gone(before)


@pytest.mark.parametrize(
    ("changes", "hint"),
    [({"host": "adb:other"}, "adb sees no device"), ({"python": "python9"}, "there is no such Python")],
)
def test_what_is_wrong_with_a_phone_is_said(changes: dict[str, str], hint: str, phone: Device) -> None:
    with pytest.raises(MeasurementError, match=hint):
        describe_board(replace(phone, **changes))  # type: ignore[arg-type]
