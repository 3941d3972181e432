"""Which known devices a new one is learned from."""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.core.device import Device
from hwnas.core.predictor import Card, LatencyPredictor
from hwnas.devices.resolve import find_device
from hwnas.errors import PredictorError
from hwnas.latency.library import cards, find_predictors
from hwnas.plugins import plugin_names

__all__ = ["known_predictors"]

_LEAST_MEASUREMENTS = 60  # what was itself learned from few teaches nothing new


def known_predictors(
    target: Device, spaces: Sequence[str], names: Sequence[str] | None
) -> tuple[LatencyPredictor, ...]:
    """Predictors of other devices that know the spaces, and the target's own of other spaces.

    Args:
        target: the device to be learned.
        spaces: that it was measured on.
        names: of the devices to use; None: all.
    Raises:
        UnknownPluginError: a device of that name does not exist.
        PredictorError: a named device has no predictor.
    """
    installed = set(plugin_names("device"))
    known = [card for card in cards() if card.device in installed]
    if names is None:
        chosen = {card.device for card in known if _teaches(card, target, spaces)}
    else:
        chosen = {find_device(name).name for name in names}
        if missing := sorted(chosen - {card.device for card in known}):
            raise PredictorError(
                f"known device {missing[0]!r} has no latency predictor to learn from; leave it out of --sources. "
                "See `hwnas devices` for those that have one"
            )
    found: list[LatencyPredictor] = []
    for name in sorted(chosen):
        space = spaces[0] if spaces else None
        found += find_predictors(find_device(name), space=space, input_shape=None).values()
    return tuple(found)


def _teaches(card: Card, target: Device, spaces: Sequence[str]) -> bool:
    if card.n_measurements < _LEAST_MEASUREMENTS:
        return False
    knows = set(spaces) <= set(card.spaces)
    return knows != (card.device == target.name)
