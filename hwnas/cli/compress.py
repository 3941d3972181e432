"""`hwnas compress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    read_shape,
)

if TYPE_CHECKING:
    from hwnas.search.result import SearchResult

__all__ = ["compress"]

Option = typer.Option
POINTS = 1.0  # of accuracy, that the last line allows to be lost


def compress(
    model: Annotated[
        str, typer.Argument(metavar="MODEL.py:FUNCTION", help="What builds the network; the file is imported.")
    ],
    device: Targets,
    weights: Annotated[
        Path | None,
        Option(metavar="FILE", help="Its weights, .safetensors or a state dict; FUNCTION's own, if not given."),
    ] = None,
    task: TaskName = "digits",
    data: Data = None,
    input_shape: Annotated[
        str | None,
        Option(metavar="SHAPE", help="What it takes, such as 3,224,224; images are resized; the task's, if not given."),
    ] = None,
    trials: Trials = None,
    time: TimeLimit = None,
    max_latency: LatencyBudget = None,
    max_energy: EnergyBudget = None,
    max_size: SizeBudget = None,
    max_memory: MemoryBudget = None,
    precision: Precisions = None,
    importance: Annotated[
        str,
        Option(metavar="I", help="What decides which channels and heads go: taylor (the loss) or magnitude (weights)."),
    ] = "taylor",
    seed: Seed = 0,
    out: Out = None,
    allow_out_of_domain: AnyDomain = False,
    resume: Resume = False,
) -> None:
    """Prune and quantize a network that you have, for a device or several.

    FUNCTION is build(task), build(architecture, task) or build(), and gives a torch.nn.Module.

    Example: hwnas compress model.py:build --weights model.safetensors --task cifar10 --data DIR --device cpu
    """
    from hwnas.cli.duration import parse_duration

    time_s = None if time is None else parse_duration(time)
    from hwnas.cli.output import print_fronts
    from hwnas.cli.progress import progress_listener
    from hwnas.search.compression import compress as run_compression

    with progress_listener() as listener:
        result = run_compression(
            model,
            device=device,
            task=task,
            weights=weights,
            data=data,
            input_shape=None if input_shape is None else read_shape(input_shape),
            trials=trials,
            time_s=time_s,
            max_latency_ms=max_latency,
            max_energy_mj=max_energy,
            max_size_mb=max_size,
            max_memory_mb=max_memory,
            precision=precision or None,
            importance=importance,
            seed=seed,
            out=out,
            resume=resume,
            allow_out_of_domain=allow_out_of_domain,
            listener=listener,
        )
    _print_sensitivity(result.run_dir)
    print_fronts(result.run_dir, result.details, result.details.devices)
    for name in result.details.devices:
        _print_gains(result, name)
    typer.echo(f"run folder: {result.run_dir}\nnext: hwnas report {result.run_dir}; hwnas pick {result.run_dir}")


def _print_sensitivity(run_dir: Path) -> None:
    """Accuracy of the network with one stage pruned, a row for each stage."""
    from hwnas.cli.output import print_table
    from hwnas.compress.sensitivity import SENSITIVITY, Sensitivity
    from hwnas.viz.text import percent

    if not (run_dir / SENSITIVITY).exists():
        return
    found = Sensitivity.read(run_dir)
    ratios = sorted({ratio for pairs in found.stages.values() for ratio, _ in pairs})
    print_table(
        "sensitivity: accuracy with one stage pruned, or blocks or heads left out, before fine-tuning "
        f"({found.precision}, validation split, n = {found.n}); whole: {percent(found.accuracy)}",
        ("stage", *(f"{ratio:.0%}>" for ratio in ratios), "searched"),
        (
            (
                stage,
                *(percent(dict(pairs)[ratio]) if ratio in dict(pairs) else "" for ratio in ratios),
                ", ".join(f"{ratio:.0%}" for ratio in found.ratios(stage)),
            )
            for stage, pairs in found.stages.items()
        ),
    )


def _print_gains(result: SearchResult, device: str) -> None:
    """The models of the front beside the original; accuracies are of the files."""
    from hwnas.cli.output import print_table
    from hwnas.core.gain import best_within, gains
    from hwnas.viz.text import ms, percent

    original = result.original
    if original is None:
        return
    found, entry = gains(result.details, original, device), original.latency[device]
    print_table(
        f"beside the original on {device}: {original.compression.precision}, {percent(original.accuracy)}, "
        f"{ms(entry.best_ms)} ms ({entry.source}), {original.params:,} parameters",
        ("model", "precision", "faster, measured>", "faster, predicted>", "points lost>", "fewer parameters>"),
        (
            (
                gain.id,
                gain.precision,
                "no" if gain.faster_measured is None else f"{gain.faster_measured:.2f} x",
                f"{gain.faster_predicted:.2f} x",
                f"{gain.points_lost:.2f}",
                f"{gain.smaller:.2f} x",
            )
            for gain in found
        ),
    )
    best = best_within(found, POINTS)
    if best is None or best.faster <= 1:
        typer.echo(f"no model is faster and loses at most {POINTS:g} point of accuracy")
        return
    source = "predicted" if best.faster_measured is None else "measured"
    faster = f"{best.faster:.2f} times as fast as the original ({source})"
    change = "loses" if best.points_lost >= 0 else "gains"
    typer.echo(f"{best.id} is {faster} and {change} {abs(best.points_lost):.2f} points of accuracy")
