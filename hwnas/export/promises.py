"""Do the files of a run still keep what its front promises?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwnas.core.device import Device
from hwnas.core.front import FrontModel
from hwnas.core.measurement import MEASUREMENTS, Measurement, latest_measurements
from hwnas.core.predictor import Prediction
from hwnas.errors import RunFolderError
from hwnas.export.bundle import MANIFEST, SCHEMA, facts_for
from hwnas.export.verify import Verification, changed_conditions, compare, verify_file
from hwnas.measure.board import reached
from hwnas.measure.session import MeasureItem, measure_files
from hwnas.store import inside, read_front, read_json

__all__ = ["Check", "measure_item", "promised_threads", "verify_run"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was found about one model.

    Attributes:
        id: of the model.
        kept: every file has its promised content and, where it was measured, the latency is as promised.
        reason: one sentence for people.
        latency: promise and measurement; None where it was not measured.
    """

    id: str
    kept: bool
    reason: str
    latency: Verification | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def verify_run(
    run_dir: Path,
    device: Device,
    *,
    seconds_per_model: float = 2.0,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Check]:
    """Check the SHA-256 of every file of the front and, if `device` can be reached, measure the files again.

    Args:
        run_dir: a finished run.
        device: one of the front's devices.
        seconds_per_model: about what measuring one model costs.
        on_progress: called with (models measured, models to measure).
    Returns:
        One check a model, in the order of the front.
    Raises:
        ConfigError: the search was not for `device`.
        RunFolderError, SchemaError: there is no such run, or its front is damaged or of another version.
        MeasurementError: nothing can be measured on this machine.
    """
    front = read_front(run_dir)
    front.device(device.name)
    checks = {model.id: _check_files(run_dir, model) for model in front.models}
    sound = [model for model in front.models if checks[model.id].kept]
    if device.can_be_measured and sound:
        items = [measure_item(run_dir, model, device.runtime) for model in sound]
        seen = measure_files(
            items,
            device=device.name,
            runtime=device.runtime,
            threads=promised_threads(sound[0], device.name),
            seconds_per_model=seconds_per_model,
            on_progress=on_progress,
            start=reached(device),
        )
        before = latest_measurements(run_dir / MEASUREMENTS).get(device.name, {})
        for model, result in zip(sound, seen, strict=True):
            checks[model.id] = _check_latency(model, device.name, result, before.get(model.id))
    return list(checks.values())


def _check_files(run_dir: Path, model: FrontModel) -> Check:
    if not model.artifacts:
        return Check(model.id, False, "the front names no file; finish the search with --resume")
    try:
        for artifact in model.artifacts.values():
            verify_file(inside(run_dir, artifact.path), artifact.sha256)
    except RunFolderError as error:
        return Check(model.id, False, str(error))
    return Check(model.id, True, "the files have their promised content; latency was not measured")


def measure_item(run_dir: Path, model: FrontModel, runtime: str) -> MeasureItem:
    """The file of a model that a runtime takes, as it is measured.

    Raises:
        RunFolderError: the manifest is missing or damaged.
    """
    manifest = read_json(run_dir / "models" / model.id / MANIFEST, schema=SCHEMA)
    try:
        facts = facts_for(manifest, runtime)
        shape = tuple(int(n) for n in facts["input"]["shape"][1:])
        if facts["input"].get("layout") == "NHWC":
            shape = (shape[-1], *shape[:-1])
        words = (manifest.get("preprocessing") or {}).get("vocabulary")
        artifact = model.artifacts[facts["artifact"]["format"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"the manifest of model {model.id} is damaged ({error!r}); search again") from error
    n_ids = None if words is None else len(words.split(" "))
    return MeasureItem(model.candidate, inside(run_dir, artifact.path), model.compression.precision, shape, n_ids)


def promised_threads(model: FrontModel, device: str) -> int:
    """The promise holds for the number of threads that it was made with."""
    measured = model.latency[device].measured
    return 1 if measured is None or measured.threads is None else measured.threads


def _check_latency(model: FrontModel, device: str, result: object, before: Measurement | None) -> Check:
    if not isinstance(result, Measurement):
        return Check(model.id, False, f"could not be measured: {getattr(result, 'reason', result)}")
    entry = model.latency[device]
    promise = Prediction(entry.predicted, entry.low, entry.high, entry.in_domain, None, entry.predictor)
    found = compare(promise, result)
    changes = "" if before is None else changed_conditions(before, result)
    reason = f"{found.reason}; changed since: {changes}" if changes else found.reason
    return Check(model.id, found.kept, reason, found)
