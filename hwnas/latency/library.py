"""Where predictors are found: those that ship with hwnas, and those that were calibrated on this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from hwnas.core.architecture import short_hash
from hwnas.core.device import Device
from hwnas.core.measurement import Measurement, measurement_lines, read_measurements
from hwnas.core.predictor import Card, LatencyPredictor
from hwnas.devices.cpu import machine_name
from hwnas.errors import HwnasError
from hwnas.latency.features import SCHEMA
from hwnas.latency.predictor import LinearGpPredictor, read_card
from hwnas.store import cache_dir, write_atomic

__all__ = ["best_space", "cards", "find_predictors", "kept_measurements", "machine_key", "save_predictor"]

_MEASUREMENTS = "measurements.jsonl"

logger = logging.getLogger(__name__)


def machine_key() -> str:
    """Names this machine and this version's features: what was calibrated elsewhere is not used here."""
    return short_hash([machine_name(), os.cpu_count(), SCHEMA])


def cards(device_name: str | None = None) -> list[Card]:
    """Cards of all predictors at hand, shipped and calibrated here, or of one device's; sorted by id.

    A damaged file of the cache is skipped with a warning, because it can be made again.
    """
    found = [card for card, _ in _known(device_name)]
    return sorted(found, key=lambda card: card.id)


def find_predictors(
    device: Device,
    *,
    space: str | None,
    input_shape: tuple[int, ...] | None,
    threads: int | None = None,
    runtime_version: str | None = None,
) -> dict[str, LatencyPredictor]:
    """The best predictor of a device for each precision that has one.

    One that was fitted on the space comes first, then one for the input shape, then one that was calibrated here,
    then the one with more measurements. None may fit: then what it predicts is out of domain, and says so.

    Args:
        device: whose predictors.
        space, input_shape: what is to be predicted (shape without the batch); None: any.
        threads, runtime_version: only predictors for these (or for unknown ones); None: any.
    Returns:
        precision -> predictor, in the order of the device's precisions; empty if there is none.
    Raises:
        PredictorError: a shipped predictor is damaged.
    """
    known = []
    for card, folder in _known(device.name):
        if threads is not None and card.threads not in (None, threads):
            continue
        if runtime_version is not None and card.runtime_version not in (None, runtime_version):
            continue
        fits_shape = input_shape is None or tuple(input_shape) in card.input_shapes
        fits = space is None or space in card.spaces, fits_shape, folder.is_relative_to(_cached())
        known.append(((*fits, card.n_measurements, card.date), card.precision, folder))
    known.sort(key=lambda entry: entry[0], reverse=True)
    found = {p: _first_whole([folder for _, of, folder in known if of == p]) for p in device.precisions}
    return {precision: predictor for precision, predictor in found.items() if predictor}


def _first_whole(folders: Sequence[Path]) -> LinearGpPredictor | None:
    """The first predictor that can be read; damaged files of the cache are skipped with a warning."""
    for folder in folders:
        try:
            return LinearGpPredictor.load(folder)
        except HwnasError as error:
            if not folder.is_relative_to(_cached()):
                raise
            logger.warning("skipped a damaged predictor: %s", error)
    return None


def best_space(device: Device) -> str | None:
    """The search space that a device's predictors cover best: most precisions, then most measurements; None: none."""
    worth: dict[str, list[int]] = {}
    for card in cards(device.name):
        for space in card.spaces:
            if card.precision in device.precisions:
                worth.setdefault(space, []).append(card.n_measurements)
    return max(sorted(worth), key=lambda space: (len(worth[space]), sum(worth[space])), default=None)


def save_predictor(predictor: LinearGpPredictor, *, local: bool, measured: Sequence[Measurement] = ()) -> Path:
    """Keep a predictor in the cache, where `find_predictors` finds it; the folder it is in.

    Args:
        predictor: replaces an earlier one for the same spaces, input shapes, runtime version and threads.
        local: whether it was measured on this machine, and so is of no use on another.
        measured: what it was fitted on, where more may be added later; see `kept_measurements`.
    Raises:
        RunFolderError: the cache is not writable.
    """
    folder = _folder_of(predictor.card, local)
    path = folder / _MEASUREMENTS
    if measured:  # first: a predictor without its measurements could not learn
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, measurement_lines(measured))
    else:
        path.unlink(missing_ok=True)
    predictor.save(folder)
    return folder


def kept_measurements(card: Card, *, local: bool) -> list[Measurement]:
    """What a predictor of the cache was fitted on; empty if that was not kept.

    Raises:
        MeasurementError: the file is damaged.
    """
    path = _folder_of(card, local) / _MEASUREMENTS
    return list(read_measurements(path)) if path.exists() else []


def _folder_of(card: Card, local: bool) -> Path:
    key = short_hash([card.runtime_version, card.threads, sorted(card.spaces), sorted(card.input_shapes)])
    owner = machine_key() if local else "any"
    return _cached() / card.device / f"{owner}-{key}" / f"{card.runtime}-{card.precision}"


def _cached() -> Path:
    return cache_dir() / "latency_models"


def _known(device_name: str | None) -> Iterator[tuple[Card, Path]]:
    shipped = Path(str(files("hwnas.latency_models")))
    for path in sorted(shipped.glob("*/*/card.json")):
        if device_name in (None, path.parent.parent.name):
            yield read_card(path), path.parent
    owners = (f"{machine_key()}-", "any-")
    for path in sorted(_cached().glob("*/*/*/card.json")):
        key = path.parent.parent
        if device_name not in (None, key.parent.name) or not key.name.startswith(owners):
            continue
        try:
            card = read_card(path)
        except HwnasError as error:
            logger.warning("skipped a damaged predictor: %s", error)
            continue
        yield card, path.parent
