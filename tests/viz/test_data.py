from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from hwnas.core.front import FrontModel
from hwnas.core.pareto import is_non_dominated
from hwnas.store import read_front, read_json, write_json
from hwnas.testing.front import example_front
from hwnas.viz.data import MOST_MODELS, page_data
from hwnas.viz.report import read_trials
from hwnas.viz.table import front_rows, pick

TRIALS = [
    {"id": "a", "latency_ms": {"cpu": 0.1, "jetson-nano": 1.0}, "accuracy": 0.9, "in_domain": True},
    {"id": "b", "latency_ms": {"cpu": 0.2, "jetson-nano": 2.0}, "accuracy": 0.8, "in_domain": False},
    {"id": "c", "latency_ms": {"cpu": 0.3}, "accuracy": 0.95},
]


def test_the_page_holds_every_model_as_the_front_has_it(tmp_path: Path) -> None:
    front = example_front()
    data = json.loads(json.dumps(page_data(front, tmp_path, TRIALS), allow_nan=False))
    assert [model["id"] for model in data["models"]] == [model.id for model in front.models]
    for shown, model in zip(data["models"], front.models, strict=True):
        assert shown["accuracy"]["value"] == model.accuracy
        assert shown["latency"]["cpu"]["measured"]["value"] == model.latency["cpu"].best_ms
        assert shown["latency"]["jetson-nano"]["measured"] is None
        assert shown["latency"]["jetson-nano"]["best"] == model.latency["jetson-nano"].predicted
        assert shown["energy_mj"] == {"cpu": None, "jetson-nano": None}
        assert shown["files"][0]["sha256"] == model.artifacts["onnx"].sha256
        assert shown["files"][0]["size_bytes"] is None  # the file is not there, and that is said
        assert shown["classes"] is None
        assert model.id in shown["export"]


def test_each_device_says_what_it_suggests_and_what_is_dominated(tmp_path: Path) -> None:
    front = example_front()
    for device in page_data(front, tmp_path, TRIALS)["devices"]:
        rows = front_rows(front, device["name"])
        assert device["order"] == [row.id for row in rows]
        assert device["dominated"] == [row.id for row in rows if row.dominated]
        assert device["pick"]["id"] == pick(front, device=device["name"]).row.id
        assert device["pick"]["knee"]
        assert device["reached"] is (device["name"] == "cpu")
        assert device["runtime_here"] == ("onnxruntime" if device["name"] == "cpu" else None)


def test_searched_candidates_are_columns_with_their_front(tmp_path: Path) -> None:
    cpu, nano = (device["searched"] for device in page_data(example_front(), tmp_path, TRIALS)["devices"])
    assert (cpu["id"], nano["id"]) == (["a", "b", "c"], ["a", "b"])
    assert cpu["front"] == [0, 2]
    assert cpu["out"] == nano["out"] == [1]


def test_a_run_folder_gives_classes_files_and_networks(run_dir: Path) -> None:
    front = read_front(run_dir)
    data = page_data(front, run_dir, read_trials(run_dir))
    for model in data["models"]:
        assert sum(right for _, right, _ in model["classes"]) == round(model["accuracy"]["value"] * 1000)
        assert [file["format"] for file in model["files"]] == ["onnx", "manifest"]
        assert model["files"][0]["size_bytes"] == 1000
        assert model["network"]["ms"].keys() == {"jetson-nano"}
    trials = data["devices"][0]["searched"]
    costs = np.column_stack([trials["latency_ms"], 1 - np.array(trials["accuracy"])])
    assert trials["front"] == np.flatnonzero(is_non_dominated(costs)).tolist()
    assert data["devices"][0]["course"]["seconds"][-1] == 34.3


def test_a_manifest_that_says_nothing_of_classes_gives_none(run_dir: Path, tmp_path: Path) -> None:
    front = read_front(run_dir)
    home = tmp_path / "models" / front.models[0].id
    home.mkdir(parents=True)
    raw = read_json(run_dir / "models" / front.models[0].id / "manifest.json")
    for accuracy in ({}, {"test_by_class": {"n": [1]}}, {"test_by_class": 7}):
        write_json(home / "manifest.json", raw | {"accuracy": accuracy})
        assert page_data(front, tmp_path)["models"][0]["classes"] is None


def test_names_that_no_path_can_have_are_no_error(tmp_path: Path) -> None:
    front = example_front()
    for name in ("x" * 300, "../../etc/passwd", "a\0b", "\N{GRINNING FACE}\"'<b>", "/etc"):
        named = replace(front, models=(replace(front.models[0], id=name), *front.models[1:]))
        shown = next(model for model in page_data(named, tmp_path)["models"] if model["id"] == name)
        assert "no manifest" in shown["network"]["missing"][""]


def test_of_very_many_models_those_on_the_front_are_kept(tmp_path: Path) -> None:
    front = example_front(("cpu",))
    models: list[FrontModel] = list(front.models)
    for i in range(10_000 - len(models)):
        base = front.models[i % 8]
        worse = replace(base.accuracy_detail, accuracy=base.accuracy - 0.01 - i * 1e-6)
        models.append(replace(base, id=f"m{i}", accuracy_detail=worse))
    data = page_data(replace(front, models=tuple(models)), tmp_path)
    assert len(data["models"]) == MOST_MODELS
    assert data["left_out"] == 10_000 - MOST_MODELS
    assert {model.id for model in front.models} <= {model["id"] for model in data["models"]}
    assert len(json.dumps(data)) < 1_000_000


def test_an_empty_front_and_one_model(tmp_path: Path) -> None:
    empty = page_data(replace(example_front(), models=()), tmp_path)
    assert (empty["models"], empty["devices"][0]["pick"], empty["devices"][0]["order"]) == ([], None, [])
    front = example_front(("cpu",))
    one = page_data(replace(front, models=front.models[:1]), tmp_path)
    assert one["devices"][0]["pick"]["id"] == front.models[0].id
    assert not one["devices"][0]["pick"]["knee"]


def test_a_wide_span_gets_a_logarithmic_axis(tmp_path: Path) -> None:
    wide = [{"id": "slow", "latency_ms": 50.0, "accuracy": 0.9}]
    assert not page_data(example_front(("cpu",)), tmp_path)["devices"][0]["log"]
    assert page_data(example_front(("cpu",)), tmp_path, wide)["devices"][0]["log"]


def test_a_run_without_compression_or_with_damage_still_has_a_page(tmp_path: Path) -> None:
    front = example_front()
    assert page_data(front, tmp_path)["sensitivity"] is None
    (tmp_path / "sensitivity.json").write_text('{"schema": 1, "accuracy": "much"}')
    (tmp_path / "original.json").write_text("{")
    data = page_data(front, tmp_path)
    assert data["sensitivity"] is None
    assert {len(model["graphs"]) for model in data["models"]} == {0}


def test_sensitivity_and_graphs_are_those_of_the_run(run_dir: Path) -> None:
    data = page_data(read_front(run_dir), run_dir)
    assert len(data["sensitivity"]["stages"]) == 8
    assert data["sensitivity"]["stages"][0] == {
        "stage": "stem",
        "points": [[0.25, 0.9 - 0.1 * 0.25], [0.5, 0.9 - 0.1 * 0.5], [0.75, 0.9 - 0.1 * 0.75]],
        "searched": 0.75,
    }
    for model in data["models"]:
        (graph,) = model["graphs"]
        assert graph["runtime"] == "onnxruntime"
        assert graph["ignored"] == (30 if model["precision"] != "fp32" else 0)
