from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hwnas

ROOT = Path(__file__).parents[1]
FILES = sorted(path.relative_to(ROOT) for top in ("hwnas", "search_spaces") for path in (ROOT / top).rglob("*.py"))
# A number that is one of these has its unit in its name.
QUANTITIES = {"latency", "time", "duration", "timeout", "memory", "energy", "power", "temperature", "clock"}
UNITS = {"ms", "s", "mb", "bytes", "mj", "mw", "mhz", "c", "hz"}
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


def public(node: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """Functions and classes of a module that a user may see, methods included."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield f"{inside}{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{child.name}.")


def numbers(node: ast.FunctionDef | ast.ClassDef) -> Iterator[str]:
    """Names of the numbers that a function takes and gives, or a class has."""
    if isinstance(node, ast.ClassDef):
        fields = [child for child in node.body if isinstance(child, ast.AnnAssign)]
        named = [(child.target.id, child.annotation) for child in fields if isinstance(child.target, ast.Name)]
    else:
        taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        named = [*((argument.arg, argument.annotation) for argument in taken), (node.name, node.returns)]
    for name, annotation in named:
        kinds = set() if annotation is None else set(ast.unparse(annotation).split(" | ")) - {"None"}
        if kinds and kinds <= {"int", "float"}:
            yield name


def faults(source: str) -> list[str]:
    """What a reader of the public names of a module would miss: a docstring, a type, a unit."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else ["the module has no docstring"]
    for name, node in public(tree):
        if not ast.get_docstring(node):
            found.append(f"{name} has no docstring")
        if isinstance(node, ast.FunctionDef):
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            untyped = [a.arg for a in taken if a.annotation is None and a.arg not in ("self", "cls")]
            found += [f"{name} has no type for {what}" for what in untyped]
            found += [] if node.returns is not None else [f"{name} does not say what it returns"]
        for number in numbers(node):
            words = number.strip("_").split("_")
            # Of a function, its docstring may say it, as that of `parse_duration` does.
            is_said = number == node.name and "seconds" in (ast.get_docstring(node) or "").lower()
            if QUANTITIES & set(words) and words[-1] not in UNITS and not is_said:
                found.append(f"{name}: {number} has no unit")
    return found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_public_names_have_docstrings_types_and_units(path: Path) -> None:
    assert faults((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x = 1", ["the module has no docstring"]),
        ('"""M."""\ndef f() -> None:\n    ...', ["f has no docstring"]),
        ('"""M."""\ndef _f():\n    ...', []),
        ('"""M."""\ndef f(x, *, y: int):\n    """D."""', ["f has no type for x", "f does not say what it returns"]),
        ('"""M."""\nclass A:\n    """D."""\n    def f(self) -> int: ...', ["A.f has no docstring"]),
        ('"""M."""\ndef f(latency: float) -> None:\n    """D."""', ["f: latency has no unit"]),
        ('"""M."""\ndef latency_ms(max_time_s: float | None) -> float:\n    """D."""', []),
        ('"""M."""\nclass A:\n    """D."""\n    memory: int | None = None', ["A: memory has no unit"]),
        ('"""M."""\nclass A:\n    """D."""\n    latency: dict[str, float]', []),
        ('"""M."""\ndef check_memory(count: int) -> None:\n    """D."""', []),
        ('"""M."""\ndef read_time() -> int:\n    """D."""', ["read_time: read_time has no unit"]),
    ],
)
def test_the_rule_itself(source: str, found: list[str]) -> None:
    assert faults(source) == found


def described(name: str) -> tuple[list[str], str]:
    """Parameters of a public function or attributes of a public class, and the docstring that should name them."""
    value = getattr(hwnas, name)
    if inspect.ismodule(value):  # search and compress, which can be called
        value = getattr(
            importlib.import_module({"search": "hwnas.search.api"}.get(name, "hwnas.search.compression")), name
        )
    text = inspect.getdoc(value) or ""
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)], text
    return [] if name == "HwnasError" else list(inspect.signature(value).parameters), text


@pytest.mark.parametrize("name", [name for name in hwnas.__all__ if name != "__version__"])
def test_what_a_public_name_takes_or_has_is_described(name: str) -> None:
    names, text = described(name)
    assert text
    assert [one for one in names if not re.search(rf"^ {{4}}(\w+, )*{one}(, \w+)*: ", text, re.MULTILINE)] == []


@pytest.mark.parametrize("name", [name for name in hwnas.__all__ if name not in ("__version__", "HwnasError")])
def test_every_public_name_is_in_the_reference(name: str) -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    (path,) = re.findall(rf"^::: (\S+)\.{name}$", page, re.MULTILINE)
    assert hasattr(importlib.import_module(path), name)
