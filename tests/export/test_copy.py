from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.task import Task
from hwnas.errors import ConfigError, HwnasError, RunFolderError, SchemaError
from hwnas.export.bundle import export_bundle
from hwnas.export.copy import copy_model, model_ids
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.runtimes.torch_export import Torch
from hwnas.store import read_json, sha256_of
from hwnas.testing.networks import small_network

Run = tuple[Path, dict[str, Any]]


def test_a_copy_is_complete(run: Run, candidate: Candidate, tmp_path: Path) -> None:
    folder, manifest = run
    assert model_ids(folder) == [candidate.id]
    to = tmp_path / "deploy" / "here"
    copied = copy_model(folder, candidate.id, format="onnx", to=to)
    assert sorted(path.name for path in to.iterdir()) == [
        *("README.md", "labels.txt", "manifest.json", "model.onnx", "predict.py")
    ]
    assert sha256_of(to / "model.onnx") == manifest["artifact"]["sha256"]
    assert copied == read_json(to / "manifest.json", schema=1)
    assert copied == manifest | {"artifact": manifest["artifact"] | {"path": "model.onnx"}}


def test_an_empty_folder_will_do(run: Run, candidate: Candidate, tmp_path: Path) -> None:
    copy_model(run[0], candidate.id, format="onnx", to=tmp_path)
    assert (tmp_path / "model.onnx").is_file()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"format": "tflite"}, ConfigError, "no 'tflite' file; allowed: onnx"),
        ({"model_id": "nothing"}, ConfigError, "no finished model 'nothing'; known: "),
        ({"model_id": "../models"}, ConfigError, "no finished model"),
    ],
)
def test_bad_arguments(
    settings: dict[str, str], error: type[HwnasError], message: str, run: Run, candidate: Candidate, tmp_path: Path
) -> None:
    wanted = {"model_id": candidate.id, "format": "onnx"} | settings
    with pytest.raises(error, match=message):
        copy_model(run[0], wanted["model_id"], format=wanted["format"], to=tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_a_folder_with_files_is_refused(run: Run, candidate: Candidate, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(RunFolderError, match=r"already has files \(precious.txt\)"):
        copy_model(run[0], candidate.id, format="onnx", to=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_file_in_the_way_is_refused(run: Run, candidate: Candidate, tmp_path: Path) -> None:
    (tmp_path / "to").write_text("a file")
    with pytest.raises(RunFolderError, match="cannot use"):
        copy_model(run[0], candidate.id, format="onnx", to=tmp_path / "to")


def damage_model(home: Path) -> None:
    (home / "model.onnx").write_bytes(b"damaged")


def remove_model(home: Path) -> None:
    (home / "model.onnx").unlink()


def damage_manifest(home: Path) -> None:
    (home / "manifest.json").write_text("{")


def newer_manifest(home: Path) -> None:
    (home / "manifest.json").write_text(json.dumps({"schema": 99}))


def poor_manifest(home: Path) -> None:
    (home / "manifest.json").write_text(json.dumps({"schema": 1, "artifact": {"path": "x"}}))


def hostile_manifest(home: Path) -> None:
    raw = json.loads((home / "manifest.json").read_text())
    raw["artifact"]["path"] = "../../../etc/passwd"
    (home / "manifest.json").write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (damage_model, RunFolderError, "was changed"),
        (remove_model, RunFolderError, "cannot read"),
        (damage_manifest, RunFolderError, "is damaged"),
        (newer_manifest, SchemaError, "schema 99"),
        (poor_manifest, RunFolderError, "is damaged"),
        (hostile_manifest, RunFolderError, "leaves"),
    ],
)
def test_a_damaged_run_is_one_clear_error(
    damage: Callable[[Path], None],
    error: type[HwnasError],
    message: str,
    run: Run,
    candidate: Candidate,
    tmp_path: Path,
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run[0], copy)
    damage(copy / "models" / candidate.id)
    with pytest.raises(error, match=message):
        copy_model(copy, candidate.id, format="onnx", to=tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_the_file_of_another_runtime_is_copied_with_what_is_said_of_it(
    task: Task, candidate: Candidate, tmp_path: Path
) -> None:
    whole = replace(candidate, compression=CompressionPlan("fp32"))
    manifest = export_bundle(
        small_network(),
        whole,
        task,
        runtime=OnnxRuntime(),
        others=(Torch(),),
        precision="fp32",
        folder=tmp_path,
        cpu_flags=frozenset(),
        read_accuracy=lambda path, runtime, split: {split: {"value": 0.5, "n": 4, "read": [runtime.name, path.name]}},
    )
    read = {"value": 0.5, "n": 4, "read": ["onnxruntime", "model.onnx"]}
    assert manifest["accuracy"] == {"validation": read, "test": read}
    (other,) = manifest["others"]
    for format, facts in (("onnx", manifest), ("pt2", other)):
        copied = copy_model(tmp_path, whole.id, format=format, to=tmp_path / format)
        made = {path.name for path in (tmp_path / format).iterdir()}
        assert made >= {"README.md", "labels.txt", "manifest.json", f"model.{format}"}
        assert ("predict.py" in made) is (format == "onnx")
        assert sha256_of(tmp_path / format / f"model.{format}") == facts["artifact"]["sha256"]
        assert "others" not in copied
        assert copied["params"] == manifest["params"]
        for name in ("input", "runtime", "parity", "accuracy"):
            assert copied[name] == facts[name]
    assert copy_model(tmp_path, whole.id, format=None, to=tmp_path / "any")["artifact"]["format"] == "onnx"
    with pytest.raises(ConfigError, match="no 'tflite' file; allowed: onnx, pt2"):
        copy_model(tmp_path, whole.id, format="tflite", to=tmp_path / "none")
