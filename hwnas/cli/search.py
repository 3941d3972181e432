"""`hwnas search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.options import Data, Seed, TaskName

__all__ = ["search"]

Option = typer.Option


def search(
    device: Annotated[
        list[str], Option("--device", metavar="D", help="Target; repeat it for several: a front for each.")
    ],
    space: Annotated[
        str | None, Option(metavar="S", help="Search space; else what the (first) device knows best or suits the task.")
    ] = None,
    task: TaskName = "digits",
    data: Data = None,
    trials: Annotated[int | None, Option(metavar="N", min=1, help="Number of candidates to evaluate.")] = None,
    time: Annotated[str | None, Option(metavar="10m", help="Time for the whole job: 30s, 10m, 2h.")] = None,
    max_latency: Annotated[
        float | None, Option(metavar="MS", help="No model slower than this, in ms, on any of the devices.")
    ] = None,
    max_size: Annotated[float | None, Option(metavar="MB", help="No model with more weights than this, in MB.")] = None,
    max_memory: Annotated[
        float | None,
        Option(metavar="MB", help="No model that needs more memory, modelled: weights and the largest operation."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        Option(metavar="P", help="Precision to search; repeat it; all that the devices share, if not given."),
    ] = None,
    seed: Seed = 0,
    out: Annotated[Path | None, Option(metavar="DIR", help="Run folder; a new one in runs/, if not given.")] = None,
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
        Option(metavar="S", help="What proposes candidates: hypervolume, or of Optuna tpe, nsga2, nsga3, gp, random."),
    ] = "hypervolume",
    allow_out_of_domain: Annotated[
        bool, Option("--allow-out-of-domain", help="Search networks unlike any that the device's data hold, too.")
    ] = False,
    resume: Annotated[bool, Option("--resume", help="Go on with the search in the run folder.")] = False,
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
    print_fronts(front, front.devices)
    typer.echo(f"run folder: {result.run_dir}\nnext: hwnas report {result.run_dir}; hwnas pick {result.run_dir}")
