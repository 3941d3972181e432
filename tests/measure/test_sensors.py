"""Sensors read from made-up trees, and NVML from a library that is compiled here."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from hwnas.measure import sensors
from hwnas.measure.sensors import energy_sensor, power_mode


def write_tree(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


RAPL = "class/powercap/intel-rapl:"
PACKAGES = {
    f"{RAPL}0/name": "package-0",
    f"{RAPL}0/energy_uj": 5_000_000,
    f"{RAPL}0/max_energy_range_uj": 9_000_000,
    f"{RAPL}1/name": "package-1",
    f"{RAPL}1/energy_uj": 8_999_000,
    f"{RAPL}1/max_energy_range_uj": 9_000_000,
    f"{RAPL}2/name": "psys",
    f"{RAPL}2/energy_uj": 1,
}


def test_running_counters_are_added_and_may_begin_again(tmp_path: Path) -> None:
    root = write_tree(tmp_path, PACKAGES)
    sensor = energy_sensor(root)
    spent = {f"{RAPL}0/energy_uj": 5_250_000, f"{RAPL}1/energy_uj": 1_000, f"{RAPL}2/energy_uj": 700_000}
    assert sensor.name == "rapl"
    assert sensor.during(lambda: write_tree(root, spent)) == pytest.approx(252.0)


@pytest.mark.parametrize(
    "files",
    [
        {
            "class/hwmon/hwmon3/in1_label": "VDD_IN",
            "class/hwmon/hwmon3/in1_input": 5000,
            "class/hwmon/hwmon3/curr1_input": 800,
        },
        {
            "bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_IN",
            "bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input": 4000,
        },
    ],
    ids=["hwmon: volt times ampere", "the older driver: power"],
)
def test_the_rail_of_a_jetson(files: dict[str, object], tmp_path: Path) -> None:
    sensor = energy_sensor(write_tree(tmp_path, files))
    start = time.perf_counter()
    found_mj = sensor.during(lambda: time.sleep(0.1))
    assert sensor.name == "ina3221"
    # 4 W for as long as it took.
    assert 4000 * 0.1 <= found_mj <= 4000 * (time.perf_counter() - start)


@pytest.mark.parametrize("files", [{}, {f"{RAPL}0/name": "package-0"}, {"class/hwmon/hwmon0/in1_label": "VDD_CPU"}])
def test_no_sensor_is_none(files: dict[str, object], tmp_path: Path) -> None:
    assert energy_sensor(write_tree(tmp_path, files)) is None


def test_the_power_mode_of_a_jetson_or_the_governor(tmp_path: Path) -> None:
    assert power_mode(tmp_path) is None
    write_tree(tmp_path, {"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil"})
    assert power_mode(tmp_path) == "schedutil"
    write_tree(tmp_path, {"var/lib/nvpmodel/status": "pmode:0002"})
    assert power_mode(tmp_path) == "nvpmodel pmode:0002"


NVML = """
static unsigned long long spent = 1000;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) { *device = &spent; return index; }
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *energy) {
    *energy = (*(unsigned long long *)device += 250);
    return CODE;
}
"""


def compiled(folder: Path, code: int) -> str:
    """A library that reads 250 mJ more each time, or refuses with a code (3: not supported)."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source, library = folder / "nvml.c", folder / f"libnvidia-ml-{code}.so"
    source.write_text(NVML.replace("CODE", str(code)))
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return str(library)


def test_a_gpu_counts_its_own_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = sensors._Nvml(compiled(tmp_path, 0))
    assert sensor and sensor.name == "nvml"
    assert sensor.during(lambda: None) == 250.0
    monkeypatch.setattr(sensors, "_Nvml", lambda: sensor)
    root = write_tree(tmp_path, PACKAGES)
    assert energy_sensor(root, gpu=True) is sensor
    assert energy_sensor(root).name == "rapl"  # of a model that the CPU runs


def test_a_gpu_without_a_counter_has_no_sensor(tmp_path: Path) -> None:
    assert not sensors._Nvml(compiled(tmp_path, 3))
    assert not sensors._Nvml("libof-nobody.so")
