"""From a torch module to operations, on meta tensors: no weights are run, no memory is taken, no GPU is asked for."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from hwnas.core.candidate import Candidate
from hwnas.core.error_text import first_line
from hwnas.core.ops import Op, OpList
from hwnas.core.space import SearchSpace
from hwnas.core.task import TaskLike, TaskShape
from hwnas.errors import BuildError

__all__ = ["operations", "trace_block", "trace_module"]

_KINDS = {
    "add": "elementwise",
    "sub": "elementwise",
    "rsub": "elementwise",
    "mul": "elementwise",
    "div": "elementwise",
    "pow": "elementwise",
    "log": "elementwise",
    "exp": "elementwise",
    "sqrt": "elementwise",
    "neg": "elementwise",
    "ne": "elementwise",
    "eq": "elementwise",
    "where": "elementwise",
    "clamp_min": "elementwise",
    "clone": "layout",
    "relu": "activation",
    "hardtanh": "activation",
    "hardswish": "activation",
    "hardsigmoid": "activation",
    "sigmoid": "activation",
    "silu": "activation",
    "gelu": "activation",
    "tanh": "activation",
    "elu": "activation",
    "leaky_relu": "activation",
    "mean": "reduce",
    "sum": "reduce",
    "amax": "reduce",
    "_adaptive_avg_pool2d": "reduce",
    "adaptive_avg_pool2d": "reduce",
    "avg_pool2d": "pool",
    "avg_pool1d": "pool",
    "max_pool2d_with_indices": "pool",
    "native_batch_norm": "norm",
    "_native_batch_norm_legit_no_training": "norm",
    "native_layer_norm": "norm",
    "native_group_norm": "norm",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "_log_softmax": "softmax",
    "embedding": "embedding",
    "upsample_bilinear2d": "resize",
    "upsample_nearest2d": "resize",
    "_upsample_bilinear2d_aa": "resize",
    "cat": "concat",
    "stack": "concat",
    "constant_pad_nd": "layout",
}
# They relabel a tensor without moving it, and no deployment runtime runs them.
_FREE = {"view", "_unsafe_view", "reshape", "detach", "alias", "t", "transpose", "permute", "unsqueeze", "squeeze"}
_FREE |= {"expand", "slice", "select", "split", "split_with_sizes", "unbind", "as_strided", "lift_fresh", "_to_copy"}
# Their result does not depend on what their argument holds.
_CONSTANT = {"zeros_like", "new_zeros", "ones_like", "new_ones", "full_like", "new_full", "zeros", "ones", "full"}
_CONSTANT |= {"arange", "empty", "empty_like", "new_empty", "scalar_tensor"}


def _flat(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _flat(item)]
    return []


def _pair(values: Sequence[int]) -> tuple[int, int]:
    sizes = [int(v) for v in values]
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[-2], sizes[-1])


def _unbatched(tensor: Tensor) -> tuple[int, ...]:
    """Shape without the batch of 1; whole where the batch was merged with another dimension."""
    shape = tuple(tensor.shape)
    return shape[1:] if shape and shape[0] == 1 else shape


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records each operation that reads activations; parameters are known by identity."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.parameters = {id(p): p.numel() for p in module.parameters()}
        self.counted: set[int] = set()  # a shared parameter counts once
        self.root = {key: key for key in self.parameters}  # a view of a parameter is that parameter
        self.weights = set(self.parameters) | {id(b) for b in module.buffers()}
        self.fixed = {id(b): b.numel() for b in module.buffers()}  # filters that are not learned, say
        self.keep: list[Any] = []  # identities are only unique among living tensors
        self.records: list[tuple[Op, list[int], list[int]]] = []
        self.constants: set[int] = set()
        self.within = 0  # modules that keep fp32, and are being run
        for part in module.modules():
            if getattr(part, "keeps_fp32", False):
                part.register_forward_pre_hook(lambda *_: self._enter(1))
                part.register_forward_hook(lambda *_: self._enter(-1))

    def _enter(self, step: int) -> None:
        self.within += step

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.keep.append((args, result))
        name = func.overloadpacket.__name__.rstrip("_") or func.overloadpacket.__name__
        if func.overloadpacket.__name__.startswith("_"):
            name = func.overloadpacket.__name__
        outputs = _flat(result)
        tensors = _flat(list(args))
        if name in _CONSTANT or not outputs:
            self.constants |= {id(t) for t in outputs}
            return result
        activations = [t for t in tensors if id(t) not in self.weights]
        if not activations:
            self._derive_weight(tensors, outputs)
            return result
        op = None if name in _FREE else self._operation(name, args, activations, tensors, outputs[0])
        op = op or Op("layout", (_unbatched(activations[0]),), _unbatched(outputs[0]), detail="view")
        if self.within:
            op = replace(op, fixed=True)
        self.records.append((op, [id(t) for t in activations], [id(t) for t in outputs]))
        return result

    def _derive_weight(self, tensors: list[Tensor], outputs: list[Tensor]) -> None:
        for out in outputs:
            self.weights.add(id(out))
            for t in tensors:
                if id(t) in self.root:
                    self.root[id(out)] = self.root[id(t)]

    def _params(self, tensors: list[Tensor]) -> int:
        roots = {self.root[id(t)] for t in tensors if id(t) in self.root} - self.counted
        self.counted |= roots
        return sum(self.parameters[root] for root in roots)

    def _operation(self, name: str, args: Any, activations: list[Tensor], tensors: list[Tensor], output: Tensor) -> Op:
        inputs, out = tuple(_unbatched(t) for t in activations), _unbatched(output)
        params = self._params(tensors)
        if name == "convolution":
            return _convolution(args, inputs, out, params + sum(self.fixed.get(id(t), 0) for t in tensors))
        if name in ("mm", "addmm", "bmm", "baddbmm", "linear", "matmul"):
            depth = int((args[1] if name in ("addmm", "baddbmm") else args[0]).shape[-1])
            kind = "linear" if any(id(t) in self.weights for t in tensors) else "matmul"
            return Op(kind, inputs, out, macs=output.numel() * depth, params=params, detail=name)
        kind = _KINDS.get(name, "other")
        kernel = stride = (1, 1)
        if kind == "pool":
            kernel = _pair(args[1])
            stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
        return Op(kind, inputs, out, kernel=kernel, stride=stride, params=params, detail=name)


def _convolution(args: Any, inputs: tuple[Any, ...], out: tuple[int, ...], params: int) -> Op:
    weight, stride, groups = args[1], args[3], int(args[8])
    kernel = _pair(weight.shape[2:])
    if groups == 1:
        kind = "pointwise" if kernel == (1, 1) else "conv"
    else:
        kind = "depthwise" if groups == inputs[0][0] else "grouped"
    macs = weight.numel() * math.prod(inputs[0][1:] if args[6] else out[1:])
    return Op(kind, inputs[:1], out, kernel, _pair(stride), groups, macs, params, detail="convolution")


def _reach(records: list[tuple[Op, list[int], list[int]]], start: set[int], forward: bool) -> list[bool]:
    """Which records touch `start`, through outputs (forward) or inputs (backward)."""
    reached, hit = set(start), [False] * len(records)
    for index in range(len(records)) if forward else reversed(range(len(records))):
        _, reads, writes = records[index]
        near, far = (reads, writes) if forward else (writes, reads)
        if reached & set(near):
            hit[index] = True
            reached |= set(far)
    return hit


def trace_block(
    module: nn.Module, input_shape: Sequence[int], *, dtype: str = "float32"
) -> tuple[tuple[Op, ...], tuple[int, ...]]:
    """Operations of `module` in eval mode at batch 1, and the shape of its output (both without the batch).

    Views are left out; an operation that the output does not depend on, or that does not depend on the input, is
    marked as not live.

    Raises:
        BuildError: the module does not run on this shape, or does not give one tensor.
    """
    on_meta = all(tensor.is_meta for tensor in (*module.parameters(), *module.buffers()))
    hooked = any(getattr(part, "keeps_fp32", False) for part in module.modules())
    meta = (module if on_meta and not hooked else copy.deepcopy(module).to("meta")).eval()
    example = torch.empty((1, *input_shape), dtype=getattr(torch, dtype), device="meta")
    recorder = _Recorder(meta)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), recorder:
            output = meta(example)
    except Exception as error:  # a network of the user's may raise anything
        reason = first_line(error)
        raise BuildError(f"the network does not run on an input of shape {tuple(input_shape)}: {reason}") from error
    if not isinstance(output, Tensor):
        raise BuildError(f"the network must give one tensor, got {type(output).__name__}")
    forward = _reach(recorder.records, {id(example)}, True)
    backward = _reach(recorder.records, {id(output)}, False)
    writer = {id(example): -1} | dict.fromkeys(recorder.constants, -2)
    ops: list[Op] = []
    for (op, reads, writes), ahead, behind in zip(recorder.records, forward, backward, strict=True):
        sources = tuple(writer.get(read, -2) for read in reads)
        if op.detail != "view":
            ops.append(replace(op, live=ahead and behind, reads=sources[: len(op.inputs)]))
        writer.update(dict.fromkeys(writes, sources[0] if op.detail == "view" else len(ops) - 1))
    return tuple(ops), tuple(output.shape[1:])


def trace_module(module: nn.Module, input_shape: Sequence[int], *, dtype: str = "float32") -> OpList:
    """Operations of any torch module at batch 1.

    Args:
        module: takes `1 x input_shape`; it is copied, and left as it was.
        input_shape: without the batch.
        dtype: of the input.
    Raises:
        BuildError: the module does not run on this shape, or does not give one tensor.
    """
    return OpList.of(trace_block(module, input_shape, dtype=dtype)[0])


def operations(space: SearchSpace, candidate: Candidate, task: TaskLike, *, multiple: int = 8) -> OpList:
    """Operations of a candidate, its precision and pruning applied, without building weights.

    Args:
        multiple: channel counts that pruning leaves are multiples of it (the device's `channel_multiple`).
    Raises:
        InvalidArchitectureError: the architecture is not in the space.
        BuildError: the space's `build` raised or gave the wrong output shape; the message names the architecture.
    """
    fast = getattr(space.for_task(task), "operations", None)
    if fast is not None:
        return cast(OpList, fast(candidate, multiple=multiple))
    return _traced(space, candidate, TaskShape.of(task)).at(candidate.compression.precision)


@lru_cache(maxsize=100_000)
def _traced(space: SearchSpace, candidate: Candidate, shape: TaskShape) -> OpList:
    with torch.device("meta"):
        module = checked_build(space, candidate, shape)
    try:
        ops, out = trace_block(module, shape.input_shape, dtype=shape.dtype)
    except BuildError as error:
        raise BuildError(f"space {space.name!r}, architecture {dict(candidate.architecture)}: {error}") from error
    if out != (shape.n_outputs,):
        raise BuildError(
            f"space {space.name!r}, architecture {dict(candidate.architecture)}: the output must have shape "
            f"(n, {shape.n_outputs}), got (n, {', '.join(map(str, out))}); end it with {shape.n_outputs} logits"
        )
    return OpList.of(ops)


def checked_build(space: SearchSpace, candidate: Candidate, task: TaskLike) -> nn.Module:
    """Call a space's `build`; whatever it raises becomes a BuildError that names the architecture.

    Raises:
        BuildError: `build` raised, or did not return a `torch.nn.Module`.
    """
    architecture = candidate.architecture
    try:
        module = space.build(architecture, task)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise BuildError(f"space {space.name!r}, architecture {dict(architecture)}: build raised {what}") from error
    if not isinstance(module, nn.Module):
        got = type(module).__name__
        raise BuildError(
            f"space {space.name!r}, architecture {dict(architecture)}: build must return nn.Module, got {got}"
        )
    return module
