from __future__ import annotations

import pytest

from hwnas.errors import PredictorError, UnknownPluginError
from hwnas.latency.known import known_predictors
from hwnas.plugins import load_plugin

CPU = load_plugin("device", "cpu")


def test_all_that_know_the_space_but_not_the_device_itself() -> None:
    found = known_predictors(load_plugin("device", "jetson-nano"), ("nasbench201",), None)
    devices = {predictor.card.device for predictor in found}
    assert "jetson-tx2" in devices
    assert "jetson-nano" not in devices
    assert all("nasbench201" in predictor.card.spaces for predictor in found)


def test_a_device_teaches_itself_across_spaces() -> None:
    tx2 = load_plugin("device", "jetson-tx2")
    found = known_predictors(tx2, ("mobilenet",), None)
    assert "jetson-tx2" in {predictor.card.device for predictor in found}


def test_by_name_or_alias_and_none() -> None:
    found = known_predictors(CPU, ("nasbench201",), ["jetson"])
    assert {(p.card.device, p.card.precision) for p in found} == {("jetson-nano", "fp32"), ("jetson-nano", "fp16")}
    assert known_predictors(CPU, ("nasbench201",), []) == ()


def test_an_unknown_source_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownPluginError, match="jetson"):
        known_predictors(CPU, ("nasbench201",), ["jetsn"])
    monkeypatch.setattr("hwnas.latency.known.cards", list)
    with pytest.raises(PredictorError, match="'jetson-nano' has no latency predictor"):
        known_predictors(CPU, ("nasbench201",), ["jetson"])
