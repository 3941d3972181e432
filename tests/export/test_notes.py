from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hwnas.core.graph_record import GraphRecord
from hwnas.export.bundle import MANIFEST
from hwnas.export.notes import fp32_remark, graph_notes
from hwnas.store import write_json

Run = tuple[Path, dict[str, Any]]


def noted(note: str, runtime: str) -> dict[str, Any]:
    return {"runtime": {"name": runtime}, "details": {"graph": GraphRecord(notes=(note,)).to_json()}}


def rewritten(run: Run, folder: Path, **changes: Any) -> tuple[Path, str]:
    """A copy of the run whose manifest says something else."""
    shutil.copytree(run[0], folder / "run")
    model_id = str(run[1]["id"])
    write_json(folder / "run" / "models" / model_id / MANIFEST, {**run[1], **changes})
    return folder / "run", model_id


@pytest.mark.parametrize(
    ("device", "notes"),
    [
        ("cpu", ["onnxruntime: slow"]),
        ("cpu-openvino", ["openvino: slower"]),
        ("cpu-torch", []),
        ("jetson-nano", []),
        ("no-longer-installed", []),
    ],
)
def test_only_what_was_seen_where_the_model_runs_is_noted(
    run: Run, tmp_path: Path, device: str, notes: list[str]
) -> None:
    others = [noted("slower", "openvino"), {"runtime": None}]
    folder, model_id = rewritten(run, tmp_path, **noted("slow", "onnxruntime"), others=others)
    assert graph_notes(folder, model_id, device) == notes


def test_a_file_that_runs_as_it_is_stored_has_none(run: Run) -> None:
    folder, manifest = run
    assert manifest["details"]["graph"]["precisions"] == {"int8": 6}
    assert graph_notes(folder, manifest["id"], "cpu") == []


@pytest.mark.parametrize(
    ("precisions", "remark"),
    [
        ({"fp32": 6}, "runs in fp32"),
        ({"fp32": 1, "int8": 5}, "partly in fp32"),
        ({"int8": 6}, None),
        (None, None),
    ],
)
def test_a_precision_that_is_stored_and_not_computed_in_is_a_remark(
    run: Run, tmp_path: Path, precisions: dict[str, int] | None, remark: str | None
) -> None:
    graph = GraphRecord(precisions=precisions).held_against("int8").to_json()
    folder, model_id = rewritten(run, tmp_path, runtime={"name": "onnxruntime"}, details={"graph": graph})
    assert fp32_remark(folder, model_id, "cpu", "int8") == remark
    assert bool(graph_notes(folder, model_id, "cpu")) == bool(remark)
    assert fp32_remark(folder, model_id, "cpu", "fp32") is None
    assert fp32_remark(folder, model_id, "jetson-nano", "int8") is None


@pytest.mark.parametrize("details", [None, {}, {"graph": 3}, {"graph": {"notes": ["x"]}}])
def test_damage_is_no_note(run: Run, tmp_path: Path, details: object) -> None:
    folder, model_id = rewritten(run, tmp_path, details=details, others="none")
    assert graph_notes(folder, model_id, "cpu") == []
    assert graph_notes(folder, "../../etc", "cpu") == []
    assert graph_notes(folder, "nothing", "cpu") == []
