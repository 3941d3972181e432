"""Times ONNX models for a host: one JSON request a line on stdin, one JSON answer a line on stdout, nothing else there.

This file stands alone (standard library, numpy, onnxruntime), so that it can be copied to a board and started with
`python agent.py`. Requests have an "op"; answers have "ok", and "error" where it is false:

    {"op": "info"}                            -> runtime, runtime_version, cpu, governor, clock_mhz, temperature_c
    {"op": "load", "model": "a", "path": "a.onnx", "threads": 1, "input_shape": [1, 3, 32, 32]} -> output_shape
    {"op": "run", "model": "a", "calls": 20, "discard": 2}      -> samples_ms: 20 durations, the first 2 calls left out
    {"op": "unload", "model": "a"}
    {"op": "quit"}
"""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

Models = dict[str, Any]


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _cpu() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("model name", "hardware"):
            return value.strip()
    return platform.processor() or platform.machine()


def _clock_mhz() -> float | None:
    khz = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    if khz and khz.isdigit():
        return int(khz) / 1000
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() == "cpu mhz":
            return float(value)
    return None


def _temperature_c() -> float | None:
    """The hottest sensor that reads above 0, in degrees Celsius."""
    found = [_read(str(path)) for path in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    values = [int(text) / 1000 for text in found if text and text.lstrip("-").isdigit()]
    return max((value for value in values if value > 0), default=None)


def info(models: Models, request: Models) -> Models:
    """What the samples depend on beside the model; None is not known."""
    import onnxruntime

    return {
        "runtime": "onnxruntime",
        "runtime_version": onnxruntime.__version__,
        "cpu": _cpu(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "clock_mhz": _clock_mhz(),
        "temperature_c": _temperature_c(),
    }


def load(models: Models, request: Models) -> Models:
    """Load a model and run it once on random input."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int(request["threads"]), 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(request["path"], options, providers=["CPUExecutionProvider"])
    values = np.random.default_rng(0).standard_normal(tuple(request["input_shape"])).astype(np.float32)
    feed = {session.get_inputs()[0].name: values}
    output = session.run(None, feed)[0]
    models[request["model"]] = (session, feed)
    return {"output_shape": list(output.shape)}


def run(models: Models, request: Models) -> Models:
    """Time calls one by one; the garbage collector waits."""
    session, feed = models[request["model"]]
    call, clock_ns, samples_ns = session.run, time.perf_counter_ns, []
    gc.collect()
    gc.disable()
    try:
        for _ in range(int(request.get("discard", 0))):
            call(None, feed)
        for _ in range(int(request["calls"])):
            start_ns = clock_ns()
            call(None, feed)
            samples_ns.append(clock_ns() - start_ns)
    finally:
        gc.enable()
    return {"samples_ms": [duration_ns / 1e6 for duration_ns in samples_ns]}


def unload(models: Models, request: Models) -> Models:
    """Forget a model."""
    models.pop(request["model"], None)
    return {}


def leave(models: Models, request: Models) -> Models:
    """Answer, then end."""
    return {"leaves": True}


OPERATIONS = {"info": info, "load": load, "run": run, "unload": unload, "quit": leave}


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
    for line in sys.stdin:
        reply = answer(models, line)
        answers.write(json.dumps(reply) + "\n")
        answers.flush()
        if reply.get("leaves"):
            break


if __name__ == "__main__":
    main()
