from __future__ import annotations

import numpy as np
import pytest

from hwnas.core.architecture import Architecture
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import TaskShape
from hwnas.errors import ConfigError, InvalidArchitectureError

TASK = TaskShape((1, 8, 8), 10)


def make(**more: object) -> SearchSpace:
    choices = [Choice("width", (8, 16, 32)), Choice("depth", (1, 2))]
    return SearchSpace("mine", choices, lambda architecture, task: (dict(architecture), task), **more)  # type: ignore[arg-type]


def test_size_and_ends() -> None:
    space = make()
    assert space.size == 6
    assert dict(space.smallest()) == {"depth": 1, "width": 8}
    assert dict(space.largest()) == {"depth": 2, "width": 32}
    assert space.stages == ()
    assert space.for_task(TASK) is space
    assert repr(space) == "SearchSpace('mine', 6 architectures)"


def test_build_gets_the_architecture_and_the_task() -> None:
    space = make()
    assert space.build(space.smallest(), TASK) == ({"depth": 1, "width": 8}, TASK)


def test_samples_are_uniform_and_repeatable() -> None:
    space = make()
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng).id for _ in range(1200)]
    counts = {name: drawn.count(name) for name in set(drawn)}
    assert len(counts) == space.size
    # Binomial(1200, 1/6) has a standard deviation of 13.
    assert all(abs(count - 200) < 65 for count in counts.values())
    again = np.random.default_rng(0)
    assert [space.sample(again).id for _ in range(1200)] == drawn


def test_samples_obey_accepts() -> None:
    space = make(accepts=lambda values: values["width"] != 8)
    rng = np.random.default_rng(0)
    assert {space.sample(rng)["width"] for _ in range(50)} == {16, 32}


def test_a_space_that_accepts_nothing_gives_up() -> None:
    with pytest.raises(InvalidArchitectureError, match="accepted none of 10 random"):
        make(accepts=lambda values: False).sample(np.random.default_rng(0), max_attempts=10)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (Architecture.of("other", {"width": 8, "depth": 1}), "is of space 'other'"),
        (Architecture.of("mine", {"width": 8}), "'depth'.* missing or unknown"),
        (Architecture.of("mine", {"width": 8, "depth": 1, "x": 1}), "'x'.* missing or unknown"),
        (Architecture.of("mine", {"width": 9, "depth": 1}), r"'width' must be one of \(8, 16, 32\), got 9"),
    ],
)
def test_strangers_are_refused(architecture: Architecture, message: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=message):
        make().check(architecture)


@pytest.mark.parametrize("options", [(), (1, 1)])
def test_bad_choices(options: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="one or more different options"):
        Choice("w", options)


@pytest.mark.parametrize("labels", [[], ["a", "a"]])
def test_bad_labels(labels: list[str]) -> None:
    with pytest.raises(ConfigError, match="choices with different labels"):
        SearchSpace("s", [Choice(label, (1,)) for label in labels], lambda architecture, task: None)


def test_options_may_be_a_list() -> None:
    assert Choice("w", [1, 2]).options == (1, 2)  # type: ignore[arg-type]
