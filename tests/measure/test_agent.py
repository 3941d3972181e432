from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hwnas.core.runtime import ExportSpec
from hwnas.errors import MissingDependencyError
from hwnas.measure import agent
from hwnas.measure.loaders import GPU_RUNTIMES, LOADERS, PROVIDERS
from hwnas.measure.process import agent_source
from hwnas.measure.sensors import energy_sensor
from hwnas.measure.session import RUNTIMES
from hwnas.plugins import load_plugin
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.testing.networks import ids_network, small_network


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "m.onnx"
    OnnxRuntime().export(small_network(), ExportSpec(precision="fp32", input_shape=(3, 16, 16)), path)
    return path


def ask(folder: Path, *requests: str | dict[str, Any]) -> list[dict[str, Any]]:
    """Run a copy of the agent in an empty folder, as on a board, and return its answers."""
    copy = folder / "agent.py"
    copy.write_text(agent_source())
    lines = [request if isinstance(request, str) else json.dumps(request) for request in requests]
    command = [sys.executable, "-P", str(copy)]
    done = subprocess.run(
        command, input="\n".join(lines) + "\n", capture_output=True, text=True, cwd=folder, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_imports_nothing_of_hwnas() -> None:
    names = set()
    for node in ast.walk(ast.parse(agent_source())):
        if isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
    libraries = {"ai_edge_litert", "executorch", "numpy", "onnxruntime", "openvino", "torch"}
    assert names - set(sys.stdlib_module_names) == libraries


def test_a_session_from_load_to_quit(model: Path, tmp_path: Path) -> None:
    shape = [1, 3, 16, 16]
    info, load, run, unload, gone, bye = ask(
        tmp_path,
        {"op": "info"},
        {"op": "load", "model": "a", "path": str(model), "threads": 1, "input_shape": shape},
        {"op": "run", "model": "a", "calls": 20, "discard": 2},
        {"op": "unload", "model": "a"},
        {"op": "run", "model": "a", "calls": 1},
        {"op": "quit"},
        {"op": "info"},
    )
    assert info["runtime"] == "onnxruntime"
    assert info["runtime_version"] == OnnxRuntime().version()
    assert {"cpu", "power_mode", "clock_mhz", "temperature_c", "energy_sensor"} <= info.keys()
    assert load == {"ok": True, "output_shape": [1, 5]}
    assert len(run["samples_ms"]) == 20
    assert all(0 < sample < 10_000 for sample in run["samples_ms"])
    assert unload == {"ok": True}
    assert not gone["ok"]
    assert bye["ok"]


def test_a_model_of_ids_gets_valid_ones(tmp_path: Path) -> None:
    network, path = ids_network(), tmp_path / "ids.onnx"
    OnnxRuntime().export(network, ExportSpec(precision="fp32", input_shape=(12,), n_ids=50), path)
    load = {"op": "load", "model": "a", "path": str(path), "threads": 1, "input_shape": [1, 12]}
    good, run, bad = ask(tmp_path, load | {"n_ids": 50}, {"op": "run", "model": "a", "calls": 3}, load)
    assert good == {"ok": True, "output_shape": [1, 5]}
    assert len(run["samples_ms"]) == 3
    assert not bad["ok"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ("not json", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError"),
        ({"op": "dance"}, "unknown op 'dance'; known: info, put, load"),
        ({"op": "load", "model": "a", "path": "none.onnx", "threads": 1, "input_shape": [1]}, "NoSuchFile"),
        ({"op": "run", "model": "a", "calls": 1}, "KeyError"),
    ],
)
def test_a_bad_request_is_answered_and_the_agent_goes_on(
    request_: str | dict[str, Any], error: str, tmp_path: Path
) -> None:
    bad, info = ask(tmp_path, request_, {"op": "info"})
    assert not bad["ok"]
    assert error in bad["error"]
    assert info["ok"]


def test_an_unknown_runtime_is_named(model: Path, tmp_path: Path) -> None:
    load = {"op": "load", "runtime": "abacus", "model": "a", "path": str(model), "threads": 1}
    (answer,) = ask(tmp_path, load | {"input_shape": [1, 3, 16, 16]})
    assert not answer["ok"]
    assert "'abacus' is not known; known: aotinductor, executorch, litert, onnxruntime, " in answer["error"]


def test_the_session_times_what_the_agent_knows() -> None:
    assert set(RUNTIMES) == set(LOADERS)


# A package of AOTInductor takes a minute to make: tests/runtimes/test_aotinductor.py.
@pytest.mark.parametrize("runtime", sorted({*RUNTIMES} - {"aotinductor"}))
def test_every_runtime_loads_and_runs(runtime: str, tmp_path: Path) -> None:
    exporter = load_plugin("runtime", runtime)()
    try:
        version = exporter.version()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    path = tmp_path / f"m{exporter.suffix}"
    exporter.export(small_network(), ExportSpec(precision="fp32", input_shape=(3, 16, 16)), path)
    load = {"op": "load", "runtime": runtime, "model": "a", "path": str(path), "threads": 1}
    info, loaded, run = ask(
        tmp_path,
        {"op": "info", "runtime": runtime},
        load | {"input_shape": [1, 3, 16, 16]},
        {"op": "run", "model": "a", "calls": 5},
    )
    if not info["ok"] and (provider := PROVIDERS.get(runtime)):
        assert provider in info["error"]
        assert provider in loaded["error"]  # nothing else runs it instead
        pytest.skip(info["error"])
    if not info["ok"] and runtime in GPU_RUNTIMES:
        assert "No module named 'tensorrt'" in info["error"] or "sees no CUDA GPU" in info["error"]
        pytest.skip(info["error"])
    assert (info["runtime"], info["runtime_version"]) == (runtime, version)
    assert loaded["output_shape"] == [1, 5]
    assert len(run["samples_ms"]) == 5
    assert min(run["samples_ms"]) > 0


def test_energy_is_that_of_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, calls = tmp_path / "class/powercap/intel-rapl:0", 0
    package.mkdir(parents=True)
    (package / "name").write_text("package-0")
    (package / "energy_uj").write_text("5000000")

    def call() -> None:  # of 2 mJ
        nonlocal calls
        calls += 1
        (package / "energy_uj").write_text(str(5_000_000 + 2000 * calls))

    monkeypatch.setattr(agent, "_energy_sensor", lambda runtime: energy_sensor(tmp_path))
    monkeypatch.setitem(agent.RUNTIME, "name", "onnxruntime")
    found = agent.energy({"a": call}, {"model": "a", "seconds": 0})
    assert (found["sensor"], found["calls"]) == ("rapl", 10)
    assert found["energy_mj"] == pytest.approx(2.0)
