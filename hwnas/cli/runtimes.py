"""`hwnas runtimes`."""

from __future__ import annotations

from typing import Any

from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_table

__all__ = ["runtimes"]


def runtimes(as_json: AsJson = False) -> None:
    """List the runtimes and their versions."""
    from hwnas.plugins import plugin_names

    rows = [_describe(name) for name in plugin_names("runtime")]
    if as_json:
        print_json(rows)
        return
    print_table(
        "runtimes",
        ("runtime", "version", "file", "precisions", "note"),
        ((r["name"], r["version"] or "missing", r["suffix"], ", ".join(r["precisions"]), r["note"]) for r in rows),
    )


def _describe(name: str) -> dict[str, Any]:
    from hwnas.errors import MissingDependencyError
    from hwnas.plugins import load_plugin

    loaded = load_plugin("runtime", name)
    runtime = loaded() if isinstance(loaded, type) else loaded
    try:
        version, note = runtime.version(), ""
    except MissingDependencyError as error:
        version, note = None, str(error)
    return {
        "name": name,
        "version": version,
        "suffix": runtime.suffix,
        "precisions": list(runtime.precisions),
        "note": note,
    }
