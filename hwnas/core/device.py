"""A target device, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hwnas.core.compression import PRECISIONS
from hwnas.errors import ConfigError

__all__ = ["ADB", "DEVICE_KINDS", "QUANTITIES", "REACHES", "Device", "reach_of"]

DEVICE_KINDS = ("cpu", "gpu", "tpu", "fpga", "asic", "dsp", "npu")
QUANTITIES = ("latency", "throughput")
REACHES = ("local", "ssh", "adb", "none")
ADB = "adb:"  # what a host that adb reaches begins with


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a search must know of a device.

    Attributes:
        name: as on the command line.
        title: its full name.
        kind: one of `DEVICE_KINDS`.
        runtime: what models run with, as in the predictor's card.
        precisions: what the device and its runtime compute in, the exact one first.
        channel_multiple: channel counts that run without waste are multiples of it.
        memory_bytes: for model and activations; None if not known.
        batch: images that one latency is of.
        quantity: one of `QUANTITIES`. "throughput": its milliseconds are those per image at full throughput, 1000 /
            (images per second). That is not the time that one image takes, and no latency follows from it.
        reach: "local" (this machine), "ssh", "adb", or "none" (predicted only).
        host: where ssh finds it, as "user@board" or a name of the ssh configuration, or "adb:" and the serial number
            that adb knows it by; None unless it is reached so.
        python: the Python there, which has the runtime.
        cpu_flags: instruction sets of its CPU, as far as they are known; int8 weights lose a bit without VNNI.
        aliases: other names it answers to.
        sensors: of energy, as the agent names them ("rapl", "ina3221").
        power_modes: names of those it can be set to; what it was set to is part of each measurement.
        note: anything that a user of its numbers must know.
    """

    name: str
    title: str
    kind: str
    runtime: str
    precisions: tuple[str, ...] = ("fp32",)
    channel_multiple: int = 8
    memory_bytes: int | None = None
    batch: int = 1
    quantity: str = "latency"
    reach: str = "none"
    host: str | None = None
    python: str = "python3"
    cpu_flags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ()
    power_modes: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if self.kind not in DEVICE_KINDS:
            raise ConfigError(f"device {self.name!r}: kind must be one of {DEVICE_KINDS}, got {self.kind!r}")
        if unknown := [p for p in self.precisions if p not in PRECISIONS]:
            raise ConfigError(f"device {self.name!r}: unknown precisions {unknown}; allowed: {PRECISIONS}")

        if self.quantity not in QUANTITIES or self.batch < 1:
            got = f"{self.quantity!r} at batch {self.batch}"
            raise ConfigError(f"device {self.name!r}: quantity must be one of {QUANTITIES}, batch >= 1; got {got}")
        fits = not self.is_board if self.host is None else self.reach == reach_of(self.host)
        if self.reach not in REACHES or not fits:
            got = f"{self.reach!r} with host {self.host!r}"
            raise ConfigError(
                f"device {self.name!r}: reach must be one of {REACHES}, ssh with a host, adb with one as {ADB}SERIAL; "
                f"got {got}"
            )
        # ssh would take a host that begins with "-" for an option.
        if self.host is not None and not re.fullmatch(r"[A-Za-z0-9_.@:%\[\]][A-Za-z0-9_.@:%\[\]-]*", self.host):
            raise ConfigError(f"device {self.name!r}: {self.host!r} is no host for ssh; write it as user@board")

    @property
    def measure(self) -> str:
        """What its milliseconds are, in words."""
        if self.quantity == "throughput":
            return "ms per image at full throughput (not a latency)"
        return f"latency in ms at batch {self.batch}"

    @property
    def is_local(self) -> bool:
        """Whether models can be measured on the machine that searches."""
        return self.reach == "local"

    @property
    def is_board(self) -> bool:
        """Whether it is another machine that is reached from here."""
        return self.reach in ("ssh", "adb")

    @property
    def can_be_measured(self) -> bool:
        """Whether models can be measured on it from here."""
        return self.is_local or self.is_board


def reach_of(host: str) -> str:
    """What reaches a host: "adb" where it says so, else "ssh"."""
    return "adb" if host.startswith(ADB) else "ssh"
