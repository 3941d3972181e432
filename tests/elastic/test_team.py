from __future__ import annotations

import math
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hwnas.core.task import Split, Task
from hwnas.elastic.augment import augment
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock
from hwnas.elastic.data import batches
from hwnas.elastic.space import ElasticSpace
from hwnas.elastic.supernet import Supernet
from hwnas.elastic.team import GlooTeam, Team, processes_for
from hwnas.elastic.train import REPORT, WEIGHTS, TrainSettings, train_supernet
from hwnas.errors import ClusterError, TrainingError
from hwnas.tasks.digits import load

Scene = Callable[[Team, Path], None]
SETTINGS = TrainSettings(epochs=2, seed=4, batch_size=32, learning_rate=0.1, n_random=1)


def space() -> ElasticSpace:
    def blocks(task: Any) -> list[Any]:
        stem, body = (
            ElasticConvBlock("stem", task.input_shape[0], (4, 8), stride=2),
            ElasticConvBlock("body", 8, (4, 8)),
        )
        return [stem, body, ElasticClassifier(8, task.n_outputs)]

    return ElasticSpace("tiny", blocks)


def batch(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 6, generator=generator), torch.randint(3, (n,), generator=generator)


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def gradients(team: Team, n: int) -> tuple[torch.Tensor, float]:
    """Of the whole batch, and its loss, as the team computes them."""
    model, (inputs, labels) = net(), batch(n)
    part = team.part(inputs)
    loss = F.cross_entropy(model(part), team.part(labels))
    loss.backward()  # type: ignore[no-untyped-call]
    mean = team.average(model, loss.item(), len(part) / n)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]), mean


def listening() -> set[str]:
    """Addresses, in hexadecimal, on which this process listens."""
    own = {
        str(handle.readlink()) for handle in Path("/proc/self/fd").iterdir() if handle.exists() or handle.is_symlink()
    }
    lines = [
        line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    ]
    return {words[1].partition(":")[0] for words in lines if words[3] == "0A" and f"socket:[{words[9]}]" in own}


def one_gradient(team: Team, home: Path, n: int) -> None:
    found, loss = gradients(team, n)
    np.savez(home / f"{team.rank}.npz", found=found.numpy(), loss=loss, told=team.agree(0.1 + team.rank))
    if Path("/proc/net/tcp").exists():
        (home / f"{team.rank}.txt").write_text(" ".join(listening()))


def trainings(team: Team, home: Path) -> None:
    """Two that end, from weights that differ, and one whose data are broken where only one process sees them."""
    task, bound = few(), space().for_task(few())
    for name, settings in (("steps", SETTINGS), ("timed", replace(SETTINGS, epochs=100_000, time_s=0.5))):
        torch.manual_seed(team.rank)
        model, folder = bound.supernet(task), home / f"{name}-{team.rank}"
        folder.mkdir()
        at = train_supernet(model, bound, task, settings, folder=folder, team=team)
        weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).numpy()
        np.savez(home / f"{name}-{team.rank}.npz", weights=weights, epoch=at.epoch, share=at.share, loss=at.loss)
    inputs = task.train.inputs.astype(np.float32)
    inputs[3] = math.nan
    try:
        train_supernet(model, bound, replace(task, train=Split(inputs, task.train.labels)), SETTINGS, team=team)
    except TrainingError as error:
        (home / f"{team.rank}.txt").write_text(str(error))


def loss_of_another(team: Team, home: Path) -> None:
    if team.rank == 1:
        os._exit(9)
    try:
        for _ in range(2):  # the first one may be sent before the other has ended
            gradients(team, 16)
    except ClusterError as error:
        (home / "0.txt").write_text(str(error))


@cache
def few() -> Task:
    whole = load()
    return replace(whole, train=Split(whole.train.inputs[:256], whole.train.labels[:256]))


BATCHES = [(16, 2), (17, 2), (26, 3)]
SCENES: dict[str, tuple[int, Scene]] = {f"{n}-{size}": (size, partial(one_gradient, n=n)) for n, size in BATCHES}
SCENES |= {"trainings": (2, trainings), "loss": (2, loss_of_another)}


def take_part(scene: Scene, rank: int, size: int, door: socket.socket, home: Path) -> None:
    here = door.getsockname()
    if rank > 0:
        door.close()
    scene(GlooTeam(rank, size, here, here[0], door if rank == 0 else None), home)


def main(home: Path) -> None:
    """Play all scenes, each with processes that are forked from this one, which imports everything once."""
    torch.set_num_threads(1)
    few()
    fork = multiprocessing.get_context("fork")
    for name, (size, scene) in SCENES.items():
        (home / name).mkdir()
        with socket.create_server(("127.0.0.1", 0)) as door:
            players = [fork.Process(target=take_part, args=(scene, r, size, door, home / name)) for r in range(size)]
            for player in players:
                player.start()
        for player in players:
            player.join(30)
        print(name, *[player.exitcode for player in players], flush=True)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the scenes left."""
    home, here = tmp_path_factory.mktemp("team"), str(Path(__file__).parent)
    code = "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_team; "
    command = [sys.executable, "-c", code + "test_team.main(Path(sys.argv[2]))", here, str(home)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], text=True, capture_output=True, timeout=120)
    ends = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert ends == {name: ["0"] * size for name, (size, _) in SCENES.items()} | {"loss": ["0", "9"]}, done.stderr
    return home


@pytest.mark.parametrize(("n", "size"), BATCHES)
def test_the_gradient_of_a_team_is_that_of_the_whole_batch(played: Path, n: int, size: int) -> None:
    whole, loss = gradients(Team(), n)
    for rank in range(size):
        found = np.load(played / f"{n}-{size}/{rank}.npz")
        np.testing.assert_allclose(found["found"], whole.numpy(), rtol=1e-5, atol=1e-6)
        assert float(found["loss"]) == pytest.approx(loss, rel=1e-5)
        assert float(found["told"]) == 0.1
        if Path("/proc/net/tcp").exists():
            assert (played / f"{n}-{size}/{rank}.txt").read_text() == "0100007F"


@pytest.mark.parametrize("name", ["steps", "timed"])
def test_all_processes_of_a_team_hold_the_same_weights(played: Path, name: str) -> None:
    """Also if they began with others; a timed training ends everywhere when rank 0's time is up."""
    home = played / "trainings"
    first, second = (np.load(home / f"{name}-{rank}.npz") for rank in range(2))
    for key in ("weights", "epoch", "share", "loss"):
        np.testing.assert_array_equal(first[key], second[key])
    assert np.isfinite(first["weights"]).all()
    assert int(first["epoch"]) == 2 if name == "steps" else 0 < int(first["epoch"]) < 100_000
    assert {path.name for path in (home / f"{name}-0").iterdir()} == {WEIGHTS, REPORT}
    assert not list((home / f"{name}-1").iterdir())


def test_a_loss_that_is_not_finite_ends_all_processes(played: Path) -> None:
    said = "the supernet's loss is nan; lower the learning rate or check the data for NaN"
    assert [(played / f"trainings/{rank}.txt").read_text() for rank in range(2)] == [said, said]


def test_a_process_whose_others_end_says_so(played: Path) -> None:
    said = "a process that trains with this one was lost, or cannot be reached"
    assert (played / "loss/0.txt").read_text() == said


def test_one_process_alone_computes_what_a_plain_loop_computes(few_digits: Task) -> None:
    """The slow twin: the sandwich rule without any team, to the last bit."""
    bound = space().for_task(few_digits)

    def fresh() -> Supernet:
        torch.manual_seed(0)
        return bound.supernet(few_digits)

    model, twin = fresh(), fresh()
    train_supernet(model, bound, few_digits, SETTINGS)
    twin.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    for step in (0, 8):
        rng = np.random.default_rng([SETTINGS.seed, step])
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        for inputs, labels in batches(
            few_digits.train, few_digits.preprocessing, 32, shuffle=True, generator=generator
        ):
            share = step / 16
            optimizer.param_groups[0]["lr"] = 0.1 * min(
                min(1.0, max(share / 0.05, 0.05)), 0.5 * (1 + math.cos(math.pi * share))
            )
            inputs = augment(inputs, few_digits.augmentation, generator)
            optimizer.zero_grad(set_to_none=True)
            students = [bound.smallest(), bound.sample(rng)]
            logits = twin(inputs, dict(bound.largest()))
            F.cross_entropy(logits.float(), labels, label_smoothing=0.0).backward()  # type: ignore[no-untyped-call]
            target = logits.detach().float().softmax(1)
            for student in students:
                loss = F.cross_entropy(twin(inputs, dict(student)).float(), target, label_smoothing=0.0)
                loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(twin.parameters(), 15.0)
            optimizer.step()
            step += 1
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize(("size", "most", "expected"), [(64, 4, 4), (64, 99, 8), (20, 4, 2), (7, 4, 1), (1, 1, 1)])
def test_each_process_sees_at_least_eight_samples(size: int, most: int, expected: int) -> None:
    assert processes_for(size, most) == expected
