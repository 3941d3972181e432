"""Compressing a network that is there already: a search over pruning and quantization alone."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from math import lcm
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import Tensor, nn

from hwnas.accuracy.pruned import PrunedEvaluator
from hwnas.compress.own import load_build, own_network
from hwnas.compress.prune import check_importance, find_channels
from hwnas.compress.sensitivity import SENSITIVITY, Sensitivity, measure_sensitivity
from hwnas.compress.space import NetworkSpace
from hwnas.compress.weights import load_weights
from hwnas.core.candidate import Candidate
from hwnas.core.device import Device
from hwnas.core.error_text import kind_and_line
from hwnas.core.runtime import ExportSpec
from hwnas.core.task import Task, check_data
from hwnas.devices.resolve import find_device
from hwnas.elastic.data import batches
from hwnas.elastic.threads import threads_for
from hwnas.errors import BuildError, ConfigError, TrainingError
from hwnas.plugins import load_plugin
from hwnas.search.config import SearchConfig, names_of, path_of
from hwnas.search.effort import EVALUATE_MACS
from hwnas.search.events import Listener, shown
from hwnas.search.result import SearchResult
from hwnas.search.run import label_of, run_search
from hwnas.search.runfolder import RunFolder
from hwnas.search.setup import runtime_of
from hwnas.search.targets import common_precisions

__all__ = ["compress", "own_space"]

Network = nn.Module | Callable[..., nn.Module] | str
IMPORTANCE_SAMPLES = 256  # of the training split, for the gradients
_LEAST_READ, _MOST_READ = 500, 5000  # validation samples for each step of the sensitivity pass


def compress(
    network: Network,
    *,
    device: str | Sequence[str],
    task: str | Task = "digits",
    weights: str | Path | Mapping[str, Tensor] | None = None,
    data: str | Path | None = None,
    input_shape: Sequence[int] | None = None,
    trials: int | None = None,
    time_s: float | None = None,
    max_latency_ms: float | None = None,
    max_energy_mj: float | None = None,
    max_size_mb: float | None = None,
    max_memory_mb: float | None = None,
    precision: str | Sequence[str] | None = None,
    importance: str = "taylor",
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    n_front: int = 8,
    sampler: str = "hypervolume",
    allow_out_of_domain: bool = False,
    listener: Listener | None = None,
) -> SearchResult:
    """Search for the best ways to prune and quantize a trained network for a device, or for each of several.

    Whole channels are cut, by a ratio for each stage of the network, and whole residual blocks and heads of attention.
    A candidate's accuracy is read with the weights that are left; the models of the front are fine-tuned, with the
    network as their teacher, exported and measured like those of a search.

    Args:
        network: a trained network; a function that builds it: `build(task)`, `build(architecture, task)` or `build()`;
            or "FILE.py:FUNCTION", whose file is imported.
        device: name or alias of the target, or several.
        task: name of a task, or data of your own: what the network was trained for.
        weights: a state dict, or a file with one (.safetensors, or what `torch.save` wrote; nothing in it is run);
            None: the network has its weights already.
        data: the task's folder or file, where it needs one.
        input_shape: (channels, height, width) that the network takes, where `task` is a name; None: the task's own.
        trials: candidates to evaluate; None: 300, or as many as `time_s` allows.
        time_s: seconds for everything; None: no limit.
        max_latency_ms: hard limit of the predicted latency, on each device; the network itself may be over it.
        max_energy_mj: hard limit of the predicted energy of an inference, on each device.
        max_size_mb: hard limit of the weights' size, in 1e6 bytes.
        max_memory_mb: hard limit of the modelled peak memory, in 1e6 bytes.
        precision: one or several that each device has; None: all that they have in common.
        importance: by which channels and heads are chosen: "taylor" (first-order change of the loss) or "magnitude" (of
            weights).
        seed: of everything that is random.
        out: the run folder; None: a new one under `runs/`.
        resume: go on with the run in `out`.
        n_front: models to finish and export.
        sampler: as for `hwnas.search`.
        allow_out_of_domain: search networks that the predictor never saw the like of, too.
        listener: is told of each step; None: bars in a notebook, silence elsewhere.
    Returns:
        The front, its report and its files; `result.original` is the network itself, exported and measured like them.
    Raises:
        HwnasError: whatever is wrong with the network, its weights, the settings, the data or the device, in one line.
    """
    since_s, listener = time.monotonic(), shown(listener)
    name, build = _named(network)
    config = SearchConfig(
        devices=names_of(device),
        space=f"own-{name}",
        task=task.name if isinstance(task, Task) else task,
        data=path_of(data),
        n_trials=trials,
        time_s=time_s,
        max_latency_ms=max_latency_ms,
        max_energy_mj=max_energy_mj,
        max_size_mb=max_size_mb,
        max_memory_mb=max_memory_mb,
        precisions=None if precision is None else names_of(precision),
        seed=seed,
        out=path_of(out),
        resume=resume,
        n_front=n_front,
        sampler=sampler,
        allow_out_of_domain=allow_out_of_domain,
    )
    # What is wrong with a name should be said before anything is loaded.
    check_importance(importance)
    targets = [find_device(one) for one in config.devices]
    common_precisions(targets, config.precisions)
    multiple = lcm(*(one.channel_multiple for one in targets))
    given = load_weights(Path(weights)) if isinstance(weights, str | Path) else weights
    if not isinstance(task, Task):
        shape = None if input_shape is None else tuple(input_shape)
        task = load_plugin("task", task)(config.data, input_shape=shape, seed=seed)
    assert isinstance(task, Task)
    check_data(task)
    if task.n_ids is not None:
        raise ConfigError(
            f"a network that takes ids cannot be followed for pruning, and task {task.name!r} gives ids of words; "
            "compress one of images or waveforms, or search a space for texts: hwnas search --task text"
        )
    own = own_network(build, task, given, name=name)
    kept = RunFolder.open(config, label=label_of(config)).path / SENSITIVITY if resume else None
    known = Sensitivity.read(kept.parent) if kept is not None and kept.exists() else None
    if known is None:
        _try_export(own, task, targets)
    try:
        space = own_space(
            own, task, name=name, multiple=multiple, importance=importance, known=known, listener=listener
        )
    finally:
        listener.done()
    return run_search(config, listener, space=space, task=task, since_s=since_s)


def _try_export(network: nn.Module, task: Task, targets: Sequence[Device]) -> None:
    """Whether the devices' runtimes take the network is better known now than after a search.

    Raises:
        RuntimeExportError: one does not; the message names the operation.
        MissingDependencyError: one is not installed.
    """
    spec = ExportSpec(precision="fp32", input_shape=tuple(task.input_shape))
    with TemporaryDirectory(prefix="hwnas-") as folder:
        for runtime in {found.name: found for found in map(runtime_of, targets)}.values():
            runtime.export(network, spec, Path(folder) / f"model{runtime.suffix}")


def own_space(
    network: nn.Module,
    task: Task,
    *,
    name: str,
    multiple: int,
    importance: str = "taylor",
    known: Sensitivity | None = None,
    listener: Listener,
) -> NetworkSpace:
    """The space of a trained network: its stages, and for each the ratios that do not cost too much.

    Args:
        known: what an earlier session of the run found out about the stages; None: it is found out now.
    Raises:
        BuildError: nothing of the network can be pruned.
        ConfigError: the network is no better than guessing.
    """
    walk = batches(task.train, task.preprocessing, 64, limit=IMPORTANCE_SAMPLES)
    prunable = find_channels(
        network, task.input_shape, multiple=multiple, importance=importance, samples=[*walk]
    )  # fmt: skip
    for sentence in prunable.left_whole:
        listener.note(sentence)
    space = NetworkSpace(name, prunable, task, multiple=multiple, importance=importance)
    if known is not None and set(known.stages) == set(space.shares()):
        return space.narrowed(known)
    return space.narrowed(_sensitivity(space, task, multiple, listener))


def _sensitivity(space: NetworkSpace, task: Task, multiple: int, listener: Listener) -> Sensitivity:
    """One pass over all stages, at full precision."""
    macs = space.operations(Candidate(space.largest())).macs
    limit = int(np.clip(EVALUATE_MACS / max(macs, 1), _LEAST_READ, _MOST_READ))
    evaluator = PrunedEvaluator(space, task, multiple=multiple, limit=limit)
    guessing = task.validation.guessing

    def accuracy_of(ratios: Mapping[str, float]) -> float:
        try:
            found = evaluator.evaluate(space.shortened(ratios)).accuracy
        except TrainingError as error:  # of a candidate, which nobody knows yet
            if ratios:
                raise
            raise BuildError(
                f"the network's output on training samples of task {task.name!r} is not finite; are these its weights?"
            ) from error
        except Exception as error:  # a network of the user's may raise anything
            if ratios:
                raise
            raise BuildError(
                f"the network cannot be evaluated on task {task.name!r}: {kind_and_line(error)}; is it for this task?"
            ) from error
        if not ratios and found < guessing + 3 * (guessing * (1 - guessing) / evaluator.n_read) ** 0.5:
            raise ConfigError(
                f"the network's accuracy on the validation split of task {task.name!r} is {found:.1%}, no better than "
                f"guessing ({guessing:.1%}); are these its weights, and was it trained on inputs prepared like this: "
                f"{_short(task.preprocessing.to_json())}?"
            )
        return found

    shares = space.shares()
    listener.phase("sensitivity", 1 + sum(map(len, shares.values())))
    with threads_for(macs * 64.0):
        return measure_sensitivity(
            shares,
            accuracy_of,
            guessing=guessing,
            n=evaluator.n_read,
            on_step=lambda accuracy: listener.advance(accuracy=accuracy),
        )


def _named(network: Any) -> tuple[str, nn.Module | Callable[..., nn.Module]]:
    """A name that can be part of a path, and the network or what builds it."""
    if isinstance(network, str):
        name, build = load_build(network)
    elif isinstance(network, nn.Module):
        name, build = type(network).__name__, network
    elif callable(network):
        name, build = getattr(network, "__name__", type(network).__name__), network
    else:
        raise ConfigError(
            f"the network must be a torch.nn.Module, a function that builds one, or 'FILE.py:FUNCTION', "
            f"got {type(network).__name__}"
        )
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "network", build


def _short(how: Mapping[str, Any]) -> str:
    """How inputs are prepared, in a line; a vocabulary is not shown."""
    return ", ".join(f"{name} {value}" for name, value in how.items() if len(str(value)) < 60)
