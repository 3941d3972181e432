"""From what a user types to a device: names, aliases, and the precisions that a device has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hwnas.core.compression import PRECISIONS
from hwnas.core.device import Device, reach_of
from hwnas.devices.own import own_devices
from hwnas.errors import ConfigError, DuplicatePluginError, UnknownPluginError, nearest
from hwnas.plugins import load_plugin, plugin_names

__all__ = ["all_devices", "at_host", "check_precisions", "find_device", "measure_of", "runtime_here"]


def all_devices() -> list[Device]:
    """Every installed device and the user's own, sorted by name.

    Raises:
        ConfigError: a plugin is not a `Device`, or is named otherwise than its entry point.
        DuplicatePluginError: a name or an alias is offered twice.
    """
    devices = sorted([*(_load(name) for name in plugin_names("device")), *own_devices()], key=lambda d: d.name)
    owners: dict[str, str] = {}
    for device in devices:
        for name in (device.name, *device.aliases):
            if (device.is_board and name in owners) or owners.setdefault(name, device.name) != device.name:
                raise DuplicatePluginError(
                    f"device name {name!r} is offered by {owners[name]!r} and {device.name!r}; uninstall one of them"
                )
    return devices


def find_device(name: str) -> Device:
    """The device of this name or alias ("jetson" is the Jetson whose data is best, "cpu" this machine).

    Raises:
        UnknownPluginError: there is none; the message holds the nearest name.
    """
    devices = all_devices()
    for device in devices:
        if name == device.name or name in device.aliases:
            return device
    raise UnknownPluginError("device", name, sorted(n for d in devices for n in (d.name, *d.aliases)))


def at_host(device: Device, host: str) -> Device:
    """The same device, reached by ssh.

    Raises:
        ConfigError: it is this machine, whose name says where it is; or `host` is none.
    """
    if device.is_local:
        raise ConfigError(
            f"device {device.name!r} is this machine, --host is another: `hwnas device add NAME --host {host}` adds it"
        )
    return replace(device, reach=reach_of(host), host=host)


def measure_of(name: str) -> str:
    """What the milliseconds of a device are, in words; also for a device that is not installed any more."""
    try:
        return find_device(name).measure
    except UnknownPluginError:
        return "latency in ms"


def runtime_here(name: str) -> str | None:
    """The runtime of a device that is this machine; None of another machine, or one that is not installed any more."""
    try:
        device = find_device(name)
    except UnknownPluginError:
        return None
    return device.runtime if device.is_local else None


def check_precisions(device: Device, precisions: Sequence[str] | None) -> tuple[str, ...]:
    """The precisions a search may use on a device, in the device's order.

    Args:
        device: the target.
        precisions: what was asked for; None or nothing means all that the device has. A device that can be measured
            has those of its runtime as well, which nobody searches who does not ask.
    Raises:
        ConfigError: one is unknown, or the device does not have it.
    """
    allowed = _with_those_of_the_runtime(device) if precisions else device.precisions
    for precision in precisions or ():
        if precision not in PRECISIONS:
            guess = nearest(precision, PRECISIONS)
            hint = f"; did you mean {guess!r}?" if guess else ";"
            raise ConfigError(f"unknown precision {precision!r}{hint} known: {', '.join(PRECISIONS)}")
        if precision not in allowed:
            raise ConfigError(
                f"device {device.name!r} does not run {precision!r}; it runs: {', '.join(allowed)}. "
                "Choose one of them with --precision"
            )
    return tuple(p for p in allowed if p in (precisions or device.precisions))


def _with_those_of_the_runtime(device: Device) -> tuple[str, ...]:
    if not device.can_be_measured or device.runtime not in plugin_names("runtime"):
        return device.precisions
    # CPUs store fp16 and compute in fp32.
    more = [p for p in load_plugin("runtime", device.runtime).precisions if p != "fp16" or device.kind != "cpu"]
    return tuple(dict.fromkeys([*device.precisions, *more]))


def _load(name: str) -> Device:
    device = load_plugin("device", name)
    if not isinstance(device, Device) or device.name != name:
        raise ConfigError(f"plugin {name!r} must be a Device of that name, got {device!r}; fix or uninstall it")
    return device
