"""What the report shows, as plain values: the page draws them and computes nothing of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.compress.sensitivity import Sensitivity
from hwnas.compress.twins import read_twins
from hwnas.core.front import Front, FrontModel
from hwnas.core.graph_record import layers_in_fp32, records_in
from hwnas.core.pareto import is_non_dominated
from hwnas.core.task import TaskShape
from hwnas.devices.resolve import find_device, measure_of, runtime_here
from hwnas.errors import HwnasError, RunFolderError, SchemaError
from hwnas.latency.run_networks import RunNetworks
from hwnas.store import inside, read_json, read_original
from hwnas.viz.bought import Bargains
from hwnas.viz.commands import export_command, verify_command
from hwnas.viz.course import Trial, course, searched
from hwnas.viz.network import Networks
from hwnas.viz.table import FrontRow, front_rows, pick

__all__ = ["MOST_MODELS", "page_data"]

MOST_MODELS = 300  # with all that is known of them; a page of more would be too large
MOST_NETWORKS = 60  # that are drawn operation by operation
_MANIFEST_SCHEMA = 1
_WIDE = 10  # latencies that span more are read better on a logarithmic axis


def page_data(
    front: Front,
    run_dir: Path,
    trials: Sequence[Mapping[str, Any]] = (),
    *,
    progress: Mapping[str, Any] | None = None,
    live: bool = False,
) -> dict[str, Any]:
    """Everything that the page shows.

    Args:
        front: of the run; without models while the search has none.
        run_dir: the run folder: manifests and frozen predictors are read there, and commands name it.
        trials: searched candidates as in `trials.jsonl`.
        progress: what the search does just now; None: it has ended.
        live: whether the page asks its server for what is new.
    """
    kept, n_left_out = _shown(front)
    known = RunNetworks(run_dir, front)
    networks = Networks(known)
    bargains = Bargains(known, front, trials, _original(run_dir, front), read_twins(run_dir))
    rows = {device: front_rows(kept, device) for device in front.devices}
    return {
        "task": front.task,
        "space": front.space,
        "seed": front.seed,
        "run": str(run_dir),
        "live": live,
        "progress": None if progress is None else dict(progress),
        "left_out": n_left_out,
        "devices": [_device(kept, device, rows[device], trials, run_dir) for device in front.devices],
        "models": [
            _model(model, run_dir, bargains, networks if number < MOST_NETWORKS else None)
            for number, model in enumerate(kept.models)
        ],
        "sensitivity": _sensitivity(run_dir, of_largest=bargains.original is None),
    }


def _shown(front: Front) -> tuple[Front, int]:
    """The front with as many models as a page holds, those first that none dominates on some device."""
    if len(front.models) <= MOST_MODELS:
        return front, 0
    from dataclasses import replace

    on_front = np.array([is_non_dominated(front.costs(device)) for device in front.devices]).any(axis=0)
    order = [*np.flatnonzero(on_front), *np.flatnonzero(~on_front)][:MOST_MODELS]
    kept = tuple(front.models[i] for i in sorted(order))
    return replace(front, models=kept), len(front.models) - len(kept)


def _device(
    front: Front, device: str, rows: Sequence[FrontRow], trials: Sequence[Mapping[str, Any]], run_dir: Path
) -> dict[str, Any]:
    found = searched(trials, device)
    there = [trial for trial in found if trial is not None]
    shown = [trial.latency_ms for trial in there] + [row.latency_ms for row in rows]
    chosen = pick(front, device=device) if rows else None
    reference = front.reference_point[device]
    steps = course(found, reference)
    return {
        "name": device,
        "measure": measure_of(device),
        "log": bool(shown) and max(shown) > _WIDE * min(shown),
        "reference": list(reference),
        "hypervolume": front.hypervolume[device],
        "pick": None if chosen is None else {"id": chosen.row.id, "why": chosen.why, "knee": chosen.row.knee},
        "verify": verify_command(run_dir, device),
        "reached": _is_reached(device),
        "runtime_here": runtime_here(device),
        "order": [row.id for row in rows],
        "dominated": [row.id for row in rows if row.dominated],
        "remarks": {row.id: list(row.remarks) for row in rows if row.remarks},
        "course": {
            "evaluations": steps.evaluations,
            "hypervolume": [_short(area) for area in steps.hypervolume],
            "seconds": [None if at is None else round(at, 1) for at in steps.seconds],
        },
        "searched": _columns(there),
    }


def _is_reached(device: str) -> bool:
    """Whether a command here can measure on the device without being told where it is."""
    try:
        return find_device(device).can_be_measured
    except HwnasError:
        return False


def _columns(trials: Sequence[Trial]) -> dict[str, Any]:
    """Candidates as columns: thousands of them stay small."""
    costs = np.array([(trial.latency_ms, 1 - trial.accuracy) for trial in trials]).reshape(-1, 2)
    return {
        "id": [trial.id for trial in trials],
        "latency_ms": [_short(trial.latency_ms) for trial in trials],
        "accuracy": [round(trial.accuracy, 5) for trial in trials],
        "out": [number for number, trial in enumerate(trials) if not trial.in_domain],
        "front": np.flatnonzero(is_non_dominated(costs)).tolist(),
    }


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _original(run_dir: Path, front: Front) -> FrontModel | None:
    """The network that the run began with; None if it began with none, or it cannot be read."""
    try:
        return read_original(run_dir, front)
    except (RunFolderError, SchemaError):
        return None


def _sensitivity(run_dir: Path, *, of_largest: bool) -> dict[str, Any] | None:
    """Accuracy against the share that each stage loses; None: it was not measured, or cannot be read.

    Args:
        of_largest: the network is the largest one of a supernet.
    """
    try:
        found = Sensitivity.read(run_dir)
    except (RunFolderError, SchemaError):
        return None
    return {
        "of_largest": of_largest,
        "accuracy": found.accuracy,
        "guessing": found.guessing,
        "n": found.n,
        "precision": found.precision,
        "stages": [
            {"stage": stage, "points": [list(pair) for pair in pairs], "searched": max(found.ratios(stage))}
            for stage, pairs in found.stages.items()
        ],
    }


def _model(model: FrontModel, run_dir: Path, bargains: Bargains, networks: Networks | None) -> dict[str, Any]:
    manifest = _manifest(run_dir, model.id)
    shape = _shape(manifest)
    missing = {"": "only the first models are drawn; `hwnas predict --breakdown` does it for any other"}
    return {
        "id": model.id,
        "architecture": dict(model.architecture),
        "precision": model.compression.precision,
        "prune": dict(model.compression.prune),
        "accuracy": model.accuracy_detail.to_json(),
        "classes": _classes(manifest),
        "latency": {device: _latency(model, device) for device in model.latency},
        "energy_mj": dict(model.energy_mj),
        "macs": model.macs,
        "params": model.params,
        "size_bytes": model.size_bytes,
        "files": _files(model, manifest, run_dir),
        "export": export_command(run_dir, model.id, list(model.artifacts)),
        "network": {"missing": missing} if networks is None else networks.drawn(model, shape),
        "bought": None if networks is None else bargains.of(model, shape),
        "in_fp32": list(layers_in_fp32(manifest)),
        "graphs": _graphs(manifest, model.compression.precision),
    }


def _latency(model: FrontModel, device: str) -> dict[str, Any]:
    entry = model.latency[device]
    seen = entry.measured
    return {
        "predicted": entry.predicted,
        "low": entry.low,
        "high": entry.high,
        "in_domain": entry.in_domain,
        "predictor": entry.predictor,
        "best": entry.best_ms,
        "measured": None
        if seen is None
        else {
            "value": seen.value,
            "statistic": seen.statistic,
            "p50": seen.p50,
            "p95": seen.p95,
            "n": seen.n,
            "rounds": seen.rounds,
            "runtime": seen.runtime,
            "stable": seen.stable,
            "gap": entry.gap,
        },
    }


def _manifest(run_dir: Path, model_id: str) -> dict[str, Any]:
    """The model's manifest; empty if there is none that can be read."""
    try:
        return read_json(inside(run_dir, f"models/{model_id}/manifest.json"), schema=_MANIFEST_SCHEMA)
    except (RunFolderError, SchemaError, OSError, ValueError):  # a name may be one that no path can have
        return {}


def _shape(manifest: Mapping[str, Any]) -> TaskShape | None:
    """Of the network's input and output."""
    try:
        shape = tuple(int(side) for side in manifest["input"]["shape"][1:])
        if manifest["input"].get("layout") == "NHWC":
            shape = (shape[-1], *shape[:-1])
        return TaskShape(shape, len(manifest["class_names"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _classes(manifest: Mapping[str, Any]) -> list[list[Any]] | None:
    """[name, right, n] of each class on the test split; None: the run did not count them."""
    try:
        counted = manifest["accuracy"]["test_by_class"]
        columns = zip(manifest["class_names"], counted["right"], counted["n"], strict=True)
        return [[str(name), int(right), int(n)] for name, right, n in columns]
    except (KeyError, TypeError, ValueError):
        return None


def _graphs(manifest: Mapping[str, Any], precision: str) -> list[dict[str, Any]]:
    """What each file's runtime makes of it; files of before records were made are left out."""
    return [
        {"runtime": runtime, "ignored": record.ignored(precision), **record.to_json()}
        for runtime, record in records_in(manifest)
    ]


def _files(model: FrontModel, manifest: Mapping[str, Any], run_dir: Path) -> list[dict[str, Any]]:
    """Files with their sizes as they are; a size of None: the file is not there."""
    files = []
    for format_, artifact in model.artifacts.items():
        files.append(
            {
                "format": format_,
                "path": artifact.path,
                "sha256": artifact.sha256,
                "size_bytes": _size(run_dir, artifact.path),
            }
        )
    if manifest:
        path = f"models/{model.id}/manifest.json"
        files.append({"format": "manifest", "path": path, "sha256": None, "size_bytes": _size(run_dir, path)})
    return files


def _size(run_dir: Path, path: str) -> int | None:
    try:
        return inside(run_dir, path).stat().st_size
    except (OSError, ValueError, RunFolderError):
        return None
