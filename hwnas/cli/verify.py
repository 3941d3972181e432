"""`hwnas verify`."""

from __future__ import annotations

from hwnas.cli.options import AsJson, FrontDevice, Host, Run, front_device
from hwnas.cli.output import print_json, print_table

__all__ = ["verify"]


def verify(run: Run, device: FrontDevice = None, host: Host = None, as_json: AsJson = False) -> None:
    """Hold the files of a run against its front.

    Their SHA-256 must be the promised one; where the device can be reached they are measured again, and the latency
    must be, too.
    Exit code 1 if a model does not keep its promise.
    """
    from hwnas.cli.progress import step_progress
    from hwnas.devices.resolve import at_host, find_device
    from hwnas.errors import RunFolderError
    from hwnas.export.promises import verify_run
    from hwnas.store import read_front

    target = find_device(front_device(read_front(run), device))
    if host is not None:
        target = at_host(target, host)
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
