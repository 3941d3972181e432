from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hwnas.cli.main import app
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.evaluation import Evaluation
from hwnas.core.front import Artifact, Front, FrontModel, LatencyEntry
from hwnas.core.task import TaskShape
from hwnas.devices.resolve import find_device
from hwnas.elastic.space import build_candidate
from hwnas.errors import ConfigError, MeasurementError, RunFolderError
from hwnas.export.bundle import export_bundle
from hwnas.export.explain import explain_model
from hwnas.latency.library import find_predictors
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.plugins import load_plugin
from hwnas.store import read_front, write_json
from hwnas.trace import operations

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on this machine with one real model, predicted by a shipped predictor of a phone."""
    folder = tmp_path_factory.mktemp("run")
    task = load_plugin("task", "digits")(None, input_shape=None, seed=0)
    shape = TaskShape.of(task)
    space = load_plugin("space", "mobilenet").for_task(shape)
    candidate = Candidate(space.sample(np.random.default_rng(0)), CompressionPlan("fp32"))
    network = operations(space, candidate, shape, multiple=find_device("cpu").channel_multiple)
    predictor = next(iter(find_predictors(find_device("jetson-nano"), space=None, input_shape=(3, 32, 32)).values()))
    assert isinstance(predictor, LinearGpPredictor)
    predictor.save(folder / "predictors" / "fp32")
    (promise,) = predictor.predict([network])
    manifest = export_bundle(
        build_candidate(space, candidate, task, multiple=find_device("cpu").channel_multiple).eval(),
        candidate,
        task,
        runtime=load_plugin("runtime", "onnxruntime")(),
        precision="fp32",
        folder=folder,
        cpu_flags=frozenset({"avx512_vnni"}),
    )
    model = FrontModel(
        id=candidate.id,
        architecture=candidate.architecture,
        compression=candidate.compression,
        accuracy_detail=Evaluation(0.5, 100, "test", "fp32", "deployed-file", 0.0),
        latency={
            "cpu": LatencyEntry(
                predicted=promise.latency_ms,
                low=promise.low_ms,
                high=promise.high_ms,
                in_domain=True,
                predictor=promise.predictor,
            )
        },
        energy_mj={"cpu": None},
        macs=network.macs,
        params=network.params,
        size_bytes=manifest["artifact"]["size_bytes"],
        artifacts={"onnx": Artifact(manifest["artifact"]["path"], manifest["artifact"]["sha256"])},
    )
    front = Front(
        task="digits",
        space="mobilenet",
        seed=0,
        devices=("cpu",),
        reference_point={"cpu": (1.0, 0.9)},
        hypervolume={"cpu": 0.1},
        models=(model,),
    )
    write_json(folder / "front.json", front.to_json())
    return folder


def the_id(run: Path) -> str:
    return read_front(run).models[0].id


def test_measured_and_predicted_stand_side_by_side(run: Path) -> None:
    found = explain_model(run, find_device("cpu"), the_id(run), seconds=0.2)
    assert found.why_unpredicted is None
    kinds = {kind.kind: kind for kind in found.kinds}
    assert sum(kind.measured_ms for kind in found.kinds) == pytest.approx(found.profile.plain_ms)
    assert sum(kind.predicted_ms or 0.0 for kind in found.kinds) == pytest.approx(found.predicted_ms, rel=1e-3)
    # Every convolution of the network is one of the file: the counts of both sides agree.
    for kind in ("conv", "pointwise", "depthwise", "linear"):
        if kind in kinds:
            assert kinds[kind].n_measured == kinds[kind].n_predicted, kind
    assert kinds["depthwise"].n_measured > 0
    assert found.kinds[-1].kind == "network"


def test_without_a_predictor_only_the_measured_side_is_there(run: Path, tmp_path: Path) -> None:
    front = read_front(run)
    entry = replace(front.models[0].latency["cpu"], predictor="gone")
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    model = replace(front.models[0], latency={"cpu": entry})
    write_json(copy / "front.json", replace(front, models=(model,)).to_json())
    found = explain_model(copy, find_device("cpu"), model.id, seconds=0.1)
    assert found.why_unpredicted == "the run folder has no predictor gone"
    assert {kind.predicted_ms for kind in found.kinds} == {None}
    (copy / model.artifacts["onnx"].path).write_bytes(b"another file")
    with pytest.raises(RunFolderError, match="was changed"):
        explain_model(copy, find_device("cpu"), model.id)


def test_the_command_prints_both_tables(run: Path) -> None:
    done = RUNNER.invoke(app, ["verify", str(run), "--explain"])
    assert done.exit_code == 0, done.output
    for words in ("measured against predicted", "depthwise", "Conv + ", "whole network", "add up to", "profiler"):
        assert words in done.output
    raw = json.loads(RUNNER.invoke(app, ["verify", str(run), "--explain", "--json"]).stdout)
    assert raw["id"] == the_id(run)
    assert 0 < sum(op["share"] for op in raw["operations"]) < 2
    assert all(op["ms"] <= op["profiled_ms"] for op in raw["operations"])


@pytest.mark.parametrize(
    ("device", "model", "error", "words"),
    [
        ("jetson-nano", None, ConfigError, "not for device"),
        ("cpu", "nothing", ConfigError, "no model 'nothing'"),
    ],
)
def test_what_cannot_be_explained(
    run: Path, device: str, model: str | None, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        explain_model(run, find_device(device), model or the_id(run))


def test_a_board_is_not_profiled_from_here(run: Path) -> None:
    board = replace(find_device("cpu"), reach="ssh", host="me@board")
    with pytest.raises(MeasurementError, match="not this machine"):
        explain_model(run, board, the_id(run))


def test_a_model_is_named_only_to_be_explained(run: Path) -> None:
    done = RUNNER.invoke(app, ["verify", str(run), "--model", the_id(run)])
    assert done.exit_code == 1
    assert isinstance(done.exception, ConfigError | SystemExit)
