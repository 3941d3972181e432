from __future__ import annotations

import inspect
import re

import pytest

from hwnas import errors
from hwnas.errors import ConfigError, HwnasError, UnknownPluginError, nearest

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and value.__module__ == errors.__name__
}


def test_one_tree() -> None:
    assert all(issubclass(value, HwnasError) for value in CLASSES.values())


def test_all_is_sorted_and_complete() -> None:
    assert errors.__all__ == sorted([*CLASSES, "nearest"])


def test_the_drawn_tree_names_every_error() -> None:
    drawn = set(re.findall(r"[A-Z]\w+Error", errors.__doc__ or ""))
    assert drawn == set(CLASSES)


def test_errors_are_also_the_builtin_that_fits() -> None:
    assert issubclass(ConfigError, ValueError)
    assert issubclass(UnknownPluginError, LookupError)
    assert issubclass(errors.MissingDependencyError, ImportError)


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("jetsn", ["cpu", "jetson"], "jetson"),
        ("CPU", ["cpu", "jetson"], "cpu"),
        ("nasbench", ["mobilenet", "NASBench201"], "NASBench201"),
        ("zzz", ["cpu", "jetson"], None),
        ("x", [], None),
    ],
)
def test_nearest(name: str, known: list[str], expected: str | None) -> None:
    assert nearest(name, known) == expected


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("cpuu", ["cpu"], "no device named 'cpuu'; did you mean 'cpu'? known: cpu. Run `hwnas devices`."),
        ("zzz", ["cpu"], "no device named 'zzz'; known: cpu. Run `hwnas devices`."),
        ("cpu", [], "no device named 'cpu'; known: none. Run `hwnas devices`."),
    ],
)
def test_unknown_plugin_says_what_there_is(name: str, known: list[str], message: str) -> None:
    assert str(UnknownPluginError("device", name, known)) == message
