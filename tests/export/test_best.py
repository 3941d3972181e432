from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from outlier import digits, with_an_outlier

from hwnas.core.candidate import Candidate
from hwnas.core.runtime import ExportSpec, Runtime
from hwnas.core.task import Task
from hwnas.elastic.data import accuracy
from hwnas.export.best import best_file
from hwnas.export.bundle import calibration_samples, evaluate_file, export_bundle
from hwnas.plugins import load_plugin
from hwnas.store import sha256_of
from hwnas.testing.networks import small_network


def spec_of(task: Task) -> ExportSpec:
    return ExportSpec(
        precision="int8",
        input_shape=tuple(task.input_shape),
        calibration=calibration_samples(task),
        cpu_flags=frozenset({"avx512_vnni"}),
    )


@pytest.mark.parametrize(
    ("least", "may_mix", "asked", "stays", "value"),
    [
        (None, True, ["model"], "model", 0.6),  # nothing is demanded
        (0.6, True, ["model"], "model", 0.6),
        (0.65, True, ["model", "percentile"], "percentile", 0.7),
        (0.9, False, ["model", "percentile", "entropy"], "percentile", 0.7),  # none is good enough: the best one
        (0.75, True, ["model", "percentile", "entropy", "mixed"], "mixed", 0.8),
        # Of six layers at most two stay in fp32.
        (0.9, True, ["model", "percentile", "entropy", "mixed", "mixed"], "percentile", 0.7),
    ],
)
def test_an_int8_file_that_loses_too_much_is_made_in_other_ways(
    tmp_path: Path, task: Task, least: float | None, may_mix: bool, asked: list[str], stays: str, value: float
) -> None:
    read: list[tuple[str, str]] = []
    content: dict[str, str] = {}

    def read_accuracy(path: Path, runtime: Runtime, split: str) -> dict[str, Any]:
        read.append((path.stem, split))
        content[path.stem] = sha256_of(path)
        return {split: {"value": {"model": 0.6, "percentile": 0.7, "entropy": 0.5, "mixed": 0.8}[path.stem]}}

    path = tmp_path / "model.onnx"
    runtime = load_plugin("runtime", "onnxruntime")()
    found = best_file(runtime, small_network(), spec_of(task), path, read_accuracy, least=least, may_mix=may_mix)
    # The test split decides nothing: it is not read.
    assert read == [(name, "validation") for name in asked]
    assert found.value == value
    assert bool(found.kept) is (stays == "mixed")
    assert found.exported.path == path
    assert found.exported.sha256 == sha256_of(path) == content[stays]
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_layers_that_int8_ruins_are_kept_in_fp32(name: str, tmp_path: Path, candidate: Candidate) -> None:
    pytest.importorskip(name)
    model, task, runtime = with_an_outlier(), digits(), load_plugin("runtime", name)()
    least = accuracy(model, task.validation, task.preprocessing) - 0.005

    def read_accuracy(path: Path, runtime: Runtime, split: str) -> dict[str, Any]:
        of = task.test if split == "test" else task.validation
        return {split: {"value": evaluate_file(path, runtime, of, task.preprocessing, 1)}}

    def exported(may_mix: bool) -> dict[str, Any]:
        given: dict[str, Any] = {"cpu_flags": frozenset({"avx512_vnni"}), "least_validation": least}
        return export_bundle(
            *(model, candidate, task), runtime=runtime, precision="int8", folder=tmp_path, read_accuracy=read_accuracy,
            may_mix=may_mix, **given,
        )  # fmt: skip

    plain, mixed = exported(may_mix=False), exported(may_mix=True)
    assert plain["accuracy"]["validation"]["value"] < least - 0.02
    assert "mixed_precision" not in plain
    assert mixed["accuracy"]["validation"]["value"] >= least
    kept = mixed["mixed_precision"]["layers_in_fp32"]
    assert kept[0] in ("0", "2")  # what makes the outlier, or what reads it
    assert mixed["details"]["kept_in_fp32"] == sorted(kept, key=int)
    macs = {"0": 9 * 16 * 64, **dict.fromkeys(("2", "4", "6", "8", "10"), 9 * 16 * 16 * 64), "14": 640}
    share = sum(macs[layer] for layer in kept) / sum(macs.values())
    assert mixed["mixed_precision"]["share_of_macs"] == pytest.approx(share, abs=1e-4)
