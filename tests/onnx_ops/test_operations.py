from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hwnas.search_spaces.nasbench201 import SPACE as NASBENCH201
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.candidate import Candidate
from hwnas.core.ops import Op
from hwnas.core.runtime import ExportSpec
from hwnas.core.task import TaskShape
from hwnas.elastic.inverted_residual import InvertedResidualSpec
from hwnas.elastic.space import build_candidate
from hwnas.errors import ModelFileError
from hwnas.onnx_ops.operations import OnnxNetwork, onnx_operations
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.trace import trace_module

Save = Callable[..., Path]
node = helper.make_node


def weights(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


TWO = weights(2)


class Attention(nn.Module):
    """An encoder block, written out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm_1, self.norm_2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        parts = self.qkv(self.norm_1(x)).reshape(n, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1) * 0.5).softmax(-1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        return x + self.mlp(self.norm_2(x))


class Mixed(nn.Module):
    """What mobile networks are made of, gates and odd layers included."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
        self.up = nn.ConvTranspose2d(8, 6, 2, 2)
        self.norm, self.grouped = nn.GroupNorm(2, 6), nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.narrow = nn.Conv1d(6, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.norm(self.up(self.stem(x))).chunk(2, 1)
        y = self.grouped(torch.cat([a * torch.sigmoid(b), F.leaky_relu(a)], 1))
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)  # a channel shuffle
        y = F.avg_pool2d(F.hardswish(y), 3, 1, 1) + F.interpolate(y, size=(h, w), mode="bilinear")
        return F.softmax(self.narrow(F.pad(y, (1, 1)).sum(3)).mean(2), 1)


def randomised(module: nn.Module) -> nn.Module:
    """Equal weights, as fresh norms have them, are written once by the exporter."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return module.eval()


def cell(*operations: str) -> nn.Module:
    task = TaskShape((3, 32, 32), 10)
    labels = ("e01", "e02", "e03", "e12", "e13", "e23")
    architecture = NASBENCH201.for_task(task).architecture(dict(zip(labels, operations, strict=True)))
    return build_candidate(NASBENCH201, Candidate(architecture), task)


def mobile_block() -> nn.Module:
    spec = InvertedResidualSpec(8, 24, 8, 5, 1, 8, "hardswish", True)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), spec.build(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 8, 1), nn.Hardsigmoid(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128, 10)),
        ),
        (3, 16, 16),
    ),
    "mobile": (mobile_block, (3, 16, 16)),
    "nasbench201": (
        lambda: cell("nor_conv_1x1", "avg_pool_3x3", "skip_connect", "nor_conv_3x3", "skip_connect", "avg_pool_3x3"),
        (3, 32, 32),
    ),
    "attention": (lambda: Attention(16, 4), (10, 16)),
    "mixed": (Mixed, (3, 12, 12)),
}


def export(module: nn.Module, shape: Sequence[int], path: Path, *, opset: int = 17) -> Path:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(1, *shape),),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
        )
    return path


def but_name(op: Op) -> tuple[Any, ...]:
    """Everything but the detail, in which torch has several names for one thing."""
    return (
        *(op.kind, op.inputs, op.output, op.kernel, op.stride, op.groups, op.macs, op.params),
        *(op.precision, op.live, op.reads),
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_has_the_operations_of_the_torch_module(name: str, tmp_path: Path) -> None:
    build, shape = NETWORKS[name]
    module = randomised(build())
    found = onnx_operations(export(module, shape, tmp_path / "m.onnx"))
    traced = trace_module(module, shape)
    assert [but_name(op) for op in found.operations] == [but_name(op) for op in traced]
    assert found.inputs == (("x", shape),)
    assert (found.precision, found.notes) == ("fp32", ())
    fused = {"relu", "hardtanh", "clamp"}  # what features look at
    assert [op.detail in fused for op in found.operations] == [op.detail in fused for op in traced]


@pytest.mark.parametrize("opset", [11, 13])
def test_older_opsets_take_more_apart_and_are_put_together(opset: int, tmp_path: Path) -> None:
    module = randomised(nn.Sequential(nn.Linear(8, 8), nn.Hardswish(), nn.LayerNorm(8), nn.GELU(), nn.SiLU()))
    found = onnx_operations(export(module, (5, 8), tmp_path / "m.onnx", opset=opset))
    traced = trace_module(module, (5, 8))
    assert [but_name(op) for op in found.operations] == [but_name(op) for op in traced]


def test_an_int8_file_of_hwnas_is_the_network_in_int8(tmp_path: Path) -> None:
    module, shape = randomised(mobile_block()), (3, 16, 16)
    samples = np.random.default_rng(0).standard_normal((4, *shape)).astype(np.float32)
    spec = ExportSpec(input_shape=shape, precision="int8", calibration=samples)
    OnnxRuntime().export(module, spec, tmp_path / "m.onnx")
    found = onnx_operations(tmp_path / "m.onnx")
    assert found.precision == "int8"
    wanted = [but_name(op) for op in trace_module(module, shape).at("int8")]
    assert [but_name(op) for op in found.operations] == wanted


def test_an_fp16_file_of_hwnas_is_the_network_in_fp16(tmp_path: Path) -> None:
    module, shape = randomised(mobile_block()), (3, 16, 16)
    OnnxRuntime().export(module, ExportSpec(input_shape=shape, precision="fp16"), tmp_path / "m.onnx")
    found = onnx_operations(tmp_path / "m.onnx")
    assert found.precision == "fp16"
    assert [but_name(op) for op in found.operations] == [but_name(op) for op in trace_module(module, shape).at("fp16")]


def one(save: Save, nodes: Sequence[Any], *args: Any, **kwargs: Any) -> OnnxNetwork:
    return onnx_operations(save(nodes, *args, **kwargs))


@pytest.mark.parametrize(
    ("made", "shape", "held", "expected"),
    [
        (node("Conv", ["x", "w"], ["y"]), (1, 3, 8, 8), {"w": weights(4, 3, 3, 3)}, ("conv", 3888, 108)),
        (
            node("Conv", ["x", "w", "b"], ["y"]),
            (1, 3, 4, 4),
            {"w": weights(2, 3, 1, 1), "b": TWO},
            ("pointwise", 96, 8),
        ),
        (node("Conv", ["x", "w"], ["y"], group=3), (1, 3, 8, 8), {"w": weights(3, 1, 3, 3)}, ("depthwise", 972, 27)),
        (node("Conv", ["x", "w"], ["y"], group=2), (1, 4, 8, 8), {"w": weights(2, 2, 3, 3)}, ("grouped", 1296, 36)),
        (node("Conv", ["x", "w"], ["y"]), (1, 3, 8), {"w": weights(4, 3, 3)}, ("conv", 216, 36)),
        (node("ConvTranspose", ["x", "w"], ["y"]), (1, 3, 8, 8), {"w": weights(3, 2, 2, 2)}, ("conv", 1536, 24)),
        (node("Gemm", ["x", "w", "b"], ["y"], transB=1), (1, 5), {"w": weights(2, 5), "b": TWO}, ("linear", 10, 12)),
        (node("MatMul", ["x", "w"], ["y"]), (1, 4, 5), {"w": weights(5, 2)}, ("linear", 40, 10)),
        (node("MatMul", ["x", "x"], ["y"]), (1, 5, 5), {}, ("matmul", 125, 0)),
        (node("BatchNormalization", ["x", *"abcd"], ["y"]), (1, 2, 3), dict.fromkeys("abcd", TWO), ("norm", 0, 4)),
        (node("LayerNormalization", ["x", "s", "b"], ["y"]), (1, 3, 2), {"s": TWO, "b": TWO}, ("norm", 0, 4)),
        (node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2]), (1, 3, 8, 8), {}, ("pool", 0, 0)),
        (node("GlobalAveragePool", ["x"], ["y"]), (1, 3, 8, 8), {}, ("reduce", 0, 0)),
        (node("ReduceMean", ["x"], ["y"], axes=[2, 3]), (1, 3, 8, 8), {}, ("reduce", 0, 0)),
        (node("Softmax", ["x"], ["y"]), (1, 8), {}, ("softmax", 0, 0)),
        (node("Concat", ["x", "x"], ["y"], axis=1), (1, 8), {}, ("concat", 0, 0)),
        (node("Resize", ["x", "", "s"], ["y"]), (1, 3, 4, 4), {"s": weights(4)}, ("resize", 0, 0)),
        (node("Add", ["x", "w"], ["y"]), (1, 3, 4), {"w": weights(3, 4)}, ("elementwise", 0, 12)),
        (node("Mul", ["x", "w"], ["y"]), (1, 3, 4), {"w": np.float32(3)}, ("elementwise", 0, 0)),
        (node("PRelu", ["x", "w"], ["y"]), (1, 3, 4), {"w": weights(3, 1)}, ("activation", 0, 3)),
        (node("Gelu", ["x"], ["y"], domain="com.microsoft"), (1, 8), {}, ("activation", 0, 0)),
        (node("CumSum", ["x", "a"], ["y"]), (1, 8), {"a": np.int64(1)}, ("other", 0, 0)),
        (node("Einsum", ["x"], ["y"], equation="nij->nji"), (1, 2, 3), {}, ("other", 0, 0)),
    ],
    ids=lambda value: value.op_type if hasattr(value, "op_type") else "",
)  # fmt: skip
def test_one_node(save: Save, made: Any, shape: Sequence[int], held: Any, expected: tuple[str, int, int]) -> None:
    found = one(save, [made], shape, held, opsets=[helper.make_opsetid("com.microsoft", 1)])
    (op,) = found.operations
    assert (op.kind, op.macs, op.params) == expected
    assert found.operators == (made.op_type,)
    assert op.live
    assert set(op.reads) == {-1}


@pytest.mark.parametrize(
    ("made", "detail"),
    [
        (node("Relu", ["x"], ["y"]), "relu"),
        (node("Clip", ["x", "0", "6"], ["y"]), "hardtanh"),
        (node("Clip", ["x", "0"], ["y"]), "clamp"),
        (node("HardSwish", ["x"], ["y"]), "hardswish"),
        (node("HardSigmoid", ["x"], ["y"]), "hardsigmoid"),
        (node("Erf", ["x"], ["y"]), "erf"),
    ],
    ids=str,
)
def test_activations_have_the_names_of_torch(save: Save, made: Any, detail: str) -> None:
    found = one(save, [made], weights={"0": np.float32(0), "6": np.float32(6)})
    assert [(op.kind, op.detail) for op in found.operations] == [("activation", detail)]


def test_what_only_handles_shapes_is_no_operation(save: Save) -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Unsqueeze", ["n", "axes"], ["n1"]),
        node("Concat", ["n1", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["flat"]),
        node("Transpose", ["w"], ["wt"]),
        node("MatMul", ["flat", "wt"], ["y"]),
    ]
    held = {"zero": np.int64(0), "axes": np.array([0]), "rest": np.array([-1]), "w": weights(5, 192)}
    (op,) = one(save, nodes, weights=held).operations
    assert (op.kind, op.inputs, op.output, op.params) == ("linear", ((192,),), (5,), 960)


def test_an_embedding_and_a_selection(save: Save) -> None:
    nodes = [
        node("Gather", ["table", "x"], ["words"]),
        node("Gather", ["words", "first"], ["y"], axis=1),
    ]
    held = {"table": weights(100, 8), "first": np.int64(0)}
    (op,) = one(save, nodes, ("n", 6), held, kind=TensorProto.INT64).operations
    assert (op.kind, op.inputs, op.output, op.params) == ("embedding", ((6,),), (6, 8), 800)


def test_reads_and_dead_operations(save: Save) -> None:
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Sigmoid", ["a"], ["unread"]),
        node("Shape", ["x"], ["s"]),
        node("ConstantOfShape", ["s"], ["zeros"]),
        node("Conv", ["zeros", "w"], ["blind"]),
        node("Add", ["a", "blind"], ["b"]),
        node("Split", ["b"], ["left", "right"], axis=1),
        node("Mul", ["left", "x2"], ["y"]),
        node("Tanh", ["right"], ["z"]),
    ]
    inputs = [helper.make_tensor_value_info(name, 1, ("n", c, 8, 8)) for name, c in (("x", 4), ("x2", 2))]
    held = {"w": weights(4, 4, 1, 1)}
    found = one(save, nodes, weights=held, inputs=inputs, outputs=("y", "z"))
    assert [(op.detail, op.reads, op.live) for op in found.operations] == [
        ("relu", (-1,), True),
        ("sigmoid", (0,), False),
        ("convolution", (-2,), False),
        ("add", (0, 2), True),
        ("mul", (3, -1), True),
        ("tanh", (3,), True),
    ]
    assert found.inputs == (("x", (4, 8, 8)), ("x2", (2, 8, 8)))


def test_a_shared_weight_counts_once(save: Save) -> None:
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("MatMul", ["a", "w"], ["y"])]
    found = one(save, nodes, ("n", 3, 4), {"w": weights(4, 4)})
    assert [op.params for op in found.operations] == [16, 0]


def quantized(name: str, *, kind: str = "QuantizeLinear") -> Any:
    source, target = (name, f"{name}_q") if kind == "QuantizeLinear" else (f"{name}_q", f"{name}_d")
    return node(kind, [source, "scale", "zero"], [target])


def test_between_quantizers_is_int8_and_the_rest_is_not(save: Save) -> None:
    nodes = [
        *(quantized("x"), quantized("x", kind="DequantizeLinear"), quantized("w", kind="DequantizeLinear")),
        node("Conv", ["x_d", "w_d"], ["a"]),
        node("HardSwish", ["a"], ["b"]),
        *(quantized("b"), quantized("b", kind="DequantizeLinear")),
        node("Conv", ["b_d", "float"], ["c"]),
        node("Softmax", ["c"], ["y"]),
    ]
    held = {"w_q": np.ones((4, 3, 3, 3), np.uint8), "float": weights(4, 4, 1, 1) * 2}
    held |= {"scale": np.float32(0.1), "zero": np.uint8(0)}
    found = one(save, nodes, weights=held)
    assert [(op.kind, op.precision, op.params) for op in found.operations] == [
        ("conv", "int8", 108),
        ("activation", "int8", 0),
        ("pointwise", "fp32", 16),
        ("softmax", "fp32", 0),
    ]
    assert found.precision == "int8"
    assert [op.reads for op in found.operations] == [(-1,), (0,), (1,), (2,)]


def test_integer_operators_are_int8(save: Save) -> None:
    nodes = [
        quantized("x"),
        node("QLinearConv", ["x_q", "scale", "zero", "w", "scale", "zero", "scale", "zero"], ["y"]),
    ]
    held = {"w": np.ones((4, 3, 3, 3), np.uint8), "scale": np.float32(0.1), "zero": np.uint8(0)}
    (op,) = one(save, nodes, weights=held).operations
    assert (op.kind, op.precision, op.params) == ("conv", "int8", 108)


def test_types_say_the_precision(save: Save) -> None:
    for kind, precision in (
        (TensorProto.FLOAT16, "fp16"),
        (TensorProto.BFLOAT16, "bf16"),
        (TensorProto.DOUBLE, "fp32"),
    ):
        assert one(save, [node("Relu", ["x"], ["y"])], kind=kind).precision == precision


def test_what_is_not_known_is_named_and_goes_on(save: Save) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["a"]),
        node("Magic", ["a"], ["b"], domain="my.lab", name="the magic"),
        node("Relu", ["b"], ["y"]),
    ]
    path = save(nodes, weights={"w": weights(4, 3, 1, 1)}, opsets=[helper.make_opsetid("my.lab", 1)])
    found = onnx_operations(path)
    assert [(op.kind, op.output) for op in found.operations] == [
        ("pointwise", (4, 8, 8)),
        ("other", (4, 8, 8)),
        ("activation", (4, 8, 8)),
    ]
    assert found.operations[1].detail == "my.lab.Magic"
    assert found.nodes[1] == "the magic"
    assert "my.lab.Magic" in found.notes[0]
    assert all(op.live for op in found.operations)


def test_nodes_in_any_order_are_sorted(save: Save) -> None:
    nodes = [node("Relu", ["b"], ["y"]), node("Sigmoid", ["x"], ["a"]), node("Tanh", ["a"], ["b"])]
    assert [op.detail for op in one(save, nodes).operations] == ["sigmoid", "tanh", "relu"]


def test_control_flow_is_one_operation_that_is_not_known(save: Save) -> None:
    branch = helper.make_graph(
        [node("Relu", ["a"], ["inner"])], "then", [], [helper.make_tensor_value_info("inner", 1, None)]
    )
    nodes = [
        node("Sigmoid", ["x"], ["a"]),
        node("ReduceMax", ["x"], ["m"], keepdims=0),
        node("Cast", ["m"], ["c"], to=TensorProto.BOOL),
        node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
    ]
    found = one(save, nodes)
    assert [(op.kind, op.detail, op.live) for op in found.operations] == [
        ("activation", "sigmoid", True),  # read from inside the branch
        ("reduce", "amax", True),
        ("other", "If", True),
    ]
    assert found.operations[2].output == (3, 8, 8)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("NonZero", ["x"], ["y"], name="nz")], "node 'nz' (NonZero)"),
        ([node("Conv", ["x", "w"], ["y"], name="bad")], "node 'bad' (Conv)"),
        ([node("Relu", ["nowhere"], ["y"])], "reads 'nowhere'"),
        ([node("Relu", ["b"], ["a"]), node("Add", ["a", "x"], ["b"]), node("Relu", ["b"], ["y"])], "reads 'b'"),
        ([node("Relu", ["x"], ["z"])], "no node writes the output 'y'"),
        ([node("Reshape", ["x", "huge"], ["y"], name="r")], "node 'r' (Reshape)"),
        ([node("Shape", ["x"], ["y"])], "no operation that depends on its input"),
        ([node("SplitToSequence", ["x"], ["y"], name="seq")], "node 'seq' (SplitToSequence)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_node_that_cannot_be_read_is_named(save: Save, nodes: Sequence[Any], said: str) -> None:
    path = save(nodes, weights={"w": weights(4, 5, 3, 3), "huge": np.array([7, 7])})
    with pytest.raises(ModelFileError) as caught:
        onnx_operations(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_malformed_node_with_a_declared_shape_is_named(save: Save) -> None:
    path = save([node("Conv", ["x"], ["y"], name="no weights")], output_shape=(1, 4, 8, 8))
    with pytest.raises(ModelFileError, match="no weights"):
        onnx_operations(path)


def test_names_are_safe_to_print(save: Save) -> None:
    found = one(save, [node("Einsum", ["x"], ["y"], equation="nchw->nhwc", name="a\x1b[31m\nb" + "c" * 200)])
    assert found.nodes[0].isprintable()
    assert len(found.nodes[0]) <= 100


def test_the_list_is_what_the_counts_say(tmp_path: Path) -> None:
    module = randomised(Attention(16, 4))
    found = onnx_operations(export(module, (10, 16), tmp_path / "m.onnx"))
    assert found.operations.params == sum(parameter.numel() for parameter in module.parameters())
    assert Counter(op.kind for op in found.operations)["matmul"] == 2
    assert len(found.nodes) == len(found.operators) == len(found.operations)
