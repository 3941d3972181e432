from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.core.candidate import Candidate
from hwnas.core.runtime import ExportSpec
from hwnas.core.task import Split, Task
from hwnas.errors import ConfigError, RunFolderError, RuntimeExportError
from hwnas.export import bundle
from hwnas.export.bundle import by_class, calibration_samples, evaluate_file, export_bundle, right_answers
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.store import read_json, sha256_of
from hwnas.testing.networks import small_network


def test_manifest_tells_all(run: tuple[Path, dict[str, Any]], task: Task, candidate: Candidate) -> None:
    folder, manifest = run
    path = folder / manifest["artifact"]["path"]
    assert manifest == read_json(folder / "models" / candidate.id / "manifest.json", schema=1)
    assert path == folder / "models" / candidate.id / "model.onnx"
    assert manifest["artifact"]["sha256"] == sha256_of(path)
    assert manifest["artifact"]["size_bytes"] == path.stat().st_size
    assert Candidate.from_json(manifest) == candidate
    assert manifest["class_names"] == list(task.class_names)
    assert manifest["preprocessing"] == task.preprocessing.to_json()
    assert manifest["input"] == {"name": "input", "shape": ["batch", 3, 16, 16], "dtype": "float32"}
    assert manifest["output"] == {"name": "logits", "shape": ["batch", 5], "dtype": "float32"}
    assert manifest["calibration"] == {"samples": 128, "split": "train", "seed": 0}
    assert manifest["details"]["reduce_range"] is False
    assert manifest["counts"]["source"] == "fvcore"
    assert manifest["params"] == sum(p.numel() for p in small_network().parameters())
    assert 0 < manifest["parity"] < 0.25
    assert manifest["accuracy"] == {"value": 0.5}
    assert sorted(p.name for p in path.parent.iterdir()) == ["manifest.json", "model.onnx"]
    assert OnnxRuntime().load(path).metadata["hwnas.classes"] == "a, b, c, d, e"


def export(folder: Path, task: Task, candidate: Candidate, model: Any = None, **settings: Any) -> dict[str, Any]:
    wanted = {"runtime": OnnxRuntime(), "precision": "fp32", "cpu_flags": frozenset()} | settings
    return export_bundle(model or small_network(), candidate, task, folder=folder, **wanted)


def test_an_older_bundle_is_replaced(tmp_path: Path, task: Task, candidate: Candidate) -> None:
    first = export(tmp_path, task, candidate)
    second = export(tmp_path, task, candidate, small_network(seed=1))
    assert first["artifact"]["path"] == second["artifact"]["path"]
    assert first["artifact"]["sha256"] != second["artifact"]["sha256"]
    assert second["calibration"] is None
    assert read_json(tmp_path / "models" / candidate.id / "manifest.json") == second


def test_a_failed_export_leaves_no_manifest(tmp_path: Path, task: Task, candidate: Candidate) -> None:
    export(tmp_path, task, candidate)
    with pytest.raises(RuntimeExportError):
        export(tmp_path, task, candidate, precision="bf16")
    assert not (tmp_path / "models" / candidate.id / "manifest.json").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path, task: Task, candidate: Candidate) -> None:
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(RunFolderError, match="cannot write to"):
        export(tmp_path, task, candidate)


def test_extra_may_not_hide_a_key(tmp_path: Path, task: Task, candidate: Candidate) -> None:
    with pytest.raises(ConfigError, match=r"\['macs'\]"):
        export(tmp_path, task, candidate, extra={"macs": 1, "mine": 2})


def test_calibration_samples_are_of_the_training_split(task: Task) -> None:
    samples = calibration_samples(task, n=20, seed=3)
    assert samples.shape == (20, 3, 16, 16)
    train = {row.tobytes() for row in task.preprocessing(task.train.inputs)}
    assert all(row.tobytes() in train for row in samples)
    np.testing.assert_array_equal(samples, calibration_samples(task, n=20, seed=3))
    assert len(calibration_samples(task, n=10_000)) == len(task.train)


@pytest.mark.parametrize("batch", [1, 768 * 16, 10**9])
def test_accuracy_of_the_file_is_that_of_torch(
    batch: int, tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "_BATCH_ELEMENTS", batch)
    model, path = small_network(), tmp_path / "m.onnx"
    OnnxRuntime().export(model, ExportSpec(precision="fp32", input_shape=task.input_shape), path)
    with torch.no_grad():
        answers = model(torch.from_numpy(task.preprocessing(task.test.inputs))).argmax(1).numpy()
    wanted = float((answers == task.test.labels).mean())
    assert evaluate_file(path, OnnxRuntime(), task.test, task.preprocessing, 1) == pytest.approx(wanted)
    found = right_answers(path, OnnxRuntime(), task.test, task.preprocessing, 1)
    counted = by_class(found, task.test.labels, task.n_outputs)
    for label, (n, count) in enumerate(zip(counted["n"], counted["right"], strict=True)):
        of_class = task.test.labels == label
        assert (n, count) == (of_class.sum(), (answers[of_class] == label).sum())
    assert sum(counted["right"]) / sum(counted["n"]) == pytest.approx(wanted)
    right = Split(task.test.inputs, answers.astype(np.int64))
    assert evaluate_file(path, OnnxRuntime(), right, task.preprocessing, 2) == 1.0


def test_a_class_without_samples_counts_nothing() -> None:
    counted = by_class(np.array([True, False, True]), np.array([0, 2, 2]), 4)
    assert counted == {"n": [1, 0, 2, 0], "right": [1, 0, 1, 0]}
