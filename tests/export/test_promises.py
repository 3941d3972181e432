from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from hwnas.cli.main import app
from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation
from hwnas.core.front import Artifact, Front, FrontModel, LatencyEntry
from hwnas.core.measurement import Measurement, write_measurements
from hwnas.devices.resolve import find_device
from hwnas.errors import ConfigError, RunFolderError
from hwnas.export.bundle import export_bundle
from hwnas.export.promises import verify_run
from hwnas.measure.session import MeasureItem, measure_files
from hwnas.plugins import load_plugin
from hwnas.store import read_front, write_json

RUNNER = CliRunner()
WIDE = (1e-6, 1e6)


def promise(run: Path, low: float, high: float, *, device: str = "cpu") -> None:
    """Write the front again, with this interval for every model."""
    front = read_front(run)
    models = [
        replace(
            model,
            latency={
                device: LatencyEntry(predicted=(low + high) / 2, low=low, high=high, in_domain=True, predictor="test")
            },
            energy_mj={device: None},
        )
        for model in front.models
    ]
    kept = replace(
        front,
        devices=(device,),
        models=tuple(models),
        reference_point={device: (1.0, 0.9)},
        hypervolume={device: 0.1},
    )
    write_json(run / "front.json", kept.to_json())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with two real model files."""
    task = load_plugin("task", "digits")(None, input_shape=None, seed=0)
    runtime = load_plugin("runtime", "onnxruntime")()
    folder, models = tmp_path / "run", []
    for width in (4, 8):
        candidate = Candidate(Architecture.of("mine", {"width": width}))
        layers = (torch.nn.Conv2d(task.input_shape[0], width, 3), torch.nn.Flatten(), torch.nn.LazyLinear(10))
        network = torch.nn.Sequential(*layers).eval()
        network(torch.zeros(1, *task.input_shape))
        manifest = export_bundle(
            network, candidate, task, runtime=runtime, precision="fp32", folder=folder, cpu_flags=frozenset()
        )
        artifact = manifest["artifact"]
        models.append(
            FrontModel(
                id=candidate.id,
                architecture=candidate.architecture,
                compression=candidate.compression,
                accuracy_detail=Evaluation(0.1 * width, 10, "test", "fp32", "deployed-file", 0.0),
                latency={"cpu": LatencyEntry(predicted=width, low=1, high=9, in_domain=True, predictor="test")},
                energy_mj={"cpu": None},
                macs=manifest["macs"],
                params=manifest["params"],
                size_bytes=artifact["size_bytes"],
                artifacts={artifact["format"]: Artifact(artifact["path"], artifact["sha256"])},
            )
        )
    front = Front(
        task="digits",
        space="mine",
        seed=0,
        devices=("cpu",),
        reference_point={"cpu": (1.0, 0.9)},
        hypervolume={"cpu": 0.1},
        models=tuple(models),
    )
    write_json(folder / "front.json", front.to_json())
    promise(folder, *WIDE)
    return folder


def test_files_that_are_as_promised_are_measured_and_keep_it(run: Path) -> None:
    steps: list[tuple[int, int]] = []
    checks = verify_run(
        run, find_device("cpu"), seconds_per_model=0.2, on_progress=lambda done, total: steps.append((done, total))
    )
    assert [check.kept for check in checks] == [True, True]
    assert all(check.latency is not None and check.latency.measured_ms > 0 for check in checks)
    assert steps[-1] == (2, 2)


def test_a_latency_outside_the_interval_is_a_broken_promise(run: Path) -> None:
    promise(run, 1e5, 1e6)
    checks = verify_run(run, find_device("cpu"), seconds_per_model=0.2)
    assert [check.kept for check in checks] == [False, False]
    assert all("outside" in check.reason for check in checks)


def test_what_changed_since_the_promise_is_named(run: Path) -> None:
    measured = measure_run(run)
    older = [replace(found, runtime_version="1.0.0", power_mode=None) for found in measured]
    write_measurements(run / "measurements.jsonl", older)
    checks = verify_run(run, find_device("cpu"), seconds_per_model=0.2)
    now = measured[0].runtime_version
    assert all(check.reason.endswith(f"changed since: version 1.0.0 -> {now}") for check in checks)


def measure_run(run: Path) -> list[Measurement]:
    """The models of the run, measured."""
    front = read_front(run)
    files = [run / next(iter(model.artifacts.values())).path for model in front.models]
    items = [MeasureItem(m.candidate, path, "fp32", (1, 8, 8)) for m, path in zip(front.models, files, strict=True)]
    results = measure_files(items, device="cpu", runtime="onnxruntime", threads=1, seconds_per_model=0.2)
    return [result for result in results if isinstance(result, Measurement)]


def test_a_changed_file_is_found_and_the_others_are_still_measured(run: Path) -> None:
    first = read_front(run).models[0]
    with (run / first.artifacts["onnx"].path).open("ab") as file:
        file.write(b"x")
    checks = {check.id: check for check in verify_run(run, find_device("cpu"), seconds_per_model=0.2)}
    assert not checks[first.id].kept
    assert "changed" in checks[first.id].reason
    assert [check.kept for check in checks.values()].count(True) == 1


def test_a_path_that_leaves_the_run_is_refused(run: Path) -> None:
    front = read_front(run)
    escaped = replace(front.models[0], artifacts={"onnx": Artifact("../../etc/passwd", "0")})
    write_json(run / "front.json", replace(front, models=(escaped,)).to_json())
    (check,) = verify_run(run, find_device("cpu"))
    assert not check.kept
    assert "leaves" in check.reason


def test_a_device_elsewhere_gets_its_files_checked_only(run: Path) -> None:
    promise(run, *WIDE, device="jetson-nano")
    checks = verify_run(run, find_device("jetson"))
    assert [(check.kept, check.latency) for check in checks] == [(True, None), (True, None)]


def test_a_model_without_a_file_keeps_nothing(run: Path) -> None:
    front = read_front(run)
    write_json(run / "front.json", replace(front, models=(replace(front.models[0], artifacts={}),)).to_json())
    assert [check.kept for check in verify_run(run, find_device("cpu"))] == [False]


def test_a_device_that_was_not_searched_for(run: Path) -> None:
    with pytest.raises(ConfigError, match="not for device"):
        verify_run(run, find_device("jetson-tx2"))


def test_a_damaged_manifest_is_said(run: Path) -> None:
    model = read_front(run).models[0]
    write_json(run / "models" / model.id / "manifest.json", {"schema": 1})
    with pytest.raises(RunFolderError, match="manifest of model"):
        verify_run(run, find_device("cpu"))


def test_the_command_exits_with_1_when_a_promise_is_broken(run: Path) -> None:
    (run / read_front(run).models[0].artifacts["onnx"].path).unlink()
    promise(run, *WIDE, device="jetson-nano")
    found = RUNNER.invoke(app, ["verify", str(run)])
    assert found.exit_code == 1
    assert "NO" in found.stdout
    assert found.stderr.startswith("error: 1 of 2 models")


def test_the_command_exports_a_bundle_once(run: Path, tmp_path: Path) -> None:
    model = read_front(run).models[0].id
    arguments = ["export", str(run), "--model", model, "--to", str(tmp_path / "to")]
    found = RUNNER.invoke(app, arguments)
    assert found.exit_code == 0
    made = {path.name for path in (tmp_path / "to").iterdir()}
    assert made == {"README.md", "labels.txt", "manifest.json", "model.onnx", "predict.py"}
    again = RUNNER.invoke(app, arguments)
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1)
    wrong = RUNNER.invoke(app, [*arguments[:-1], str(tmp_path / "x"), "--format", "tflight"])
    assert wrong.exit_code == 1
    assert "allowed: onnx" in wrong.stderr


def test_a_device_is_verified_on_its_own_front_and_measurements(run: Path) -> None:
    front = read_front(run)
    models = tuple(
        replace(
            model,
            latency={"jetson-nano": model.latency["cpu"], **model.latency},
            energy_mj=dict.fromkeys(("jetson-nano", "cpu")),
        )
        for model in front.models
    )
    both = replace(
        front,
        devices=("jetson-nano", "cpu"),
        models=models,
        reference_point=dict.fromkeys(("jetson-nano", "cpu"), (1.0, 0.9)),
        hypervolume=dict.fromkeys(("jetson-nano", "cpu"), 0.1),
    )
    write_json(run / "front.json", both.to_json())
    shown = RUNNER.invoke(app, ["verify", str(run)])
    assert shown.exit_code == 0
    assert "latency was not measured" in shown.output  # the first device is not here
    checks = verify_run(run, find_device("cpu"), seconds_per_model=0.2)
    assert all(check.latency is not None for check in checks)
    assert RUNNER.invoke(app, ["pick", str(run), "--device", "jetson"]).exit_code == 0
    table = RUNNER.invoke(app, ["front", str(run), "--device", "cpu"]).output
    assert "digits on cpu" in table
    assert "digits on jetson-nano" not in table
    assert "on both fronts, of jetson-nano and cpu: " in table
