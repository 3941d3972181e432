from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from attending import encoder, tokens
from residual import Residual
from residual import build as build_residual
from run_files import trial_rows
from torch import Tensor, nn
from typer.testing import CliRunner

import hwnas
from hwnas.cli.main import app
from hwnas.compress.distill import fine_tune
from hwnas.compress.sensitivity import Sensitivity
from hwnas.core.front import FrontModel
from hwnas.core.gain import gains
from hwnas.core.space import SearchSpace
from hwnas.core.task import Split, Task
from hwnas.elastic.data import accuracy
from hwnas.errors import (
    BuildError,
    ConfigError,
    DataError,
    HwnasError,
    InfeasibleBudgetError,
    RunFolderError,
    RuntimeExportError,
)
from hwnas.search.compression import compress
from hwnas.search.result import SearchResult
from hwnas.store import read_front, read_original, sha256_of, write_json

# Its published predictor tells networks of this size apart, though it never saw the like of them.
DEVICE = "xeon-gold-6226"
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def task(few_digits: Task) -> Task:
    return replace(few_digits, augmentation="none")


@pytest.fixture(scope="module")
def network(task: Task) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return fine_tune(Residual(1, 10, 24), task, epochs=6, lr=5e-3, batch_size=32).model


@pytest.fixture(scope="module")
def result(network: nn.Module, task: Task, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    out = tmp_path_factory.mktemp("compressed") / "run"
    return compress(network, device=DEVICE, task=task, trials=8, n_front=3, out=out)


def check_file(model: FrontModel, run: Path, task: Task) -> np.ndarray[Any, Any]:
    """What is said of a model's file is so; its answers on the test split."""
    path = run / model.artifacts["onnx"].path
    assert sha256_of(path) == model.artifacts["onnx"].sha256
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits = session.run(None, {session.get_inputs()[0].name: task.preprocessing(task.test.inputs)})[0]
    assert float((logits.argmax(1) == task.test.labels).mean()) == pytest.approx(model.accuracy, abs=1e-12)
    assert model.accuracy_detail.source == "deployed-file"
    return np.asarray(logits)


def test_the_original_is_tried_first_and_kept_as_it_is(result: SearchResult, network: nn.Module, task: Task) -> None:
    original = result.original
    assert original is not None
    rows = trial_rows(result.run_dir)
    assert len(rows) == 8
    assert rows[0]["id"] == original.id
    assert rows[0]["accuracy"] == accuracy(network, task.validation, task.preprocessing)
    assert original.compression.to_json() == {"precision": "fp32", "prune": {}}
    assert dict(original.architecture) == {"network": "Residual", "blocks.layer1": 2, "blocks.layer2": 2}
    assert original.params == sum(p.numel() for p in network.parameters())
    with torch.no_grad():
        wanted = network(torch.from_numpy(task.preprocessing(task.test.inputs))).numpy()
    np.testing.assert_allclose(check_file(original, result.run_dir, task), wanted, atol=1e-4)


def test_the_front_is_one_like_any_other(result: SearchResult, task: Task) -> None:
    front, run, original = read_front(result.run_dir), result.run_dir, result.original
    assert original is not None
    assert front == result.details
    assert (front.space, front.devices) == ("own-Residual", (DEVICE,))
    pruned = [model for model in front.models if model.compression.prune]
    assert pruned
    for model in front.models:
        check_file(model, run, task)
        assert model.architecture["network"] == "Residual"
    for model in pruned:
        assert model.params < original.params
        assert model.macs < original.macs
        manifest = json.loads((run / "models" / model.id / "manifest.json").read_text())
        assert manifest["fine_tuning"]["distilled"] is True
        after, before = (manifest["fine_tuning"][f"validation_accuracy_{when}"] for when in ("after", "before"))
        assert after >= before
    found = gains(front, original, DEVICE)
    assert max(gain.faster_predicted for gain in found) > 1
    assert all(gain.faster_measured is None for gain in found)


def test_the_sensitivity_is_kept_and_starts_with_the_network_itself(
    result: SearchResult, network: nn.Module, task: Task
) -> None:
    found = Sensitivity.read(result.run_dir)
    assert found.accuracy == accuracy(network, task.validation, task.preprocessing)
    assert found.guessing == np.bincount(task.validation.labels).max() / 100
    choices = json.loads((result.run_dir / "config.json").read_text())["choices"]
    for stage, pairs in found.stages.items():
        if stage.startswith("blocks."):
            assert [1 - count / 2 for count in choices[stage][::-1]] == list(found.ratios(stage))
        else:
            assert tuple(choices[f"prune.{stage}"]) == found.ratios(stage)
        assert [ratio for ratio, _ in pairs] == sorted(ratio for ratio, _ in pairs)


def test_heads_of_attention_are_searched(task: Task, tmp_path: Path) -> None:
    label = "heads.blocks.layers.0.self_attn"
    made = tokens(lambda: encoder(1, dropout=0.0), channels=1, patch=2)
    network = fine_tune(made, task, epochs=4, lr=5e-3, batch_size=32).model
    given = {"device": DEVICE, "task": task, "n_front": 3, "precision": "fp32", "allow_out_of_domain": True}
    found = compress(network, trials=7, out=tmp_path / "run", **given)  # type: ignore[arg-type]
    pairs = Sensitivity.read(found.run_dir).stages[label]
    assert [ratio for ratio, _ in pairs] == [0.25, 0.5, 0.75]
    assert found.original is not None
    assert found.original.architecture[label] == 4
    check_file(found.original, found.run_dir, task)
    fewer = [model for model in found.front if model.architecture[label] < 4]
    assert fewer
    for model in fewer:
        check_file(model, found.run_dir, task)
        assert model.params < found.original.params


def test_commands_read_the_run(result: SearchResult, tmp_path: Path) -> None:
    run = str(result.run_dir)
    for arguments, words in (
        (["front", run], "own-Residual"),
        (["report", run, "--out", str(tmp_path / "r.html")], "r.html"),
        (["pick", run], result.front[0].id[:4]),
        (["verify", run], ""),
    ):
        found = RUNNER.invoke(app, arguments)
        assert found.exit_code == 0, found.output
        assert words in found.output or arguments[0] == "pick"
    result.export(result.front[0].id, to=tmp_path / "deploy")
    assert (tmp_path / "deploy" / "model.onnx").is_file()


def test_it_is_resumed_and_only_with_the_same_network(
    network: nn.Module, task: Task, tmp_path: Path, recorder: Any
) -> None:
    given = {"device": DEVICE, "task": task, "n_front": 2, "out": tmp_path / "run", "precision": "fp32"}
    first = compress(network, trials=3, **given)  # type: ignore[arg-type]
    with pytest.raises(RunFolderError, match="exists already"):
        compress(network, trials=3, **given)  # type: ignore[arg-type]
    kept = {path: path.read_bytes() for path in first.run_dir.glob("models/*/model.onnx")}
    again = compress(network, trials=5, resume=True, listener=recorder, **given)  # type: ignore[arg-type]
    assert "sensitivity" not in recorder.phases
    assert len(trial_rows(again.run_dir)) == 5
    assert {row["id"] for row in trial_rows(first.run_dir)} <= {row["id"] for row in trial_rows(again.run_dir)}
    assert all(path.read_bytes() == before for path, before in kept.items())
    assert again.original == first.original
    other = Residual(1, 10, 24)
    other.load_state_dict({k: v * 1.001 if "head" in k else v for k, v in network.state_dict().items()})
    with pytest.raises(ConfigError, match="began with another weights"):
        compress(other, trials=5, resume=True, **given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="began with another weights"):
        compress(network, trials=5, resume=True, importance="magnitude", **given)  # type: ignore[arg-type]


def test_an_original_over_the_limit_is_compared_but_not_on_the_front(
    network: nn.Module, task: Task, result: SearchResult, tmp_path: Path
) -> None:
    assert result.original is not None
    limit = 0.9 * result.original.latency_ms
    given = {"device": DEVICE, "task": task, "trials": 3, "n_front": 2, "out": tmp_path / "run", "precision": "fp32"}
    found = compress(network, max_latency_ms=limit, **given)  # type: ignore[arg-type]
    assert all(model.latency_ms <= limit for model in found.front)
    assert found.original == result.original
    assert {row["id"] for row in trial_rows(found.run_dir)}.isdisjoint({found.original.id if found.original else ""})


def test_a_limit_that_nothing_meets(task: Task, tmp_path: Path) -> None:
    first, second = nn.Conv2d(1, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 2, 1)
    layers = [first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = fine_tune(nn.Sequential(*layers), task, epochs=3, lr=5e-3, batch_size=16).model
    with pytest.raises(InfeasibleBudgetError, match=r"own-Sequential.*fastest seen.*smaller network"):
        compress(small, device=DEVICE, task=task, max_latency_ms=1e-6, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_predictor_that_sees_no_gain_is_named(network: nn.Module, task: Task, tmp_path: Path, recorder: Any) -> None:
    given = {"task": task, "trials": 1, "n_front": 1, "precision": "fp32", "listener": recorder}
    compress(network, device="jetson", out=tmp_path / "jetson", **given)  # type: ignore[arg-type]
    assert any("sees little gain in pruning" in note for note in recorder.notes)
    recorder.notes.clear()
    compress(network, device=DEVICE, out=tmp_path / "xeon", **given)  # type: ignore[arg-type]
    assert not any("sees little gain" in note for note in recorder.notes)
    assert any("own-Residual, 6 stages to prune" in note for note in recorder.notes)


MODEL = """
import torch
from residual import Residual

def build(task):
    return Residual(task.input_shape[0], task.n_outputs, 24)
"""


def test_the_command_line(network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)
    # The network learned on a part of these digits.
    arguments = ["compress", "model.py:build", "--weights", "weights.pt", "--device", DEVICE, "--trials", "2"]
    found = RUNNER.invoke(app, [*arguments, "--time", "60s", "--precision", "fp32", "--out", "run"])
    assert found.exit_code == 0, found.output
    for words in (
        "sensitivity: accuracy with one stage",
        "layer2.1",
        "beside the original",
        "run folder: run",
    ):
        assert words in found.output
    assert (tmp_path / "run" / "original.json").exists()


class Gives(Residual):
    """Does not do on data what it does on zeros."""

    def __init__(self, what: float | str) -> None:
        super().__init__(1, 10)
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.what, str) and len(x) > 64:
            raise ValueError(self.what)
        y = super().forward(x)
        return y if isinstance(self.what, str) else y * self.what


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"network": Residual(1, 10, 24)}, ConfigError, ["no better than guessing", "are these its weights"]),
        ({"network": lambda: Residual(3, 10)}, BuildError, ["input of shape (1, 8, 8)"]),
        ({"network": lambda: Residual(1, 12)}, BuildError, ["10 logits"]),
        ({"network": 3}, ConfigError, ["got int"]),
        ({"network": "model.py"}, ConfigError, ["FILE.py:FUNCTION"]),
        ({"weights": Path("none.pt")}, HwnasError, ["no weights file none.pt"]),
        ({"device": "toaster"}, HwnasError, ["no device named 'toaster'"]),
        ({"importance": "tailor"}, ConfigError, ["taylor, magnitude", "did you mean 'taylor'?"]),
        ({"precision": "int3"}, ConfigError, ["unknown precision 'int3'; did you mean 'int8'?"]),
        ({"precision": "int8", "weights": Path("none.pt")}, ConfigError, ["does not run 'int8'; it runs: fp32"]),
        ({"network": lambda: Gives(float("nan"))}, HwnasError, ["network's output is not finite"]),
        ({"network": lambda: Gives("text")}, BuildError, ["cannot be evaluated on task 'digits': ValueError: text"]),
        ({"time_s": 0}, ConfigError, ["time_s must be a number above 0, got 0"]),
        ({"trials": 0}, ConfigError, ["n_trials"]),
        ({"resume": True}, RunFolderError, ["no search to resume"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_input(
    network: nn.Module, task: Task, tmp_path: Path, change: dict[str, Any], kind: type[Exception], words: list[str]
) -> None:
    given = {"network": network, "device": DEVICE, "task": task, "trials": 2, "out": tmp_path / "run"} | change
    with pytest.raises(kind) as caught:
        compress(given.pop("network"), **given)
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_data_with_nan(network: nn.Module, task: Task, tmp_path: Path) -> None:
    inputs = task.train.inputs.astype(np.float32)
    inputs[5] = np.nan
    broken = replace(task, train=Split(inputs, task.train.labels))
    with pytest.raises(DataError, match="sample 5 of the train split"):
        compress(network, device=DEVICE, task=broken, out=tmp_path / "run")


def test_a_network_that_no_runtime_takes_is_known_before_the_search(
    task: Task, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Spectral(Residual):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[2:]))

    with pytest.raises(RuntimeExportError, match=r"onnxruntime: export failed .*aten::fft_rfft2"):
        compress(Spectral(1, 10), device=DEVICE, task=task, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert "graph(" not in "".join(capfd.readouterr())


def test_a_network_of_ids(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(f"word{i % 7} is,{'ab'[i % 2]}" for i in range(60)))
    with pytest.raises(ConfigError, match="task 'text' gives ids of words; compress one of images"):
        compress(nn.Linear(8, 2), device=DEVICE, task="text", data=tmp_path / "t.csv", out=tmp_path / "run")


def test_the_package_can_be_called() -> None:
    assert callable(hwnas.compress)
    with pytest.raises(TypeError, match="no_such_setting"):
        hwnas.compress(build_residual, no_such_setting=1)


def test_a_search_has_no_original(make_space: Callable[..., SearchSpace], tmp_path: Path, result: SearchResult) -> None:
    assert read_original(tmp_path, result.details) is None
    write_json(tmp_path / "original.json", {"schema": 1, "model": {"id": 3}})
    with pytest.raises(RunFolderError, match=r"original\.json: damaged"):
        read_original(tmp_path, result.details)
