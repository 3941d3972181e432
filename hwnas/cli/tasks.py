"""`hwnas tasks`."""

from __future__ import annotations

import inspect

from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_table

__all__ = ["tasks"]


def tasks(as_json: AsJson = False) -> None:
    """List the tasks."""
    from hwnas.plugins import load_plugin, plugin_names

    found = [(name, load_plugin("task", name)) for name in plugin_names("task")]
    rows = [{"name": name, "about": (inspect.getdoc(load) or "").partition("\n\n")[0]} for name, load in found]
    if as_json:
        print_json(rows)
        return
    print_table("tasks", ("task", "what it is"), ((row["name"], " ".join(row["about"].split())) for row in rows))
