"""The examples run as they are, on a tiny budget."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hwnas.core.task import TaskShape
from hwnas.store import read_front

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run_example(name: str, *arguments: str, folder: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    environment = {**os.environ, "HWNAS_CACHE": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def check_run(output: str, folder: Path) -> None:
    last = output.splitlines()[-1]
    assert last.startswith("run folder: ")
    run = folder / last.removeprefix("run folder: ")
    front = read_front(run)
    assert front.models
    for model in front.models:
        assert model.accuracy_detail.source == "deployed-file"
        assert (run / model.artifacts["onnx"].path).is_file()
        assert model.id in output


def test_plain_space(tmp_path: Path) -> None:
    output = run_example("plain_space.py", "--device", "jetson", "--trials", "2", folder=tmp_path)
    check_run(output, tmp_path)
    assert "out of the predictor's domain" in output


def test_elastic_space(tmp_path: Path) -> None:
    output = run_example("elastic_space.py", "--device", "jetson", "--trials", "6", "--time", "6", folder=tmp_path)
    check_run(output, tmp_path)


def test_own_network(tmp_path: Path) -> None:
    output = run_example("own_network.py", "--device", "xeon-gold-6226", "--trials", "4", folder=tmp_path)
    check_run(output, tmp_path)
    assert "the network itself: accuracy 0." in output
    assert "times as fast (predicted)" in output


@pytest.mark.slow
def test_own_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, brightness in (("dark", 40), ("light", 200)):
        home = tmp_path / "photos" / name
        home.mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 55, (32, 32, 3)) + brightness
            Image.fromarray(pixels.astype(np.uint8)).save(home / f"{number}.png")
    output = run_example("own_images.py", "photos", "--device", "jetson", "--minutes", "0.3", folder=tmp_path)
    check_run(output, tmp_path)
    assert "classes: dark, light" in output
    assert (tmp_path / "deploy" / "model.onnx").is_file()


def test_the_network_of_the_documentation_is_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/compressing.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec("\n".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)), names)
    assert len(list((tmp_path / "runs").glob("*/original.json"))) == 1


def test_the_sampler_of_the_documentation_runs_in_a_study_of_ones_own() -> None:
    page = (ROOT / "docs/searching.md").read_text(encoding="utf-8")
    code = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec("\n".join(code), names)
    assert len(names["study"].trials) == 30  # type: ignore[attr-defined]


def test_the_spaces_of_the_documentation_build_networks() -> None:
    page = (ROOT / "docs/spaces.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec("\n".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)), names)
    task = TaskShape((1, 16, 16), n_outputs=3)
    for name, labels in (("SPACE", {"kernel", "width"}), ("TWO_STAGES", {"early.depth", "late.width", "head.width"})):
        space = names[name].for_task(task)
        assert labels <= {choice.label for choice in space.choices}
        for architecture in (space.smallest(), space.largest(), space.sample(np.random.default_rng(0))):
            assert space.build(architecture, task).eval()(torch.zeros(2, 1, 16, 16)).shape == (2, 3)
