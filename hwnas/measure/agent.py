"""Times model files for a host: one JSON request a line on stdin, one JSON answer a line on stdout, nothing else there.

This file stands alone (standard library, numpy, the runtimes that are asked for), so that it can be copied to a board
and started with `python agent.py`. Requests have an "op"; answers have "ok", and "error" where it is false. "runtime"
is one of LOADERS, onnxruntime if left out:

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
import importlib
import json
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

Models = dict[str, Any]
Array = Any  # a numpy array
Loaded = tuple[Callable[[], Any], Any]  # one inference, and the shape of its output


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _cpuinfo(*keys: str) -> str | None:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in keys:
            return value.strip()
    return None


def _clock_mhz() -> float | None:
    khz = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    if khz and khz.isdigit():
        return int(khz) / 1000
    found = _cpuinfo("cpu mhz")
    return None if found is None else float(found)


def _temperature_c() -> float | None:
    """The hottest sensor that reads above 0, in degrees Celsius."""
    found = [_read(str(path)) for path in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    values = [int(text) / 1000 for text in found if text and text.lstrip("-").isdigit()]
    return max((value for value in values if value > 0), default=None)


def _power_mode(root: Path = Path("/")) -> str | None:
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


def _energy_sensor(root: Path = Path("/sys")) -> Any:
    """The first sensor that can be read; None if there is none."""
    return next((sensor for sensor in (_Rail(root), _Counters(root)) if sensor), None)


CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


def _onnxruntime(path: str, threads: int, values: Array, *, provider: str = "CPUExecutionProvider") -> Loaded:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    chosen: Any = (provider, {"trt_fp16_enable": True}) if provider == TENSORRT else provider
    session = onnxruntime.InferenceSession(path, options, providers=[chosen])
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"{provider} was refused, {session.get_providers()[0]} would run the model")
    call = partial(session.run, None, {session.get_inputs()[0].name: values})
    return call, call()[0].shape


def _openvino(path: str, threads: int, values: Array) -> Loaded:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(list(values.shape))  # fixed shapes run faster, and the batch is known here
    settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    settings |= {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(values))
    call = partial(request.infer, share_outputs=True)
    return call, call()[0].shape


def _executorch(path: str, threads: int, values: Array) -> Loaded:
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    portable_lib._unsafe_reset_threadpool(threads)
    method = Runtime.get().load_program(path).load_method("forward")
    call = partial(method.execute, [torch.from_numpy(values)])
    return call, call()[0].shape


def _litert(path: str, threads: int, values: Array) -> Loaded:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    write, read = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    # The same numbers in the file's own order, which has channels last.
    interpreter.set_tensor(write["index"], values.reshape(write["shape"]).astype(write["dtype"]))
    interpreter.invoke()
    return interpreter.invoke, interpreter.get_tensor(read["index"]).shape


def _torch(path: str, threads: int, values: Array, *, compiled: bool = False) -> Loaded:
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # of a file only tensors are read
    import torch

    torch.set_num_threads(threads)
    module: Any = torch.export.load(path).module()
    inputs = torch.from_numpy(values)
    if compiled:
        module = torch.compile(module, dynamic=False)

    def call() -> Any:
        with torch.inference_mode():
            return module(inputs)

    return call, call().shape


LOADERS: dict[str, Callable[[str, int, Array], Loaded]] = {
    "executorch": _executorch,
    "litert": _litert,
    "onnxruntime": _onnxruntime,
    "onnxruntime-cuda": partial(_onnxruntime, provider=CUDA),
    "onnxruntime-tensorrt": partial(_onnxruntime, provider=TENSORRT),
    "openvino": _openvino,
    "torch": _torch,
    "torch-compile": partial(_torch, compiled=True),
}


# Module and distribution of a runtime, where they are not named as it is.
PACKAGES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "onnxruntime-cuda": ("onnxruntime", "onnxruntime-gpu"),
    "onnxruntime-tensorrt": ("onnxruntime", "onnxruntime-gpu"),
    "torch-compile": ("torch", "torch"),
}
PROVIDERS = {"onnxruntime-cuda": CUDA, "onnxruntime-tensorrt": TENSORRT}


def _version(runtime: str) -> str:
    if runtime not in LOADERS:
        raise ValueError(f"runtime {runtime!r} is not known; known: {', '.join(LOADERS)}")
    module, package = PACKAGES.get(runtime, (runtime, runtime))
    found = importlib.import_module(module)
    if runtime in PROVIDERS and PROVIDERS[runtime] not in found.get_available_providers():
        raise RuntimeError(f"its onnxruntime has no {PROVIDERS[runtime]}")
    version = getattr(found, "__version__", None) or metadata.version(package)
    return str(version).split("-")[0]


FOLDER: dict[str, Path] = {}  # "path": of files that were sent; made when the first one comes


def _folder() -> Path:
    if "path" not in FOLDER:
        for left in Path(tempfile.gettempdir()).glob("hwnas-agent-*"):  # of agents that were killed
            owner = left.name.split("-")[2]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(left, ignore_errors=True)
        FOLDER["path"] = Path(tempfile.mkdtemp(prefix=f"hwnas-agent-{os.getpid()}-"))
    return FOLDER["path"]


def info(models: Models, request: Models) -> Models:
    """What the samples depend on beside the model; None is not known."""
    runtime = request.get("runtime", "onnxruntime")
    return {
        "runtime": runtime,
        "runtime_version": _version(runtime),
        "cpu": _cpuinfo("model name", "hardware") or platform.processor() or platform.machine(),
        "cpu_flags": (_cpuinfo("flags", "features") or "").split(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "power_mode": _power_mode(),
        "clock_mhz": _clock_mhz(),
        "temperature_c": _temperature_c(),
        "energy_sensor": getattr(_energy_sensor(), "name", None),
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
    call, sensor, calls = models[request["model"]], _energy_sensor(), 0
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
