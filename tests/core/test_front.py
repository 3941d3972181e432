from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.core.front import Front, FrontModel
from hwnas.errors import ConfigError, HwnasError, RunFolderError, SchemaError
from hwnas.store import read_front, write_json
from hwnas.testing.front import example_front


def raw_front() -> dict[str, Any]:
    return json.loads(json.dumps(example_front().to_json()))


def test_a_front_reads_back_as_it_was_written() -> None:
    front = example_front()
    assert Front.from_json(json.loads(json.dumps(front.to_json(), allow_nan=False))) == front


def test_the_layout_is_the_contract() -> None:
    raw = raw_front()
    assert set(raw) == {
        *("schema", "task", "space", "seed", "devices", "reference_point", "hypervolume", "models"),
    }
    assert raw["schema"] == 1
    model = raw["models"][0]
    assert set(model) == {
        *("id", "architecture", "compression", "accuracy", "latency_ms", "energy_mj"),
        *("macs", "params", "size_bytes", "artifacts"),
    }
    assert set(model["accuracy"]) == {"value", "split", "n", "precision", "source"}
    entry = model["latency_ms"]["cpu"]
    assert set(entry) == {"predicted", "low", "high", "in_domain", "predictor", "measured"}
    assert set(entry["measured"]) == {
        *("value", "statistic", "p10", "p50", "p95", "n", "rounds", "runtime", "threads", "stable"),
    }
    assert model["latency_ms"]["jetson-nano"]["measured"] is None
    assert model["energy_mj"] == {"cpu": None, "jetson-nano": None}
    assert set(model["artifacts"]["onnx"]) == {"path", "sha256"}


def test_models_come_fastest_first_whatever_the_order_of_the_file() -> None:
    raw = raw_front()
    raw["models"].reverse()
    front = Front.from_json(raw)
    latencies = [model.latency_ms for model in front.models]
    assert latencies == sorted(latencies)
    assert [model.id for model in front.models] == [model.id for model in example_front().models]


def test_plain_numbers_are_the_measured_ones_where_there_are_any() -> None:
    measured, predicted = example_front(("cpu", "jetson-nano")).models[0], example_front(("jetson-nano",)).models[0]
    entry = measured.latency["cpu"]
    assert entry.measured is not None
    assert measured.latency_ms == entry.measured.value != entry.predicted
    assert entry.source == "measured"
    assert entry.gap == pytest.approx(entry.measured.value / entry.predicted - 1)
    other = measured.latency["jetson-nano"]
    assert (other.best_ms, other.source, other.gap) == (other.predicted, "predicted", None)
    assert isinstance(predicted.accuracy, float)
    assert measured.candidate.architecture == measured.architecture


def test_order_of_devices_in_a_model_follows_the_front() -> None:
    raw = raw_front()
    for model in raw["models"]:
        model["latency_ms"] = dict(reversed(model["latency_ms"].items()))
    assert Front.from_json(raw).models[0].latency_ms == example_front().models[0].latency_ms


def test_costs_are_latency_and_error() -> None:
    front = example_front()
    costs = front.costs("jetson-nano")
    assert costs.shape == (8, 2)
    assert np.allclose(costs[0], [front.models[0].latency["jetson-nano"].predicted, 1 - front.models[0].accuracy])


def test_model_and_device_are_found_or_named() -> None:
    front = example_front()
    first = front.models[0]
    assert front.model(first.id) is first
    with pytest.raises(ConfigError, match=f"Did you mean '{first.id}'"):
        front.model(first.id[:-1])
    assert front.device(None) == "cpu"
    with pytest.raises(ConfigError, match="allowed: cpu, jetson-nano"):
        front.device("toaster")


def _set(raw: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    *path, last = [int(key) if key.isdigit() else key for key in place.split("/")]
    target: Any = raw
    for key in path:
        target = target[key]
    if value is KeyError:
        del target[last]
    else:
        target[last] = value
    return raw


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("schema", KeyError, "schema missing"),
        ("schema", "one", "schema must be a whole number"),
        ("models", {}, "models must be a list"),
        ("devices", [], "devices must be"),
        ("devices", ["cpu", "cpu"], "devices must be"),
        ("devices", ["cpu"], "jetson-nano not known"),
        ("seed", "0", "seed must be a whole number"),
        ("surprise", 1, "surprise not known"),
        ("reference_point/cpu", [1], "reference_point.cpu must be a pair"),
        ("reference_point/cpu", [1, "x"], "reference_point.cpu.error"),
        ("hypervolume/cpu", float("nan"), "hypervolume.cpu must be a finite number, got nan"),
        ("models/0", [], r"models\[0\] must be an object"),
        ("models/1/macs", KeyError, r"models\[1\].macs missing"),
        ("models/1/macs", -1, r"models\[1\].macs must be 0 or more"),
        ("models/1/macs", True, r"models\[1\].macs must be a whole number, got True"),
        ("models/1/id", "", r"models\[1\].id must be a text"),
        ("models/1/id", KeyError, r"models\[1\].id missing"),
        ("models/0/accuracy/value", 97.3, r"models\[0\].accuracy.value must be a fraction"),
        ("models/0/accuracy/n", None, r"models\[0\].accuracy.n"),
        ("models/0/latency_ms/cpu/low", "x", r"models\[0\].latency_ms.cpu.low must be a finite number, got 'x'"),
        ("models/0/latency_ms/cpu/predicted", 0, r"latency_ms.cpu.predicted must be more than 0"),
        ("models/0/latency_ms/cpu/in_domain", 1, r"latency_ms.cpu.in_domain must be true or false"),
        ("models/0/latency_ms/cpu/measured/value", -2, r"latency_ms.cpu.measured.value"),
        ("models/0/latency_ms/cpu/measured/rounds", KeyError, r"measured.rounds missing"),
        ("models/0/latency_ms/cpu", KeyError, r"models\[0\].latency_ms.cpu missing"),
        ("models/0/energy_mj/cpu", "3", r"energy_mj.cpu"),
        ("models/0/compression", {"precision": "fp7"}, r"models\[0\].compression must be"),
        ("models/0/compression", {"prune": 3}, r"models\[0\].compression must be"),
        ("models/0/architecture", {"a": [1]}, r"models\[0\].architecture must be"),
        ("models/0/artifacts/onnx/sha256", None, r"models\[0\].artifacts.onnx.sha256 must be a text"),
    ],
)
def test_damage_is_named_by_its_place(place: str, value: Any, named: str) -> None:
    with pytest.raises(RunFolderError, match=named):
        Front.from_json(_set(raw_front(), place, value))


def test_two_models_of_one_id_are_refused() -> None:
    raw = raw_front()
    raw["models"].append(copy.deepcopy(raw["models"][0]))
    with pytest.raises(RunFolderError, match="different ids"):
        Front.from_json(raw)


@pytest.mark.parametrize("schema", [0, 2, 99])
def test_another_schema_is_not_read(schema: int) -> None:
    with pytest.raises(SchemaError, match=f"schema {schema}, this version reads 1"):
        Front.from_json({"schema": schema, "whatever": 1})


@pytest.mark.parametrize("raw", [None, [], "front", 3])
def test_what_is_no_object_is_damaged(raw: object) -> None:
    with pytest.raises(RunFolderError, match="the file must be an object"):
        Front.from_json(raw)


def test_a_model_needs_a_device() -> None:
    model = example_front().models[0]
    with pytest.raises(ConfigError, match="no device"):
        FrontModel(**{**{name: getattr(model, name) for name in FrontModel.__slots__}, "latency": {}})


def test_read_front_reads_the_run_folder(tmp_path: Path) -> None:
    write_json(tmp_path / "front.json", example_front().to_json())
    assert read_front(tmp_path) == example_front()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no front.json"),
        ("", "damaged"),
        ("{", "damaged"),
        ("[1]", "damaged"),
        ('{"schema": 1}', "missing"),
        ('{"schema": 2}', "update hwnas"),
    ],
)
def test_read_front_names_the_file(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "front.json").write_text(content)
    with pytest.raises(HwnasError, match=message) as caught:
        read_front(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_read_front_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run folder"):
        read_front(tmp_path / "nothing")
