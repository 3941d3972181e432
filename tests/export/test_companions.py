from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from hwnas.core.candidate import Candidate
from hwnas.core.task import Task
from hwnas.export.companions import write_companions
from hwnas.export.copy import copy_model

Run = tuple[Path, dict[str, Any]]


def test_a_colleague_needs_numpy_and_the_runtime_only(
    run: Run, candidate: Candidate, task: Task, tmp_path: Path
) -> None:
    """The program runs where no hwnas and no torch can be imported, and answers as the file does."""
    copy_model(run[0], candidate.id, format="onnx", to=tmp_path / "to")
    folder = tmp_path / "elsewhere"
    shutil.move(tmp_path / "to", folder)
    np.save(tmp_path / "images.npy", task.test.inputs)
    blocked = (
        "import sys, runpy\n"
        "for name in ('hwnas', 'torch', 'onnx', 'PIL'): sys.modules[name] = None\n"
        f"sys.argv = ['predict.py', {str(tmp_path / 'images.npy')!r}]\n"
        f"runpy.run_path({str(folder / 'predict.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=True, cwd=tmp_path)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: task.preprocessing(task.test.inputs)})
    wanted = [task.class_names[best] for best in logits.argmax(1)]
    assert done.stdout.splitlines() == wanted
    assert (folder / "labels.txt").read_text().splitlines() == list(task.class_names)
    assert len([line for line in (folder / "predict.py").read_text().splitlines() if line]) <= 15


def test_the_card_says_what_the_manifest_says(run: Run, candidate: Candidate, tmp_path: Path) -> None:
    manifest = copy_model(run[0], candidate.id, format="onnx", to=tmp_path)
    card = (tmp_path / "README.md").read_text()
    for word in (
        candidate.id,
        manifest["artifact"]["sha256"],
        manifest["precision"],
        str(manifest["macs"]),
        "predict.py",
    ):
        assert word in card


def test_what_came_from_outside_is_no_markup(tmp_path: Path) -> None:
    hostile = "a`b|c\n# d <img src=x>"
    write_companions(
        tmp_path, {"id": hostile, "class_names": [hostile], "artifact": {"path": hostile}, "task": hostile}
    )
    lines = (tmp_path / "README.md").read_text().splitlines()
    assert lines[0] == "# Model `a'b/c # d <img src=x>`"
    assert [line for line in lines if line.startswith("#")] == [lines[0], "## Use", "## Limits"]
    assert (tmp_path / "labels.txt").read_text() == "a`b|c # d <img src=x>\n"
    assert not (tmp_path / "predict.py").exists()


@pytest.mark.parametrize("accuracy", [None, {"value": 0.5}, {"test": {"value": 0.5, "n": 10}}])
def test_accuracy_is_told_where_it_is_known(tmp_path: Path, accuracy: Any) -> None:
    write_companions(tmp_path, {"artifact": {"path": "model.pte"}, "accuracy": accuracy})
    card = (tmp_path / "README.md").read_text()
    assert ("50.00 % of 10 images" in card) is bool(accuracy and "test" in accuracy)
