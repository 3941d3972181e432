"""The front: finished models, what each costs on each device, and where every number comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.evaluation import Evaluation
from hwnas.core.json_block import Block
from hwnas.errors import ConfigError, InvalidArchitectureError, RunFolderError, SchemaError, nearest

__all__ = ["SCHEMA", "Artifact", "Front", "FrontModel", "LatencyEntry", "MeasuredLatency"]

SCHEMA = 1

# Keys of front.json, in the order in which they are written.
FRONT_KEYS = ("schema", "task", "space", "seed", "devices", "reference_point", "hypervolume", "models")
MODEL_KEYS = (
    *("id", "architecture", "compression", "accuracy", "latency_ms", "energy_mj"),
    *("macs", "params", "size_bytes", "artifacts"),
)
ACCURACY_KEYS = ("value", "split", "n", "precision", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLatency:
    """Latency in ms of a model's file, read on the device.

    Attributes:
        value: the statistic that the predictor learned, so that both sides mean the same.
        statistic: its name, as in the predictor's card.
        p10, p50, p95: percentiles of all samples.
        n, rounds: number of samples, and of rounds that they were taken in.
        runtime, threads: how it ran; threads is None where the runtime does not say.
        stable: the verdict of the measuring protocol; None if it gave none.
    """

    value: float
    statistic: str
    p10: float
    p50: float
    p95: float
    n: int
    rounds: int
    runtime: str
    threads: int | None = None
    stable: bool | None = None

    @classmethod
    def from_json(cls, raw: object, where: str = "measured") -> MeasuredLatency:
        """Read the measured block of `front.json`.

        Raises:
            RunFolderError: a key is missing, unknown or of the wrong type; the message names it.
        """
        block = Block(raw, where, tuple(field.name for field in fields(cls)))
        return cls(
            value=block.positive("value"),
            statistic=block.text("statistic"),
            p10=block.positive("p10"),
            p50=block.positive("p50"),
            p95=block.positive("p95"),
            n=block.count("n"),
            rounds=block.count("rounds"),
            runtime=block.text("runtime"),
            threads=None if block.raw["threads"] is None else block.count("threads"),
            stable=None if block.raw["stable"] is None else block.flag("stable"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyEntry:
    """Latency in ms of one model on one device: what was promised and, if it was measured, what is.

    Attributes:
        predicted: by the predictor that the search used.
        low, high: its 90 % interval.
        in_domain: whether every operation lies in the ranges that the predictor was fitted on.
        predictor: id of the predictor.
        measured: None if the file was not run on the device.
    """

    predicted: float
    low: float
    high: float
    in_domain: bool
    predictor: str
    measured: MeasuredLatency | None = None

    @property
    def best_ms(self) -> float:
        """The measured value if there is one, else the predicted one."""
        return self.predicted if self.measured is None else self.measured.value

    @property
    def source(self) -> str:
        """Where `best_ms` comes from: "measured" or "predicted"."""
        return "predicted" if self.measured is None else "measured"

    @property
    def gap(self) -> float | None:
        """measured / predicted - 1; None if it was not measured."""
        return None if self.measured is None else self.measured.value / self.predicted - 1

    @classmethod
    def from_json(cls, raw: object, where: str = "latency_ms") -> LatencyEntry:
        """Read the latency block of one device; raises RunFolderError naming the key that is wrong."""
        block = Block(raw, where, tuple(field.name for field in fields(cls)))
        measured = block.raw["measured"]
        return cls(
            predicted=block.positive("predicted"),
            low=block.number("low"),
            high=block.number("high"),
            in_domain=block.flag("in_domain"),
            predictor=block.text("predictor"),
            measured=None if measured is None else MeasuredLatency.from_json(measured, f"{where}.measured"),
        )


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model file: its path, relative to the run folder, and the SHA-256 of its content."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontModel:
    """A finished model; `accuracy` and `latency_ms` are plain numbers, the details stand beside them.

    Attributes:
        id: id of its candidate.
        architecture, compression: what it is.
        accuracy_detail: accuracy with its split, sample count, precision and source.
        latency: per device, the device that the search named first at the front.
        energy_mj: per device, in millijoules; None is not known.
        macs, params: at batch 1, after pruning.
        size_bytes: of the file; None if there is none.
        artifacts: format -> file.
    """

    id: str
    architecture: Architecture
    compression: CompressionPlan
    accuracy_detail: Evaluation
    latency: Mapping[str, LatencyEntry]
    energy_mj: Mapping[str, float | None]
    macs: int
    params: int
    size_bytes: int | None
    artifacts: Mapping[str, Artifact]

    def __post_init__(self) -> None:
        if not self.latency:
            raise ConfigError(f"model {self.id!r} has a latency on no device; give it one entry per device")

    @property
    def accuracy(self) -> float:
        """Fraction 0-1; `accuracy_detail` says on what it was read."""
        return self.accuracy_detail.accuracy

    @property
    def latency_ms(self) -> float:
        """On the first device: the measured value if there is one, else the predicted one."""
        return next(iter(self.latency.values())).best_ms

    @property
    def candidate(self) -> Candidate:
        """What the search proposed."""
        return Candidate(self.architecture, self.compression)

    def to_json(self) -> dict[str, Any]:
        """One model of `front.json`."""
        return {
            "id": self.id,
            "architecture": dict(self.architecture),
            "compression": self.compression.to_json(),
            "accuracy": self.accuracy_detail.to_json(),
            "latency_ms": {device: asdict(entry) for device, entry in self.latency.items()},
            "energy_mj": dict(self.energy_mj),
            "macs": self.macs,
            "params": self.params,
            "size_bytes": self.size_bytes,
            "artifacts": {format_: asdict(artifact) for format_, artifact in self.artifacts.items()},
        }

    @classmethod
    def from_json(cls, raw: object, *, space: str, devices: tuple[str, ...], where: str = "model") -> FrontModel:
        """Read one model; `latency` gets the order of `devices`.

        Raises:
            RunFolderError: a key is missing, unknown or of the wrong type; the message names it.
        """
        block = Block(raw, where, MODEL_KEYS)
        latency = block.block("latency_ms", devices)
        energy = block.block("energy_mj", devices)
        return cls(
            id=block.text("id"),
            architecture=_read_architecture(block, space),
            compression=_read_compression(block),
            accuracy_detail=_read_accuracy(block),
            latency={d: LatencyEntry.from_json(latency.raw[d], f"{latency.where}.{d}") for d in devices},
            energy_mj={d: None if energy.raw[d] is None else energy.number(d) for d in devices},
            macs=block.count("macs"),
            params=block.count("params"),
            size_bytes=None if block.raw["size_bytes"] is None else block.count("size_bytes"),
            artifacts=_read_artifacts(block),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """All finished models of a search, fastest first on the first device; `front.json` holds the same.

    Attributes:
        task, space, seed: of the search.
        devices: names, in the order of the command line.
        reference_point: device -> (latency in ms, error 0-1): the bad corner that hypervolume is measured from.
        hypervolume: device -> area between the models and the reference point, in ms (error has no unit).
        models: sorted by `latency_ms`, then by id.
    Raises:
        ConfigError: no device, or two models with one id.
    """

    task: str
    space: str
    seed: int
    devices: tuple[str, ...]
    reference_point: Mapping[str, tuple[float, float]]
    hypervolume: Mapping[str, float]
    models: tuple[FrontModel, ...]

    def __post_init__(self) -> None:
        ids = [model.id for model in self.models]
        if not self.devices or len(set(ids)) != len(ids):
            raise ConfigError(f"a front needs a device and models of different ids, got {self.devices} and {ids}")
        object.__setattr__(self, "models", tuple(sorted(self.models, key=lambda m: (m.latency_ms, m.id))))

    def model(self, model_id: str) -> FrontModel:
        """The model of that id.

        Raises:
            ConfigError: there is none; the nearest id is suggested.
        """
        known = [model.id for model in self.models]
        if model_id in known:
            return self.models[known.index(model_id)]
        guess = nearest(model_id, known)
        hint = f" Did you mean {guess!r}?" if guess else ""
        raise ConfigError(f"no model {model_id!r} on the front;{hint} known: {', '.join(known) or 'none'}")

    def device(self, name: str | None) -> str:
        """`name` if the front has that device; the first device if it is None.

        Raises:
            ConfigError: the search was not for that device.
        """
        if name is None:
            return self.devices[0]
        if name not in self.devices:
            raise ConfigError(f"the search was not for device {name!r}; allowed: {', '.join(self.devices)}")
        return name

    def costs(self, device: str) -> NDArray[np.float64]:
        """(latency in ms, 1 - accuracy) of every model on a device, `n x 2`, in the order of `models`."""
        rows = [(model.latency[device].best_ms, 1 - model.accuracy) for model in self.models]
        return np.array(rows, dtype=float).reshape(-1, 2)

    def to_json(self) -> dict[str, Any]:
        """The content of `front.json`."""
        return {
            "schema": SCHEMA,
            "task": self.task,
            "space": self.space,
            "seed": self.seed,
            "devices": list(self.devices),
            "reference_point": {device: list(point) for device, point in self.reference_point.items()},
            "hypervolume": dict(self.hypervolume),
            "models": [model.to_json() for model in self.models],
        }

    @classmethod
    def from_json(cls, raw: object) -> Front:
        """Read the content of `front.json`.

        Raises:
            SchemaError: it was written with another schema.
            RunFolderError: a key is missing, unknown or of the wrong type; the message names it.
        """
        if isinstance(raw, Mapping) and isinstance(raw.get("schema"), int) and raw["schema"] != SCHEMA:
            raise SchemaError(f"the front has schema {raw['schema']}, this version reads {SCHEMA}; update hwnas")
        block = Block(raw, "", FRONT_KEYS)
        block.count("schema")
        space, devices = block.text("space"), _read_devices(block)
        models = enumerate(block.items("models"))
        try:
            return cls(
                task=block.text("task"),
                space=space,
                seed=block.whole("seed"),
                devices=devices,
                reference_point=_read_reference(block.block("reference_point", devices)),
                hypervolume=_read_numbers(block.block("hypervolume", devices)),
                models=tuple(
                    FrontModel.from_json(m, space=space, devices=devices, where=f"models[{i}]") for i, m in models
                ),
            )
        except ConfigError as error:
            raise RunFolderError(f"damaged: {error}") from error


def _read_devices(block: Block) -> tuple[str, ...]:
    devices = block.items("devices")
    if not devices or not all(isinstance(name, str) for name in devices) or len(set(devices)) != len(devices):
        raise block.wrong("devices", "a list of different device names")
    return tuple(devices)


def _read_reference(block: Block) -> dict[str, tuple[float, float]]:
    points = {}
    for device in block.raw:
        pair = block.items(device)
        if len(pair) != 2:
            raise block.wrong(device, "a pair of latency in ms and error")
        numbers = Block({"latency_ms": pair[0], "error": pair[1]}, f"{block.where}.{device}", None)
        points[device] = (numbers.number("latency_ms"), numbers.number("error"))
    return points


def _read_numbers(block: Block) -> dict[str, float]:
    return {key: block.number(key) for key in block.raw}


def _read_architecture(block: Block, space: str) -> Architecture:
    choices = block.block("architecture").raw
    if not all(isinstance(value, int | float | str) for value in choices.values()):
        raise block.wrong("architecture", "an object of numbers and texts")
    return Architecture.of(space, choices)


def _read_compression(block: Block) -> CompressionPlan:
    try:
        return CompressionPlan.from_json(block.block("compression").raw)
    except (InvalidArchitectureError, AttributeError, TypeError, ValueError) as error:
        raise block.wrong("compression", f"a compression plan ({error})") from error


def _read_accuracy(block: Block) -> Evaluation:
    accuracy = block.block("accuracy", ACCURACY_KEYS)
    if not 0 <= accuracy.number("value") <= 1:
        raise accuracy.wrong("value", "a fraction between 0 and 1")
    for key in ("split", "precision", "source"):
        accuracy.text(key)
    accuracy.count("n")
    return Evaluation.from_json(accuracy.raw)


def _read_artifacts(block: Block) -> dict[str, Artifact]:
    artifacts = {}
    for format_, raw in block.block("artifacts").raw.items():
        artifact = Block(raw, f"{block.where}.artifacts.{format_}", ("path", "sha256"))
        artifacts[format_] = Artifact(artifact.text("path"), artifact.text("sha256"))
    return artifacts
