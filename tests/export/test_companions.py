from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from hwnas.core.candidate import Candidate
from hwnas.core.task import Split, Task
from hwnas.core.tokens import TokenPreprocessing, common_words
from hwnas.core.waveform import WaveformPreprocessing
from hwnas.export.bundle import export_bundle
from hwnas.export.companions import write_companions
from hwnas.export.copy import copy_model
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.tasks.waves import Clip, fit_clip
from hwnas.testing.networks import ids_network, kept_network, small_network

Run = tuple[Path, dict[str, Any]]


def predict_alone(folder: Path, *arguments: str) -> list[str]:
    """What the program prints where no hwnas and no torch can be imported."""
    blocked = (
        "import sys, runpy\n"
        "for name in ('hwnas', 'torch', 'onnx', 'PIL', 'scipy'): sys.modules[name] = None\n"
        f"sys.argv = {['predict.py', *arguments]!r}\n"
        f"runpy.run_path({str(folder / 'predict.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=True, cwd=folder)
    return done.stdout.splitlines()


def bundle_of(network: Any, task: Task, candidate: Candidate, folder: Path) -> tuple[Path, Any]:
    """Where a copied bundle lies, and the session of its file."""
    flags = frozenset[str]()
    export_bundle(network, candidate, task, runtime=OnnxRuntime(), precision="fp32", folder=folder, cpu_flags=flags)
    copy_model(folder, candidate.id, format="onnx", to=folder / "to")
    return folder / "to", onnxruntime.InferenceSession(folder / "to" / "model.onnx")


def test_texts_are_read_as_the_task_reads_them(task: Task, candidate: Candidate, tmp_path: Path) -> None:
    texts = ["It's GOOD: really good!", "bad, bad", "good", "the unheard-of word it is"]
    how = TokenPreprocessing(6, common_words(texts * 2, 20))
    ids = how.encode(texts)
    split = Split(ids, np.arange(4) % 2)
    splits = {"train": split, "validation": split, "test": split}
    made = replace(
        task, name="text", input_shape=(6,), n_outputs=2, class_names=("a", "b"), preprocessing=how, **splits
    )
    folder, session = bundle_of(ids_network(n_ids=how.n_ids, n_outputs=2), made, candidate, tmp_path)
    (logits,) = session.run(None, {session.get_inputs()[0].name: ids})
    assert predict_alone(folder, *texts) == [made.class_names[best] for best in logits.argmax(1)]
    card = (folder / "README.md").read_text()
    assert "A text classifier" in card
    assert "the first 6 of them" in card


@pytest.mark.parametrize("length", [1000, 1024, 1331])
def test_recordings_are_cut_as_the_task_cuts_them(
    task: Task, candidate: Candidate, tmp_path: Path, length: int
) -> None:
    clips = np.random.default_rng(0).integers(-(2**15), 2**15, (4, length)).astype(np.int16)
    how = WaveformPreprocessing(8000, 1024)
    fitted = np.stack([fit_clip(Clip("clip", clip, 8000, "a", None, None), 8000, 1024) for clip in clips])[:, None]
    split = Split(fitted, np.arange(4) % 2)
    splits = {"train": split, "validation": split, "test": split}
    made = replace(
        task, name="keywords", input_shape=(1, 1024), n_outputs=2, class_names=("a", "b"), preprocessing=how, **splits
    )
    folder, session = bundle_of(kept_network(n_outputs=2), made, candidate, tmp_path)
    (logits,) = session.run(None, {session.get_inputs()[0].name: how(fitted)})
    np.save(tmp_path / "clips.npy", clips)
    assert predict_alone(folder, str(tmp_path / "clips.npy")) == [made.class_names[best] for best in logits.argmax(1)]
    assert "8000 Hz" in (folder / "README.md").read_text()


def test_a_colleague_needs_numpy_and_the_runtime_only(
    run: Run, candidate: Candidate, task: Task, tmp_path: Path
) -> None:
    """The program runs where no hwnas and no torch can be imported, and answers as the file does."""
    copy_model(run[0], candidate.id, format="onnx", to=tmp_path / "to")
    folder = tmp_path / "elsewhere"
    shutil.move(tmp_path / "to", folder)
    np.save(tmp_path / "images.npy", task.test.inputs)
    said = predict_alone(folder, str(tmp_path / "images.npy"))
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: task.preprocessing(task.test.inputs)})
    wanted = [task.class_names[best] for best in logits.argmax(1)]
    assert said == wanted
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


def test_the_card_says_what_the_runtime_makes_of_the_file(task: Task, candidate: Candidate, tmp_path: Path) -> None:
    flags = frozenset({"avx512_vnni"})
    common = {"task": task, "runtime": OnnxRuntime(), "folder": tmp_path, "cpu_flags": flags}
    manifest = export_bundle(small_network(), candidate, precision="fp16", **common)
    write_companions(tmp_path, manifest)
    card = (tmp_path / "README.md").read_text()
    assert "| fused or folded | `BatchNorm folded by the export` 3 times" in card
    assert "| convolutions, linear layers, matrix products | 6 in `fp32` |" in card
    said = "all 6 convolutions, linear layers and matrix products of this fp16 file run in fp32"
    assert f"| on the machine that exported it | `{said}" in card


@pytest.mark.parametrize("details", [None, {}, {"graph": None}, {"graph": {"before": 3}}, {"graph": "|<b>"}])
def test_a_card_without_a_record_is_a_card(details: object, tmp_path: Path) -> None:
    write_companions(tmp_path, {"artifact": {"path": "m.pte"}, "details": details})
    assert "fused" not in (tmp_path / "README.md").read_text()
