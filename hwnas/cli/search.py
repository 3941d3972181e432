"""`hwnas search`."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli import complete
from hwnas.cli.options import (
    AnyDomain,
    Data,
    EnergyBudget,
    LatencyBudget,
    MemoryBudget,
    Out,
    Precisions,
    Resume,
    Seed,
    SizeBudget,
    Targets,
    TaskName,
    TimeLimit,
    Trials,
)

__all__ = ["search"]

Option = typer.Option


def search(
    device: Targets,
    space: Annotated[
        str | None,
        Option(
            metavar="S",
            help="Search space; else what the (first) device knows best or suits the task.",
            autocompletion=complete.spaces,
        ),
    ] = None,
    task: TaskName = "digits",
    data: Data = None,
    trials: Trials = None,
    time: TimeLimit = None,
    max_latency: LatencyBudget = None,
    max_energy: EnergyBudget = None,
    max_size: SizeBudget = None,
    max_memory: MemoryBudget = None,
    precision: Precisions = None,
    seed: Seed = 0,
    out: Out = None,
    storage: Annotated[
        str | None,
        Option(metavar="URL", help="Optuna storage; a file in the run folder, if not given; see `hwnas worker`."),
    ] = None,
    cluster: Annotated[
        str | None,
        Option(
            metavar="ADDRESS",
            help="Train a supernet with several processes, and evaluate and finish several candidates at a time, with "
            "Ray: local, auto, HOST:PORT, ray://HOST:PORT.",
        ),
    ] = None,
    sampler: Annotated[
        str,
        Option(
            metavar="S",
            help="What proposes candidates: hypervolume, or of Optuna tpe, nsga2, nsga3, gp, random.",
            autocompletion=complete.samplers,
        ),
    ] = "hypervolume",
    allow_out_of_domain: AnyDomain = False,
    resume: Resume = False,
) -> None:
    """Search for models that suit a device, or several.

    Every model of the front it ends with is a file that was run and checked; on this machine it was measured, too.
    """
    from hwnas.cli.duration import parse_duration

    time_s = None if time is None else parse_duration(time)
    from hwnas.cli.output import print_fronts
    from hwnas.cli.progress import progress_listener
    from hwnas.search.config import SearchConfig
    from hwnas.search.run import run_search
    from hwnas.store import read_front

    config = SearchConfig(
        devices=tuple(device),
        space=space,
        task=task,
        data=data,
        n_trials=trials,
        time_s=time_s,
        max_latency_ms=max_latency,
        max_energy_mj=max_energy,
        max_size_mb=max_size,
        max_memory_mb=max_memory,
        precisions=tuple(precision) if precision else None,
        seed=seed,
        out=out,
        storage=storage,
        cluster=cluster,
        resume=resume,
        sampler=sampler,
        allow_out_of_domain=allow_out_of_domain,
    )
    with progress_listener() as listener:
        result = run_search(config, listener)
    front = read_front(result.run_dir)
    print_fronts(result.run_dir, front, front.devices)
    typer.echo(f"run folder: {result.run_dir}\nnext: hwnas report {result.run_dir}; hwnas pick {result.run_dir}")
