from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from hwnas.errors import ModelFileError
from hwnas.onnx_ops import file
from hwnas.onnx_ops.operations import onnx_operations

Save = Callable[..., Path]
node = helper.make_node
RELU = [node("Relu", ["x"], ["y"])]


def refused(path: Path, shapes: Sequence[tuple[int, ...]] = ()) -> str:
    with pytest.raises(ModelFileError) as caught:
        onnx_operations(path, shapes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello, I am no model\n" * 20, b"\x08\x07", b"\x80" * 100, bytes(range(256)), b'{"irVersion": 7}'],
    ids=["empty", "text", "no graph", "endless number", "noise", "json"],
)
def test_what_is_no_onnx_file_is_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert "no ONNX file" in refused(path)


def test_a_truncated_file_is_refused_wherever_it_ends(save: Save, tmp_path: Path) -> None:
    whole = save([node("Conv", ["x", "w"], ["y"])], weights={"w": np.ones((4, 3, 3, 3), np.float32)}).read_bytes()
    path = tmp_path / "cut.onnx"
    for part in (10, 50, 90, 99):
        path.write_bytes(whole[: len(whole) * part // 100])
        assert "truncated or no ONNX file" in refused(path)


def test_a_missing_file_a_folder_and_a_file_that_is_too_large(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no file" in refused(tmp_path / "none.onnx")
    assert "no file" in refused(tmp_path)
    path = save(RELU)
    monkeypatch.setattr(file, "MAX_BYTES", 10)
    assert "at most 10; save its weights as external data" in refused(path)


def nested(depth: int) -> bytes:
    """A length-delimited field in itself, as deep as that: a graph in an attribute of a node of a graph ..."""
    data = b""
    for _ in range(depth):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            length, size = len(data), b""
            while length >= 128:
                size, length = size + bytes([length % 128 + 128]), length // 128
            data = tag + size + bytes([length]) + data
    length, size = len(data), b""
    while length >= 128:
        size, length = size + bytes([length % 128 + 128]), length // 128
    return b"\x3a" + size + bytes([length]) + data


def test_a_message_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.onnx"
    path.write_bytes(nested(2000))
    assert "no ONNX file" in refused(path)


def test_functions_are_written_out(save: Save) -> None:
    body = [node("Relu", ["a"], ["b"]), node("Sigmoid", ["b"], ["c"])]
    twice = helper.make_function("own", "Twice", ["a"], ["c"], body, [helper.make_opsetid("", 17)])
    nodes = [node("Twice", ["x"], ["t"], domain="own"), node("Twice", ["t"], ["y"], domain="own")]
    found = onnx_operations(save(nodes, functions=[twice], opsets=[helper.make_opsetid("own", 1)]))
    assert [op.detail for op in found.operations] == ["relu", "sigmoid"] * 2


def functions(*calls: tuple[str, list[str]]) -> list[Any]:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    made = []
    for name, called in calls:
        names = ["a", *(f"t{at}" for at in range(len(called)))]
        body = [
            node(other, [names[at]], [names[at + 1]], domain="" if other == "Relu" else "own")
            for at, other in enumerate(called)
        ]
        made.append(helper.make_function("own", name, ["a"], [names[-1]], body, imports))
    return made


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ([("F0", ["F0"])], "calls itself"),
        ([("F0", ["F1"]), ("F1", ["F0"])], "calls itself"),
        ([*((f"F{n}", [f"F{n + 1}"] * 10) for n in range(20)), ("F20", ["Relu"])], "operations when written out"),
    ],
    ids=["itself", "each other", "a bomb"],
)
def test_functions_without_end_are_refused(save: Save, calls: list[tuple[str, list[str]]], said: str) -> None:
    opsets = [helper.make_opsetid("own", 1)]
    path = save([node("F0", ["x"], ["y"], domain="own")], functions=functions(*calls), opsets=opsets)
    assert said in refused(path)


def external(name: str, shape: Sequence[int], location: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", str(4 * int(np.prod(shape))))):
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.mark.parametrize("location", ["weights.bin", "/etc/passwd", "../../secret", "/dev/zero"])
def test_external_weights_are_counted_and_never_looked_for(save: Save, location: str) -> None:
    # Forty gigabytes that do not exist.
    held = {"w": external("w", (100_000, 100_000), location), "b": external("b", (100_000,), location)}
    (op,) = onnx_operations(save([node("Gemm", ["x", "w", "b"], ["y"])], ("n", 100_000), held)).operations
    assert (op.kind, op.params, op.macs) == ("linear", 10**10 + 10**5, 10**10)


def test_a_shape_in_external_data_is_not_known(save: Save) -> None:
    target = external("target", (2,), "weights.bin")
    target.data_type = TensorProto.INT64
    nodes = [node("Reshape", ["x", "target"], ["flat"], name="flatten"), node("Relu", ["flat"], ["y"])]
    assert "node 'flatten' (Reshape)" in refused(save(nodes, weights={"target": target}))
    known = helper.make_tensor_value_info("flat", TensorProto.FLOAT, (1, 192))
    (op,) = onnx_operations(save(nodes, weights={"target": target}, value_info=[known])).operations
    assert op.output == (192,)


@pytest.mark.parametrize(
    ("shape", "given", "found"),
    [
        ((1, 3, 8, 8), (), (3, 8, 8)),
        (("batch", 3, 8, 8), (), (3, 8, 8)),
        ((None, 3, 8, 8), (), (3, 8, 8)),
        (("n", 3, "h", "w"), ((3, 16, 20),), (3, 16, 20)),
        ((1, 3, None, None), ((3, 16, 20),), (3, 16, 20)),
        (("n", 3, 8, 8), ((3, 8, 8),), (3, 8, 8)),
        (None, ((5, 6),), (5, 6)),
        ((4,), (), ()),
    ],
)
def test_an_input_at_batch_1(
    save: Save, shape: Sequence[Any] | None, given: tuple[tuple[int, ...], ...], found: tuple[int, ...]
) -> None:
    assert onnx_operations(save(RELU, shape), given).inputs == (("x", found),)


@pytest.mark.parametrize(
    ("shape", "given", "words"),
    [
        ((8, 3, 8, 8), (), ["'x'", "fixed batch of 8", "batch 1 or a dynamic batch"]),
        (("n", 3, "h", "w"), (), ["dimension 2 (h)", "'x'", "--input-shape 3,224,224"]),
        ((1, 3, 8, None), (), ["dimension 3 (?)", "--input-shape 3,8,224"]),
        (None, (), ["shape of input 'x' is not known", "--input-shape"]),
        (("n", 3, 8, 8), ((3, 9, 8),), ["is (n, 3, 8, 8), got (3, 9, 8)"]),
        (("n", 3, 8, 8), ((3, 8),), ["got (3, 8)"]),
        (("n", 3, "s", "s"), ((3, 8, 9),), ["got (3, 8, 9)"]),
        (("n", 3, "h", "w"), ((3, 0, 9),), ["1 or more"]),
        (("n", 3, 8, 8), ((3, 8, 8), (3, 8, 8)), ["has 1 input(s), got 2"]),
    ],
)
def test_an_input_that_is_not_fixed_is_named(
    save: Save, shape: Sequence[Any] | None, given: tuple[tuple[int, ...], ...], words: list[str]
) -> None:
    said = refused(save(RELU, shape), given)
    assert [word for word in words if word not in said] == []


def test_dimensions_of_one_name_are_one_size(save: Save) -> None:
    inputs = [helper.make_tensor_value_info(name, 1, ("n", "length", 4)) for name in ("x", "mask")]
    path = save([node("Add", ["x", "mask"], ["y"])], inputs=inputs)
    assert onnx_operations(path, [(7, 4)]).inputs == (("x", (7, 4)), ("mask", (7, 4)))
    other = [inputs[0], helper.make_tensor_value_info("mask", 1, ("n", "width", 4))]
    path = save([node("Mul", ["x", "x"], ["y"])], inputs=other)
    assert "once for each input" in refused(path, [(7, 4)])
    assert onnx_operations(path, [(7, 4), (9, 4)]).inputs[1] == ("mask", (9, 4))


def test_an_input_with_a_weight_is_a_weight(save: Save) -> None:
    inputs = [helper.make_tensor_value_info(name, 1, (1, 4)) for name in ("x", "w")]
    found = onnx_operations(save([node("Add", ["x", "w"], ["y"])], inputs=inputs, weights={"w": np.ones((1, 4), "f")}))
    assert found.inputs == (("x", (4,)),)
    assert found.operations.params == 4


def test_an_input_that_is_no_tensor_is_named(save: Save) -> None:
    inputs = [helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)]
    assert "input 'x' is sequence_type" in refused(save(RELU, inputs=inputs))


def test_a_newer_opset_is_read_and_said(save: Save) -> None:
    found = onnx_operations(save(RELU, opset=4000))
    assert [op.detail for op in found.operations] == ["relu"]
    assert "opset 4000 is newer" in found.notes[0]
