"""Completion as shells ask for it: in a process of its own, by environment variables."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.core.device import Device
from hwnas.devices.own import write_own_device
from hwnas.store import write_json
from hwnas.testing.front import example_front

SHELLS = ("bash", "zsh", "fish")
HEAVY = {"torch", "optuna", "plotly", "sklearn", "scipy", "onnx", "onnxruntime", "pyarrow", "ray"}
START = f"""import atexit, sys
atexit.register(lambda: print(sorted({HEAVY} & sys.modules.keys()), file=sys.stderr))
from hwnas.cli.main import main
main()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder and the home of whoever types, with two runs and a device of one's own."""
    for run, names in (("runs/cpu-digits", ("cpu", "jetson-nano")), ("runs/other", ("cpu",))):
        (tmp_path / run).mkdir(parents=True)
        write_json(tmp_path / run / "front.json", example_front(names).to_json())
    (tmp_path / "runs/notes").mkdir()
    (tmp_path / "kept").mkdir()
    write_json(tmp_path / "kept/config.json", {})
    monkeypatch.setenv("HWNAS_CONFIG", str(tmp_path / "config"))
    write_own_device(
        Device(name="my-pi", title="my pi", kind="cpu", runtime="onnxruntime", reach="ssh", host="pi@board")
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hwnas(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", START, *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def asked(shell: str, line: str) -> str:
    """What a shell gets for a line whose last word is to be completed."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    environment = {
        "_HWNAS_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = hwnas(**environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "[]\n"  # nothing heavy was imported
    return done.stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("hwnas ver", ["verify"]),
        ("hwnas device ", ["add", "remove"]),
        ("hwnas search --device jetson-", ["jetson-nano", "jetson-orin-nano", "jetson-tx2"]),
        ("hwnas search --device my", ["my-pi"]),
        ("hwnas search --device cpu --device jetson", ["jetson-nano", "jetson", "jetson-orin-nano", "jetson-tx2"]),
        ("hwnas measure --device jetso", ["jetson-nano", "jetson", "jetson-orin-nano", "jetson-tx2"]),
        ("hwnas search --space m", ["mnasnet", "mobilenet"]),
        ("hwnas compress m.py:build --task d", ["digits"]),
        ("hwnas search --precision ", ["fp32", "fp16", "bf16", "int8", "int8-dynamic", "int8-weights"]),
        ("hwnas search --sampler nsga", ["nsga2", "nsga3"]),
        ("hwnas device add x --like raspberry", ["raspberry-pi-4", "raspberry-pi-5"]),
        ("hwnas device add x --runtime lite", ["litert"]),
        ("hwnas device remove ", ["my-pi"]),
        ("hwnas front ", ["kept", "runs/cpu-digits", "runs/other"]),
        ("hwnas report runs/o", ["runs/other"]),
        ("hwnas watch runs/", ["runs/cpu-digits", "runs/other"]),
        ("hwnas worker nowhere/", []),
        ("hwnas pick runs/cpu-digits --device ", ["cpu", "jetson-nano"]),
        ("hwnas export runs/other --model ", [model.id for model in example_front(("cpu",)).models]),
        ("hwnas export runs/other --format ", ["onnx"]),
        ("hwnas export runs/none --model ", []),
    ],
)
def test_bash_gets_what_fits(line: str, offered: list[str], home: Path) -> None:
    assert asked("bash", line).split() == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_also_say_what_it_is(shell: str, home: Path) -> None:
    devices = asked(shell, "hwnas search --device jetson-t")
    assert "jetson-tx2" in devices
    assert "NVIDIA Jetson TX2" in devices
    models = asked(shell, "hwnas export runs/cpu-digits --model ")
    assert all(model.id in models for model in example_front().models)
    assert "87.22 %" in models


def test_a_broken_device_breaks_no_completion(home: Path) -> None:
    (home / "config/devices/my-pi.json").write_text("{")
    assert "jetson-nano" in asked("bash", "hwnas search --device jetson").split()
    assert asked("bash", "hwnas device remove ").split() == []


@pytest.mark.parametrize(
    ("shell", "file"),
    [("bash", ".bash_completions/hwnas.sh"), ("zsh", ".zfunc/_hwnas"), ("fish", ".config/fish/completions/hwnas.fish")],
)
def test_it_is_installed_for(shell: str, file: str, home: Path) -> None:
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # this test runs in no shell
    shown = hwnas("--show-completion", shell, **named)
    installed = hwnas("--install-completion", shell, **named)
    assert (shown.returncode, installed.returncode) == (0, 0)
    assert f"_HWNAS_COMPLETE=complete_{shell}" in shown.stdout
    assert (home / file).read_text().strip() == shown.stdout.strip()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_works_in(shell: str, home: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    command = home / "bin" / "hwnas"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(START)} "$@" 2>/dev/null\n')
    command.chmod(0o755)
    script = hwnas("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1").stdout
    # What pressing <TAB> after "jetson-t" does; zsh has no way to ask for it without a terminal.
    ask = {
        "bash": 'COMP_WORDS=(hwnas search --device jetson-t); COMP_CWORD=3; _hwnas_completion hwnas; echo "$COMPREPLY"',
        "zsh": "_arguments() { print -r -- $*; }; words=(hwnas search --device jetson-t); CURRENT=4; _hwnas_completion",
        "fish": "complete --do-complete 'hwnas search --device jetson-t'",
    }[shell]
    before = "compdef() { :; }\n" if shell == "zsh" else ""
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [shell, "-c", f"{before}{script}\n{ask}"], env=environment, capture_output=True, text=True, check=False
    )
    assert "jetson-tx2" in done.stdout, done.stderr
