"""A small front with every kind of entry, for tests of whatever reads fronts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from hwnas.core.architecture import Architecture
from hwnas.core.compression import CompressionPlan
from hwnas.core.evaluation import Evaluation
from hwnas.core.front import Artifact, Front, FrontModel, LatencyEntry, MeasuredLatency

__all__ = ["example_front"]

# latency in ms (first device), accuracy, precision, MACs, parameters, bytes
MODELS = (
    (0.061, 0.8722, "int8", 231_000, 14_100, 29_400),
    (0.083, 0.9111, "int8", 402_000, 22_800, 39_100),
    (0.112, 0.9389, "fp32", 611_000, 31_000, 131_000),
    (0.139, 0.9583, "int8", 930_000, 52_300, 71_800),
    (0.188, 0.9667, "fp32", 1_210_000, 60_400, 250_000),
    (0.262, 0.9722, "fp32", 2_050_000, 99_100, 405_000),
    (0.371, 0.9806, "fp32", 3_320_000, 171_000, 693_000),
    (0.522, 0.9833, "fp32", 5_480_000, 301_000, 1_215_000),
)


def example_front(devices: Sequence[str] = ("cpu", "jetson-nano"), *, task: str = "digits") -> Front:
    """Eight models; measured on the first device, predicted on the others, the largest one out of domain there."""
    devices = tuple(devices)
    scale = {device: 9.0**i for i, device in enumerate(devices)}
    return Front(
        task=task,
        space="mobilenet",
        seed=0,
        devices=devices,
        reference_point={device: (0.6 * scale[device], 0.9) for device in devices},
        hypervolume={device: 0.471 * scale[device] for device in devices},
        models=tuple(_model(i, devices, scale) for i in range(len(MODELS))),
    )


def _model(i: int, devices: tuple[str, ...], scale: dict[str, float]) -> FrontModel:
    latency_ms, accuracy, precision, macs, params, size_bytes = MODELS[i]
    architecture = Architecture.of("mobilenet", {"depth.0": 1 + i % 3, "kernel.0": (3, 5, 7)[i % 3], "width": i + 1})
    plan = CompressionPlan.of(precision, {"stage1": 0.25} if i % 2 else {})
    name = hashlib.sha256(f"model {i}".encode()).hexdigest()
    return FrontModel(
        id=name[:10],
        architecture=architecture,
        compression=plan,
        accuracy_detail=Evaluation(accuracy, 360, "test", precision, "deployed-file", 0.0),
        latency={d: _latency(latency_ms * scale[d], i, d, measured=d == devices[0]) for d in devices},
        energy_mj=dict.fromkeys(devices),
        macs=macs,
        params=params,
        size_bytes=size_bytes,
        artifacts={"onnx": Artifact(f"models/{name[:10]}/model.onnx", name)},
    )


def _latency(value_ms: float, i: int, device: str, *, measured: bool) -> LatencyEntry:
    predicted = value_ms * (0.97, 1.02, 1.04, 0.99)[i % 4]
    out = not measured and i == len(MODELS) - 1
    return LatencyEntry(
        predicted=predicted,
        low=predicted * (0.6 if out else 0.93),
        high=predicted * (1.6 if out else 1.08),
        in_domain=not out,
        predictor=f"{device}-onnxruntime-1",
        measured=_measured(value_ms, stable=i != 1) if measured else None,
    )


def _measured(value_ms: float, *, stable: bool) -> MeasuredLatency:
    return MeasuredLatency(
        value=value_ms,
        statistic="p10",
        p10=value_ms,
        p50=value_ms * 1.06,
        p95=value_ms * 1.31,
        n=600,
        rounds=10,
        runtime="onnxruntime",
        threads=1,
        stable=stable,
    )
