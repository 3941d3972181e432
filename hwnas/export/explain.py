"""Where the time of an exported model goes, operation by operation, beside where its predictor says that it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.core.device import Device
from hwnas.core.front import Front, FrontModel
from hwnas.core.ops import KINDS, OpList
from hwnas.core.runtime import Runtime, random_input
from hwnas.core.task import TaskShape
from hwnas.errors import HwnasError, MeasurementError
from hwnas.export.bundle import MANIFEST, SCHEMA
from hwnas.export.notes import graph_notes
from hwnas.export.promises import measure_item, promised_threads
from hwnas.export.verify import verify_file
from hwnas.latency.run_networks import RunNetworks
from hwnas.measure.profile import Profile, profile_file
from hwnas.measure.session import MeasureItem
from hwnas.onnx_ops.operations import onnx_operations
from hwnas.plugins import load_plugin
from hwnas.store import read_front, read_json

__all__ = ["Explanation", "KindTime", "explain_model"]

# Runtimes compute convolutions of kernel 1 as linear layers and the other way round; some do not say which is which.
_COMPUTE = ("conv", "pointwise", "depthwise", "grouped", "linear", "matmul")


@dataclass(frozen=True, slots=True)
class KindTime:
    """One kind of operation: measured and predicted milliseconds.

    Attributes:
        kind: one of `KINDS`; "network": what belongs to no operation, which for the measured side is what the plain
            call takes beyond its operations.
        n_measured, n_predicted: operations of that kind on either side; fused ones are one with the first of them.
        measured_ms, predicted_ms: measured less the profiler's own cost; predicted is None where the run's predictor or
            network is not known.
    """

    kind: str
    n_measured: int
    n_predicted: int | None
    measured_ms: float
    predicted_ms: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One model on this machine.

    Attributes:
        id, device, runtime, precision, threads: what was profiled.
        profile: the operations as they ran.
        predicted_ms: of the whole, as the front promises.
        kinds: side by side; in the order of `KINDS`, the network last.
        why_unpredicted: why there is no predicted side; None if there is one.
        notes: what people should know of its files.
    """

    id: str
    device: str
    runtime: str
    precision: str
    threads: int
    profile: Profile
    predicted_ms: float
    kinds: tuple[KindTime, ...]
    why_unpredicted: str | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        profile = self.profile
        return {
            **{name: getattr(self, name) for name in ("id", "device", "runtime", "precision", "threads")},
            "statistic": "mean of the fastest quarter of the calls",
            "calls": profile.calls,
            "plain_ms": profile.plain_ms,
            "sum_ms": profile.sum_ms,
            "profiler_ms_per_operation": profile.profiler_ms,
            "predicted_ms": self.predicted_ms,
            "operations": [
                {
                    "kind": op.kind,
                    "operator": op.operator,
                    "name": op.name,
                    "output": None if op.output is None else list(op.output),
                    "profiled_ms": op.ms,
                    "ms": profile.net_ms(op),
                    "share": profile.net_ms(op) / profile.plain_ms,
                }
                for op in profile.operations
            ],
            "kinds": [{name: getattr(kind, name) for name in KindTime.__slots__} for kind in self.kinds],
            "why_unpredicted": self.why_unpredicted,
            "notes": list(self.notes),
        }


def explain_model(run_dir: Path, device: Device, model_id: str, *, seconds: float = 2.0) -> Explanation:
    """Profile a model's file on this machine.

    Args:
        run_dir: a finished run.
        device: one of the front's devices, which must be this machine.
        model_id: of the front.
        seconds: about what profiling may take.
    Raises:
        ConfigError: no such device or model on the front.
        MeasurementError: the device is not this machine, or its runtime has no profiler.
        RunFolderError: the file is not the promised one, or its manifest is damaged.
    """
    front = read_front(run_dir)
    front.device(device.name)
    model = front.model(model_id)
    if not device.is_local:
        raise MeasurementError(
            f"{device.name} is not this machine, and profilers run where the model runs; explain one of a search for "
            "a device of this machine, such as --device cpu"
        )
    item = measure_item(run_dir, model, device.runtime)
    for artifact in model.artifacts.values():
        if (run_dir / artifact.path).resolve() == item.path:
            verify_file(item.path, artifact.sha256)
    loaded = load_plugin("runtime", device.runtime)
    runtime: Runtime = loaded() if isinstance(loaded, type) else loaded
    threads = promised_threads(model, device.name)
    inputs = random_input((1, *item.input_shape), item.n_ids, np.random.default_rng(0))
    profile = profile_file(runtime, item.path, inputs, threads=threads, seconds=seconds)
    manifest = read_json(run_dir / "models" / model.id / MANIFEST, schema=SCHEMA)
    kinds, why = _side_by_side(profile, run_dir, front, model, device.name, item, manifest)
    return Explanation(
        id=model.id,
        device=device.name,
        runtime=f"{runtime.name} {runtime.version()}",
        precision=item.precision,
        threads=threads,
        profile=profile,
        predicted_ms=model.latency[device.name].predicted,
        kinds=kinds,
        why_unpredicted=why,
        notes=tuple(graph_notes(run_dir, model.id, device.name)),
    )


def _side_by_side(
    profile: Profile,
    run_dir: Path,
    front: Front,
    model: FrontModel,
    device: str,
    item: MeasureItem,
    manifest: Mapping[str, Any],
) -> tuple[tuple[KindTime, ...], str | None]:
    known = RunNetworks(run_dir, front)
    predictor = known.predictor(model.latency[device].predictor)
    network = _network(known, model, item, manifest)
    why = network if isinstance(network, str) else None
    if predictor is None:
        why = f"the run folder has no predictor {model.latency[device].predictor}"
    seen: dict[str, list[float]] = {}
    for op in profile.operations:
        seen.setdefault(op.kind, []).append(profile.net_ms(op))
    promised: dict[str, list[float]] = {}
    network_ms = None
    if predictor is not None and not isinstance(network, str):
        breakdown = predictor.breakdown(network)
        network_ms = breakdown.network_ms
        for part, ms in breakdown.ops:
            if ms > 0 or part.kind in _COMPUTE:  # the others run with the one before them
                promised.setdefault(part.kind, []).append(ms)
    rows = [
        KindTime(
            kind,
            len(seen.get(kind, ())),
            None if why else len(promised.get(kind, ())),
            sum(seen.get(kind, ())),
            None if why else sum(promised.get(kind, ())),
        )
        for kind in KINDS
        if kind in seen or kind in promised
    ]
    rest_ms = max(0.0, round(profile.plain_ms - sum(row.measured_ms for row in rows), 9))
    rest = KindTime("network", 0, None if why else 0, rest_ms, network_ms)
    return (*rows, rest), why


def _network(known: RunNetworks, model: FrontModel, item: MeasureItem, manifest: Mapping[str, Any]) -> OpList | str:
    """As the search traced it; of a space that is not installed, as the ONNX file has it; or why it is not known."""
    names, rate = manifest.get("class_names", ()), (manifest.get("preprocessing") or {}).get("sample_rate")
    traced = known.traced(model.candidate, TaskShape(item.input_shape, len(names), item.n_ids, rate))
    if not isinstance(traced, str):
        return traced[0]
    if item.path.suffix != ".onnx":
        return traced
    try:
        return onnx_operations(item.path).operations
    except HwnasError as error:
        return f"{traced}; {error}"
