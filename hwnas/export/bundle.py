"""A finished model as a folder: the model file and a manifest that says all that is known of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.core.candidate import Candidate
from hwnas.core.graph_record import MIXED
from hwnas.core.runtime import ExportedModel, ExportSpec, InputArray, Runtime
from hwnas.core.task import InputPreprocessing, Split, Task
from hwnas.errors import ConfigError, RunFolderError
from hwnas.export.best import BestFile, ReadAccuracy, best_file
from hwnas.export.counts import count
from hwnas.store import write_json
from hwnas.trace import trace_module

__all__ = [
    "MANIFEST",
    "SCHEMA",
    "artifacts_of",
    "by_class",
    "calibration_samples",
    "evaluate_file",
    "export_bundle",
    "facts_for",
    "right_answers",
]

SCHEMA = 1
MANIFEST = "manifest.json"
CALIBRATION_SAMPLES, CALIBRATION_SEED = 128, 0
_BATCH_ELEMENTS = 1_000_000  # of one evaluation batch; 325 images of 3 x 32 x 32

_FORMATS = {".pte": "executorch"}  # where the suffix is not what people call the format


def export_bundle(
    model: Any,
    candidate: Candidate,
    task: Task,
    *,
    runtime: Runtime,
    precision: str,
    folder: Path,
    cpu_flags: frozenset[str],
    others: Sequence[Runtime] = (),
    extra: Mapping[str, Any] | None = None,
    read_accuracy: ReadAccuracy | None = None,
    least_validation: float | None = None,
    may_mix: bool = False,
) -> dict[str, Any]:
    """Write `folder`/models/<candidate id>/: a file for each runtime, and manifest.json; an older bundle is replaced.

    The manifest is written last and taken away first, so that a bundle with a manifest is complete.

    Args:
        model: a `torch.nn.Module` on the CPU, in eval mode.
        task: gives the names of classes, the preprocessing and the calibration samples (of the training split).
        folder: the run folder.
        runtime: `model.<suffix>` is its file; what the manifest says of a file is said of that.
        cpu_flags: of the target's CPU; they set the int8 weight range.
        others: further runtimes, a file each; the manifest says of each, under "others", what it says of the first.
        extra: more keys for the manifest (latency, seed ...); none of its own.
        read_accuracy: reads the accuracy of a file that was written, by its runtime, on the "validation" or "test"
            split; what it returns for both becomes the manifest's "accuracy".
        least_validation: an int8 file that is less accurate on the validation split is made again, with ranges set in
            the other ways that the runtime knows, and the most accurate one is kept.
        may_mix: where that does not help, the layers that int8 harms most are kept in fp32, and the manifest names them
            under "mixed_precision".
    Returns:
        The manifest; its "artifact" holds "format", "path" (relative to `folder`), "sha256" and "size_bytes".
    Raises:
        ConfigError: `extra` repeats a key of the manifest.
        RuntimeExportError: the runtime refused the model.
        RunFolderError: the folder cannot be written.
    """
    home = _home(folder / "models" / candidate.id)
    samples = calibration_samples(task) if precision == "int8" else None
    spec = ExportSpec(
        precision=precision,
        input_shape=tuple(task.input_shape),
        n_ids=task.n_ids,
        calibration=samples,
        cpu_flags=cpu_flags,
        metadata=_metadata(candidate, task, precision),
    )
    path, least = home / f"model{runtime.suffix}", least_validation if precision == "int8" else None
    best = best_file(runtime, model, spec, path, read_accuracy, least=least, may_mix=may_mix)
    facts = _facts(runtime, best.exported, folder)
    counts = count(model, spec.input_shape, dtype=spec.dtype)
    calibration = None if samples is None else {"samples": len(samples), "split": "train", "seed": CALIBRATION_SEED}
    manifest = _manifest(candidate, task, precision, facts) | {
        "macs": counts.pop("macs"),
        "params": counts.pop("params"),
        "counts": counts,
        "calibration": calibration,
    }
    if repeated := sorted(manifest.keys() & (extra or {}).keys()):
        raise ConfigError(f"the manifest has keys {repeated} of its own; rename them in `extra`")
    manifest |= dict(extra or {})
    if best.kept:
        manifest[MIXED] = _mixed(best, spec)
    further: list[dict[str, Any]] = []
    for other in others:
        further.append(_further(best.model, spec, other, [facts, *further], home, folder))
    if further:
        manifest["others"] = further
    if read_accuracy is not None:
        manifest["accuracy"] = {**(best.validation or {}), **read_accuracy(path, runtime, "test")}
        for of, by in zip(further, others, strict=True):
            read = [read_accuracy(folder / of["artifact"]["path"], by, split) for split in ("validation", "test")]
            of["accuracy"] = {**read[0], **read[1]}
    write_json(home / MANIFEST, manifest)
    return manifest


def _home(home: Path) -> Path:
    """The bundle's folder, without a manifest."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        (home / MANIFEST).unlink(missing_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot write to {home}: {error.strerror}; choose another --out") from error
    return home


def _metadata(candidate: Candidate, task: Task, precision: str) -> dict[str, str]:
    return {
        "hwnas.id": candidate.id,
        "hwnas.space": candidate.architecture.space,
        "hwnas.task": task.name,
        "hwnas.precision": precision,
        "hwnas.classes": ", ".join(task.class_names),
        "hwnas.preprocessing": json.dumps(task.preprocessing.to_json()),
    }


def _mixed(best: BestFile, spec: ExportSpec) -> dict[str, Any]:
    """Which layers are in fp32, and which share of the multiply-adds is theirs."""
    ops = trace_module(best.model, spec.input_shape, dtype=spec.dtype)
    share = sum(op.macs for op in ops if op.fixed) / max(1, ops.macs)
    return {"layers_in_fp32": list(best.kept), "share_of_macs": round(share, 4), "chosen_on": "validation"}


def artifacts_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files of a bundle, that of its first runtime first."""
    return [manifest["artifact"], *(other["artifact"] for other in manifest.get("others", ()))]


def facts_for(manifest: Mapping[str, Any], runtime: str) -> Mapping[str, Any]:
    """What a manifest says of the file of one runtime; of the first one's, if that runtime has none of its own."""
    others = manifest.get("others", ())
    return next((other for other in others if other["runtime"]["name"] == runtime), manifest)


def _further(
    model: Any, spec: ExportSpec, runtime: Runtime, made: Sequence[Mapping[str, Any]], home: Path, folder: Path
) -> dict[str, Any]:
    """Export for one more runtime; where its format is taken, the file and the format have its name."""
    plain = f"model{runtime.suffix}"
    is_taken = plain in {Path(facts["artifact"]["path"]).name for facts in made}
    exported = runtime.export(model, spec, home / (f"model.{runtime.name}{runtime.suffix}" if is_taken else plain))
    facts = _facts(runtime, exported, folder)
    if is_taken:
        facts["artifact"]["format"] = runtime.name
    return facts


def _facts(runtime: Runtime, exported: ExportedModel, folder: Path) -> dict[str, Any]:
    """What the manifest says of one file."""
    details = dict(exported.details)
    return {
        "input": details.pop("input", None),
        "output": details.pop("output", None),
        "artifact": {
            "format": _FORMATS.get(runtime.suffix, runtime.suffix.lstrip(".")),
            "path": exported.path.relative_to(folder).as_posix(),
            "sha256": exported.sha256,
            "size_bytes": exported.size_bytes,
        },
        "parity": exported.parity,
        "runtime": {"name": runtime.name, "version": runtime.version()},
        "details": details,
    }


def _manifest(candidate: Candidate, task: Task, precision: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "id": candidate.id,
        **candidate.to_json(),
        "task": task.name,
        "data": {"source": task.source, "fingerprint": task.fingerprint},
        "class_names": list(task.class_names),
        "preprocessing": task.preprocessing.to_json(),
        "input": facts["input"],
        "output": facts["output"],
        "precision": precision,
        **{name: facts[name] for name in ("artifact", "parity", "runtime", "details")},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def calibration_samples(task: Task, n: int = CALIBRATION_SAMPLES, seed: int = CALIBRATION_SEED) -> InputArray:
    """Draw up to `n` normalised training samples, `n x input_shape`, the same ones for the same seed."""
    chosen = np.random.default_rng(seed).permutation(len(task.train))[:n]
    return task.preprocessing(task.train.inputs[np.sort(chosen)])


def evaluate_file(path: Path, runtime: Runtime, split: Split, preprocessing: InputPreprocessing, threads: int) -> float:
    """Accuracy (fraction 0-1) of a model file, computed by its runtime on every sample of `split`.

    Raises:
        RuntimeExportError: the file cannot be loaded or run.
    """
    return float(right_answers(path, runtime, split, preprocessing, threads).mean())


def by_class(right: NDArray[np.bool_], labels: NDArray[np.int64], n_classes: int) -> dict[str, list[int]]:
    """How many samples each class has, and how many of them were right, in the order of the classes."""
    n = np.bincount(labels, minlength=n_classes)
    return {"n": n.tolist(), "right": np.bincount(labels[right], minlength=n_classes).tolist()}


def right_answers(
    path: Path, runtime: Runtime, split: Split, preprocessing: InputPreprocessing, threads: int
) -> NDArray[np.bool_]:
    """For each sample of `split`, whether a model file gives its label; see `evaluate_file`."""
    session = runtime.load(path, threads=threads)
    step = max(1, _BATCH_ELEMENTS // max(1, int(np.prod(split.inputs.shape[1:]))))
    right = np.empty(len(split), dtype=bool)
    for start in range(0, len(split), step):
        logits = session.run(preprocessing(split.inputs[start : start + step]))
        right[start : start + step] = logits.argmax(axis=1) == split.labels[start : start + step]
    return right
