"""What a search needs before it can begin: device, space, task and predictors that fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.device import Device
from hwnas.core.predictor import LatencyPredictor
from hwnas.core.runtime import Runtime
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task, check_data
from hwnas.devices.resolve import check_precisions, find_device
from hwnas.errors import ConfigError, PredictorError
from hwnas.latency.calibrate import calibrate_local
from hwnas.latency.library import best_space, find_predictors
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.plugins import load_plugin, plugin_names
from hwnas.search.config import SearchConfig
from hwnas.search.events import Listener
from hwnas.search.joint import JointSpace

__all__ = [
    "PREDICTORS",
    "THREADS",
    "Setup",
    "find_parts",
    "find_predictor_set",
    "freeze",
    "runtime_of",
    "space_for",
    "within_domain",
]

THREADS = 1  # of a measured model: what holds still on a shared machine
CALIBRATION_S = 100.0
LOCAL_SPACE = "mobilenet"
PREDICTORS = "predictors"


@dataclass(frozen=True)
class Setup:
    """The parts of a search.

    Attributes:
        device: the target.
        space: bound to the task.
        task: the data.
        precisions: that may be chosen.
        runtime: exports and runs the files.
        stages: whose channels may be pruned.
        in_domain_only: whether candidates that the predictors know nothing of are refused.
        multiple: friendly channel multiple of all devices of the search; None: that of `device`.
    """

    device: Device
    space: SearchSpace
    task: Task
    precisions: tuple[str, ...]
    runtime: Runtime
    stages: tuple[str, ...] = ()
    in_domain_only: bool = False
    multiple: int | None = None

    @property
    def joint(self) -> JointSpace:
        """Architecture, precision and pruning together."""
        multiple = self.device.channel_multiple if self.multiple is None else self.multiple
        return JointSpace(self.space, self.task, self.precisions, multiple, self.stages)

    def facts(self) -> dict[str, Any]:
        """What a resumed search must find again."""
        return {
            "device": self.device.name,
            "space": self.space.name,
            "choices": {choice.label: list(choice.options) for choice in self.joint.choices},
            "data": self.task.fingerprint,
            **({"weights": self.space.fingerprint} if self.space.fingerprint else {}),
        }


def find_parts(config: SearchConfig, space: SearchSpace | None, task: Task | None) -> Setup:
    """Look up the (first) device, space and task by name (or take them as given) and load the data.

    Raises:
        UnknownPluginError: a name is not known; the message holds the nearest one.
        ConfigError: the device lacks a precision, or the space does not fit the task.
        DataError: the data are missing or broken.
    """
    device = find_device(config.devices[0])
    precisions = check_precisions(device, config.precisions)
    if space is None:
        space = load_plugin("space", config.space or space_for(config.task, device))
    if not isinstance(space, SearchSpace):
        raise ConfigError(f"space {config.space!r} must be a SearchSpace, got {type(space).__name__}; fix the plugin")
    if task is None:
        task = load_plugin("task", config.task)(config.data, input_shape=space.input_shape, seed=config.seed)
    assert isinstance(task, Task)
    check_data(task)
    bound = space.for_task(task)
    return Setup(device, bound, task, precisions, runtime_of(device), bound.stages)


def runtime_of(device: Device) -> Runtime:
    """The device's own runtime if it is installed as a plugin; files for any other are exported and checked as ONNX."""
    name = device.runtime if device.runtime in plugin_names("runtime") else "onnxruntime"
    made: Runtime = load_plugin("runtime", name)()
    return made


def space_for(task: str, device: Device) -> str:
    """The space of a search that names none: the one that suits the task, if its inputs are no images."""
    load = load_plugin("task", task) if task in plugin_names("task") else None
    return getattr(load, "default_space", None) or best_space_of(device)


def best_space_of(device: Device) -> str:
    """The space that the device's predictors cover best; for this machine, which measures itself, `mobilenet`."""
    return LOCAL_SPACE if device.can_be_measured else best_space(device) or LOCAL_SPACE


def find_predictor_set(setup: Setup, kept: Path | None, seed: int, listener: Listener) -> dict[str, LatencyPredictor]:
    """One predictor a precision: those that the run was begun with, else the best there are.

    A machine that was not measured yet is calibrated first.

    Args:
        setup: of the search.
        kept: the folder where an earlier session of the run froze them; None: a new run.
        seed: of the calibration's candidates.
        listener: sees the calibration.
    Raises:
        PredictorError: the device has no predictor and cannot be measured from here.
        MeasurementError: nothing stable could be measured.
    """
    if kept is not None and all((kept / precision / "card.json").exists() for precision in setup.precisions):
        return {precision: LinearGpPredictor.load(kept / precision) for precision in setup.precisions}
    if setup.device.can_be_measured:
        found = _calibrate(setup, seed, listener)
    else:
        found = find_predictors(setup.device, space=setup.space.name, input_shape=setup.task.input_shape)
    _require(setup, found)
    return {precision: found[precision] for precision in setup.precisions}


def within_domain(setup: Setup, predictors: Mapping[str, LatencyPredictor], *, seed: int) -> Setup:
    """Leave out what the predictors know nothing of.

    Where they know the space itself, a candidate out of their domain is refused; and where they know no pruned network
    of it, nothing is pruned. Where they know nothing of the space, everything stays: then every figure is doubtful
    alike, and says so.
    """
    rng, joint = np.random.default_rng(seed), setup.joint

    def share_inside(candidates: Sequence[Candidate]) -> float:
        found = [predictors[c.compression.precision].predict([joint.operations(c)])[0].in_domain for c in candidates]
        return float(np.mean(found))

    samples = [joint.sample(rng) for _ in range(40)]
    whole = [Candidate(c.architecture, CompressionPlan(c.compression.precision)) for c in samples]
    if share_inside(whole) < 0.5:
        return setup
    pruned = [candidate for candidate in samples if candidate.compression.prune]
    knows_pruned = not pruned or share_inside(pruned) > 0.2
    if not knows_pruned and setup.space.of_one_network:  # there would be next to nothing to search
        return setup
    return replace(setup, stages=setup.stages if knows_pruned else (), in_domain_only=True)


def freeze(predictors: Mapping[str, LatencyPredictor], folder: Path) -> None:
    """Copy predictors into the run folder: a search uses one frozen version of each."""
    for precision, predictor in predictors.items():
        if isinstance(predictor, LinearGpPredictor) and not (folder / precision / "card.json").exists():
            predictor.save(folder / precision)


def _calibrate(setup: Setup, seed: int, listener: Listener) -> dict[str, LatencyPredictor]:
    reached = 0

    def on_progress(done: int, total: int) -> None:
        nonlocal reached
        if reached == 0:
            listener.phase(f"calibrate {setup.device.name}", total)
        done = min(done, total)
        listener.advance(done - reached)
        reached = done

    found = calibrate_local(
        setup.device,
        setup.space,
        setup.task,
        setup.precisions,
        threads=THREADS,
        budget_s=CALIBRATION_S,
        seed=seed,
        on_progress=on_progress,
    )
    listener.done()
    return found


def _require(setup: Setup, found: dict[str, LatencyPredictor]) -> None:
    missing: Sequence[str] = [precision for precision in setup.precisions if precision not in found]
    if missing and not found and not setup.device.can_be_measured:
        name = setup.device.name
        raise PredictorError(
            f"device {name!r} has no latency predictor: nobody published measurements of it. Add yours: "
            f"`hwnas device add my-{name} --like {name} --host user@board`, then `hwnas search --device my-{name}`"
        )
    if missing:
        raise PredictorError(
            f"device {setup.device.name!r} has no latency predictor for {', '.join(missing)}; it has: "
            f"{', '.join(found) or 'none'}. Measure it with `hwnas measure` and `hwnas calibrate`, or leave the "
            "precision out with --precision"
        )
