from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from hwnas.core.architecture import Value
from hwnas.elastic.inverted_residual import ElasticInvertedResidual, InvertedResidualSpec, SqueezeExcite, divisible
from hwnas.errors import ConfigError
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


@pytest.mark.parametrize(
    ("hidden", "more"),
    [(16, {"expand": False}), (16, {"groups": 2}), (48, {"groups": 4}), (40, {"gate": "sigmoid"})],
)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("squeezed", [0, 8])
def test_the_closed_form_of_a_variant_is_the_trace(
    hidden: int, more: dict[str, Any], stride: int, squeezed: int
) -> None:
    spec = InvertedResidualSpec(16, hidden, 16, 5, stride, squeezed, "relu", stride == 1, **more)
    ops, shape = trace_block(spec.build(), (16, 7, 6))
    parts, closed_shape = spec.segments((16, 7, 6))
    assert closed_shape == shape
    assert tuple(op for part in parts for op in part.ops) == ops


def test_grouped_convolutions_see_all_channels_after_the_shuffle() -> None:
    block = InvertedResidualSpec(8, 8, 8, 3, 1, 0, "relu", False, groups=2).build().eval()
    x = torch.zeros(1, 8, 3, 3)
    x[:, 0] = 1.0  # of the first group
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(1.0 if parameter.ndim > 1 else 0.5)
        changed = (block(x) - block(torch.zeros_like(x))).abs().sum((0, 2, 3))
    assert bool((changed > 0).all())


@pytest.mark.parametrize(("channels", "wanted"), [(19.2, 24), (28.8, 32), (134.4, 136), (1152, 1152), (3, 8), (36, 40)])
def test_widths_are_rounded_as_in_mobilenet(channels: float, wanted: int) -> None:
    assert divisible(channels) == wanted


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


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [{"expansions": (1,), "expand": False}, {"expansions": (3,), "groups": 2}, {"gate": "sigmoid"}],
    ids=str,
)
def test_a_variant_that_is_cut_out(settings: dict[str, Any], stride: int) -> None:
    names = {"kernel": "k", "expand": "e", "se": "g"}
    elastic = ElasticInvertedResidual(
        "s", 0, 16, (16,), (1,), stride=stride, squeeze=lambda channels, hidden: channels // 4, labels=names, **settings
    )
    with torch.no_grad():
        for parameter in elastic.parameters():
            parameter.normal_(std=0.3)
    assert elastic.labels == (("k", "g") if "expansions" in settings else ("k", "e", "g"))
    x = torch.randn(4, 16, 6, 6)
    for choices in product(*[choice.options for choice in elastic.choices]):
        values = dict(zip(elastic.labels, choices, strict=True))
        spec = elastic.spec(values, 16, 0.0, 8)
        assert spec.squeezed == 4 * int(values["g"])
        module, _ = elastic.extract(values, spec, torch.arange(16), None)
        torch.testing.assert_close(module.train()(x), elastic(x, values), rtol=1e-4, atol=1e-4)


def test_settings_with_one_option_are_no_choices() -> None:
    fixed = ElasticInvertedResidual(
        None, 0, 8, (8,), (1,), kernels=(3,), expansions=(1,), squeeze_excite=(0,), expand=False
    )
    assert fixed.choices == fixed.labels == ()
    assert fixed.is_active({})
    layers = {name.split(".")[0] for name, _ in fixed.named_parameters()}
    assert layers == {"depthwise", "depthwise_norm", "project", "project_norm"}


@pytest.mark.parametrize(
    "settings", [{"expansions": (3, 6), "groups": 2}, {"expansions": (1, 3), "expand": False}, {"expand": False}]
)
def test_expansions_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="a grouped block has one expansion"):
        ElasticInvertedResidual("s", 0, 16, (16,), (1,), **settings)


@pytest.mark.parametrize(
    "settings", [{"expansions": (1,), "expand": False}, {"expansions": (3,), "groups": 2}], ids=str
)
def test_a_block_without_hidden_channels_of_its_own_is_not_pruned(settings: dict[str, Any]) -> None:
    elastic = ElasticInvertedResidual("s", 0, 32, (32,), (1,), kernels=(3,), squeeze_excite=(0,), **settings)
    assert elastic.spec({}, 32, 0.5, 8) == elastic.spec({}, 32, 0.0, 8)


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
