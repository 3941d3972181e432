from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from run_files import trial_rows
from safetensors.torch import load_file
from torch import Tensor, nn
from typer.testing import CliRunner

from hwnas.cli.main import app
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import Split, Task
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock
from hwnas.elastic.space import ElasticSpace
from hwnas.elastic.train import TrainSettings, position
from hwnas.errors import ClusterError, TrainingError
from hwnas.search.cluster import Cluster, _reach, connected
from hwnas.search.config import SearchConfig
from hwnas.search.events import Silent
from hwnas.search.ladder import CLOSER, LADDER
from hwnas.search.run import run_search
from hwnas.search.trainers import train_on
from hwnas.store import read_front, sha256_of

if importlib.util.find_spec("ray") is None:
    pytest.skip("needs Ray: pip install 'hwnas[cluster]'", allow_module_level=True)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[Cluster]:
    """A Ray of two CPUs on this machine; searches on the cluster "local" use what their process is connected to."""
    with connected("local") as cluster:
        assert cluster is not None
        cluster.connect(num_cpus=2)
        yield cluster


@pytest.fixture
def two_cpus(local_ray: Cluster) -> Cluster:
    """The same, with both of them free: the processes of the search before have ended."""
    for _ in range(600):
        if local_ray.ray.available_resources().get("CPU") == 2:
            break
        time.sleep(0.05)
    assert local_ray.share() == (2, {"num_cpus": 1, "num_gpus": 0})
    return local_ray


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    return SearchConfig(
        devices=("jetson-nano",), n_trials=10, n_front=3, precisions=("fp32",), out=tmp_path / "run", cluster="local"
    )


@pytest.fixture
def few(few_digits: Task) -> Task:
    return replace(few_digits, augmentation="none")


def logging_space(log: Path, widths: tuple[int, ...], pause_s: float = 0.0, deadly: int | None = None) -> SearchSpace:
    """A plain space that writes down which processes build its networks; it is sent to them whole."""
    here = os.getpid()

    def build(architecture: Any, task: Any) -> nn.Module:
        if os.getpid() != here:
            with log.open("a") as file:
                file.write(f"{os.getpid()} {architecture['width']}\n")
            if architecture["width"] == deadly:
                os._exit(1)
            time.sleep(pause_s)
        width = architecture["width"]
        return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, task.n_outputs))

    return SearchSpace("mlp", [Choice("width", widths)], build)


def elastic_space(log: Path | None = None, pause_s: float = 0.0, *, deadly: bool = False) -> ElasticSpace:
    """A weight-shared space; it writes down which processes train its networks, with how many samples at a time."""
    here = os.getpid()

    class Logging(ElasticClassifier):
        def forward(self, x: Tensor, values: Any) -> Tensor:
            if log is not None and self.training and os.getpid() != here:
                with log.open("a") as file:
                    file.write(f"{os.getpid()} {len(x)}\n")
                if deadly:
                    os._exit(1)
                time.sleep(pause_s)
            return super().forward(x, values)

    def blocks(task: Any) -> list[Any]:
        return [
            ElasticConvBlock("stem.width", task.input_shape[0], (4, 8), stride=2),
            ElasticConvBlock("body.width", 8, (8, 16), stride=2),
            ElasticConvBlock("head.width", 16, (8, 16, 24), kernel=1),
            Logging(24, task.n_outputs),
        ]

    return ElasticSpace("small", blocks)


def check(run: Path, n: int) -> None:
    """So many candidates, none twice, and every file of the front is there as it was made."""
    ids = [row["id"] for row in trial_rows(run)]
    assert len(ids) == len(set(ids)) == n
    front = read_front(run)
    assert front.models
    for model in front.models:
        assert model.accuracy_detail.source == "deployed-file"
        for artifact in model.artifacts.values():
            assert sha256_of(run / artifact.path) == artifact.sha256
    assert not list(run.rglob("*.part"))


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def listening() -> set[str]:
    """Addresses, in hexadecimal, on which this process and those below it listen."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    sockets = set()
    for pid in family:
        for handle in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(str(handle.readlink()))
            except OSError:
                continue
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {words[1].partition(":")[0] for words in lines if words[3] == "0A" and f"socket:[{words[9]}]" in sockets}


def test_the_processes_of_a_cluster_share_a_search(
    two_cpus: Cluster, config: SearchConfig, few: Task, recorder: Any, tmp_path: Path
) -> None:
    log, widths = tmp_path / "log", tuple(range(4, 14))
    result = run_search(config, recorder, space=logging_space(log, widths, 0.1), task=few)
    check(result.run_dir, 10)
    assert recorder.phases == ["search", CLOSER, "finish"]
    assert recorder.steps["search"] == 10
    assert "processes on the cluster that evaluate and finish: 2" in recorder.notes
    pids = {line.split()[0] for line in log.read_text().splitlines()}
    assert len(pids) == 2
    assert str(os.getpid()) not in pids
    closer = (result.run_dir / LADDER).read_text().splitlines()
    assert len(closer) == recorder.steps[CLOSER] == 4
    assert len(list((result.run_dir / "trained").glob("*.safetensors"))) == 10 + len(closer)
    # Ten of ten candidates were evaluated: here, each is found to be as accurate.
    here = run_search(replace(config, cluster=None, out=tmp_path / "here"), space=logging_space(log, widths), task=few)
    accuracies = [{row["id"]: row["accuracy"] for row in trial_rows(run)} for run in (result.run_dir, here.run_dir)]
    assert accuracies[0] == accuracies[1]
    tests = [{model.id: model.accuracy for model in read_front(run).models} for run in (result.run_dir, here.run_dir)]
    assert {name: tests[0][name] for name in tests[1]} == tests[1]
    # Nobody listens to others than this machine.
    if Path("/proc/net/tcp").exists():
        assert listening() <= LOOPBACK


def test_a_supernet_is_sent_and_one_process_finds_what_is_found_here(
    two_cpus: Cluster, config: SearchConfig, few: Task, tmp_path: Path
) -> None:
    config = replace(config, n_trials=6, precisions=("fp32", "fp16"))
    here = run_search(replace(config, cluster=None, out=tmp_path / "here"), space=elastic_space(), task=few)
    folder, log = tmp_path / "run", tmp_path / "log"
    busy = two_cpus.ray.remote(num_cpus=1)(type("Busy", (), {"answer": lambda self: True})).remote()
    two_cpus.ray.get(busy.answer.remote())
    try:
        result = run_search(config, space=elastic_space(log), task=few)
    finally:
        two_cpus.ray.kill(busy)
    assert result.run_dir == folder
    check(folder, 6)
    assert len({line.split()[0] for line in log.read_text().splitlines()}) == 1  # it was trained there
    assert trial_rows(folder) == trial_rows(here.run_dir)
    facts = [{m.id: (m.accuracy, m.size_bytes) for m in read_front(run).models} for run in (folder, here.run_dir)]
    assert {name: fact for name, fact in facts[0].items() if name in facts[1]} == facts[1]


def test_a_process_that_is_killed_costs_nothing(
    two_cpus: Cluster, config: SearchConfig, few: Task, recorder: Any, tmp_path: Path
) -> None:
    log, killed = tmp_path / "log", list[tuple[str, str]]()

    def kill() -> None:
        for _ in range(2400):
            lines = log.read_text().splitlines() if log.exists() else []
            if len(lines) >= 4:
                pid, width = lines[-1].split()
                os.kill(int(pid), signal.SIGKILL)
                killed.append((pid, width))
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    result = run_search(config, recorder, space=logging_space(log, tuple(range(4, 40)), 0.5), task=few)
    killer.join()
    check(result.run_dir, 10)
    lost = [note for note in recorder.notes if "was lost" in note]
    assert len(lost) == 1
    assert "evaluated again by another" in lost[0]
    ((dead, width),) = killed
    assert f"process {dead} on " in lost[0]
    doers = [line.split()[0] for line in log.read_text().splitlines() if line.split()[1] == width]
    assert doers[0] == dead
    assert {*doers[1:]} - {dead}


def test_two_processes_train_a_supernet(
    two_cpus: Cluster, config: SearchConfig, few: Task, recorder: Any, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    result = run_search(replace(config, n_trials=4, n_front=2), recorder, space=elastic_space(log), task=few)
    check(result.run_dir, 4)
    assert recorder.phases[0] == "train the supernet"
    assert recorder.steps["train the supernet"] == 1000
    training, searching = [note for note in recorder.notes if "processes on the cluster" in note]
    assert training == "processes on the cluster that train the supernet: 2"
    assert searching == "processes on the cluster that evaluate and finish: 2"  # those that trained have ended
    assert len({line.split()[0] for line in log.read_text().splitlines()}) == 2
    assert {line.split()[1] for line in log.read_text().splitlines()} == {"32"}  # of batches of 64
    assert json.loads((result.run_dir / "supernet.json").read_text())["finished"]


COURSE = TrainSettings(epochs=6, seed=4, batch_size=32, learning_rate=0.1, n_random=1)


def train_in(folder: Path, cluster: Cluster, task: Task, space: ElasticSpace, listener: Any, stop_at: int = 99) -> Any:
    """Train in a folder, until so manieth epoch is in it; the weights."""

    def on_step(_: Any) -> None:
        if position(COURSE, folder).epoch >= stop_at:
            if Path("/proc/net/tcp").exists():
                assert listening() <= LOOPBACK
            raise KeyboardInterrupt

    folder.mkdir(exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = space.supernet(task)
    course = (net, space.for_task(task), task, COURSE)
    train_on(cluster, *course, folder=folder, listener=listener, on_step=on_step)
    return load_file(folder / "supernet.safetensors")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def unbroken(local_ray: Cluster, few_digits: Task, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The weights that two processes train without anything happening to them."""
    task = replace(few_digits, augmentation="none")
    return train_in(tmp_path_factory.mktemp("unbroken"), local_ray, task, elastic_space(), Silent())


def kill_one(victim: int, folder: Path, log: Path) -> None:
    """Kill a process when two epochs are in the folder."""
    for _ in range(2400):
        if (folder / "supernet.safetensors").exists() and position(COURSE, folder).epoch >= 2:
            os.kill(pids_of(log)[victim], signal.SIGKILL)
            return
        time.sleep(0.02)


def pids_of(log: Path) -> list[int]:
    return sorted({int(line.split()[0]) for line in log.read_text().splitlines()})


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_neither_a_process_that_is_killed_nor_an_interruption_costs_more_than_an_epoch(
    two_cpus: Cluster, unbroken: Any, few: Task, recorder: Any, tmp_path: Path, victim: int
) -> None:
    log, broken = tmp_path / "log", tmp_path / "broken"
    killer = threading.Thread(target=kill_one, args=(victim, broken, log))
    killer.start()
    with pytest.raises(KeyboardInterrupt):
        train_in(broken, two_cpus, few, elastic_space(log, 0.02), recorder, stop_at=5)
    killer.join()
    assert two_cpus.share()[0] == 2  # the processes have ended
    (lost,) = [note for note in recorder.notes if "lost" in note]
    assert any(lost.startswith(f"process {pid} on ") for pid in pids_of(log))
    assert 3 <= int(lost.split("epoch ")[1].split()[0]) <= 6
    assert lost.endswith("of the supernet is trained again by others")
    assert len(pids_of(log)) == 4
    at = position(COURSE, broken).epoch
    log.unlink()
    weights = train_in(broken, two_cpus, few, elastic_space(log), recorder)
    assert len(log.read_text().splitlines() if log.exists() else []) == 2 * 3 * 8 * (6 - at)  # of the epochs after it
    assert same(weights, unbroken)
    log.unlink(missing_ok=True)
    train_in(broken, two_cpus, few, elastic_space(log), recorder)
    assert not log.exists()  # nothing was left to train
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_all_processes(
    two_cpus: Cluster, few: Task, recorder: Any, tmp_path: Path
) -> None:
    inputs = few.train.inputs.astype("float32")
    inputs[3] = float("nan")  # which one of the two sees
    task = replace(few, train=Split(inputs, few.train.labels))
    with pytest.raises(TrainingError, match=r"^the supernet's loss is nan; lower the learning rate"):
        train_in(tmp_path / "run", two_cpus, task, elastic_space(), recorder)
    assert not [note for note in recorder.notes if "lost" in note]


@pytest.mark.slow
def test_a_space_that_kills_its_processes_ends_the_search(
    two_cpus: Cluster, few: Task, recorder: Any, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with pytest.raises(ClusterError, match=r"^3 times processes on the cluster ended over epoch 1 of the supernet"):
        train_in(tmp_path / "run", two_cpus, few, elastic_space(log, deadly=True), recorder)
    assert sum("trained again by others" in note for note in recorder.notes) == 2


@pytest.mark.slow
def test_a_candidate_that_kills_its_process_is_left_out(
    two_cpus: Cluster, config: SearchConfig, few: Task, recorder: Any, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    space = logging_space(log, (4, 6, 8), deadly=6)
    result = run_search(replace(config, n_front=1), recorder, space=space, task=few)
    check(result.run_dir, 2)
    assert [line.split()[1] for line in log.read_text().splitlines()].count("6") == 3
    assert sum("was lost" in note for note in recorder.notes) == 2
    assert any("3 processes on the cluster ended over it" in note for note in recorder.notes)


SCRIPT = """
import sys
from pathlib import Path

from torch import nn

import hwnas


def build(architecture, task):
    width = architecture["width"]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, task.n_outputs))


class Lines:
    def phase(self, name, total): print("phase", name, flush=True)
    def advance(self, n=1, **info): print("advance", n, flush=True)
    def note(self, text): print("note", text, flush=True)
    def done(self): pass


if __name__ == "__main__":
    space = hwnas.SearchSpace("mlp", [hwnas.Choice("width", tuple(range(4, 60)))], build)
    hwnas.search(device="jetson-nano", precision="fp32", space=space, trials=40, n_front=2, out="run", cluster="local",
                 listener=Lines())
"""


def test_a_cluster_of_ones_own_ends_with_an_interrupted_search(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text(SCRIPT)
    command, pipe = [sys.executable, "part.py"], subprocess.PIPE
    process = subprocess.Popen(command, cwd=tmp_path, text=True, stdout=pipe, stderr=pipe, start_new_session=True)
    said, told = [], 0
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        told += line.startswith("advance")
        if told == 3:
            own = [*Path("/tmp").glob(f"hwnas-ray-*/session_*_{process.pid}")]
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everybody that was begun there
            break
    rest, errors = process.communicate(timeout=60)
    said += rest.splitlines(keepends=True)
    assert told == 3, errors
    assert "KeyboardInterrupt" in errors
    assert [line for line in said if line.split()[0] not in ("phase", "advance", "note")] == []
    assert len(own) == 1
    assert not own[0].parent.exists()
    for path in Path("/proc").glob("[0-9]*/cwd"):  # nobody is left that was begun there
        try:
            assert not path.readlink().is_relative_to(tmp_path)
        except OSError:
            continue
    done = (tmp_path / "run/study.journal").read_text().count('"accuracy"')
    assert done >= 3


def one_line(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line]
    assert len(lines) == 1, errors
    return lines[0]


def searched(tmp_path: Path, *words: str) -> str:
    start = "from hwnas.cli.main import main; main()"
    command = [sys.executable, "-c", start, "search", "--device", "jetson", "--out", "run", *words]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=120)
    assert done.returncode == 1, done.stderr
    return one_line(done.stderr)


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    said = searched(tmp_path, "--cluster", "127.0.0.1:1")
    assert said.startswith("error: cluster '127.0.0.1:1' cannot be used: ")
    assert said.endswith("check the address and that `ray start --head` runs there, or use --cluster local")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("answer", "said"), [(b"HTTP/1.1 400 Bad Request\r\n", "is not Ray"), (b"", "is not Ray")])
def test_what_listens_and_is_not_ray(answer: bytes, said: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

        served = threading.Thread(target=serve)
        served.start()
        with pytest.raises(ClusterError, match=said):
            _reach(f"127.0.0.1:{server.getsockname()[1]}")
        served.join()


def test_what_listens_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.search.cluster.REACH_S", 0.2)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(ClusterError, match="timed out"):
            _reach(f"127.0.0.1:{server.getsockname()[1]}")


def test_joining_a_cluster_that_runs(two_cpus: Cluster) -> None:
    code = (
        "import sys\n"
        "from hwnas.search.cluster import connected\n"
        "with connected(sys.argv[1]) as cluster:\n"
        "    print(cluster.share()[0])\n"
    )
    address = two_cpus.ray.get_runtime_context().gcs_address
    done = subprocess.run([sys.executable, "-c", code, address], text=True, capture_output=True, timeout=120)
    assert (done.stdout, done.returncode) == ("2\n", 0), done.stderr
    assert two_cpus.share()[0] == 2  # it was left, and goes on


def test_a_cluster_with_another_version(tmp_path: Path) -> None:
    """A Ray on this machine whose processes find another hwnas than the one that searches."""
    other = tmp_path / "site" / "hwnas-9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: hwnas\nVersion: 9.9\n")
    code = (
        "import os, sys\n"
        "from hwnas.errors import ClusterError\n"
        "from hwnas.search.cluster import connected\n"
        "os.environ['PYTHONPATH'] = sys.argv[1]\n"
        "with connected('local') as cluster:\n"
        "    cluster.connect(num_cpus=1)\n"
        "    try:\n"
        "        cluster.check_versions()\n"
        "    except ClusterError as error:\n"
        "        print(error)\n"
    )
    command = [sys.executable, "-c", code, str(other.parent)]
    # Not in the checkout, whose own metadata come first there.
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=120, check=False)
    assert done.stdout.startswith("the cluster has hwnas 9.9 on 127.0.0.1, here is 0."), done.stderr
    assert one_line(done.stdout)


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    out = tmp_path / "run"
    done = CliRunner().invoke(app, ["search", "--device", "jetson", "--cluster", "local", "--out", str(out)])
    assert done.exit_code == 1
    assert one_line(done.stderr) == "error: --cluster needs Ray: pip install 'hwnas[cluster]'"
    assert not out.exists()


def test_ray_is_imported_by_nobody_else() -> None:
    code = "import sys, hwnas, hwnas.search.run, hwnas.cli.main; print('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], text=True, capture_output=True).stdout.strip() == "False"
