"""`hwnas front`."""

from __future__ import annotations

from hwnas.cli.options import AsJson, EachFront, MaxEnergy, MaxLatency, MaxSize, MinAccuracy, Run, front_device
from hwnas.cli.output import print_fronts, print_json

__all__ = ["front"]


def front(
    run: Run,
    max_latency: MaxLatency = None,
    max_energy: MaxEnergy = None,
    max_size: MaxSize = None,
    min_accuracy: MinAccuracy = None,
    device: EachFront = None,
    as_json: AsJson = False,
) -> None:
    """Show the front of a run as a table, one a device, and which model to take.

    Models outside the limits are dimmed and say so. Of a search for several devices it also says which models are on
    the front of each.
    """
    from hwnas.export.notes import fp32_remark
    from hwnas.store import read_front
    from hwnas.viz.table import Limits, front_rows

    found = read_front(run)
    limits = Limits(
        max_latency_ms=max_latency, max_energy_mj=max_energy, max_size_mb=max_size, min_accuracy=min_accuracy
    )
    names = found.devices if device is None else (front_device(found, device),)
    if as_json:
        tables = {
            name: [
                {
                    **row.to_json(),
                    "within_limits": limits.hold(row),
                    "in_fp32": fp32_remark(run, row.id, name, row.precision),
                }
                for row in front_rows(found, name)
            ]
            for name in names
        }
        print_json({"task": found.task, "space": found.space, "seed": found.seed, "devices": tables})
        return
    print_fronts(run, found, names, limits)
