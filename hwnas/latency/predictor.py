"""The predictor that hwnas fits and ships: a prior linear in physical work, a residual, an interval, a domain."""

from __future__ import annotations

import io
import json
import math
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.core.ops import KINDS, Op, OpList, Segment
from hwnas.core.predictor import Breakdown, Card, Prediction
from hwnas.errors import PredictorError, SchemaError
from hwnas.latency.channels import in_blocks
from hwnas.latency.domain import Domain, Finding
from hwnas.latency.energy import FittedEnergy
from hwnas.latency.features import CLASSES, COLUMNS, FOLDED, QUANTITIES, ROLES, SCHEMA, features_of, knows_flow, totals
from hwnas.latency.inventory import POINT, point_of
from hwnas.latency.model import MAX_RESIDUAL, N_TOTALS, Model
from hwnas.store import write_atomic, write_json

__all__ = ["LinearGpPredictor"]

FloatArray = NDArray[np.float64]

_MAX_BYTES = 16_000_000  # of a predictor file, unpacked: more is damage or malice
_MAX_WIDTH = math.log(10)
# Where an operation was never measured, the first of these that was stands in for it.
_NEAREST = {
    "conv3": ("conv5", "pointwise", "grouped", "depthwise3"),
    "conv5": ("conv3", "pointwise", "grouped"),
    "pointwise": ("conv3", "linear", "conv5"),
    "depthwise3": ("depthwise5", "depthwise7", "grouped", "conv3", "pointwise"),
    "depthwise5": ("depthwise7", "depthwise3", "grouped", "conv5", "conv3"),
    "depthwise7": ("depthwise5", "depthwise3", "grouped", "conv5", "conv3"),
    "grouped": ("conv3", "depthwise3", "pointwise"),
    "linear": ("pointwise", "matmul", "conv3"),
    "matmul": ("linear", "pointwise", "conv3"),
}
_MEMORY = ("elementwise", "pool", "activation", "reduce", "layout", "concat", "norm", "softmax", "resize", "embedding")
ENERGY = "energy"  # folder of the predictor of energy, in that of latency
_N_HEAD = 1 + 3 + len(KINDS)  # prior ms, totals, operations of each kind
_N_TAIL = 1 + N_TOTALS  # ms times log factor of the operations, totals of the features


@dataclass(frozen=True, slots=True)
class _Row:
    """What a segment adds to a prediction: head, the residual's columns, tail; and its worst finding."""

    values: FloatArray
    finding: Finding | None


class LinearGpPredictor:
    """Operations -> ms on one device, runtime and precision; immutable.

    The linear prior never falls when work is added. Out of domain a residual that promises less than the prior fades,
    an operation larger than any measured costs in proportion, and one of a kind never measured costs as the nearest
    kind that was.

    Args:
        energy: of the same networks under the same conditions; None is not known.
    Raises:
        PredictorError: model and card do not belong together.
    """

    def __init__(self, model: Model, card: Card, energy: FittedEnergy | None = None) -> None:
        if len(model.weights) != len(COLUMNS):
            raise PredictorError(f"predictor {card.id}: {len(model.weights)} weights for {len(COLUMNS)} columns")
        if not card.id.endswith(model.fingerprint):
            raise PredictorError(
                f"predictor {card.id}: card.json and model.npz do not belong together; restore both, or calibrate again"
            )
        self.model, self._card, self.energy = model, card, energy
        self._domain = Domain(card.precision, card.op_ranges)
        self._kinds = {kind: position for position, kind in enumerate(KINDS)}
        self._seen = set(card.op_ranges.get("class", {}))  # classes and roles, as columns
        self._stand_in = self._stand_ins()
        self._key = ("latency", card.id)
        self._judged: dict[tuple[object, ...], tuple[float, Finding | None]] = {}

    @property
    def card(self) -> Card:
        """How it was made and what it is worth."""
        return self._card

    def predict(self, networks: Sequence[OpList]) -> list[Prediction]:
        """One prediction a network, in their order; an empty sequence gives an empty list."""
        if not networks:
            return []
        sums, findings = self._sums([in_blocks(network, self.model.block) for network in networks])
        prior = np.maximum(sums[:, 0] + self.model.intercept, self.model.floor)
        residual = self.model.residual(sums[:, _N_HEAD:-_N_TAIL], sums[:, 1 - _N_TAIL :], sums[:, -_N_TAIL] / prior)
        outside = self._outside(sums, findings)
        for row, finding in outside.items():
            residual[row] = max(residual[row], 0) + min(residual[row], 0) * math.exp(-2 * finding.distance)
        latency = prior * np.exp(residual)
        factor = math.exp(self.model.width)
        answers = []
        for row, (value, low, high) in enumerate(
            zip(latency.tolist(), (latency / factor).tolist(), (latency * factor).tolist(), strict=True)
        ):
            found = outside.get(row)
            if found is None:
                answers.append(Prediction(value, low, high, True, None, self._card.id))
                continue
            wide = math.exp(min(2 * self.model.width + 0.25 + found.distance / 2, _MAX_WIDTH))
            answers.append(Prediction(value, value / wide, value * wide, False, found.reason, self._card.id))
        return answers

    def breakdown(self, network: OpList) -> Breakdown:
        """Where the prediction of a network comes from: the corrected operations, scaled to their sum.

        What belongs to no operation (intercept, floor, the depth of the network) is the network's.
        """
        total = self.predict([network])[0].latency_ms
        costs: list[tuple[Op, float]] = []
        rest = self.model.intercept
        for segment in in_blocks(network, self.model.block).segments:
            features = features_of(segment, flow=bool(self.model.flow))
            factors = np.exp(np.clip(self._op_factors(segment), -MAX_RESIDUAL, MAX_RESIDUAL)).tolist()
            costs += [(op, f * self._op_ms(op, r)) for op, r, f in zip(segment.ops, features.ops, factors, strict=True)]
            rest += sum(value * float(self.model.weights[column]) for column, value in features.rest)
        prior = max(math.fsum(ms for _, ms in costs) + rest, self.model.floor)
        ops = tuple((op, ms * total / prior) for op, (_, ms) in zip(network, costs, strict=True))
        return Breakdown(ops, max(0.0, total - math.fsum(ms for _, ms in ops)), total)

    def save(self, folder: Path) -> None:
        """Write `model.npz` and `card.json` into a folder, which is made if it is not there, and those of energy.

        Raises:
            RunFolderError: it is not writable.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "model.npz"
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"schema": np.array(SCHEMA), **self.model.to_arrays()}
        np.savez_compressed(buffer, **arrays)
        write_atomic(path, buffer.getvalue())
        write_json(folder / "card.json", self._card.to_json())
        if self.energy is not None:
            self.energy.fitted.save(folder / ENERGY)
        else:  # of what was here before
            shutil.rmtree(folder / ENERGY, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path) -> LinearGpPredictor:
        """Read a predictor from its folder.

        Raises:
            PredictorError: a file is missing, damaged or unreasonable.
            SchemaError: another version wrote it.
        """
        card = read_card(folder / "card.json")
        energy = FittedEnergy(cls.load(folder / ENERGY)) if (folder / ENERGY).is_dir() else None
        return cls(Model.from_arrays(_read_arrays(folder / "model.npz")), card, energy)

    def _stand_ins(self) -> list[int]:
        """For each class, the class whose cost it takes: itself if measured, else the nearest one with a cost."""
        step, size = len(ROLES), len(QUANTITIES)
        work = len(CLASSES) * step
        weights = self.model.weights
        cost = [
            float(weights[c * step : c * step + 2].sum() + weights[work + c * size : work + (c + 1) * size].sum())
            for c in range(len(CLASSES))
        ]
        measured = {column.split(".")[0] for column in self._seen}
        chosen = []
        for number, name in enumerate(CLASSES):
            order = (*_NEAREST.get(name, _MEMORY), *CLASSES)
            near = (CLASSES.index(other) for other in order if other in measured)
            with_cost = next((c for c in near if cost[c] > 0), None)
            chosen.append(number if name in measured or with_cost is None else with_cost)
        return chosen

    def _op_ms(self, op: Op, row: tuple[int, int, tuple[tuple[int, float], ...]]) -> float:
        number, role, entries = row
        if number == FOLDED:
            return 0.0
        weights, other = self.model.weights, self._stand_in[number]
        excess = self._judge(op, number)[0]
        step, size = len(ROLES), len(QUANTITIES)
        # A role that was never measured costs as a plain operation does.
        known = f"{CLASSES[other]}.{ROLES[role]}" in self._seen
        count = float(weights[other * step + (role if known else 0)])
        shift = (other - number) * size
        start = len(CLASSES) * step
        stop = start + len(CLASSES) * size
        work = sum(v * float(weights[c + shift if start <= c < stop else c]) for c, v in entries[1:])
        return count * excess + work

    def _op_factors(self, segment: Segment) -> FloatArray:
        """Log factor of each operation."""
        if not len(self.model.op_alpha):
            return np.zeros(len(segment.ops))
        rows = features_of(segment, flow=bool(self.model.flow)).ops
        points = [point_of(op, number) for op, (number, _, _) in zip(segment.ops, rows, strict=True)]
        return self.model.op_factor(np.array(points).reshape(-1, POINT))

    def _row(self, segment: Segment) -> _Row:
        features = features_of(segment, flow=bool(self.model.flow))
        values = np.zeros(_N_HEAD + len(self.model.columns) + _N_TAIL)
        worst: Finding | None = None
        for op, row, factor in zip(segment.ops, features.ops, self._op_factors(segment), strict=True):
            op_ms = self._op_ms(op, row)
            values[0] += op_ms
            values[-_N_TAIL] += op_ms * factor
            values[1:4] += (op.macs, op.input_bytes + op.output_bytes, 1)
            values[4 + self._kinds.get(op.kind, len(KINDS) - 1)] += 1
            finding = self._judge(op, row[0])[1]
            if finding and (worst is None or finding.distance > worst.distance):
                worst = finding
        values[0] += sum(value * float(self.model.weights[column]) for column, value in features.rest)
        if self.model.flow and worst is None and not knows_flow(segment):
            worst = Finding("its operations do not say what they read, those measured did", 1.0)
        values[_N_HEAD:-_N_TAIL] = features.total[self.model.columns]
        values[1 - _N_TAIL :] = totals(features.total[None])[0]
        return _Row(values, worst)

    def _judge(self, op: Op, number: int) -> tuple[float, Finding | None]:
        """How many times larger an operation is than any measured, and why it is out of domain; kept by its shape."""
        key = (number, op.kind, op.inputs, op.output, op.kernel, op.macs, op.precision)
        found = self._judged.get(key)
        if found is None:
            name = CLASSES[number] if number != FOLDED else ""
            finding = self._domain.check_op(op) if name else None
            if finding is None and name and all(f"{name}.{role}" not in self._seen for role in ROLES):
                finding = Finding(f"no {name} operation was measured", 1.0)
            excess = self._domain.excess(op, _kind_of(CLASSES[self._stand_in[number]])) if name else 1.0
            found = self._judged[key] = (excess, finding)
        return found

    def _sums(self, networks: Sequence[OpList]) -> tuple[FloatArray, list[list[Finding]]]:
        """Rows of all networks, summed over their segments, and what was found in these."""
        table: dict[Segment, int] = {}
        rows: list[_Row] = []
        index: list[int] = []
        starts: list[int] = []
        for network in networks:
            starts.append(len(index))
            for segment in network.segments:
                at = table.get(segment)
                if at is None:
                    at = table[segment] = len(rows)
                    row = segment.cache.get(self._key)
                    if row is None:
                        row = segment.cache[self._key] = self._row(segment)
                    rows.append(row)
                index.append(at)
        return self._gather(rows, index, starts)

    def _gather(
        self, rows: Sequence[_Row], index: Sequence[int], starts: Sequence[int]
    ) -> tuple[FloatArray, list[list[Finding]]]:
        ends = [*starts[1:], len(index)]
        width = _N_HEAD + len(self.model.columns) + _N_TAIL
        values = np.array([row.values for row in rows]).reshape(len(rows), width)
        sums = np.zeros((len(starts), width))
        full = [number for number, (start, end) in enumerate(zip(starts, ends, strict=True)) if end > start]
        if full:
            sums[full] = np.add.reduceat(values[np.array(index)], np.array(starts)[full], axis=0)
        bad = {at for at, row in enumerate(rows) if row.finding}
        findings: list[list[Finding]] = [[] for _ in starts]
        if bad:
            for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
                findings[number] = [f for at in index[start:end] if at in bad and (f := rows[at].finding)]
        return sums, findings

    def _outside(self, sums: FloatArray, findings: Sequence[list[Finding]]) -> dict[int, Finding]:
        """Row -> worst finding, for the networks out of domain."""
        low, high = self._bounds()
        head = sums[:, 1:_N_HEAD]
        suspect = set(np.flatnonzero(((head < low) | (head > high)).any(axis=1)).tolist())
        suspect |= {row for row, found in enumerate(findings) if found}
        outside: dict[int, Finding] = {}
        for row in suspect:
            totals = dict(zip(("macs", "bytes", "operations"), head[row, :3].tolist(), strict=True))
            counts = {kind: head[row, 3 + at] for kind, at in self._kinds.items()}
            found = [*findings[row], self._domain.check_totals(totals), self._domain.check_counts(counts)]
            real = [finding for finding in found if finding]
            if real:
                outside[row] = max(real, key=lambda finding: finding.distance)
        return outside

    def _bounds(self) -> tuple[FloatArray, FloatArray]:
        """Least and most of totals and counts that need no closer look."""
        ranges = self._card.op_ranges
        network = ranges.get("network", {})
        pairs = [network.get(total, (0.0, math.inf)) for total in ("macs", "bytes", "operations")]
        pairs += [ranges.get(kind, {}).get("count", (0.0, math.inf)) for kind in KINDS]
        return np.array([low for low, _ in pairs]), np.array([high for _, high in pairs])


def _kind_of(name: str) -> str:
    """Operation kind of a class."""
    return "activation" if name == "fused" else name.rstrip("357")


def read_card(path: Path) -> Card:
    """Read `card.json`.

    Raises:
        PredictorError: it is missing or damaged.
        SchemaError: another version wrote it.
    """
    try:
        raw: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise PredictorError(f"{path} is missing or damaged ({error}); restore it, or calibrate again") from error
    if not isinstance(raw, dict):
        raise PredictorError(f"{path} is damaged: expected an object, got {type(raw).__name__}; calibrate again")
    try:
        card = Card.from_json(raw)
        for text in (card.id, card.device, card.runtime, card.precision, card.statistic, card.date):
            if not isinstance(text, str):
                raise TypeError(f"expected text, got {text!r}")
        return card
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise PredictorError(f"{path} is damaged ({error}); restore it, or calibrate again") from error


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _MAX_BYTES:
            raise PredictorError(f"{path} unpacks to {size} bytes, at most {_MAX_BYTES} are read; calibrate again")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise PredictorError(f"{path} is missing or damaged ({error}); restore it, or calibrate again") from error
    schema = str(arrays.pop("schema", ""))
    if schema != SCHEMA:
        raise SchemaError(
            f"{path} has schema {schema!r}, this version reads {SCHEMA!r}; update hwnas or calibrate again"
        )
    return arrays
