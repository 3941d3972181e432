from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import hwnas

HEAVY = ("torch", "optuna", "plotly", "sklearn", "onnxruntime", "onnx", "pyarrow", "fvcore", "typer", "rich")


def in_fresh_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_public_names_are_sorted_and_once() -> None:
    assert hwnas.__all__ == sorted(set(hwnas.__all__))
    assert set(hwnas.__all__) <= set(dir(hwnas))


@pytest.mark.parametrize("name", hwnas.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(hwnas, name) is not None


def test_type_checkers_see_every_public_name() -> None:
    tree = ast.parse(Path(hwnas.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in ast.walk(block) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen | {"__version__"} == set(hwnas.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'seek'"):
        hwnas.seek  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import hwnas",
        "import hwnas; hwnas.__version__, hwnas.HwnasError, hwnas.SearchSpace, hwnas.Choice, hwnas.Task, hwnas.search",
        "import hwnas.search",
        "import hwnas.plugins",
        "import hwnas.cli.main",
    ],
)
def test_importing_is_light(code: str) -> None:
    # The command line needs typer; nothing needs the rest before it is asked for.
    heavy = [name for name in HEAVY if not ("cli" in code and name in ("typer", "rich"))]
    found = in_fresh_python(f"{code}; import sys, json; print(json.dumps(sorted(sys.modules.keys() & set({heavy}))))")
    assert json.loads(found) == []


def test_search_is_a_package_that_can_be_called() -> None:
    package = importlib.import_module("hwnas.search")
    assert hwnas.search is package
    assert callable(package)
    pytest.importorskip("hwnas.search.api")
    with pytest.raises(TypeError, match="no_such_setting"):
        hwnas.search(no_such_setting=1)
