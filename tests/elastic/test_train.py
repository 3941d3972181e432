from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hwnas.elastic.train
from hwnas.accuracy.recalibrate import recalibrate
from hwnas.core.task import Split, Task, TaskLike
from hwnas.elastic.block import ElasticBlock
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock
from hwnas.elastic.data import accuracy, normalised
from hwnas.elastic.inverted_residual import ElasticInvertedResidual
from hwnas.elastic.space import ElasticSpace
from hwnas.elastic.supernet import Supernet
from hwnas.elastic.train import Progress, TrainSettings, _Clock, load_supernet, train_supernet
from hwnas.errors import ConfigError, RunFolderError, TrainingError

SETTINGS = TrainSettings(epochs=3, seed=4, batch_size=32, learning_rate=0.1, n_random=1)


def blocks(task: TaskLike) -> Sequence[ElasticBlock]:
    stage = ElasticInvertedResidual("s", 0, 8, (8, 12), (1,), kernels=(3, 5), expansions=(2, 3), stride=2)
    return [ElasticConvBlock("stem", task.input_shape[0], (8,)), stage, ElasticClassifier(12, task.n_outputs)]


TINY = ElasticSpace("tiny", blocks)


def fresh(task: Task) -> Supernet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TINY.supernet(task)


def trained(
    task: Task, settings: TrainSettings = SETTINGS, folder: Path | None = None
) -> tuple[Supernet, Progress, list[Progress]]:
    net, steps = fresh(task), []
    at = train_supernet(net, TINY.for_task(task), task, settings, folder=folder, on_step=steps.append)
    return net, at, steps


def weights(net: Supernet) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def test_the_loss_falls_and_subnets_learn(few_digits: Task) -> None:
    net, at, steps = trained(few_digits, replace(SETTINGS, epochs=8))
    assert at.epoch == 8
    assert at.share == 1
    assert len(steps) == 8 * (256 // 32)
    assert [step.share for step in steps] == sorted(step.share for step in steps)
    assert at.loss < 0.6 * np.mean([step.loss for step in steps[:4]])
    space, task = TINY.for_task(few_digits), few_digits
    for architecture in (space.smallest(), space.largest()):
        model = recalibrate(net.extract(architecture), [normalised(task.train.inputs, task.preprocessing)])
        assert accuracy(model, task.validation, task.preprocessing) > 0.4  # guessing is 0.1


@pytest.mark.parametrize("stop_at", [3, 8, 13])
def test_interrupted_training_gives_the_same_weights(few_digits: Task, tmp_path: Path, stop_at: int) -> None:
    unbroken, at, _ = trained(few_digits)

    class Killed(BaseException):
        pass

    def kill(step: Progress) -> None:
        nonlocal seen
        seen += 1
        if seen == stop_at:
            raise Killed

    seen = 0
    with pytest.raises(Killed):
        train_supernet(
            fresh(few_digits), TINY.for_task(few_digits), few_digits, SETTINGS, folder=tmp_path, on_step=kill
        )
    resumed, again, steps = trained(few_digits, folder=tmp_path)
    assert torch.equal(weights(unbroken), weights(resumed))
    assert (again.epoch, again.loss) == (at.epoch, at.loss)
    assert len(steps) == 8 * (3 - (stop_at - 1) // 8)  # whole epochs are not done again


def test_a_finished_training_is_not_done_again(few_digits: Task, tmp_path: Path) -> None:
    first, at, _ = trained(few_digits, folder=tmp_path)
    second, again, steps = trained(few_digits, folder=tmp_path)
    assert not steps
    assert again == at
    assert torch.equal(weights(first), weights(second))
    assert torch.equal(weights(first), weights(load_supernet(fresh(few_digits), tmp_path)))
    report = json.loads((tmp_path / "supernet.json").read_text())
    assert report["finished"]
    assert report["settings"]["epochs"] == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 4}, "epochs"),
        ({"seed": 5}, "seed"),
        ({"learning_rate": 0.2, "n_random": 2}, "learning_rate, n_random"),
    ],
)
def test_other_settings_are_refused(few_digits: Task, tmp_path: Path, change: dict[str, float], said: str) -> None:
    trained(few_digits, replace(SETTINGS, epochs=1), tmp_path)
    with pytest.raises(RunFolderError, match=f"trained with other {said}"):
        trained(few_digits, replace(SETTINGS, **{"epochs": 1} | change), tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", ["cut", "nonsense", "empty"])
def test_a_damaged_checkpoint(few_digits: Task, tmp_path: Path, damage: str) -> None:
    trained(few_digits, replace(SETTINGS, epochs=1), tmp_path)
    path = tmp_path / "supernet.safetensors"
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "nonsense": b"x" * 100, "empty": b""}[damage])
    with pytest.raises(RunFolderError, match="damaged"):
        load_supernet(fresh(few_digits), tmp_path)
    with pytest.raises(RunFolderError, match="damaged"):
        trained(few_digits, replace(SETTINGS, epochs=1), tmp_path)


def test_a_checkpoint_of_another_space(few_digits: Task, tmp_path: Path) -> None:
    trained(few_digits, replace(SETTINGS, epochs=1), tmp_path)
    other = ElasticSpace("o", lambda task: [ElasticConvBlock("w", 1, (8, 9)), ElasticClassifier(9, task.n_outputs)])
    with pytest.raises(RunFolderError, match="another space or task"):
        load_supernet(other.supernet(few_digits), tmp_path)
    with pytest.raises(RunFolderError, match="not trained yet"):
        load_supernet(fresh(few_digits), tmp_path / "elsewhere")


def test_a_loss_that_is_not_finite(few_digits: Task) -> None:
    broken = few_digits.train.inputs.astype(np.float32)
    broken[3] = math.nan
    task = replace(few_digits, train=Split(broken, few_digits.train.labels))
    with pytest.raises(TrainingError, match="loss is nan"):
        trained(task)


def test_fewer_samples_than_a_batch(few_digits: Task) -> None:
    task = replace(few_digits, train=Split(few_digits.train.inputs[:20], few_digits.train.labels[:20]))
    _, at, steps = trained(task)
    assert (at.epoch, len(steps)) == (3, 3)


def test_training_begins_with_images_of_half_the_side(few_digits: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []

    def step(net: Supernet, space: object, inputs: torch.Tensor, *others: object, teaches: bool) -> float:
        assert teaches
        sides.append(tuple(inputs.shape[2:]))
        return 1.0

    monkeypatch.setattr("hwnas.elastic.train._step", step)
    trained(few_digits, replace(SETTINGS, small_share=0.5))
    assert sides == [(4, 4)] * 12 + [(8, 8)] * 12


def test_the_largest_network_may_sit_steps_out(few_digits: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    real = hwnas.elastic.train._step
    taught: list[bool] = []
    losses: list[float] = []

    def step(*given: Any, teaches: bool) -> float:
        taught.append(teaches)
        losses.append(real(*given, teaches=teaches))
        return losses[-1]

    monkeypatch.setattr("hwnas.elastic.train._step", step)
    _, _, steps = trained(few_digits, replace(SETTINGS, epochs=6, teach_every=4))
    assert taught == [True, False, False, False] * 12
    assert [at.loss for at in steps] == [losses[at - at % 4] for at in range(48)]  # of the largest network
    assert losses[1] < 4 * np.log(10)  # labels, not logits, teach
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


def test_time_ends_training(few_digits: Task, tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=10_000, time_s=0.5)
    _, at, _ = trained(few_digits, settings, tmp_path)
    assert at.share == 1
    assert 0 < at.epoch < 10_000
    assert at.elapsed_s >= 0.5
    assert not trained(few_digits, settings, tmp_path)[2]  # its time is used up


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    settings = TrainSettings(epochs=10, learning_rate=0.5)
    clock = _Clock(settings, 10, 0.0)
    rates = [clock.learning_rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.5 * 0.05)
    assert max(rates) == pytest.approx(0.5, rel=0.01)
    assert rates.index(max(rates)) == 5
    assert rates[50] == pytest.approx(0.25)
    assert rates[100] == pytest.approx(0)


def test_adamw_goes_on_with_the_same_weights(few_digits: Task, tmp_path: Path) -> None:
    settings = replace(SETTINGS, optimizer="adamw", learning_rate=2e-3, epochs=2)
    whole, _, steps = trained(few_digits, settings)

    class Stop(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.epoch == 1 and progress.share > 0.6:
            raise Stop

    with pytest.raises(Stop):
        train_supernet(
            fresh(few_digits), TINY.for_task(few_digits), few_digits, settings, folder=tmp_path, on_step=stop
        )
    resumed, at, rest = trained(few_digits, settings, tmp_path)
    assert at.epoch == 2
    assert 0 < len(rest) < len(steps)
    assert torch.equal(weights(resumed), weights(whole))


def test_an_optimizer_that_is_not_known(few_digits: Task) -> None:
    with pytest.raises(ConfigError, match="'lion' is not known; use sgd or adamw"):
        trained(few_digits, replace(SETTINGS, optimizer="lion"))
