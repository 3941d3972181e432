"""`hwnas.search(...)`: the same search as the command line's, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.search.config import SearchConfig, names_of, path_of
from hwnas.search.events import Listener, shown
from hwnas.search.result import SearchResult
from hwnas.search.run import run_search
from hwnas.search.worker import run_worker

__all__ = ["search", "worker"]


def search(
    *,
    device: str | Sequence[str],
    space: str | SearchSpace | None = None,
    task: str | Task = "digits",
    data: str | Path | None = None,
    trials: int | None = None,
    time_s: float | None = None,
    max_latency_ms: float | None = None,
    max_energy_mj: float | None = None,
    max_size_mb: float | None = None,
    max_memory_mb: float | None = None,
    precision: str | Sequence[str] | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    storage: str | None = None,
    cluster: str | None = None,
    resume: bool = False,
    n_front: int = 8,
    sampler: str = "hypervolume",
    allow_out_of_domain: bool = False,
    listener: Listener | None = None,
) -> SearchResult:
    """Search for the models that are fastest and most accurate on a device, or on each of several.

    Args:
        device: name or alias of the target, such as "jetson" or "cpu" (this machine); or several: each candidate is
            evaluated once, and there is a front for each device.
        space: name of a search space, or one of your own; None takes the one that the first device's
            predictor covers best.
        task: name of a task, or data of your own.
        data: the task's folder or file, where it needs one.
        trials: candidates to evaluate; None: 300, or as many as `time_s` allows.
        time_s: seconds for everything; None: no limit.
        max_latency_ms: hard limit of the predicted latency, on each device.
        max_energy_mj: hard limit of the predicted energy of an inference, on each device.
        max_size_mb: hard limit of the weights' size, in 1e6 bytes.
        max_memory_mb: hard limit of the modelled peak memory (weights and the largest operation), in 1e6 bytes.
        precision: one or several that each device has; None: all that they have in common.
        seed: of everything that is random.
        out: the run folder; None: a new one under `runs/`.
        storage: Optuna storage URL; None: a journal in the run folder. With PostgreSQL, `worker` takes part in it.
        cluster: train a supernet with several processes, and evaluate and finish several candidates at a time, with
            Ray: "local" (on this machine), "auto" (the Ray that runs here), "HOST:PORT" or "ray://HOST:PORT"; None:
            one after the other, in this process.
        resume: go on with the run in `out`.
        n_front: models to finish and export.
        sampler: "hypervolume", "tpe", "nsga2", "nsga3", "gp" or "random".
        allow_out_of_domain: search networks that the predictor never saw the like of, too.
        listener: is told of each step; None: bars in a notebook, silence elsewhere.
    Returns:
        The front, its report and its files.
    Raises:
        HwnasError: whatever is wrong with the settings, the data or the device, in one line.
    """
    config = SearchConfig(
        devices=names_of(device),
        space=space.name if isinstance(space, SearchSpace) else space,
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
        storage=storage,
        cluster=cluster,
        resume=resume,
        n_front=n_front,
        sampler=sampler,
        allow_out_of_domain=allow_out_of_domain,
    )
    return run_search(
        config,
        shown(listener),
        space=space if isinstance(space, SearchSpace) else None,
        task=task if isinstance(task, Task) else None,
    )


def worker(
    run: str | Path,
    *,
    storage: str | None = None,
    data: str | Path | None = None,
    space: SearchSpace | None = None,
    task: Task | None = None,
    listener: Listener | None = None,
) -> int:
    """Take part in a search whose storage is PostgreSQL, until it has enough; how many candidates were evaluated here.

    Args:
        run: its run folder, or a copy of it.
        storage: URL of the database as this machine reaches it; None: as in the folder.
        data: the task's folder or file on this machine; None: as in the folder.
        space: the search's, if it is one of your own.
        task: likewise.
        listener: is told of each step; None: bars in a notebook, silence elsewhere.
    Raises:
        HwnasError: the search is not shared, or this machine has another version, other data or another space.
    """
    return run_worker(Path(run), shown(listener), storage=storage, data=path_of(data), space=space, task=task)
