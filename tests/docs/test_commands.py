"""Every `hwnas` command in the documentation parses, every Python block compiles, every link leads somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from hwnas.cli.duration import parse_duration
from hwnas.cli.main import app
from hwnas.devices.resolve import check_precisions, find_device
from hwnas.plugins import plugin_names

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WRITTEN = ("reference_runtime",)  # modules that a page writes and another block imports
GROUP = typer.main.get_command(app)


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of every fenced block of a language."""
    found = [(page.name, *match) for page in PAGES for match in FENCE.findall(page.read_text(encoding="utf-8"))]
    return [(page, text) for page, of, text in found if of == language]


def shell_commands() -> list[tuple[str, str]]:
    """(page, command line) of every `hwnas` command in a shell block."""
    lines = [(page, line) for page, text in blocks("bash") for line in text.replace("\\\n", " ").splitlines()]
    parts = [(page, part.strip()) for page, line in lines for part in re.split(r"&&|\|\||[|;]", line)]
    return [(page, part) for page, part in parts if re.match(r"hwnas\b", part)]


def inline_commands() -> list[tuple[str, str]]:
    """(page, text) of every `hwnas ...` in backticks; these may be patterns such as `hwnas front RUN`."""
    found = []
    for page in PAGES:
        prose = FENCE.sub("", page.read_text(encoding="utf-8"))
        found += [(page.name, text) for text in re.findall(r"`(hwnas [^`]+)`", prose)]
    return found


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and the words that are left: "device add pi" is `add` of `device`."""
    command: Any = GROUP
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def options_of(command: Any) -> set[str]:
    return {name for option in command.params for name in option.opts}


def every_command(command: Any) -> list[Any]:
    below = getattr(command, "commands", {})
    return [command, *(found for name in below for found in every_command(below[name]))]


def test_there_is_something_to_check() -> None:
    assert len(shell_commands()) >= 15
    assert len(inline_commands()) >= 10


@pytest.mark.parametrize(("page", "line"), shell_commands(), ids=lambda value: str(value))
def test_a_command_parses(page: str, line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)[1:]
    if name.startswith("-"):
        return
    command, arguments = command_of([name, *arguments])
    with command.make_context(name, arguments) as context:
        given = context.params
    devices = given.get("device") or []
    for device in [devices] if isinstance(devices, str) else devices:
        if device in ("my-pi", "my-board"):  # devices that the pages add
            continue
        check_precisions(find_device(device), given.get("precision") if name == "search" else None)
    for kind in ("space", "task"):
        assert given.get(kind) is None or given[kind] in plugin_names(kind)
    if given.get("time"):
        assert parse_duration(given["time"]) > 0


@pytest.mark.parametrize(("page", "text"), inline_commands(), ids=lambda value: str(value))
def test_a_command_in_prose_exists_with_its_options(page: str, text: str) -> None:
    name = text.split()[1]
    if name == "COMMAND" or name.startswith("-"):
        return
    assert name in GROUP.commands
    command, _ = command_of(text.split()[1:])
    assert set(re.findall(r"(?<!\S)--[a-z-]+", text)) - {"--help"} <= options_of(command)


def test_options_in_the_readme_are_options_of_some_command() -> None:
    known = {option for command in every_command(GROUP) for option in options_of(command)} | {"--help"}
    others = {"--extra-index-url"}  # of pip
    prose = FENCE.sub("", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert set(re.findall(r"`(--[a-z-]+)", prose)) - others <= known


def test_every_command_is_in_the_readme() -> None:
    named = {text.split()[1] for page, text in inline_commands() if page == "README.md"}
    assert set(GROUP.commands) <= named


def test_the_two_commands_of_a_fresh_machine() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "```bash\npip install -c constraints.txt -e . && hwnas search --device jetson\n```" in text
    test_command = "pip install -c constraints.txt -e '.[dev]' && pytest"
    assert f"<!-- test-command -->\n```bash\n{test_command}\n```" in text


@pytest.mark.parametrize(("page", "text"), blocks("python"), ids=lambda value: str(value)[:20])
def test_a_python_block_compiles_and_imports_what_is_there(page: str, text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module not in WRITTEN:
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in targets if "://" not in link and not (page.parent / link).exists()] == []
