from __future__ import annotations

from itertools import product

import pytest
import torch

from hwnas.core.architecture import Value
from hwnas.elastic.inverted_residual import ElasticInvertedResidual, InvertedResidualSpec, SqueezeExcite
from hwnas.trace import trace_block


@pytest.mark.parametrize("side", [5, 8])
@pytest.mark.parametrize("squeezed", [0, 8])
@pytest.mark.parametrize(("kernel", "stride", "act"), [(3, 1, "relu"), (5, 2, "relu6"), (7, 1, "hardswish")])
def test_the_closed_form_is_the_trace(kernel: int, stride: int, act: str, squeezed: int, side: int) -> None:
    for residual, out in ((False, 24), (stride == 1, 16)):
        spec = InvertedResidualSpec(16, 40, out, kernel, stride, squeezed, act, residual)
        ops, shape = trace_block(spec.build(), (16, side, side + 1))
        parts, closed_shape = spec.segments((16, side, side + 1))
        assert closed_shape == shape
        assert tuple(op for part in parts for op in part.ops) == ops


def values_of(kernel: int, expand: int, se: int, width: int) -> dict[str, Value]:
    return {"s.0.kernel": kernel, "s.0.expand": expand, "s.0.se": se, "s.width": width, "s.depth": 1}


def block(stride: int = 1) -> ElasticInvertedResidual:
    made = ElasticInvertedResidual("s", 0, 16, (8, 16), (1, 2), expansions=(2, 4), stride=stride)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.3)
    return made


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "expand", "se", "width"), [*product((3, 7), (2, 4), (0, 1), (8, 16))])
def test_a_block_that_is_cut_out(kernel: int, expand: int, se: int, width: int, stride: int) -> None:
    elastic, values = block(stride), values_of(kernel, expand, se, width)
    for channels in (8, 16):
        x = torch.randn(4, channels, 6, 6)
        spec = elastic.spec(values, channels, 0.0, 8)
        assert spec.residual == (stride == 1 and channels == width)
        assert spec.hidden == channels * expand
        module, out = elastic.extract(values, spec, torch.arange(channels), None)
        assert out.tolist() == list(range(width))
        torch.testing.assert_close(module.train()(x), elastic(x, values), rtol=1e-4, atol=1e-5)


def test_depth_decides_whether_a_block_is_there() -> None:
    elastic = ElasticInvertedResidual("s", 1, 16, (16,), (1, 2, 3))
    assert [elastic.is_active({"s.depth": depth}) for depth in (1, 2, 3)] == [False, True, True]


def test_pruning_keeps_the_hidden_channels_with_the_largest_weights() -> None:
    elastic, values = block(), values_of(3, 4, 1, 16)
    spec = elastic.spec(values, 16, 0.5, 8)
    assert spec.hidden == 32
    module, _ = elastic.extract(values, spec, torch.arange(16), None)
    total = torch.zeros(64)  # the slow twin: each convolution's sums, scaled to mean 1
    parts = (elastic.expand.weight, elastic.depthwise.kernel_weight(3), elastic.project.weight.transpose(0, 1))
    for weight in parts:
        sums = torch.stack([weight[channel].abs().sum() for channel in range(64)])
        total += sums.detach() / sums.detach().mean()
    kept = sorted(range(64), key=lambda channel: -float(total[channel]))[:32]
    kept.sort()
    assert torch.equal(module.expand.weight, elastic.expand.weight[kept])
    assert torch.equal(module.depthwise.weight, elastic.depthwise.kernel_weight(3)[kept])
    assert torch.equal(module.project.weight, elastic.project.weight[:, kept])
    assert torch.equal(module.depthwise_norm.bias, elastic.depthwise_norm.bias[kept])
    assert isinstance(module.se, SqueezeExcite)
    assert torch.equal(module.se.expand.bias, elastic.gate_bias[kept])


def test_squeeze_excite_scales_channels() -> None:
    gate = SqueezeExcite(8, 4)
    with torch.no_grad():
        gate.expand.weight.zero_()
        gate.expand.bias.fill_(0)  # hardsigmoid(0) is a half
    x = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(gate(x), x / 2)
