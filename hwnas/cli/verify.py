"""`hwnas verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.options import AsJson, FrontDevice, Host, Run, front_device
from hwnas.cli.output import print_json, print_table

if TYPE_CHECKING:
    from pathlib import Path

    from hwnas.core.device import Device
    from hwnas.export.explain import Explanation

__all__ = ["verify"]

NAME_WIDTH = 36


def verify(
    run: Run,
    device: FrontDevice = None,
    host: Host = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show where the time of a model goes, operation by operation.")
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", metavar="ID", help="Model to explain; that of `hwnas pick`, if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hold the files of a run against its front.

    Their SHA-256 must be the promised one; where the device can be reached they are measured again, and the latency
    must be, too.
    Exit code 1 if a model does not keep its promise.

    With --explain nothing is held against anything: the profiler of the device's runtime times each operation of one
    model on this machine, and the predictor's share stands beside it.
    """
    from hwnas.cli.progress import step_progress
    from hwnas.devices.resolve import at_host, find_device
    from hwnas.errors import ConfigError, RunFolderError
    from hwnas.export.promises import verify_run
    from hwnas.store import read_front

    target = find_device(front_device(read_front(run), device))
    if host is not None:
        target = at_host(target, host)
    if explain:
        _explain(run, target, model, as_json)
        return
    if model is not None:
        raise ConfigError("--model names the model to explain; add --explain, or leave it out to verify all")
    with step_progress("measure", quiet=as_json) as on_progress:
        checks = verify_run(run, target, on_progress=on_progress)
    if as_json:
        print_json([check.to_json() for check in checks])
    else:
        rows = ((check.id, "yes" if check.kept else "NO", check.reason) for check in checks)
        print_table(f"{run} on {target.name}", ("model", "kept", "what was found"), rows)
    if broken := [check.id for check in checks if not check.kept]:
        raise RunFolderError(
            f"{len(broken)} of {len(checks)} models of {run} do not keep their promise on {target.name}: "
            f"{', '.join(broken)}; take another model, or search again"
        )


def _explain(run: Path, target: Device, model: str | None, as_json: bool) -> None:
    from hwnas.export.explain import explain_model
    from hwnas.store import read_front
    from hwnas.viz.table import pick

    chosen = model or pick(read_front(run), device=target.name).row.id
    found = explain_model(run, target, chosen)
    if as_json:
        print_json(found.to_json())
    else:
        _show(found)


def _show(found: Explanation) -> None:
    from hwnas.viz.text import ms, percent

    profile = found.profile
    print_table(
        f"{found.id} on {found.device}: {found.runtime}, {found.precision}, {found.threads} threads, measured",
        ("at>", "kind", "operation", "output", "profiled ms>", "less profiler>", "share>", "name"),
        (
            (
                *(at, op.kind, op.operator, _shape(op.output), _ms(op.ms), _ms(profile.net_ms(op))),
                *(percent(profile.net_ms(op) / profile.plain_ms, 1), _ending(op.name)),
            )
            for at, op in enumerate(profile.operations)
        ),
    )
    print_table(
        "measured against predicted, by kind of operation",
        ("kind", "operations>", "measured ms>", "share>", "predicted ms>", "share>"),
        (
            (
                "whole network" if kind.kind == "network" else kind.kind,
                kind.n_measured or "",
                _ms(kind.measured_ms),
                percent(kind.measured_ms / profile.plain_ms, 1),
                "not known" if kind.predicted_ms is None else _ms(kind.predicted_ms),
                "" if kind.predicted_ms is None else percent(kind.predicted_ms / found.predicted_ms, 1),
            )
            for kind in found.kinds
        ),
    )
    typer.echo(
        f"the plain call takes {ms(profile.plain_ms)} ms measured, {ms(found.predicted_ms)} predicted; profiled, the "
        f"operations add up to {ms(profile.sum_ms)} ms"
    )
    if profile.profiler_ms:
        typer.echo(
            f"so the profiler itself costs {_ms(profile.profiler_ms)} ms or more in each operation, which is taken off"
        )
    typer.echo(
        f"each is the mean of the fastest quarter of {profile.calls} calls; whole network: what belongs to no operation"
    )
    if found.why_unpredicted:
        typer.echo(f"nothing predicted by kind: {found.why_unpredicted}")
    for note in found.notes:
        typer.echo(f"note: {note}")


def _shape(output: tuple[int, ...] | None) -> str:
    return "" if output is None else "x".join(map(str, output))


def _ending(name: str) -> str:
    """Names of nodes begin alike, with the modules around them."""
    return name if len(name) <= NAME_WIDTH else f"\u2026{name[1 - NAME_WIDTH :]}"


def _ms(value: float) -> str:
    from hwnas.viz.text import ms

    return ms(value) if value else "0"
