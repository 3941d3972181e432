from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation, Evaluator
from hwnas.core.ops import OpList
from hwnas.core.predictor import Card, Prediction
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import TaskLike, TaskShape
from hwnas.errors import HwnasError, TrainingError
from hwnas.search.budget import Budget, Scorer
from hwnas.search.describe import Describer
from hwnas.search.joint import JointSpace
from hwnas.search.loop import FrontTracker, Loop
from hwnas.search.study import SearchStudy

SPEED = {"fp32": 1.0, "fp16": 0.7, "int8": 0.4}


def build(architecture: object, task: TaskLike) -> nn.Module:
    values = dict(architecture)  # type: ignore[call-overload]
    width, kernel = values["width"], values["kernel"]
    conv = nn.Conv2d(task.input_shape[0], width, kernel, 2, kernel // 2)
    layers = [conv, nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4 * width, task.n_outputs))


def plain_space(widths: Sequence[int] = (4, 8, 16), kernels: Sequence[int] = (1, 3)) -> SearchSpace:
    return SearchSpace("plain", [Choice("width", tuple(widths)), Choice("kernel", tuple(kernels))], build)


class FakePredictor:
    """Latency is a tenth of a ms, and a ms for each million multiply-adds; all is in domain up to `known_macs`.

    On the device "other" it is a ms for each ten thousand weights instead.
    """

    def __init__(self, precision: str, known_macs: float = math.inf, device: str = "fake") -> None:
        self.precision, self.known_macs, self.device, self.asked = precision, known_macs, device, 0

    @property
    def card(self) -> Card:
        unknown = dict.fromkeys(("mape", "spearman", "kendall", "within_5", "within_10", "interval_coverage"))
        return Card(
            id=f"fake-{self.precision}",
            device=self.device,
            runtime="none",
            runtime_version=None,
            precision=self.precision,
            batch=1,
            threads=None,
            power_mode=None,
            statistic="p10",
            measured=False,
            source="a test",
            licence="none",
            n_measurements=0,
            spaces=(),
            input_shapes=(),
            op_ranges={},
            held_out=0,
            date="2026-01-01",
            **unknown,  # type: ignore[arg-type]
        )

    def predict(self, networks: Sequence[OpList]) -> list[Prediction]:
        self.asked += len(networks)
        found = []
        for network in networks:
            work = network.params / 1e4 if self.device == "other" else network.macs / 1e6
            latency_ms = (0.1 + work) * SPEED[self.precision]
            inside = network.macs <= self.known_macs
            reason = None if inside else "too large"
            found.append(Prediction(latency_ms, latency_ms * 0.9, latency_ms * 1.1, inside, reason, self.card.id))
        return found


def scorers_of(joint: JointSpace, devices: Sequence[str], known_macs: float = math.inf) -> dict[str, Scorer]:
    return {
        device: Scorer(
            joint, {precision: FakePredictor(precision, known_macs, device) for precision in joint.precisions}
        )
        for device in devices
    }


class FakeEvaluator:
    """Accuracy grows with multiply-adds; what is in `failing` fails."""

    def __init__(self, joint: JointSpace, failing: Callable[[Candidate], bool] = lambda candidate: False) -> None:
        self.joint, self.failing = joint, failing
        self.seen: list[Candidate] = []

    def evaluate(self, candidate: Candidate) -> Evaluation:
        self.seen.append(candidate)
        if self.failing(candidate):
            raise TrainingError(f"candidate {candidate.id}: the loss is nan")
        macs, precision = self.joint.operations(candidate).macs, candidate.compression.precision
        accuracy = 0.9 * macs / (macs + 20_000) - (0.01 if precision == "int8" else 0.0)
        return Evaluation(accuracy, 100, "validation", precision, "trained", 0.0)

    def closer(self) -> Evaluator | None:
        return None


@dataclass
class OutOfTurn:
    """Several at a time, which end in an order that the seed chooses; sometimes none has ended."""

    do: Callable[[Any], Any]
    size: int
    rng: np.random.Generator
    begun: list[Any] = field(default_factory=list)
    most: int = 0

    @property
    def n_free(self) -> int:
        return self.size - len(self.begun)

    def begin(self, job: Any) -> None:
        assert self.n_free > 0
        self.begun.append(job)
        self.most = max(self.most, len(self.begun))

    def next(self) -> tuple[Any, Any] | None:
        if self.rng.random() < 0.3:
            return None
        job = self.begun.pop(int(self.rng.integers(len(self.begun))))
        try:
            return job, self.do(job)
        except HwnasError as error:
            return job, error


class Recorder:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []
        self.steps: dict[str, int] = {}
        self.n_done = 0

    def phase(self, name: str, total: int | None) -> None:
        self.phases.append(name)

    def advance(self, n: int = 1, **info: float | int | str) -> None:
        assert n >= 0
        self.steps[self.phases[-1] if self.phases else ""] = (
            self.steps.get(self.phases[-1] if self.phases else "", 0) + n
        )

    def note(self, text: str) -> None:
        self.notes.append(text)

    def done(self) -> None:
        self.n_done += 1


@pytest.fixture
def task_shape() -> TaskShape:
    return TaskShape((1, 8, 8), 10)


@pytest.fixture
def make_space() -> Callable[..., SearchSpace]:
    return plain_space


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def make_joint(task_shape: TaskShape) -> Callable[..., JointSpace]:
    def make(space: SearchSpace | None = None, precisions: tuple[str, ...] = ("fp32", "int8")) -> JointSpace:
        space = (space or plain_space()).for_task(task_shape)
        return JointSpace(space, task_shape, precisions, 8, space.stages)

    return make


@pytest.fixture
def make_budget() -> Callable[..., Budget]:
    def make(
        joint: JointSpace,
        *,
        known_macs: float = math.inf,
        in_domain_only: bool = False,
        devices: Sequence[str] = ("fake",),
        **limits: object,
    ) -> Budget:
        scorers = scorers_of(joint, devices, known_macs)
        return Budget(scorers, knowing=frozenset(devices if in_domain_only else ()), **limits)  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_evaluator() -> type[FakeEvaluator]:
    return FakeEvaluator


@pytest.fixture
def several() -> type[OutOfTurn]:
    return OutOfTurn


@pytest.fixture
def make_predictor() -> type[FakePredictor]:
    return FakePredictor


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., SearchStudy]:
    def make(
        joint: JointSpace,
        *,
        sampler: str = "tpe",
        seed: int = 0,
        name: str = "study.journal",
        devices: Sequence[str] = ("fake",),
    ) -> SearchStudy:
        describe = Describer(Budget(scorers_of(joint, devices))).by_device()
        path = tmp_path / name
        return SearchStudy(joint, devices=devices, sampler=sampler, seed=seed, journal=path, describe=describe)

    return make


@pytest.fixture
def make_loop(recorder: Recorder) -> Callable[..., Loop]:
    def make(
        study: SearchStudy, budget: Budget, evaluator: FakeEvaluator, n_trials: int | None, **more: object
    ) -> Loop:
        tracker = FrontTracker(dict.fromkeys(study.devices, (5.0, 0.9)))
        return Loop(study, budget, evaluator, recorder, tracker, 0, n_trials, **more)  # type: ignore[arg-type]

    return make


@pytest.fixture
def a_card() -> Card:
    return FakePredictor("fp32").card
