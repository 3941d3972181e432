from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from hwnas.errors import RunFolderError
from hwnas.search.watch import watch_server
from hwnas.store import write_json
from hwnas.testing.front import example_front

COMMAND = [sys.executable, "-c", "from hwnas.cli.main import main; main()", "watch"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_json(tmp_path / "front.json", example_front().to_json())
    return tmp_path


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=20) as answer:
        found: bytes = answer.read()
    return found


def test_the_page_and_what_it_asks_for(run: Path) -> None:
    files = sorted(run.rglob("*"))
    with watch_server(run) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        page = get(server.address)
        state, data = (json.loads(get(f"{server.address}{name}.json")) for name in ("state", "data"))
        write_json(run / "front.json", example_front(("cpu",)).to_json())
        later = json.loads(get(f"{server.address}state.json"))
        server.shutdown()
        thread.join()
    assert b"connect-src 'self'" in page
    assert (state["progress"], data["live"], len(data["models"])) == (None, True, 8)
    assert state["version"] == data["version"] != later["version"]
    assert sorted(run.rglob("*")) == files  # looking writes nothing


def test_a_run_that_is_not_there_opens_no_port(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError):
        watch_server(tmp_path / "none")


def test_the_command_serves_until_it_is_interrupted(run: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, str(run)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"PATH": ""}
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found is not None
        assert "no browser was found" in process.stdout.readline()
        assert b"<html" in get(found.group())
        taken = found.group().rsplit(":", 1)[1].strip("/")
        other = subprocess.run([*COMMAND, str(run), "--port", taken], capture_output=True, text=True, check=False)
        process.send_signal(signal.SIGINT)
        process.wait(30)
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (0, "")
    assert other.returncode == 1
    assert other.stderr == f"error: port {taken} is in use; give another --port, or none for a free one\n"
