"""Imports point down only, and an import does not reach for heavy packages."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the top down. Packages of one row do not import each other.
LAYERS = [
    ["__main__"],
    ["cli"],
    ["search"],
    ["export", "viz"],
    ["latency", "accuracy"],
    ["measure"],
    ["compress", "devices", "runtimes", "tasks", "search_spaces"],
    ["elastic"],
    ["plugins", "store", "trace", "onnx_ops", "testing"],
    ["core"],
    ["errors"],
]
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}
RANK["latency_models"] = RANK["latency"] + 1  # data only, read by `latency`
FILES = sorted(path.relative_to(ROOT) for top in ("hwnas", "search_spaces") for path in (ROOT / top).rglob("*.py"))


def imported(source: str, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Parts of every imported name, those inside functions and relative ones too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            if module == ("hwnas",):
                yield from ((*module, alias.name) for alias in node.names)
            else:
                yield module


def violations(path: Path, source: str) -> list[str]:
    parts = path.with_suffix("").parts
    layer = parts[1] if parts[0] == "hwnas" else parts[0]
    package = parts[:-1] if parts[0] == "hwnas" else ("hwnas", *parts[:-1])
    found = []
    for root, *rest in imported(source, package):
        if root in ("search_spaces", "latency_models"):
            found.append(f"{layer} imports {root} by its folder, not as hwnas.{root}")
        if root != "hwnas" or layer == "__init__":
            continue
        if not rest or rest[0] not in RANK:
            found.append(f"{layer} imports the package root")
        elif rest[0] != layer and RANK[rest[0]] <= RANK[layer]:
            found.append(f"{layer} imports {rest[0]}")
    return found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_down(path: Path) -> None:
    assert violations(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_package_has_a_rank(path: Path) -> None:
    parts = path.with_suffix("").parts
    name = parts[1] if parts[0] == "hwnas" else parts[0]
    assert name in RANK or name == "__init__"


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("hwnas/core/x.py", "from hwnas.store import read_json", "core imports store"),
        ("hwnas/core/x.py", "def f():\n    import hwnas.cli.main", "core imports cli"),
        ("hwnas/tasks/x.py", "from hwnas.runtimes import onnxruntime", "tasks imports runtimes"),
        ("hwnas/tasks/x.py", "from hwnas import search", "tasks imports search"),
        ("hwnas/tasks/x.py", "from ..search import loop", "tasks imports search"),
        ("hwnas/tasks/x.py", "import hwnas", "tasks imports the package root"),
        ("hwnas/tasks/x.py", "from hwnas import Choice", "tasks imports the package root"),
        ("search_spaces/x.py", "from hwnas.latency import fit", "search_spaces imports latency"),
        ("search_spaces/x.py", "from hwnas.search_spaces import y\nfrom hwnas.elastic import z", ""),
        ("hwnas/search/x.py", "from hwnas.search_spaces import mobilenet", ""),
        ("hwnas/search/x.py", "from search_spaces import mobilenet", "search imports search_spaces by its folder"),
        ("hwnas/__init__.py", "from hwnas.search import loop", ""),
    ],
)
def test_the_rule_itself(path: str, source: str, message: str) -> None:
    found = violations(Path(path), source)
    assert found == [] if not message else found[0].startswith(message)


@pytest.mark.parametrize(
    "module",
    [
        "core.space",
        "core.pareto",
        "core.measurement",
        "plugins",
        "store",
        "devices.resolve",
        "tasks.images",
        "onnx_ops.operations",
        "latency.whole",
        "latency.tables",
    ],
)
def test_import_is_light(module: str) -> None:
    heavy = ("torch", "torch_pruning", "optuna", "plotly", "onnxruntime", "sklearn", "pyarrow", "PIL")
    code = f"import sys, hwnas.{module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
