from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hwnas.search_spaces.ds_cnn import SPACE as DS_CNN
from hwnas.search_spaces.fbnet import SPACE as FBNET
from hwnas.search_spaces.mnasnet import SPACE as MNASNET
from hwnas.search_spaces.mobilenet import SPACE as MOBILENET
from hwnas.search_spaces.nasbench201 import SPACE as NASBENCH201
from hwnas.search_spaces.ofa_mobilenetv3 import SPACE as OFA
from hwnas.search_spaces.tiny_transformer import SPACE as TINY_TRANSFORMER

from hwnas.core.space import SearchSpace
from hwnas.core.task import InputPreprocessing, Preprocessing, Split, Task
from hwnas.core.tokens import TokenPreprocessing
from hwnas.core.waveform import WaveformPreprocessing
from hwnas.errors import DataError
from hwnas.search.config import SearchConfig
from hwnas.search.effort import (
    MAX_FINISH_EPOCHS,
    MEASURE_SHARE_S,
    MIN_EPOCHS,
    MIN_FINISH_EPOCHS,
    MOST_TEACH_EVERY,
    SEARCH_SHARE,
    SMALL_SHARE,
    TRAIN_SHARE,
    Clock,
    Effort,
    finish_epochs,
    finish_factors,
    finish_seconds,
    finish_shrink,
    plan_effort,
)
from hwnas.search.joint import JointSpace

CONFIG = SearchConfig(devices=("jetson",))
FOREVER = Clock(None)


def blank(shape: tuple[int, ...], n_train: int, n_validation: int = 500) -> Task:
    def split(n: int) -> Split:
        # One sample seen n times: a task of any size in no memory.
        return Split(np.broadcast_to(np.zeros((1, *shape), np.uint8), (n, *shape)), np.zeros(n, np.int64))

    channels = shape[0]
    preprocessing = Preprocessing((shape[1], shape[2]), channels, (0.5,) * channels, (0.5,) * channels)
    parts = (split(n_train), split(n_validation), split(100))
    return Task("blank", shape, 10, tuple("0123456789"), *parts, preprocessing)


def planned(space: SearchSpace, task: Task, config: SearchConfig = CONFIG, clock: Clock = FOREVER) -> Effort:
    return plan_effort(config, JointSpace(space.for_task(task), task, ("fp32",), 8, ()), task, clock)


def test_effort_follows_from_settings_and_sizes_alone(few_digits: Task) -> None:
    assert planned(MOBILENET, few_digits) == planned(MOBILENET, few_digits)
    assert planned(MOBILENET, few_digits, replace(CONFIG, seed=3)).training.seed == 3


def test_more_and_larger_images_get_fewer_epochs() -> None:
    small = planned(MOBILENET, blank((1, 8, 8), 800))
    many = planned(MOBILENET, blank((1, 8, 8), 200_000))
    large = planned(MOBILENET, blank((3, 224, 224), 5_000))
    assert small.training.epochs > many.training.epochs >= MIN_EPOCHS
    assert large.training.epochs == MIN_EPOCHS
    assert large.validation_limit <= small.validation_limit == 500
    assert small.training.time_s is None
    assert (small.training.batch_size, many.training.batch_size) == (64, 128)


def test_a_space_of_one_input_is_trained_on_small_images() -> None:
    assert planned(NASBENCH201, blank((3, 32, 32), 50_000)).shrink == 4
    assert planned(NASBENCH201, blank((3, 32, 32), 20)).shrink == 1
    assert planned(MOBILENET, blank((3, 32, 32), 50_000)).shrink == 1
    assert planned(FBNET, blank((3, 32, 32), 50_000)).shrink == 4


@pytest.mark.parametrize("space", [MNASNET, OFA])
def test_large_images_are_trained_on_at_32_pixels(space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    task = blank((3, 224, 224), 1500)
    hour = (replace(CONFIG, time_s=3600.0), Clock.starting_now(3600))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert planned(space, task).shrink == 7
    assert planned(space, task, *hour).shrink == 7
    assert planned(space, task).training.batch_size == 64
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    whole = planned(space, task, *hour)
    assert (whole.shrink, whole.training.batch_size) == (1, 32)


def test_with_a_time_small_images_stay_whole() -> None:
    assert planned(NASBENCH201, blank((3, 32, 32), 50_000), CONFIG, Clock.starting_now(600)).shrink == 1


def test_finishing_shrinks_large_images_as_little_as_it_can() -> None:
    task = blank((3, 224, 224), 1000)
    effort = replace(planned(MNASNET, task), finish_macs=6e11)  # two epochs of 1e8 multiply-adds an image
    assert finish_factors(effort, task) == [1, 2, 4, 7]
    shrinks = [finish_shrink(effort, macs, task) for macs in (10**7, 10**8, 4 * 10**8, 10**9, 10**11)]
    assert shrinks == [1, 1, 2, 4, 7]
    assert finish_epochs(effort, 4 * 10**8, 1000, 2) == finish_epochs(effort, 10**8, 1000) == MIN_FINISH_EPOCHS
    assert finish_shrink(replace(effort, finish_macs=None), 10**11, task) == 1
    small = blank((3, 32, 32), 50_000)
    assert finish_factors(planned(NASBENCH201, small), small) == [1]


def test_with_a_time_training_gets_its_share(few_digits: Task) -> None:
    effort = planned(MOBILENET, few_digits, replace(CONFIG, time_s=100.0), Clock.starting_now(100))
    assert effort.training.time_s == pytest.approx(100 * TRAIN_SHARE, abs=2)
    assert 0 < TRAIN_SHARE + SEARCH_SHARE * (1 - TRAIN_SHARE) < 1
    assert effort.finish_macs is None
    assert finish_epochs(effort, 10**6, 1000) == 60


def test_a_plain_space_trains_each_candidate_for_some_epochs(
    few_digits: Task, make_space: Callable[..., SearchSpace]
) -> None:
    effort = planned(make_space(), few_digits)
    assert effort.epochs_alone == 6
    assert effort.validation_limit == 100


def test_small_networks_are_finished_for_longer(few_digits: Task) -> None:
    effort = planned(MOBILENET, few_digits)
    epochs = [finish_epochs(effort, macs, 1000) for macs in (0, 10**6, 10**7, 10**8, 10**10)]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] == MAX_FINISH_EPOCHS
    assert epochs[-1] == MIN_FINISH_EPOCHS


def test_the_clock() -> None:
    assert FOREVER.left_s is None
    assert FOREVER.share(0.5) is None
    ended = Clock(time.monotonic() - 5)
    assert ended.left_s == 0
    assert ended.share(0.5) == 0
    left_s = Clock.starting_now(50).left_s
    assert left_s is not None
    assert 40 < left_s <= 50


def test_the_time_that_is_left_is_shared_by_the_models() -> None:
    assert finish_seconds(FOREVER, [10]) is None
    one = finish_seconds(Clock.starting_now(80), [10])
    assert one == pytest.approx(80 - MEASURE_SHARE_S, abs=0.5)
    alike = finish_seconds(Clock.starting_now(80), [10] * 8)
    assert alike == pytest.approx(10 - MEASURE_SHARE_S, abs=0.5)
    assert finish_seconds(Clock(time.monotonic()), [10] * 8) == 0


def test_a_model_of_four_times_the_work_gets_twice_the_time() -> None:
    small, large = (finish_seconds(Clock.starting_now(80), macs) for macs in ([100, 400], [400, 100]))
    assert small is not None
    assert large == pytest.approx(2 * small, abs=0.5)
    assert small + large == pytest.approx(80 - 2 * MEASURE_SHARE_S, abs=0.5)


def test_a_timed_training_begins_with_images_of_half_the_side(few_digits: Task) -> None:
    minute = Clock.starting_now(60)
    shares = [
        planned(MOBILENET, blank((3, side, side), 5000), clock=clock).training.small_share
        for side, clock in ((32, minute), (28, minute), (32, FOREVER), (33, minute))
    ]
    assert shares == [SMALL_SHARE, 0, 0, 0]
    assert planned(NASBENCH201, blank((3, 32, 32), 5000), clock=minute).training.small_share == SMALL_SHARE
    assert planned(MOBILENET, few_digits, clock=minute).training.small_share == 0


def test_a_largest_network_that_costs_most_of_a_step_sits_some_out() -> None:
    minute, task = Clock.starting_now(60), blank((3, 32, 32), 5000)
    assert planned(MOBILENET, task, clock=minute).training.teach_every == MOST_TEACH_EVERY
    assert planned(NASBENCH201, task, clock=minute).training.teach_every < MOST_TEACH_EVERY
    assert planned(MOBILENET, task).training.teach_every == 1


@pytest.mark.parametrize("clock", [FOREVER, Clock.starting_now(600)], ids=["no time", "timed"])
def test_sounds_and_texts_are_never_made_smaller(clock: Clock) -> None:
    def of(inputs: np.ndarray, preprocessing: InputPreprocessing) -> Task:
        split = Split(np.repeat(inputs, 300, axis=0), np.arange(300) % 4)
        return Task("blank", inputs.shape[1:], 4, tuple("0123"), split, split, split, preprocessing)

    sounds = of(np.zeros((1, 1, 5360), np.int16), WaveformPreprocessing(8000, 5360))
    texts = of(np.ones((1, 40), np.int64), TokenPreprocessing(40, tuple(map(str, range(50)))))
    for space, task in ((DS_CNN, sounds), (TINY_TRANSFORMER, texts)):
        effort = planned(space, task, clock=clock)
        assert effort.shrink == 1
        assert effort.training.small_share == 0
        assert finish_factors(effort, task) == [1]
        assert finish_shrink(effort, 10**9, task) == 1
        with pytest.raises(DataError, match="only images can be divided"):
            task.shrunk(2)
    assert planned(DS_CNN, sounds).training.optimizer == "sgd"
    assert planned(TINY_TRANSFORMER, texts).training.optimizer == "adamw"
