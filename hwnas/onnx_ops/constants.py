"""The few operators that shapes are computed with, on values that are known before the network runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_ELEMENTS", "evaluate"]

Array = NDArray[Any]
Attributes = Mapping[str, Any]

MAX_ELEMENTS = 65_536  # of a value that is kept; a larger one is data, not a shape


def evaluate(operator: str, values: Sequence[Array | None], attributes: Attributes) -> Array | None:
    """What an operator of the default domain gives on known values (None: an input that is left out).

    None if the operator is not one of the few, or its result is too large or an error.
    """
    function = _FUNCTIONS.get(operator)
    if function is None:
        return None
    try:
        with np.errstate(all="ignore"):
            found = function(values, attributes)
    except (ValueError, IndexError, TypeError, KeyError, ArithmeticError, AttributeError):
        return None
    return None if found is None or found.size > MAX_ELEMENTS else found


def _binary(function: Callable[[Array, Array], Any]) -> Callable[[Sequence[Any], Attributes], Array | None]:
    def run(values: Sequence[Any], attributes: Attributes) -> Array | None:
        left, right = values
        if left.size * right.size > MAX_ELEMENTS:
            return None
        return np.asarray(function(left, right))

    return run


def _divide(left: Array, right: Array) -> Array:
    if left.dtype.kind not in "iu":
        return np.asarray(left / right)
    return np.asarray(np.sign(left) * np.sign(right) * (np.abs(left) // np.abs(right))).astype(left.dtype)


def _axes(values: Sequence[Any], attributes: Attributes) -> tuple[int, ...] | None:
    """Axes as an attribute (older opsets) or as the second input."""
    if len(values) > 1 and values[1] is not None:
        return tuple(int(axis) for axis in np.ravel(values[1]))
    return tuple(attributes["axes"]) if "axes" in attributes else None


def _gather(values: Sequence[Any], attributes: Attributes) -> Array | None:
    data, index, axis = values[0], values[1], int(attributes.get("axis", 0))
    if data.size // max(1, data.shape[axis]) * index.size > MAX_ELEMENTS:
        return None
    return np.asarray(np.take(data, index, axis=axis))


def _where(values: Sequence[Any], attributes: Attributes) -> Array | None:
    if math.prod(np.broadcast_shapes(*(value.shape for value in values))) > MAX_ELEMENTS:
        return None
    return np.asarray(np.where(*values))


def _unsqueeze(values: Sequence[Any], attributes: Attributes) -> Array:
    axes = _axes(values, attributes)
    return np.asarray(np.expand_dims(values[0], axes or ()))


def _squeeze(values: Sequence[Any], attributes: Attributes) -> Array:
    return np.asarray(np.squeeze(values[0], axis=_axes(values, attributes)))


def _slice(values: Sequence[Any], attributes: Attributes) -> Array:
    data = values[0]
    if len(values) > 1:
        starts, ends, *rest = (None if v is None else [int(n) for n in np.ravel(v)] for v in values[1:])
        axes = (rest[0] if rest else None) or range(len(starts or ()))
        steps = (rest[1] if len(rest) > 1 else None) or [1] * len(starts or ())
    else:
        starts, ends = list(attributes["starts"]), list(attributes["ends"])
        axes, steps = attributes.get("axes", range(len(starts))), [1] * len(starts)
    index = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts or (), ends or (), steps, strict=True):
        # Counted from the end, a slice may run past the first element only by ending before -size.
        stop = None if step < 0 and end < -data.shape[axis] else end
        index[axis] = slice(start, stop, step)
    return np.asarray(data[tuple(index)])


def _reshape(values: Sequence[Any], attributes: Attributes) -> Array:
    data, shape = values[0], [int(n) for n in np.ravel(values[1])]
    if not attributes.get("allowzero", 0):
        shape = [data.shape[at] if size == 0 else size for at, size in enumerate(shape)]
    return np.asarray(np.reshape(data, shape))


def _fill(values: Sequence[Any], attributes: Attributes) -> Array | None:
    from onnx import numpy_helper

    shape = [int(n) for n in np.ravel(values[0])]
    if math.prod(shape) > MAX_ELEMENTS:
        return None
    value = numpy_helper.to_array(attributes["value"]).ravel()[0] if "value" in attributes else np.float32(0)
    return np.full(shape, value)


def _expand(values: Sequence[Any], attributes: Attributes) -> Array | None:
    shape = np.broadcast_shapes(values[0].shape, tuple(int(n) for n in np.ravel(values[1])))
    return None if math.prod(shape) > MAX_ELEMENTS else np.asarray(np.broadcast_to(values[0], shape))


def _range(values: Sequence[Any], attributes: Attributes) -> Array | None:
    start, limit, delta = (np.ravel(value)[0] for value in values)
    if delta == 0 or (limit - start) / delta > MAX_ELEMENTS:
        return None
    return np.arange(start, limit, delta).astype(values[0].dtype)


def _cast(values: Sequence[Any], attributes: Attributes) -> Array:
    from onnx import helper

    return np.asarray(values[0].astype(helper.tensor_dtype_to_np_dtype(int(attributes["to"]))))


def _product(values: Sequence[Any], attributes: Attributes) -> Array:
    keep = bool(attributes.get("keepdims", 1))
    return np.asarray(np.prod(values[0], axis=_axes(values, attributes), keepdims=keep)).astype(values[0].dtype)


_FUNCTIONS: dict[str, Callable[[Sequence[Any], Attributes], Array | None]] = {
    "Add": _binary(np.add),
    "And": _binary(np.logical_and),
    "Cast": _cast,
    "Ceil": lambda values, attributes: np.ceil(values[0]),
    "Concat": lambda values, attributes: np.concatenate(values, axis=int(attributes["axis"])),
    "ConstantOfShape": _fill,
    "Div": _binary(_divide),
    "Equal": _binary(np.equal),
    "Expand": _expand,
    "Floor": lambda values, attributes: np.floor(values[0]),
    "Gather": _gather,
    "Greater": _binary(np.greater),
    "Identity": lambda values, attributes: values[0],
    "Less": _binary(np.less),
    "Max": _binary(np.maximum),
    "Min": _binary(np.minimum),
    "Mod": _binary(np.mod),
    "Mul": _binary(np.multiply),
    "Neg": lambda values, attributes: -values[0],
    "Not": lambda values, attributes: ~values[0],
    "Range": _range,
    "ReduceProd": _product,
    "Reshape": _reshape,
    "Slice": _slice,
    "Sqrt": lambda values, attributes: np.sqrt(values[0]),
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Transpose": lambda values, attributes: np.transpose(values[0], attributes.get("perm")),
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
