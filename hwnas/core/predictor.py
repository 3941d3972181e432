"""What a latency predictor answers, the card that says how good it is, and the port itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from hwnas.core.ops import Op, OpList
from hwnas.errors import SchemaError

__all__ = [
    *("Breakdown", "Card", "EnergyPrediction", "EnergyPredictor", "LatencyPredictor", "Prediction"),
    "energy_predictor",
]

CARD_SCHEMA = 2  # 2: says what its milliseconds are (quantity) and which devices it was transferred from


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted latency of one network at the card's batch size.

    Attributes:
        latency_ms: the statistic that the predictor learned (the card names it); > 0 and finite.
        low_ms, high_ms: 90 % interval; wider out of domain.
        in_domain: whether every operation lies in the ranges that were measured.
        reason: why it is out of domain; None if it is in domain.
        predictor: id of the predictor.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    in_domain: bool
    reason: str | None
    predictor: str


@dataclass(frozen=True, slots=True)
class EnergyPrediction:
    """Predicted energy of one inference, of everything on the supply that was read.

    Attributes:
        energy_mj: > 0 and finite.
        low_mj, high_mj: 90 % interval; wider out of domain.
        in_domain: whether every operation lies in the ranges that were measured.
        reason: why it is out of domain; None if it is in domain.
        predictor: id of the predictor.
    """

    energy_mj: float
    low_mj: float
    high_mj: float
    in_domain: bool
    reason: str | None
    predictor: str


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Which part of a prediction each operation has; operations and network add up to the total.

    Attributes:
        ops: each operation in the network's order, and its ms; what is folded away has 0.
        network_ms: what belongs to no operation.
        total_ms: the prediction.
    """

    ops: tuple[tuple[Op, float], ...]
    network_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """How a predictor was made and what it is worth; `card.json` holds the same keys.

    Shares and correlations come from networks that were held out; None is not known.
    `mape` and the shares are fractions (0.04 is 4 %).
    """

    schema: int = CARD_SCHEMA
    id: str
    device: str
    runtime: str
    runtime_version: str | None
    precision: str
    batch: int
    threads: int | None
    power_mode: str | None
    statistic: str  # what one latency is: "p10", "mean as published", ...
    measured: bool  # False: the source is a model of the device, not a device
    source: str
    licence: str
    n_measurements: int
    spaces: tuple[str, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    op_ranges: Mapping[str, Mapping[str, tuple[float, float]]]  # kind -> quantity -> (least, most)
    held_out: int  # number of held-out networks behind the figures below
    mape: float | None
    spearman: float | None
    kendall: float | None
    within_5: float | None
    within_10: float | None
    interval_coverage: float | None
    date: str
    note: str = ""
    # "throughput": ms are those per image at full throughput, not the time of one; "energy": they are mJ.
    quantity: str = "latency"
    learned_from: tuple[str, ...] = ()  # ids of the predictors of other devices that it was transferred from

    def to_json(self) -> dict[str, Any]:
        """Plain values for `card.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Card:
        """Read `card.json`.

        Raises:
            SchemaError: another schema number, or keys that are missing or unknown.
        """
        if raw.get("schema") != CARD_SCHEMA:
            got = raw.get("schema")
            raise SchemaError(f"card has schema {got!r}, this version reads {CARD_SCHEMA}; calibrate again")
        known = {field.name for field in fields(cls)}
        if wrong := sorted(raw.keys() ^ known):
            raise SchemaError(f"card: keys {wrong} are missing or unknown; calibrate again")
        ranges = {k: {q: (float(lo), float(hi)) for q, (lo, hi) in r.items()} for k, r in raw["op_ranges"].items()}
        shapes = tuple(tuple(int(n) for n in shape) for shape in raw["input_shapes"])
        names = {key: tuple(raw[key]) for key in ("spaces", "learned_from")}
        return cls(**{**raw, **names, "input_shapes": shapes, "op_ranges": ranges})


class LatencyPredictor(Protocol):
    """Port: operations of networks -> milliseconds on one device, runtime and precision."""

    @property
    def card(self) -> Card:
        """How it was made and what it is worth."""

    def predict(self, networks: Sequence[OpList]) -> list[Prediction]:
        """One prediction a network, in their order; an empty sequence gives an empty list."""

    def breakdown(self, network: OpList) -> Breakdown:
        """Where the prediction of one network comes from."""


class EnergyPredictor(Protocol):
    """Port: operations of networks -> millijoules on one device, runtime and precision."""

    @property
    def card(self) -> Card:
        """How it was made and what it is worth."""

    def predict(self, networks: Sequence[OpList]) -> list[EnergyPrediction]:
        """One prediction a network, in their order; an empty sequence gives an empty list."""


def energy_predictor(predictor: LatencyPredictor) -> EnergyPredictor | None:
    """What predicts energy under the same conditions; None: nobody read it there, or not of enough networks."""
    found: EnergyPredictor | None = getattr(predictor, "energy", None)
    return found
