"""What this machine's sensors say: clock, temperature, power mode, energy. None is not known.

Part of the measuring agent: standard library alone.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["clock_mhz", "cpuinfo", "energy_sensor", "power_mode", "temperature_c"]


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def cpuinfo(*keys: str) -> str | None:
    """The first value of any of these keys (in lower case)."""
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in keys:
            return value.strip()
    return None


def clock_mhz() -> float | None:
    """Of the first core."""
    khz = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    if khz and khz.isdigit():
        return int(khz) / 1000
    found = cpuinfo("cpu mhz")
    return None if found is None else float(found)


def temperature_c() -> float | None:
    """The hottest sensor that reads above 0, in degrees Celsius."""
    found = [_read(str(path)) for path in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    values = [int(text) / 1000 for text in found if text and text.lstrip("-").isdigit()]
    return max((value for value in values if value > 0), default=None)


def power_mode(root: Path = Path("/")) -> str | None:
    """Of a Jetson, as nvpmodel keeps it; else the governor of the clock."""
    jetson = _read(str(root / "var/lib/nvpmodel/status"))
    return f"nvpmodel {jetson}" if jetson else _read(str(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))


class _Counters:
    """Intel's and AMD's running counters (RAPL), one a package, in microjoules; each begins again at its limit."""

    name = "rapl"

    def __init__(self, root: Path) -> None:
        found = sorted((root / "class/powercap").glob("intel-rapl:*"))
        packages = [path for path in found if (_read(str(path / "name")) or "").startswith("package")]
        # Since 2020 many systems let only root read them.
        self._packages = [path for path in packages if (_read(str(path / "energy_uj")) or "").isdigit()]

    def __bool__(self) -> bool:
        return bool(self._packages)

    def _now_uj(self) -> list[int]:
        return [int(_read(str(path / "energy_uj")) or 0) for path in self._packages]

    def during(self, work: Callable[[], None]) -> float:
        """Millijoules of some work, which is shorter than a counter's round (minutes)."""
        before = self._now_uj()
        work()
        used_uj = 0
        for path, first, last in zip(self._packages, before, self._now_uj()):  # noqa: B905 - old Pythons on boards
            limit = int(_read(str(path / "max_energy_range_uj")) or 0)
            used_uj += last - first if last >= first else last - first + limit
        return used_uj / 1000


class _Rail:
    """The supply rail of a Jetson, read by its INA sensor every 10 ms."""

    name = "ina3221"
    _RAILS = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0", "VDD_5V_IN")

    def __init__(self, root: Path) -> None:
        self._files: list[str] = []  # power in mW, or voltage in mV and current in mA
        newer = [(label, ("in", "curr")) for label in sorted(root.glob("class/hwmon/hwmon*/in[1-3]_label"))]
        older = sorted(root.glob("bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_[0-2]"))
        for label, kinds in newer + [(label, ("in_power",)) for label in older]:
            number = label.name[2] if "hwmon" in str(label) else label.name[-1]
            files = [str(label.parent / f"{kind}{number}_input") for kind in kinds]
            if _read(str(label)) in self._RAILS and all((_read(file) or "").isdigit() for file in files):
                self._files = files
                break

    def __bool__(self) -> bool:
        return bool(self._files)

    def _power_mw(self) -> float:
        values = [int(_read(file) or 0) for file in self._files]
        return values[0] if len(values) == 1 else values[0] * values[1] / 1000

    def during(self, work: Callable[[], None]) -> float:
        """Millijoules of some work: mean power times its time."""
        samples_mw, done = [], threading.Event()

        def watch() -> None:
            while not done.wait(0.01):
                samples_mw.append(self._power_mw())

        watcher, start = threading.Thread(target=watch, daemon=True), time.perf_counter()
        watcher.start()
        work()
        spent_s = time.perf_counter() - start
        done.set()
        watcher.join()
        samples_mw.append(self._power_mw())
        return sum(samples_mw) / len(samples_mw) * spent_s


class _Nvml:
    """The counter of an NVIDIA GPU (Volta and newer), in millijoules since the driver was loaded.

    Source: NVML API reference, nvmlDeviceGetTotalEnergyConsumption.
    """

    name = "nvml"

    def __init__(self, library: str = "libnvidia-ml.so.1") -> None:
        self._nvml: Any = None
        self._device = ctypes.c_void_p()
        try:
            nvml = ctypes.CDLL(library)
        except OSError:
            return
        if nvml.nvmlInit_v2() == 0 and nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self._device)) == 0:
            self._nvml = nvml
            if self._now_mj() is None:  # an older GPU
                self._nvml = None

    def __bool__(self) -> bool:
        return self._nvml is not None

    def _now_mj(self) -> int | None:
        spent_mj = ctypes.c_ulonglong()
        code = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._device, ctypes.byref(spent_mj))
        return None if code else spent_mj.value

    def during(self, work: Callable[[], None]) -> float:
        """Millijoules of some work."""
        before = self._now_mj()
        work()
        after = self._now_mj()
        return 0.0 if before is None or after is None else float(after - before)


def energy_sensor(root: Path = Path("/sys"), *, gpu: bool = False) -> Any:
    """The first sensor that can be read; None if there is none.

    Args:
        gpu: models run on the GPU: its own counter, or the rail of a board that feeds both.
    """
    found = (_Nvml(), _Rail(root)) if gpu else (_Rail(root), _Counters(root))
    return next((sensor for sensor in found if sensor), None)
