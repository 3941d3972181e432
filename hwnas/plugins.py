"""The only reader of entry points: devices, runtimes, tasks, spaces and whatever else can be added from outside."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hwnas.errors import DuplicatePluginError, UnknownPluginError

__all__ = ["load_plugin", "plugin_names"]

# kind (singular, as in messages) -> entry-point group
GROUPS = {kind: f"hwnas.{kind}s" for kind in ("device", "runtime", "task", "space")}


@cache
def _points(kind: str) -> tuple[EntryPoint, ...]:
    # An editable install beside its own build metadata lists a point twice; equal points are one.
    return tuple(dict.fromkeys(entry_points(group=GROUPS[kind])))


def plugin_names(kind: str) -> list[str]:
    """Names of all plugins of a kind ("device", "runtime", "task" or "space"), sorted."""
    return sorted({point.name for point in _points(kind)})


def load_plugin(kind: str, name: str) -> Any:
    """Load what the entry point `name` of this kind points to.

    Raises:
        UnknownPluginError: there is none of that name.
        DuplicatePluginError: several packages offer it.
    """
    found = {point.value: point for point in _points(kind) if point.name == name}
    if not found:
        raise UnknownPluginError(kind, name, plugin_names(kind))
    if len(found) > 1:
        raise DuplicatePluginError(f"{kind} {name!r} is offered by {sorted(found)}; uninstall all but one")
    return next(iter(found.values())).load()
