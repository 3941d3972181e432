"""`hwnas measure`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli import complete
from hwnas.cli.options import Data, Host, Seed, TaskName

__all__ = ["measure"]

# Models that are timed together; what is measured is written after each such batch.
BATCH = 32


def measure(
    device: Annotated[
        str, typer.Option(metavar="D", help="Device; see `hwnas devices`.", autocompletion=complete.devices)
    ],
    space: Annotated[
        str, typer.Option(metavar="S", help="Search space; see `hwnas spaces`.", autocompletion=complete.spaces)
    ],
    samples: Annotated[int, typer.Option(metavar="N", min=1, help="Number of networks to measure.")],
    host: Host = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Measurements are added to it; named by device and space.")
    ] = None,
    task: TaskName = "digits",
    data: Data = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="P",
            help="Precision; repeat it; all of the device, if not given.",
            autocompletion=complete.precisions,
        ),
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="Threads of a model.")] = 1,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.1, help="Time for each network.")] = 1.5,
    seed: Seed = 0,
) -> None:
    """Time networks of a space on a device.

    Up to 100 of them are chosen, not drawn: those that tell most of all others. The measurements are written as JSON
    Lines, for `hwnas calibrate`.
    """
    from hwnas.cli.progress import step_progress
    from hwnas.core.measurement import Measurement, read_measurements, write_measurements
    from hwnas.devices.resolve import at_host, check_precisions, find_device
    from hwnas.plugins import load_plugin

    target = find_device(device)
    precisions = check_precisions(target, precision)
    if host is not None:
        target = at_host(target, host)
    path = out or Path(f"measurements-{target.name}-{space}.jsonl")
    known = sum(1 for _ in read_measurements(path)) if path.exists() else 0
    unbound = load_plugin("space", space)
    shape = load_plugin("task", task)(data, input_shape=unbound.input_shape, seed=seed)
    bound = unbound.for_task(shape)
    import numpy as np

    from hwnas.latency.draw import choose_candidates
    from hwnas.measure.collect import collect

    each = -(-samples // len(precisions))
    rng = np.random.default_rng(seed)
    candidates = choose_candidates(bound, shape, target, precisions, each, rng=rng)[:samples]

    written, failures = 0, []
    for start in range(0, samples, BATCH):
        batch = candidates[start : start + BATCH]
        with step_progress(f"networks {start + 1} to {start + len(batch)} of {samples}") as on_progress:
            results = collect(
                bound, shape, target, batch, threads=threads, seconds_per_model=seconds, on_progress=on_progress
            )
        good = [result for result in results if isinstance(result, Measurement)]
        write_measurements(path, good)
        written += len(good)
        failures += [result for result in results if not isinstance(result, Measurement)]
    for failure in failures:
        typer.echo(f"not measured: {failure.candidate.id}: {failure.reason}")
    typer.echo(f"{written} measurements added to {path}, which has {known + written}")
    typer.echo(f"next: hwnas calibrate --device {target.name} --measurements {path}")
