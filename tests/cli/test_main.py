from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hwnas.cli.main import COMMANDS, app
from hwnas.core.graph_record import GraphRecord
from hwnas.errors import ConfigError
from hwnas.store import write_json
from hwnas.testing.front import example_front

RUNNER = CliRunner()

OPTIONS = {
    "search": (
        *("--device", "--space", "--task", "--data", "--trials", "--time", "--max-latency", "--max-size"),
        *("--max-memory", "--precision", "--seed", "--out", "--storage", "--cluster", "--resume"),
    ),
    "compress": (
        *("MODEL.py:FUNCTION", "--weights", "--device", "--task", "--data", "--trials", "--time", "--max-latency"),
        *("--max-size", "--max-memory", "--precision", "--input-shape", "--importance", "--seed", "--out", "--resume"),
        "Example:",
    ),
    "worker": ("RUN", "--storage", "--data"),
    "watch": ("RUN", "--port", "--open", "--no-open"),
    "measure": ("--device", "--space", "--samples", "--host", "--out"),
    "calibrate": ("--device", "--measurements", "--sources", "--energy-column"),
    "predict": (
        *("--device", "MODEL.onnx", "--space", "--architectures", "--precision", "--input-shape", "--breakdown"),
        *("--task", "--data", "--json"),
    ),
    "front": ("RUN", "--max-latency", "--max-energy", "--max-size", "--min-accuracy", "--json"),
    "report": ("RUN", "--out"),
    "pick": ("RUN", "--max-latency", "--max-energy", "--max-size", "--min-accuracy", "--json"),
    "export": ("RUN", "--model", "--format", "--to"),
    "verify": ("RUN", "--device", "--host", "--json"),
    "devices": ("--json",),
    "spaces": ("--json",),
    "tasks": ("--json",),
    "runtimes": ("--json",),
    "doctor": ("--json",),
}

MEASURE = ("measure", "--device", "cpu", "--space", "mobilenet", "--samples", "1")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    write_json(folder / "front.json", example_front().to_json())
    return folder


def test_every_command_of_the_contract_is_there() -> None:
    assert {command.__name__ for command in COMMANDS} == set(OPTIONS)


@pytest.mark.parametrize("command", OPTIONS)
def test_help_names_every_option(command: str) -> None:
    found = RUNNER.invoke(app, [command, "--help"])
    assert found.exit_code == 0
    assert [option for option in OPTIONS[command] if option not in found.stdout] == []


def test_help_lists_the_commands_and_version_is_the_package_version() -> None:
    shown = RUNNER.invoke(app, ["--help"])
    assert shown.exit_code == 0
    assert all(command in shown.stdout for command in OPTIONS)
    version = RUNNER.invoke(app, ["--version"])
    assert version.exit_code == 0
    assert version.stdout.startswith("hwnas 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["search"],
        ["search", "--device"],
        ["search", "--device", "cpu", "--no-such-option"],
        ["search", "--device", "cpu", "--trials", "many"],
        ["search", "--device", "cpu", "--trials", "0"],
        ["measure", "--device", "cpu", "--space", "mobilenet"],
        ["front"],
        ["export", "run", "--to", "x"],
        ["devices", "extra"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    found = RUNNER.invoke(app, arguments)
    assert found.exit_code == 2
    assert "Traceback" not in found.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["front", "{tmp}/none"], ["no run folder"]),
        (["report", "{tmp}/none"], ["no run folder"]),
        (["pick", "{tmp}/none"], ["no run folder"]),
        (["verify", "{tmp}/none"], ["no run folder"]),
        (["worker", "{tmp}/none"], ["a run folder"]),
        (["export", "{tmp}/none", "--model", "x", "--to", "{tmp}/to"], ["no run folder"]),
        (["front", "{tmp}"], ["no front.json", "--resume"]),
        (["front", "{tmp}/newer"], ["schema 2", "update hwnas"]),
        (["front", "{tmp}/broken"], ["damaged"]),
        (["front", "{tmp}/half"], ["damaged", "models", "missing"]),
        (["front", "{run}", "--device", "toaster"], ["no device named 'toaster'", "cpu"]),
        (["front", "{run}", "--device", "jetson-tx2"], ["not for device 'jetson-tx2'", "cpu, jetson-nano"]),
        (["pick", "{run}", "--max-latency", "0.001"], ["no model within 0.001 ms", "fastest"]),
        (["pick", "{run}", "--max-latency", "nan"], ["above 0"]),
        (["pick", "{run}", "--max-latency", "-1"], ["above 0"]),
        (["pick", "{run}", "--min-accuracy", "97"], ["a fraction from 0 to 1"]),
        (["pick", "{run}", "--min-accuracy", "0.999"], ["at least 99.9 %", "the most accurate", "98.33 %"]),
        (["pick", "{run}", "--max-size", "0.001"], ["no model within 0.001 MB", "the smallest", "0.0294 MB"]),
        (["watch", "{tmp}/none"], ["no run folder"]),
        (["watch", "{tmp}"], ["no front.json"]),
        (["watch", "{tmp}/newer"], ["schema 2"]),
        (["export", "{run}", "--model", "zzz", "--to", "{tmp}/to"], ["no model 'zzz'", "known"]),
        (["report", "{run}", "--out", "{tmp}"], ["it is a folder"]),
        (["search", "--device", "cpu", "--time", "soon"], ["got 'soon'", "10m"]),
        (["predict", "--device", "jetson", "no-model.onnx"], ["no-model.onnx"]),
        (["predict", "--device", "cpu"], ["--space S and --architectures FILE"]),
        (["measure", "--device", "cpi", "--space", "mobilenet", "--samples", "1"], ["mean 'cpu'"]),
        ([*MEASURE, "--precision", "int9"], ["unknown precision 'int9'"]),
        ([*MEASURE, "--host", "me@board"], ["hwnas device add NAME --host me@board"]),
        ([*MEASURE, "--out", "{tmp}/broken/front.json"], ["line 1"]),
        (["verify", "{run}", "--host", "me@board"], ["hwnas device add NAME --host me@board"]),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(
    arguments: list[str], words: list[str], tmp_path: Path, run: Path
) -> None:
    for name, text in (("newer", '{"schema": 2}'), ("broken", "{]"), ("half", '{"schema": 1}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "front.json").write_text(text)
    found = RUNNER.invoke(app, [argument.format(tmp=tmp_path, run=run) for argument in arguments])
    assert found.exit_code == 1
    assert found.stdout == ""
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1
    assert [word for word in words if word not in found.stderr] == []
    assert (tmp_path / "broken" / "front.json").read_text() == "{]"


def failing(error: BaseException) -> typer.Typer:
    """The real group with one command that raises."""

    def search(device: str = "", storage: str = "") -> None:
        raise error

    def worker(run: str) -> None:
        raise error

    def other() -> None:
        raise error

    made = typer.Typer(cls=type(typer.main.get_command(app)), pretty_exceptions_enable=False)
    made.command("search")(search)
    made.command("worker")(worker)
    made.command("other")(other)
    return made


def test_an_error_of_several_lines_becomes_one() -> None:
    found = RUNNER.invoke(failing(ConfigError("one\n  two")), ["other"])
    assert (found.exit_code, found.stderr) == (1, "error: one two\n")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "/x/y"), "error: No space left on device /x/y; check the path"),
        (PermissionError(13, "Permission denied", "/x"), "error: Permission denied /x"),
        (OSError("odd"), "error: odd; check"),
    ],
)
def test_an_error_of_the_system_is_one_line(error: OSError, words: str) -> None:
    found = RUNNER.invoke(failing(error), ["other"])
    assert found.exit_code == 1
    assert found.stderr.startswith(words)
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["search", "--device", "a b"], "interrupted; go on with: hwnas search --device 'a b' --resume\n"),
        (
            ["search", "--device", "a", "--storage", "postgresql://me:pw@h/db"],
            "interrupted; go on with: hwnas search --device a --storage 'postgresql://me:***@h/db' --resume\n",
        ),
        (["worker", "run"], "interrupted; go on with: hwnas worker run\n"),
        (["other"], "interrupted\n"),
    ],
)
def test_interrupted_says_how_to_go_on(arguments: list[str], line: str) -> None:
    found = RUNNER.invoke(failing(KeyboardInterrupt()), arguments)
    assert (found.exit_code, found.stderr) == (130, line)


def test_an_error_of_the_program_itself_is_not_hidden() -> None:
    found = RUNNER.invoke(failing(ZeroDivisionError("bug")), ["other"])
    assert isinstance(found.exception, ZeroDivisionError)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom hwnas.cli.main import main\nsys.argv = ['hwnas', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'optuna', 'plotly', 'sklearn', 'onnxruntime', 'numpy'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_a_closed_pipe_is_no_traceback(run: Path) -> None:
    command = [sys.executable, "-c", "from hwnas.cli.main import main; main()", "front", str(run), "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    found = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert "Traceback" not in found.stderr


def test_front_as_table_and_as_json(run: Path) -> None:
    table = RUNNER.invoke(app, ["front", str(run)])
    assert table.exit_code == 0
    for model in example_front().models:
        rows = [line for line in table.stdout.splitlines() if line.strip().startswith(model.id)]
        assert len(rows) == 2  # one for each device
    assert table.stdout.count(": the knee of the front on ") == 2
    assert "on both fronts, of cpu and jetson-nano: " in table.stdout
    assert all(
        word in table.stdout for word in ("knee", "out of domain", "unstable", "measured", "predicted", "hypervolume")
    )
    one = RUNNER.invoke(app, ["front", str(run), "--device", "jetson", "--json"])
    assert list(json.loads(one.stdout)["devices"]) == ["jetson-nano"]
    both = json.loads(RUNNER.invoke(app, ["front", str(run), "--json"]).stdout)
    assert [row["latency_source"] for row in both["devices"]["cpu"]] == ["measured"] * 8
    assert all(row["on_every_front"] and row["front_of"] == ["cpu", "jetson-nano"] for row in both["devices"]["cpu"])


def test_front_says_what_is_outside_the_limits(run: Path) -> None:
    limits = ["--device", "cpu", "--max-latency", "0.2", "--max-size", "0.1"]
    table = RUNNER.invoke(app, ["front", str(run), *limits])
    assert table.exit_code == 0
    assert table.stdout.count("outside the limits") == 5
    best = example_front().models[3].id
    assert f"take {best}: the most accurate of 3 within 0.2 ms and 0.1 MB on cpu" in table.stdout
    rows = json.loads(RUNNER.invoke(app, ["front", str(run), *limits, "--json"]).stdout)["devices"]["cpu"]
    assert [row["within_limits"] for row in rows] == [True, True, False, True, False, False, False, False]
    none = RUNNER.invoke(app, ["front", str(run), "--max-latency", "0.001"])
    assert (none.exit_code, none.stdout.count("no model within 0.001 ms")) == (0, 2)


def test_markup_in_names_is_only_text(tmp_path: Path) -> None:
    write_json(tmp_path / "front.json", example_front(("cpu",), task="[red]x[/red][/nope]").to_json())
    found = RUNNER.invoke(app, ["front", str(tmp_path)])
    assert found.exit_code == 0
    assert "[red]x[/red][/nope]" in found.stdout


def test_report_says_where_it_is(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "r.html"
    found = RUNNER.invoke(app, ["report", str(run), "--out", str(out)])
    assert (found.exit_code, found.stdout) == (0, f"{out}\n")
    assert out.stat().st_size > 1_000_000


def test_pick_says_why_and_how_to_export(run: Path) -> None:
    found = RUNNER.invoke(app, ["pick", str(run), "--max-latency", "0.2"])
    assert found.exit_code == 0
    best = example_front().models[4].id
    assert found.stdout.startswith(f"{best}: the most accurate of 5 within 0.2 ms on cpu")
    assert f"export: hwnas export {run} --model {best} --format onnx --to deploy/{best}" in found.stdout
    chosen = json.loads(RUNNER.invoke(app, ["pick", str(run), "--json"]).stdout)
    assert chosen["model"]["knee"] is True


def test_front_and_pick_say_what_this_machine_does_not_compute_in(run: Path) -> None:
    model = next(model for model in example_front().models if model.compression.precision == "int8")
    home = run / "models" / model.id
    home.mkdir(parents=True)
    graph = GraphRecord(precisions={"fp32": 30}).held_against("int8").to_json()
    manifest = {"schema": 1, "runtime": {"name": "onnxruntime"}, "details": {"graph": graph}}
    write_json(home / "manifest.json", manifest)
    for device, said in (("cpu", "runs in fp32"), ("jetson-nano", None)):
        shown = RUNNER.invoke(app, ["front", str(run), "--device", device]).stdout
        assert shown.count("runs in fp32") == (said is not None)
        rows = json.loads(RUNNER.invoke(app, ["front", str(run), "--device", device, "--json"]).stdout)
        assert {row["id"]: row["in_fp32"] for row in rows["devices"][device]}[model.id] == said
    limit = str(model.latency["cpu"].best_ms * 1.001)
    picked = RUNNER.invoke(app, ["pick", str(run), "--max-latency", limit]).stdout
    assert picked.startswith(model.id)
    assert "note: on the machine that exported it, onnxruntime: all 30 convolutions" in picked


def test_pick_names_what_lies_beside_it(run: Path) -> None:
    shown = RUNNER.invoke(app, ["pick", str(run), "--max-latency", "0.2"]).stdout.splitlines()
    models = example_front().models
    faster, better = (line for line in shown if line.startswith("instead: "))
    assert faster.startswith(f"instead: {models[3].id} with 0.139 ms measured (-26 %) and 95.83 % (-0.84 points)")
    assert better.startswith(f"instead: {models[5].id} with 0.262 ms measured (+39 %) and 97.22 % (+0.55 points)")
    ends = RUNNER.invoke(app, ["pick", str(run), "--min-accuracy", "0.98"]).stdout
    assert f"{models[6].id}: the fastest of 2 with an accuracy of at least 98 %" in ends


def test_measure_refuses_a_device_that_is_elsewhere(tmp_path: Path) -> None:
    out = tmp_path / "m.jsonl"
    arguments = ["measure", "--device", "jetson", "--space", "mobilenet", "--samples", "1", "--out", str(out)]
    found = RUNNER.invoke(app, arguments)
    assert found.exit_code == 1
    assert "jetson-nano" in found.stderr
    assert not out.exists()


def test_it_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "hwnas", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "hwnas")
