"""Measuring on this machine: `python benchmarks/measure/run.py` writes benchmarks/results/<date>-measure.json.

    python benchmarks/measure/run.py [--only repeat calibrate few promise ssh] [--runtimes onnxruntime ...]
        [--networks 100] [--keep DIR]

- repeat: one network measured in 20 processes, one after the other, at each precision of each runtime. How far apart
  the compared statistic lies (90th over 10th percentile of the 20), and how many verdicts "stable" were off by more
  than 5 % from the median of the 20.
- calibrate: a predictor learned from N networks, chosen as `hwnas measure` chooses them, and asked for as many drawn
  ones that it never saw: median error, share within 10 %, share inside the 90 % interval.
- few: the same from 20 of these networks, chosen, with the other runtimes of this machine as known devices.
- promise: a search for each runtime, and its front measured again in a fresh process.
- ssh: calibrating a board from nothing, 50 networks over an OpenSSH server on 127.0.0.1.
Runtimes that are not installed are left out, and named.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from loopback import is_installed, running
from record import record

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.device import Device
from hwnas.core.measurement import Measurement, read_measurements, write_measurements
from hwnas.core.runtime import ExportSpec
from hwnas.core.task import TaskShape
from hwnas.devices.resolve import all_devices
from hwnas.errors import MissingDependencyError
from hwnas.latency.calibrate import from_measurements
from hwnas.latency.draw import choose_candidates, draw_candidates
from hwnas.latency.known import known_predictors
from hwnas.latency.library import save_predictor
from hwnas.latency.transfer import choose_networks
from hwnas.measure.board import flags_of
from hwnas.measure.collect import collect
from hwnas.measure.session import MeasureItem, measure_files
from hwnas.plugins import load_plugin
from hwnas.store import read_front
from hwnas.trace import checked_build, operations

TASK = TaskShape((3, 32, 32), 10)
PROCESSES, OFF, FEW_NETWORKS = 20, 0.05, 20
PARTS = ["repeat", "calibrate", "few", "promise", "ssh"]
# torch-compile takes ten seconds a network, and cuda-gpu is not this CPU.
RUNTIMES = ["executorch", "litert", "onnxruntime", "openvino", "torch"]
HWNAS = [sys.executable, "-c", "from hwnas.cli.main import main; main()"]
GOALS = {
    "repeat": {"p90_over_p10": 1.05, "stable_and_off": 0},
    "calibrate": {"median_error": 0.03, "within_10": 0.95},
    "few": {"within_10": 0.85},
    "promise": {"inside": 1.0, "within_5": 0.9},
    "ssh": {"seconds": 600},
}


def here(names: list[str]) -> tuple[list[Device], list[str]]:
    """This machine with each runtime, and the runtimes that are missing."""
    found, missing = [], []
    for device in all_devices():
        if device.is_local and device.runtime in names:
            try:
                load_plugin("runtime", device.runtime)().version()
                found.append(device)
            except MissingDependencyError:
                missing.append(device.runtime)
    return found, missing


def spread(lows_ms: NDArray[np.float64]) -> float | None:
    """The 90th over the 10th percentile; None of nothing."""
    return round(float(np.percentile(lows_ms, 90) / np.percentile(lows_ms, 10)), 4) if len(lows_ms) else None


def repeat(device: Device, precision: str, seconds: float) -> dict[str, Any]:
    """One network in 20 processes."""
    space = load_plugin("space", "mobilenet").for_task(TASK)
    middle = {choice.label: choice.options[len(choice.options) // 2] for choice in space.choices}
    candidate = Candidate(space.architecture(middle), CompressionPlan.of(precision))
    runtime = load_plugin("runtime", device.runtime)()
    samples = np.random.default_rng(0).standard_normal((8, *TASK.input_shape)).astype(np.float32)
    spec = ExportSpec(
        precision=precision, input_shape=TASK.input_shape, calibration=samples, cpu_flags=flags_of(device)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{runtime.suffix}"
        runtime.export(checked_build(space, candidate, TASK).eval(), spec, path)
        item = MeasureItem(candidate, path, precision, TASK.input_shape)
        measured = [
            measure_files([item], device=device.name, runtime=runtime.name, threads=1, seconds_per_model=seconds)[0]
            for _ in range(PROCESSES)
        ]
    good = [m for m in measured if isinstance(m, Measurement)]
    lows = np.array([m.percentile_ms(10) for m in good])
    middle_ms = statistics.median(lows)
    stable = np.array([m.stable is True for m in good])
    return {
        "runtime": device.runtime,
        "precision": precision,
        "median_ms": middle_ms,
        "p90_over_p10": spread(lows),
        "p90_over_p10_of_stable": spread(lows[stable]),
        "stable": int(stable.sum()),
        "of": len(good),
        "stable_and_off": int((stable & (np.abs(lows / middle_ms - 1) > OFF)).sum()),
    }


def measured_networks(
    device: Device, precision: str, count: int, seconds: float, keep: Path
) -> tuple[list[Measurement], list[Measurement], float | None]:
    """Networks to learn from and others, at most `count` of each, and the seconds that measuring took.

    They are kept in a file; what is there already is not measured again.
    """
    space, rng = load_plugin("space", "mobilenet").for_task(TASK), np.random.default_rng(0)
    learned = choose_candidates(space, TASK, device, (precision,), count, rng=rng)
    # Beyond the first three, which are the ends of the space in every draw.
    others = draw_candidates(space, (precision,), count + 3, rng=np.random.default_rng(1))[3:]
    others = [candidate for candidate in others if candidate not in set(learned)]
    path, spent_s = keep / f"{device.runtime}-{precision}.jsonl", None
    if not path.exists():
        start = time.monotonic()
        found = collect(space, TASK, device, [*learned, *others], threads=1, seconds_per_model=seconds)
        spent_s = time.monotonic() - start
        write_measurements(path, [m for m in found if isinstance(m, Measurement)])
    measured = list(read_measurements(path))
    asked = set(others)
    return [m for m in measured if m.candidate not in asked], [m for m in measured if m.candidate in asked], spent_s


def scored(device: Device, learned: list[Measurement], others: list[Measurement], *, save: bool) -> dict[str, Any]:
    """A predictor of some networks, asked for others; unstable measurements count in neither."""
    space = load_plugin("space", "mobilenet").for_task(TASK)
    stable = [m for m in others if m.stable is not False]
    predictor = from_measurements(device, [m for m in learned if m.stable is not False], n_outputs=TASK.n_outputs)
    found = predictor.predict([operations(space, m.candidate, TASK) for m in stable])
    real = np.array([m.percentile_ms(10) for m in stable])
    error = np.abs(np.array([p.latency_ms for p in found]) / real - 1)
    inside = [p.low_ms <= ms <= p.high_ms for p, ms in zip(found, real, strict=True)]
    if save:  # for `few` of other runtimes
        save_predictor(predictor, local=True)
    return {
        "learned_from": predictor.card.n_measurements,
        "held_out": len(stable),
        "unstable": len(learned) + len(others) - predictor.card.n_measurements - len(stable),
        "median_error": round(float(np.median(error)), 4),
        "within_10": round(float((error <= 0.1).mean()), 3),
        "covered": round(float(np.mean(inside)), 3),
    }


def calibrate(device: Device, precision: str, count: int, seconds: float, keep: Path) -> dict[str, Any]:
    """Learn from `count` networks, and predict as many others."""
    learned, others, spent_s = measured_networks(device, precision, count, seconds, keep)
    found = scored(device, learned, others, save=True)
    return {"runtime": device.runtime, "precision": precision, **found, "measuring_s": spent_s and round(spent_s)}


def few(device: Device, precision: str, count: int, seconds: float, keep: Path) -> dict[str, Any]:
    """Learn from FEW networks, chosen out of those of `calibrate`, with the other runtimes as known devices."""
    learned, others, _ = measured_networks(device, precision, count, seconds, keep)
    space = load_plugin("space", "mobilenet").for_task(TASK)
    stable = [m for m in learned if m.stable is not False]
    sources = [p for p in known_predictors(device, ("mobilenet",), None) if p.card.device != device.name]
    chosen = choose_networks([operations(space, m.candidate, TASK) for m in stable], FEW_NETWORKS, sources=sources)
    found = scored(device, [stable[at] for at in chosen], others, save=False)
    names = sorted({source.card.device for source in sources})
    return {"runtime": device.runtime, "precision": precision, "sources": names, **found}


def promise(device: Device, time_limit: str) -> dict[str, Any]:
    """A search, and its front measured again in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        search = ["search", "--device", device.name, "--time", time_limit, "--out", str(run)]
        subprocess.run([*HWNAS, *search], check=True, stdout=subprocess.DEVNULL)
        done = subprocess.run([*HWNAS, "verify", str(run), "--json"], check=False, capture_output=True, text=True)
        checks = [check["latency"] for check in json.loads(done.stdout) if check["latency"]]
        first = [model.latency[device.name] for model in read_front(run).models]
    error = [abs(check["relative_error"]) for check in checks]
    inside = [check["low_ms"] <= check["measured_ms"] <= check["high_ms"] for check in checks]
    again = [
        abs(check["measured_ms"] / entry.measured.value - 1)
        for check, entry in zip(checks, first, strict=True)
        if entry.measured
    ]
    return {
        "runtime": device.runtime,
        "models": len(checks),
        "inside": round(float(np.mean(inside)), 3),
        "within_5": round(float(np.mean([value <= 0.05 for value in error])), 3),
        "median_error": round(statistics.median(error), 4),
        "measured_again_within_5": round(float(np.mean([value <= 0.05 for value in again])), 3),
    }


def ssh(networks: int) -> dict[str, Any]:
    """Calibrating a board from nothing, over a real ssh connection to this machine."""
    if not is_installed():
        return {"not_run": "no OpenSSH server on this machine"}
    space = load_plugin("space", "mobilenet").for_task(TASK)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as board:
        os.environ["HWNAS_SSH_COMMAND"] = board.ssh
        device, start = board.device, time.monotonic()
        chosen = choose_candidates(space, TASK, device, ("fp32",), networks, rng=np.random.default_rng(0))
        found = collect(space, TASK, device, chosen, threads=1, seconds_per_model=1.5)
        good = [m for m in found if isinstance(m, Measurement)]
        predictor = from_measurements(device, good, n_outputs=TASK.n_outputs)
        spent_s = time.monotonic() - start
        del os.environ["HWNAS_SSH_COMMAND"]
    return {"networks": len(good), "seconds": round(spent_s), "held_out_mape": predictor.card.mape}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES)
    parser.add_argument("--precisions", nargs="+")
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1.5, help="for each network")
    parser.add_argument("--time", default="3m", help="of each search of `promise`")
    parser.add_argument("--keep", type=Path, help="folder for measurements: what it holds is not measured again")
    args = parser.parse_args()
    devices, missing = here(args.runtimes)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HWNAS_CACHE"] = str(args.keep or scratch)
        keep = args.keep or Path(scratch)
        keep.mkdir(parents=True, exist_ok=True)
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in args.only}

        def add(name: str, row: dict[str, Any]) -> None:
            rows[name].append(row)
            print(name, row, flush=True)

        each = [(d, p) for d in devices for p in d.precisions if not args.precisions or p in args.precisions]
        for name, work in {"repeat": repeat, "calibrate": calibrate, "few": few}.items():
            for device, precision in each if name in args.only else []:
                if name == "repeat":
                    add(name, repeat(device, precision, args.seconds))
                else:
                    add(name, work(device, precision, args.networks, args.seconds, keep))  # type: ignore[operator]
        for device in devices if "promise" in args.only else []:
            add("promise", promise(device, args.time))
        if "ssh" in args.only:
            add("ssh", ssh(50))
    record("measure", "python benchmarks/measure/run.py", {"goal": GOALS, "not_installed": missing, **rows})


if __name__ == "__main__":
    main()
