from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from hwnas.onnx_ops.constants import MAX_ELEMENTS, evaluate


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


GRID = np.arange(12, dtype=np.int64).reshape(3, 4)
CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Add", [ints(1, 2), ints(3)], {}),
    ("Sub", [ints(1, 2), ints(3)], {}),
    ("Mul", [GRID, ints(2)], {}),
    ("Div", [ints(7, -7, 6), ints(2)], {}),
    ("Div", [np.float32([7, 1]), np.float32(2)], {}),
    ("Mod", [ints(7, 8), ints(3)], {}),
    ("Equal", [ints(1, 2), ints(1, 3)], {}),
    ("Less", [ints(1, 2), ints(1, 3)], {}),
    ("Where", [np.array([True, False]), ints(1, 2), ints(3, 4)], {}),
    ("Neg", [ints(1, -2)], {}),
    ("Floor", [np.float32([1.5, -1.5])], {}),
    ("Ceil", [np.float32([1.5, -1.5])], {}),
    ("Gather", [GRID, ints(0, -1)], {"axis": 1}),
    ("Gather", [ints(5, 6, 7), np.array(1)], {}),
    ("Concat", [ints(1), ints(2, 3)], {"axis": 0}),
    ("Unsqueeze", [ints(1, 2), ints(0)], {}),
    ("Squeeze", [ints(1, 2)[None], ints(0)], {}),
    ("Squeeze", [ints(1, 2)[None]], {}),
    ("Slice", [GRID, ints(1), ints(3), ints(1)], {}),
    ("Slice", [GRID, ints(-1), ints(-100), ints(0), ints(-1)], {}),
    ("Slice", [ints(1, 2, 3, 4), ints(0), ints(2**62)], {}),
    ("Reshape", [GRID, ints(2, -1)], {}),
    ("Reshape", [GRID, ints(0, 2, 2)], {}),
    ("Transpose", [GRID], {"perm": [1, 0]}),
    ("Expand", [ints(1, 2), ints(3, 2)], {}),
    ("Range", [np.int64(1), np.int64(8), np.int64(3)], {}),
    ("ConstantOfShape", [ints(2, 3)], {"value": numpy_helper.from_array(ints(7))}),
    ("ConstantOfShape", [ints(2)], {}),
    ("ReduceProd", [GRID[:, 1:]], {"axes": [1], "keepdims": 0}),
    ("Cast", [np.float32([1.7, -1.7])], {"to": TensorProto.INT64}),
    ("Min", [ints(1, 5), ints(3)], {}),
    ("Max", [ints(1, 5), ints(3)], {}),
]


@pytest.mark.parametrize(("operator", "values", "attributes"), CASES, ids=lambda value: str(value)[:12])
def test_as_the_reference_of_onnx(operator: str, values: list[Any], attributes: dict[str, Any]) -> None:
    names = [f"i{at}" for at in range(len(values))]
    made = helper.make_node(operator, names, ["o"], **attributes)
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in zip(names, values, strict=True)
    ]
    graph = helper.make_graph([made], "g", infos, [onnx.ValueInfoProto(name="o")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    wanted = ReferenceEvaluator(model).run(None, dict(zip(names, values, strict=True)))[0]
    found = evaluate(operator, values, attributes)
    assert found is not None
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


WIDE = np.zeros((1, MAX_ELEMENTS), np.int64)


@pytest.mark.parametrize(
    ("operator", "values", "attributes"),
    [
        ("Unheard", [GRID], {}),
        ("ConstantOfShape", [ints(2**40, 2**40)], {}),
        ("Expand", [ints(1), ints(2**40)], {}),
        ("Range", [np.int64(0), np.int64(2**60), np.int64(1)], {}),
        ("Range", [np.int64(0), np.int64(9), np.int64(0)], {}),
        ("Gather", [WIDE, np.zeros(MAX_ELEMENTS, np.int64)], {}),
        ("Gather", [GRID, ints(99)], {}),
        ("Add", [WIDE, WIDE.T], {}),
        ("Where", [WIDE.astype(bool), WIDE.T, ints(0)], {}),
        ("Reshape", [GRID, ints(7)], {}),
        ("Reshape", [GRID], {}),
        ("Concat", [GRID, ints(1)], {"axis": 0}),
        ("Concat", [GRID], {}),
        ("Squeeze", [GRID, ints(0)], {}),
        ("Div", [ints(1)], {}),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_is_wrong_or_too_large_is_not_known(operator: str, values: list[Any], attributes: dict[str, Any]) -> None:
    assert evaluate(operator, values, attributes) is None
