"""The devices of a search: one space, one task and one set of precisions for all, predictors and a runtime for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwnas.core.device import Device
from hwnas.core.predictor import LatencyPredictor
from hwnas.core.runtime import Runtime
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.devices.resolve import check_precisions, find_device
from hwnas.errors import ConfigError
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.measure.board import flags_of
from hwnas.runtimes.cpu_flags import needs_reduced_range
from hwnas.search.config import SearchConfig
from hwnas.search.events import Listener
from hwnas.search.joint import JointSpace
from hwnas.search.per_device import folder_of
from hwnas.search.setup import Setup, find_parts, find_predictor_set, freeze, runtime_of, within_domain

__all__ = ["Predictors", "Targets", "common_precisions", "find_targets"]

Predictors = Mapping[str, Mapping[str, LatencyPredictor]]  # device -> precision -> predictor


@dataclass(frozen=True)
class Targets:
    """What a search is for.

    Attributes:
        setups: one a device, in the order of the command line; they differ in device, runtime and `in_domain_only`.
    """

    setups: tuple[Setup, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(setup.device.name for setup in self.setups)

    @property
    def first(self) -> Setup:
        """That of the first device; space, task and precisions are those of all."""
        return self.setups[0]

    @property
    def joint(self) -> JointSpace:
        """Architecture, precision and pruning together."""
        return self.first.joint

    @property
    def knowing(self) -> frozenset[str]:
        """Devices whose predictors know the space."""
        return frozenset(setup.device.name for setup in self.setups if setup.in_domain_only)

    @property
    def runtimes(self) -> tuple[Runtime, ...]:
        """Those of the devices, each once; the first one's files are what accuracy is read from."""
        return tuple({setup.runtime.name: setup.runtime for setup in self.setups}.values())

    @property
    def cpu_flags(self) -> frozenset[str]:
        """Instruction sets that int8 weights must suit: those of the device that needs the narrowest range."""
        flags = [flags_of(setup.device) for setup in self.setups]
        return next((found for found in flags if needs_reduced_range(found)), flags[0])

    @property
    def saturates(self) -> bool:
        """Whether int8 weights lose a bit on a device that can be measured."""
        reached = [setup.device for setup in self.setups if setup.device.can_be_measured]
        return any(needs_reduced_range(flags_of(device)) for device in reached)

    def facts(self) -> dict[str, Any]:
        """What a resumed search must find again."""
        return self.first.facts() | {"device": self.devices[0] if len(self.devices) == 1 else list(self.devices)}

    def find_predictors(self, kept: Path | None, seed: int, listener: Listener) -> Predictors:
        """Those of each device; see `find_predictor_set`."""
        found = {}
        for setup in self.setups:
            folder = None if kept is None else folder_of(kept, setup.device.name, self.devices)
            found[setup.device.name] = find_predictor_set(setup, folder, seed, listener)
        return found

    def frozen(self, folder: Path) -> Predictors:
        """Those that `freeze` wrote.

        Raises:
            PredictorError: one is missing or damaged.
        """
        home = {device: folder_of(folder, device, self.devices) for device in self.devices}
        precisions = self.first.precisions
        return {device: {p: LinearGpPredictor.load(at / p) for p in precisions} for device, at in home.items()}

    def within_domain(self, predictors: Predictors, *, seed: int) -> Targets:
        """Leave out what the predictors of a device that know the space know nothing of."""
        found = [within_domain(setup, predictors[setup.device.name], seed=seed) for setup in self.setups]
        stages = min((setup.stages for setup in found), key=len)
        return Targets(tuple(replace(setup, stages=stages) for setup in found))

    def freeze(self, predictors: Predictors, folder: Path) -> None:
        """Copy predictors into the run folder; see `freeze`."""
        for device, found in predictors.items():
            freeze(found, folder_of(folder, device, self.devices))


def find_targets(config: SearchConfig, space: SearchSpace | None, task: Task | None) -> Targets:
    """Look up devices, space and task, and load the data.

    Raises:
        UnknownPluginError: a name is not known; the message holds the nearest one.
        ConfigError: a device is named twice or lacks a precision, the devices have none in common, or the space does
            not fit the task.
        DataError: the data are missing or broken.
    """
    devices = _each_once(config.devices)
    precisions = common_precisions(list(devices.values()), config.precisions)
    first = find_parts(replace(config, devices=config.devices[:1], precisions=precisions), space, task)
    multiple = math.lcm(*(device.channel_multiple for device in devices.values()))
    return Targets(tuple(replace(first, device=d, runtime=runtime_of(d), multiple=multiple) for d in devices.values()))


def _each_once(names: Sequence[str]) -> dict[str, Device]:
    """Name -> device, in the order given."""
    devices: dict[str, Device] = {}
    for name in names:
        device = find_device(name)
        if device.name in devices:
            raise ConfigError(f"device {device.name!r} is named twice ({', '.join(names)}); name each device once")
        devices[device.name] = device
    return devices


def common_precisions(devices: Sequence[Device], asked: Sequence[str] | None) -> tuple[str, ...]:
    """Those asked for, which each device must have; else those that all have, in the order of the first.

    Raises:
        ConfigError: a device lacks one that was asked for, or they have none in common.
    """
    each = [check_precisions(device, asked) for device in devices]
    common = tuple(precision for precision in each[0] if all(precision in found for found in each))
    if not common:
        have = "; ".join(f"{device.name} runs {', '.join(device.precisions)}" for device in devices)
        raise ConfigError(f"the devices have no precision in common: {have}. Search for them one at a time")
    return common
