"""The agent on an ARM board: Debian's Python for arm64 and the runtimes' wheels, under qemu. Function, never speed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from hwnas.core.runtime import ExportSpec, Runtime
from hwnas.measure.process import AgentProcess, AgentStart, agent_source
from hwnas.plugins import load_plugin
from hwnas.testing.networks import small_network

pytestmark = pytest.mark.slow

PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "libgomp1")
WHEELS = {"onnxruntime": ("onnxruntime",), "litert": ("ai-edge-litert", "protobuf", "flatbuffers")}
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
# Without it the runtimes read the x86 processor of this machine, and crash.
CPUINFO = """processor\t: 0
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd08
CPU revision\t: 3
"""


def run(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no ARM system could be made: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")


def debian_packages(folder: Path) -> list[Path]:
    """Debian's packages for arm64, and what they need, downloaded and not installed."""
    for name in ("lists/partial", "archives/partial", "cache"):
        (folder / name).mkdir(parents=True)
    places = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder / "cache",
        "Dir::Cache::Archives": folder / "archives",
    }
    apt = ["apt-get", "-y", "-qq", *(f"-o{key}={value}" for key, value in places.items())]
    run(*apt, "update")
    run(*apt, "--no-install-recommends", "--download-only", "install", *PACKAGES)
    return sorted((folder / "archives").glob("*.deb"))


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentStart]:
    qemu = shutil.which("qemu-aarch64-static")
    if qemu is None or shutil.which("apt-get") is None:
        pytest.skip("needs apt-get and qemu-aarch64-static (Debian: qemu-user-static)")
    folder = tmp_path_factory.mktemp("aarch64")
    root, wheels = folder / "root", folder / "wheels"
    for package in debian_packages(folder):
        run("dpkg", "-x", package, root)
    names = ["numpy", *(name for runtime in WHEELS.values() for name in runtime)]
    pins = [f"{name}=={metadata.version(name)}" for name in names]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "--no-deps", "-d", wheels]
    run(*pip, "--python-version", "3.11", *(word for name in PLATFORMS for word in ("--platform", name)), *pins)
    for wheel in wheels.glob("*.whl"):
        shutil.unpack_archive(wheel, root / "site", "zip")
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text(CPUINFO)
    agent = folder / "agent.py"
    agent.write_text(agent_source())
    python = [str(root / "usr/bin/python3.11"), "-P", str(agent)]
    emulator = [qemu, "-cpu", "cortex-a72", "-L", str(root), "-E", f"PYTHONPATH={root / 'site'}"]
    yield AgentStart((*emulator, *python))
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", WHEELS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_model_runs_on_arm(board: AgentStart, name: str, precision: str, tmp_path: Path) -> None:
    runtime: Runtime = load_plugin("runtime", name)()
    path, shape = tmp_path / f"m{runtime.suffix}", (3, 16, 16)
    samples = None if precision == "fp32" else small_samples(shape)
    spec = ExportSpec(precision=precision, input_shape=shape, calibration=samples, cpu_flags=frozenset({"asimddp"}))
    runtime.export(small_network(), spec, path)
    load = {"op": "load", "runtime": name, "model": "a", "path": str(path), "threads": 1, "input_shape": [1, *shape]}
    with AgentProcess(board, threads=1) as agent:
        info = agent.ask({"op": "info", "runtime": name}, timeout_s=120)
        assert (info["machine"], info["runtime_version"]) == ("aarch64", runtime.version())
        assert "asimddp" in info["cpu_flags"]
        assert agent.ask(load, timeout_s=120)["output_shape"] == [1, 5]
        timed = agent.ask({"op": "run", "model": "a", "calls": 3}, timeout_s=120)["samples_ms"]
    assert len(timed) == 3
    assert min(timed) > 0


def small_samples(shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.random.default_rng(0).standard_normal((8, *shape)).astype(np.float32)
