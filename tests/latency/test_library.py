from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up import random_networks, true_ms

from hwnas.core.device import Device
from hwnas.errors import PredictorError
from hwnas.latency import library
from hwnas.latency.fit import Origin, fit_predictor
from hwnas.latency.library import best_space, cards, find_predictors, save_predictor
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.plugins import load_plugin, plugin_names

DEVICE = Device(name="made-up", title="t", kind="cpu", runtime="none", precisions=("fp32", "int8"))
ORIGIN = Origin(device="made-up", runtime="none", spaces=("a",), input_shapes=((3, 8, 8),), date="2026-01-01")
NETWORKS = random_networks(12, seed=0)


def fitted(origin: Origin, count: int = 6) -> LinearGpPredictor:
    networks = [network.at(origin.precision) for network in NETWORKS[:count]]
    return fit_predictor(networks, [true_ms(n) for n in networks], origin, rng=np.random.default_rng(0))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    return tmp_path


def test_nothing_is_found_in_an_empty_cache() -> None:
    assert find_predictors(DEVICE, space="a", input_shape=None) == {}
    assert cards("made-up") == []
    assert best_space(DEVICE) is None


def test_what_was_saved_is_found() -> None:
    predictor = fitted(ORIGIN)
    folder = save_predictor(predictor, local=True)
    assert folder.name == "none-fp32"
    found = find_predictors(DEVICE, space="a", input_shape=(3, 8, 8))
    assert list(found) == ["fp32"]
    assert found["fp32"].predict(NETWORKS[:2]) == predictor.predict(NETWORKS[:2])
    assert cards("made-up") == [predictor.card]
    assert best_space(DEVICE) == "a"


def test_the_space_counts_more_than_the_shape_and_that_more_than_numbers() -> None:
    for origin, count in (
        (ORIGIN, 5),
        (replace(ORIGIN, input_shapes=((3, 9, 9),)), 9),
        (replace(ORIGIN, spaces=("b",)), 12),
    ):
        save_predictor(fitted(origin, count), local=True)

    def chosen(space: str | None, shape: tuple[int, ...] | None) -> int:
        return find_predictors(DEVICE, space=space, input_shape=shape)["fp32"].card.n_measurements

    assert chosen("a", (3, 8, 8)) == 5
    assert chosen("a", (3, 9, 9)) == 9
    assert chosen("a", None) == 9
    assert chosen("b", (3, 9, 9)) == 12
    assert chosen(None, None) == 12
    assert chosen("unknown", (1, 2, 3)) == 12


def test_threads_are_respected() -> None:
    save_predictor(fitted(replace(ORIGIN, threads=2)), local=True)
    assert find_predictors(DEVICE, space="a", input_shape=None, threads=1) == {}
    assert list(find_predictors(DEVICE, space="a", input_shape=None, threads=2)) == ["fp32"]


def test_what_another_machine_measured_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    save_predictor(fitted(ORIGIN), local=True)
    monkeypatch.setattr(library, "machine_key", lambda: "another")
    assert find_predictors(DEVICE, space="a", input_shape=None) == {}
    save_predictor(fitted(ORIGIN), local=False)
    monkeypatch.setattr(library, "machine_key", lambda: "a third")
    assert list(find_predictors(DEVICE, space="a", input_shape=None)) == ["fp32"]


@pytest.mark.parametrize("name", ["model.npz", "card.json"])
def test_a_damaged_file_in_the_cache_is_skipped(name: str) -> None:
    (save_predictor(fitted(ORIGIN), local=True) / name).write_bytes(b"damaged")
    assert find_predictors(DEVICE, space="a", input_shape=None) == {}


PROFILES = {"android", "jetson-orin-nano", "raspberry-pi-5", "x86-cpu"}  # of which nobody published measurements
SHIPPED = [n for n in plugin_names("device") if not load_plugin("device", n).is_local and n not in PROFILES]


@pytest.mark.parametrize("device", SHIPPED)
def test_shipped_predictors_are_whole(device: str) -> None:
    target = load_plugin("device", device)
    space = best_space(target)
    found = find_predictors(target, space=space, input_shape=None)
    assert list(found) == list(target.precisions)
    for predictor in found.values():
        card = predictor.card
        assert space in card.spaces
        assert card.measured is (target.runtime != "model")
        assert (card.runtime, card.batch, card.quantity) == (target.runtime, target.batch, target.quantity)
        assert card.source
        assert card.licence
        assert card.held_out == card.n_measurements > 1000
        assert card.mape is not None
        # A model of a chip is reproduced exactly, and no interval is narrow enough for that.
        assert 0.88 <= (card.interval_coverage or 0) <= (0.92 if card.measured else 1.0)
        assert isinstance(predictor, LinearGpPredictor)


def test_the_jetsons_know_nasbench201() -> None:
    assert {best_space(load_plugin("device", name)) for name in ("jetson-nano", "jetson-tx2")} == {"nasbench201"}


@pytest.mark.parametrize("kind", ["cpu", "gpu", "tpu", "fpga", "asic"])
def test_a_device_of_each_kind_ships(kind: str) -> None:
    assert kind in {load_plugin("device", name).kind for name in SHIPPED}


def test_a_shipped_predictor_that_is_damaged_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shipped" / "made-up" / "none-fp32"
    fitted(ORIGIN).save(folder)
    (folder / "model.npz").write_bytes(b"damaged")
    monkeypatch.setattr(library, "files", lambda package: tmp_path / "shipped")
    with pytest.raises(PredictorError, match="damaged"):
        find_predictors(DEVICE, space="a", input_shape=None)
