"""Reading an ONNX file that somebody else wrote: its graph, never its weights, and no other file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import ModelFileError

__all__ = ["Inputs", "bind_inputs", "clean", "read_model"]

MAX_BYTES = 2**31 - 1  # protobuf holds no larger message
MAX_NODES = 1_000_000  # with the file's own functions written out
KEPT_ELEMENTS = 4096  # a larger initializer is a weight, not a shape
_DATA = ("raw_data", "float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_SHOWN = 100


def clean(name: str) -> str:
    """A name from a file, safe to print: one line, no control characters, not too long."""
    shown = "".join(c if c.isprintable() else "?" for c in name[: _SHOWN + 1])
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."


def read_model(path: Path) -> Any:
    """Parse a file into an `onnx.ModelProto` whose large or external weights are only names, types and dimensions.

    Functions of the file's own are written out.

    Raises:
        ModelFileError: the file is missing, too large, truncated or no ONNX file.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise ModelFileError(f"no file {path}; give the path of an ONNX file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ModelFileError(
            f"{path} has {size} bytes, an ONNX file holds at most {MAX_BYTES}; save its weights as external data, "
            "which a prediction does not read"
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        reason = clean(str(error).strip()) or "it cannot be decoded"
        raise ModelFileError(f"{path} is truncated or no ONNX file ({reason}); export it again") from error
    if not model.HasField("graph") or not model.opset_import:
        raise ModelFileError(f"{path} is truncated or no ONNX file (it has no graph or no opset); export it again")
    for tensor in model.graph.initializer:
        _forget_weights(tensor)
    if model.functions:
        from onnx.inliner import inline_local_functions

        _check_functions(path, model)
        model = inline_local_functions(model)
    if not model.graph.node:
        raise ModelFileError(f"{path} holds no operations; export the network again")
    return model


def _forget_weights(tensor: Any) -> None:
    """Keep values that may be shapes; external data are never looked for."""
    if len(tensor.external_data) or tensor.data_location or math.prod(tensor.dims) > KEPT_ELEMENTS:
        for field in (*_DATA, "external_data", "data_location"):
            tensor.ClearField(field)


def _called(nodes: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Every (domain, operator) in nodes and in the graphs that they hold."""
    for node in nodes:
        yield node.domain, node.op_type
        for attribute in node.attribute:
            graphs = [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs
            for graph in graphs:
                yield from _called(graph.node)


def _check_functions(path: Path, model: Any) -> None:
    """Refuse functions that call themselves, or that grow without bound when they are written out."""
    bodies = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    open_calls: set[tuple[str, str]] = set()

    def size(nodes: Sequence[Any]) -> int:
        total = 0
        for called in _called(nodes):
            if called not in bodies:
                total += 1
                continue
            if called in open_calls:
                raise ModelFileError(f"{path}: function {clean(called[1])!r} calls itself; export the network again")
            if called not in sizes:
                open_calls.add(called)
                sizes[called] = size(bodies[called].node)
                open_calls.remove(called)
            total += sizes[called]
        return total

    try:
        nodes = size(model.graph.node)
    except RecursionError as error:
        raise ModelFileError(f"{path}: its functions are nested too deeply; export the network again") from error
    if nodes > MAX_NODES:
        raise ModelFileError(f"{path} has {nodes} operations when written out, at most {MAX_NODES} are read")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the inputs of a graph are at batch 1.

    Attributes:
        shapes: name -> shape with the batch, in the file's order.
        symbols: name of a dimension -> its size.
        dynamic_batch: whether the file leaves the batch open.
    """

    shapes: Mapping[str, tuple[int, ...]]
    symbols: Mapping[str, int]
    dynamic_batch: bool


def bind_inputs(path: Path, graph: Any, given: Sequence[tuple[int, ...]]) -> Inputs:
    """Fix every input's shape at batch 1, in the graph too.

    Args:
        given: shapes without the batch of the first inputs; needed where the file leaves more than the batch open.
    Raises:
        ModelFileError: a dimension stays open, the batch is fixed above 1, or `given` contradicts the file.
    """
    weights = {tensor.name for tensor in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if not inputs:
        raise ModelFileError(f"{path} has no input; export the network again, with its input")
    if len(given) > len(inputs):
        raise ModelFileError(f"{path} has {len(inputs)} input(s), got {len(given)} input shapes; give one for each")
    dims = [_dims(path, value) for value in inputs]
    symbols: dict[str, int] = {}
    for value, shape in zip(inputs, dims, strict=True):
        if shape and shape[0] != 1:
            if isinstance(shape[0], int) and len(shape) > 1:
                raise ModelFileError(
                    f"{path}: input {clean(value.name)!r} has a fixed batch of {shape[0]} ({_written(shape)}); latency "
                    "is predicted at batch 1: export the network again with batch 1 or a dynamic batch"
                )
            if isinstance(shape[0], str):
                symbols[shape[0]] = 1
    for value, shape, wanted in zip(inputs, dims, given, strict=False):
        _unify(path, value.name, shape, wanted, symbols)
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (value, shape) in enumerate(zip(inputs, dims, strict=True)):
        full = (1, *given[number]) if number < len(given) else _closed(path, value.name, number, shape, symbols)
        shapes[value.name] = full
        value.type.tensor_type.ClearField("shape")
        value.type.tensor_type.shape.SetInParent()
        for size in full:
            value.type.tensor_type.shape.dim.add(dim_value=size)
    symbols.pop("?", None)
    return Inputs(shapes, symbols, any(isinstance((shape or [1])[0], str) for shape in dims))


def _dims(path: Path, value: Any) -> list[int | str] | None:
    """Sizes and names of an input's dimensions ("?": without name); None: not even their number is known."""
    if not value.type.HasField("tensor_type"):
        kind = value.type.WhichOneof("value") or "nothing"
        raise ModelFileError(f"{path}: input {clean(value.name)!r} is {kind}; only tensors are read")
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param or "?" for d in tensor.shape.dim
    ]


def _written(shape: Sequence[int | str]) -> str:
    return ", ".join(clean(str(size)) for size in shape)


def _unify(
    path: Path, name: str, shape: list[int | str] | None, wanted: tuple[int, ...], symbols: dict[str, int]
) -> None:
    """Check a given shape against the file's, and learn the sizes of named dimensions."""
    if any(size < 1 for size in wanted):
        raise ModelFileError(f"input shape ({_written(wanted)}): every dimension must be 1 or more")
    if shape is None:
        return
    fits = len(shape) == len(wanted) + 1
    for own, size in zip(shape[1:], wanted, strict=False):
        fits = fits and (own == size if isinstance(own, int) else own == "?" or symbols.setdefault(own, size) == size)
    if not fits:
        raise ModelFileError(
            f"{path}: input {clean(name)!r} is ({_written(shape)}), got ({_written(wanted)}) without the batch; "
            "give sizes for its open dimensions only"
        )


def _closed(
    path: Path, name: str, number: int, shape: list[int | str] | None, symbols: Mapping[str, int]
) -> tuple[int, ...]:
    """An input's shape at batch 1, from the file alone."""
    order = "" if number == 0 else " (give --input-shape once for each input, in their order)"
    if shape is None:
        raise ModelFileError(
            f"{path}: the shape of input {clean(name)!r} is not known; give it without the batch, "
            f"such as --input-shape 3,224,224{order}"
        )
    for at, size in enumerate(shape):
        if at and isinstance(size, str) and (size == "?" or size not in symbols):
            example = ",".join(str(s if isinstance(s, int) else symbols.get(s, 224)) for s in shape[1:])
            raise ModelFileError(
                f"{path}: dimension {at} ({clean(size)}) of input {clean(name)!r} is not fixed: ({_written(shape)}); "
                f"give the shape without the batch, such as --input-shape {example}{order}"
            )
    if not shape:
        return ()
    first = shape[0] if isinstance(shape[0], int) else 1
    return first, *(size if isinstance(size, int) else symbols[size] for size in shape[1:])
