"""How each runtime loads a model file, ready to be called.

Part of the measuring agent: standard library, numpy, and the runtimes that are asked for.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib
import os
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["BOARD_RUNTIMES", "GPU_RUNTIMES", "LOADERS", "PACKAGES", "PROVIDERS", "Array", "Loaded", "version_of"]

Array = Any  # a numpy array
Loaded = tuple[Callable[[], Any], Any]  # one inference, and the shape of its output

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


class _Cuda:
    """The few calls of CUDA's runtime that a TensorRT engine needs, without a package for them."""

    _TO_DEVICE, _TO_HOST = 1, 2

    def __init__(self) -> None:
        versions = ("", ".13", ".12", ".11.0", ".10.2")
        names = [*(f"libcudart.so{version}" for version in versions), ctypes.util.find_library("cudart")]
        self._library: Any = None
        for name in filter(None, names):
            try:
                self._library = ctypes.CDLL(name)
                break
            except OSError:
                continue
        if self._library is None:
            raise RuntimeError("no libcudart.so: CUDA's runtime is not on the library path")

    def _do(self, name: str, *values: Any) -> None:
        code = getattr(self._library, name)(*values)
        if code:
            raise RuntimeError(f"{name} failed with CUDA error {code}")

    def allocate(self, size: int) -> int:
        """Address of memory on the device, which stays until the process ends."""
        address = ctypes.c_void_p()
        self._do("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(size))
        return int(address.value or 0)

    def stream(self) -> int:
        """A new stream."""
        handle = ctypes.c_void_p()
        self._do("cudaStreamCreate", ctypes.byref(handle))
        return int(handle.value or 0)

    def wait(self, stream: int) -> None:
        """Until a stream is done."""
        self._do("cudaStreamSynchronize", ctypes.c_void_p(stream))

    def send(self, address: int, values: Array) -> None:
        """To the device."""
        host = ctypes.c_void_p(values.ctypes.data)
        self._do("cudaMemcpy", ctypes.c_void_p(address), host, ctypes.c_size_t(values.nbytes), self._TO_DEVICE)

    def fetch(self, values: Array, address: int) -> None:
        """From the device."""
        host = ctypes.c_void_p(values.ctypes.data)
        self._do("cudaMemcpy", host, ctypes.c_void_p(address), ctypes.c_size_t(values.nbytes), self._TO_HOST)


def _engine(trt: Any, logger: Any, path: str, shape: tuple[int, ...]) -> Any:
    """Built here from ONNX: what the file computes in is what the engine computes in.

    Source: TensorRT developer guide, "Strongly Typed Networks" (from 9.0); before, flags allow what the file asks for.
    """
    flags, builder = trt.NetworkDefinitionCreationFlag, trt.Builder(logger)
    typed = getattr(flags, "STRONGLY_TYPED", None)
    wanted = typed if typed is not None else flags.EXPLICIT_BATCH
    network = builder.create_network(1 << int(wanted))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(Path(path).read_bytes()):
        raise RuntimeError(f"TensorRT cannot read the file: {parser.get_error(0)}")
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    name = network.get_input(0).name
    profile.set_shape(name, shape, shape, shape)
    config.add_optimization_profile(profile)
    if typed is None:
        for flag in (trt.BuilderFlag.FP16, trt.BuilderFlag.INT8):
            config.set_flag(flag)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("TensorRT cannot build an engine of the file")
    return trt.Runtime(logger).deserialize_cuda_engine(plan)


def _tensorrt(path: str, threads: int, values: Array) -> Loaded:
    trt: Any = importlib.import_module("tensorrt")
    logger = trt.Logger(trt.Logger.ERROR)
    engine, cuda = _engine(trt, logger, path, values.shape), _Cuda()
    context, stream = engine.create_execution_context(), cuda.stream()
    given, asked = (engine.get_tensor_name(at) for at in range(2))
    if engine.get_tensor_mode(given) != trt.TensorIOMode.INPUT:
        given, asked = asked, given
    context.set_input_shape(given, values.shape)
    values = np.ascontiguousarray(values, dtype=trt.nptype(engine.get_tensor_dtype(given)))
    shape = tuple(context.get_tensor_shape(asked))
    answer = np.empty(shape, dtype=trt.nptype(engine.get_tensor_dtype(asked)))
    read, written = cuda.allocate(values.nbytes), cuda.allocate(answer.nbytes)
    context.set_tensor_address(given, read)
    context.set_tensor_address(asked, written)

    def call() -> Any:
        cuda.send(read, values)
        if not context.execute_async_v3(stream):
            raise RuntimeError("TensorRT could not run the engine")
        cuda.wait(stream)
        cuda.fetch(answer, written)
        return answer

    return call, call().shape


def _torch_cuda(path: str, threads: int, values: Array) -> Loaded:
    """A CUDA graph: captured once, then replayed, so that no operation is launched from Python."""
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    import torch

    torch.set_num_threads(threads)
    module: Any = torch.export.load(path).module().to("cuda")
    host = torch.from_numpy(values)
    inputs = host.to("cuda")
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode(), torch.cuda.stream(aside):  # a graph must not be captured cold
        for _ in range(3):
            module(inputs)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        outputs = module(inputs)

    def call() -> Any:
        inputs.copy_(host)
        graph.replay()
        return outputs.cpu()

    return call, call().shape


def _aotinductor(path: str, threads: int, values: Array) -> Loaded:
    import torch

    torch.set_num_threads(threads)
    model = torch._inductor.aoti_load_package(path)
    inputs = torch.from_numpy(values)

    def call() -> Any:
        with torch.inference_mode():
            return model(inputs)

    return call, call().shape


LOADERS: dict[str, Callable[[str, int, Array], Loaded]] = {
    "aotinductor": _aotinductor,
    "executorch": _executorch,
    "litert": _litert,
    "onnxruntime": _onnxruntime,
    "onnxruntime-cuda": partial(_onnxruntime, provider=CUDA),
    "onnxruntime-tensorrt": partial(_onnxruntime, provider=TENSORRT),
    "openvino": _openvino,
    "tensorrt": _tensorrt,
    "torch": _torch,
    "torch-cuda": _torch_cuda,
    "torch-compile": partial(_torch, compiled=True),
}


# The packages of AOTInductor are for the CPU of the machine that makes them.
BOARD_RUNTIMES = tuple(name for name in LOADERS if name != "aotinductor")
# Module and distribution of a runtime, where they are not named as it is.
PACKAGES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "onnxruntime-cuda": ("onnxruntime", "onnxruntime-gpu"),
    "onnxruntime-tensorrt": ("onnxruntime", "onnxruntime-gpu"),
    "aotinductor": ("torch", "torch"),
    "torch-compile": ("torch", "torch"),
    "torch-cuda": ("torch", "torch"),
}
GPU_RUNTIMES = ("onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt", "torch-cuda")
PROVIDERS = {"onnxruntime-cuda": CUDA, "onnxruntime-tensorrt": TENSORRT}


def version_of(runtime: str) -> str:
    """Of an installed runtime; raises whatever says why it cannot be used."""
    if runtime not in LOADERS:
        raise ValueError(f"runtime {runtime!r} is not known; known: {', '.join(LOADERS)}")
    module, package = PACKAGES.get(runtime, (runtime, runtime))
    found = importlib.import_module(module)
    if runtime in PROVIDERS and PROVIDERS[runtime] not in found.get_available_providers():
        raise RuntimeError(f"its onnxruntime has no {PROVIDERS[runtime]}")
    if runtime == "torch-cuda" and not found.cuda.is_available():
        raise RuntimeError("its torch sees no CUDA GPU")
    version = getattr(found, "__version__", None) or metadata.version(package)
    return str(version).split("-")[0]
