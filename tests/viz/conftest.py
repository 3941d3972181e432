from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.compress.sensitivity import Sensitivity
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.evaluation import Evaluation
from hwnas.core.front import Artifact, Front, FrontModel, LatencyEntry
from hwnas.core.graph_record import GraphRecord
from hwnas.core.predictor import Prediction
from hwnas.core.task import TaskShape
from hwnas.devices.resolve import find_device
from hwnas.latency.library import find_predictors
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.plugins import load_plugin
from hwnas.store import sha256_of, write_json
from hwnas.trace import operations

SHAPE = TaskShape((3, 32, 32), 10)
CLASSES = [f"class {i}" for i in range(9)] + ["<b>tenth</b> \N{SNOWMAN}"]


def made_run(folder: Path, n_models: int, n_trials: int, *, space: str = "mobilenet") -> Front:
    """A run folder with real networks, the shipped predictors of the Jetson Nano, and made-up accuracies."""
    rng = np.random.default_rng(0)
    bound = load_plugin("space", space).for_task(SHAPE)
    device = find_device("jetson-nano")
    predictors = find_predictors(device, space=space, input_shape=SHAPE.input_shape)
    for precision in ("fp32", "fp16"):
        predictor = predictors[precision]
        assert isinstance(predictor, LinearGpPredictor)
        predictor.save(folder / "predictors" / precision)
    models, seen = [], set()
    while len(models) < n_models:
        plan = CompressionPlan.of(("fp32", "fp16")[len(models) % 2], {"s2": 0.25} if len(models) % 3 == 2 else {})
        candidate = Candidate(bound.sample(rng), plan)
        if candidate.id in seen:
            continue
        seen.add(candidate.id)
        network = operations(bound, candidate, SHAPE, multiple=device.channel_multiple)
        (found,) = predictors[plan.precision].predict([network])
        models.append(_model(folder, candidate, found, network.macs, network.params))
    slowest_ms = max(model.latency_ms for model in models)
    _write_trials(folder, n_trials, slowest_ms, rng)
    front = Front(
        task="cifar10",
        space=space,
        seed=0,
        devices=("jetson-nano",),
        reference_point={"jetson-nano": (1.2 * slowest_ms, 0.9)},
        hypervolume={"jetson-nano": 1.0},
        models=tuple(models),
    )
    write_json(folder / "front.json", front.to_json())
    return front


def _model(folder: Path, candidate: Candidate, found: Prediction, macs: int, params: int) -> FrontModel:
    home = folder / "models" / candidate.id
    home.mkdir(parents=True)
    (home / "model.onnx").write_bytes(candidate.id.encode() * 100)
    accuracy = round(0.95 - 0.4 / found.latency_ms**0.5, 4)
    right = [round(100 * accuracy)] * 9
    right.append(max(0, min(100, round(1000 * accuracy) - sum(right))))
    manifest = {
        "schema": 1,
        "id": candidate.id,
        "input": {"name": "input", "shape": ["batch", *SHAPE.input_shape], "dtype": "float32"},
        "class_names": CLASSES,
        "accuracy": {"test_by_class": {"n": [100] * 10, "right": right}},
        "runtime": {"name": "onnxruntime", "version": "1"},
        "details": {"graph": _graph(candidate.compression.precision)},
    }
    write_json(home / "manifest.json", manifest)
    entry = LatencyEntry(
        predicted=found.latency_ms,
        low=found.low_ms,
        high=found.high_ms,
        in_domain=found.in_domain,
        predictor=found.predictor,
    )
    return FrontModel(
        id=candidate.id,
        architecture=candidate.architecture,
        compression=candidate.compression,
        accuracy_detail=Evaluation(accuracy, 1000, "test", candidate.compression.precision, "deployed-file", 0.0),
        latency={"jetson-nano": entry},
        energy_mj={"jetson-nano": None},
        macs=macs,
        params=params,
        size_bytes=1000,
        artifacts={"onnx": Artifact(f"models/{candidate.id}/model.onnx", sha256_of(home / "model.onnx"))},
    )


def _graph(precision: str) -> dict[str, Any]:
    record = GraphRecord(
        before={"Conv": 30, "Clip": 20, "<i>odd</i>": 1},
        after={"Conv": 30, "Reorder": 2},
        fused={"Conv + Clip": 20, "<i>odd</i> folded": 1},
        precisions={"fp32": 30},
    )
    return record.held_against(precision).to_json()


def write_sensitivity(folder: Path) -> None:
    """Of seven stages, one with a name that is no markup, and of heads."""
    names = ["stem", *(f"layer{i}" for i in range(5)), "heads.layer5", "<b>head</b> \N{SNOWMAN}"]
    curves = {name: tuple((r, 0.9 - (0.1 + 0.1 * i) * r) for r in (0.25, 0.5, 0.75)) for i, name in enumerate(names)}
    Sensitivity(0.9, 0.1, 300, "fp32", curves).write(folder)


def _write_trials(folder: Path, n: int, slowest_ms: float, rng: np.random.Generator) -> None:
    with (folder / "trials.jsonl").open("w") as file:
        for i in range(n):
            latency_ms = float(rng.uniform(0.15, 1.2)) * slowest_ms
            accuracy = float(0.9 - 0.5 / latency_ms**0.5 - rng.gamma(1.5, 0.03))
            row: dict[str, Any] = {"id": f"{i:010x}", "latency_ms": latency_ms, "accuracy": max(accuracy, 0.05)}
            file.write(json.dumps(row | {"in_domain": i % 50 != 0, "finished_s": 1.7e9 + 0.7 * i}) + "\n")


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Front]:
    return made_run


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of five models and fifty candidates."""
    folder = tmp_path_factory.mktemp("run")
    made_run(folder, 5, 50)
    write_sensitivity(folder)
    return folder
