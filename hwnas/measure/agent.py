"""Times model files for a host: one JSON request a line on stdin, one JSON answer a line on stdout, nothing else there.

With its two parts (sensors, loaders) it goes to a board as one file, which needs the standard library, numpy and the
runtimes that are asked for: see `process.agent_source`. Requests have an "op"; answers have "ok", and "error" where it
is false. "runtime" is one of LOADERS, onnxruntime if left out:

    {"op": "info", "runtime": "litert"}       -> runtime, runtime_version, cpu, power_mode, clock_mhz, temperature_c,
                                                 energy_sensor (None: none can be read)
    {"op": "load", "model": "a", "path": "a.onnx", "threads": 1, "input_shape": [1, 3, 32, 32], "runtime": ...}
                                              -> output_shape; "n_ids": 99 for a model of ids from 0 to 98
    {"op": "put", "name": "a.onnx", "data": BASE64}             -> path, in a folder that goes when the agent ends
    {"op": "run", "model": "a", "calls": 20, "discard": 2}      -> samples_ms: 20 durations, the first 2 calls left out
    {"op": "energy", "model": "a", "seconds": 1}                -> energy_mj of a call, everything on that supply
                                                                   rail included; None without a sensor
    {"op": "unload", "model": "a"}
    {"op": "quit"}
"""

from __future__ import annotations

import base64
import gc
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.measure.loaders import GPU_RUNTIMES, LOADERS, version_of
from hwnas.measure.sensors import clock_mhz, cpuinfo, energy_sensor, power_mode, temperature_c

Models = dict[str, Any]


RUNTIME: dict[str, str] = {}  # "name": of the models; a session has one
FOLDER: dict[str, Path] = {}  # "path": of files that were sent; made when the first one comes


def _folder() -> Path:
    if "path" not in FOLDER:
        for left in Path(tempfile.gettempdir()).glob("hwnas-agent-*"):  # of agents that were killed
            owner = left.name.split("-")[2]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(left, ignore_errors=True)
        FOLDER["path"] = Path(tempfile.mkdtemp(prefix=f"hwnas-agent-{os.getpid()}-"))
    return FOLDER["path"]


def _energy_sensor(runtime: str) -> Any:
    return energy_sensor(gpu=runtime in GPU_RUNTIMES)


def info(models: Models, request: Models) -> Models:
    """What the samples depend on beside the model; None is not known."""
    runtime = request.get("runtime", "onnxruntime")
    return {
        "runtime": runtime,
        "runtime_version": version_of(runtime),
        "cpu": cpuinfo("model name", "hardware") or platform.processor() or platform.machine(),
        "cpu_flags": (cpuinfo("flags", "features") or "").split(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "power_mode": power_mode(),
        "clock_mhz": clock_mhz(),
        "temperature_c": temperature_c(),
        "energy_sensor": getattr(_energy_sensor(runtime), "name", None),
    }


def put(models: Models, request: Models) -> Models:
    """Write a file that was sent; its name must be a plain one."""
    name = str(request["name"])
    if Path(name).name != name or name.startswith("."):
        raise ValueError(f"{name!r} is no plain file name")
    path = _folder() / name
    path.write_bytes(base64.b64decode(request["data"], validate=True))
    return {"path": str(path)}


def load(models: Models, request: Models) -> Models:
    """Load a model and run it once on random input; a file that was sent is not needed any more."""
    loader = LOADERS.get(request.get("runtime", "onnxruntime"))
    if loader is None:
        raise ValueError(f"runtime {request['runtime']!r} is not known; known: {', '.join(LOADERS)}")
    rng, shape, n_ids = np.random.default_rng(0), tuple(request["input_shape"]), request.get("n_ids")
    values = rng.standard_normal(shape).astype(np.float32) if n_ids is None else rng.integers(0, n_ids, shape)
    call, shape = loader(request["path"], int(request["threads"]), values)
    models[request["model"]] = call
    RUNTIME["name"] = request.get("runtime", "onnxruntime")
    if Path(request["path"]).parent == FOLDER.get("path"):
        Path(request["path"]).unlink()
    return {"output_shape": [int(size) for size in shape]}


def run(models: Models, request: Models) -> Models:
    """Time calls one by one; the garbage collector waits."""
    call = models[request["model"]]
    clock_ns, samples_ns = time.perf_counter_ns, []
    gc.collect()
    gc.disable()
    try:
        for _ in range(int(request.get("discard", 0))):
            call()
        for _ in range(int(request["calls"])):
            start_ns = clock_ns()
            call()
            samples_ns.append(clock_ns() - start_ns)
    finally:
        gc.enable()
    return {"samples_ms": [duration_ns / 1e6 for duration_ns in samples_ns]}


def energy(models: Models, request: Models) -> Models:
    """Calls, one after the other, for a time; apart from the timing, because reading sensors takes time, too."""
    call, sensor, calls = models[request["model"]], _energy_sensor(RUNTIME["name"]), 0
    if sensor is None:
        return {"energy_mj": None, "sensor": None, "calls": 0}

    def work() -> None:
        nonlocal calls
        end = time.perf_counter() + float(request["seconds"])
        while calls < 10 or time.perf_counter() < end:
            call()
            calls += 1

    spent_mj = sensor.during(work)
    return {"energy_mj": spent_mj / calls if spent_mj > 0 else None, "sensor": sensor.name, "calls": calls}


def unload(models: Models, request: Models) -> Models:
    """Forget a model."""
    models.pop(request["model"], None)
    return {}


def leave(models: Models, request: Models) -> Models:
    """Answer, then end."""
    return {"leaves": True}


OPERATIONS = {"info": info, "put": put, "load": load, "run": run, "energy": energy, "unload": unload, "quit": leave}


def answer(models: Models, line: str) -> Models:
    """Answer one request; whatever goes wrong is part of the answer."""
    try:
        request = json.loads(line)
        operation = OPERATIONS.get(request["op"])
        if operation is None:
            return {"ok": False, "error": f"unknown op {request['op']!r}; known: {', '.join(OPERATIONS)}"}
        return {"ok": True, **operation(models, request)}
    except Exception as error:  # noqa: BLE001 - a broken model must not end the agent: the others are still wanted
        text = (str(error).strip().splitlines() or [""])[0]
        return {"ok": False, "error": f"{type(error).__name__}: {text}"}


def main() -> None:
    """Serve requests until "quit" or the end of stdin."""
    # Libraries may print: from here on file descriptor 1 is stderr, and answers go to a private copy of stdout.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    models: Models = {}
    try:
        for line in sys.stdin:
            reply = answer(models, line)
            answers.write(json.dumps(reply) + "\n")
            answers.flush()
            if reply.get("leaves"):
                break
    except BrokenPipeError:  # the connection is gone
        pass
    finally:
        if "path" in FOLDER:
            shutil.rmtree(FOLDER["path"], ignore_errors=True)


if __name__ == "__main__":
    main()
