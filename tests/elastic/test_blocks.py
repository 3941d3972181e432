from __future__ import annotations

import pytest
import torch
from torch import nn

from hwnas.core.architecture import Value
from hwnas.elastic.block import ElasticBlock
from hwnas.elastic.blocks import (
    ElasticClassifier,
    ElasticConvBlock,
    ElasticIdentity,
    ElasticResize,
    IdentitySpec,
    Resize,
    activation,
)
from hwnas.errors import ConfigError
from hwnas.trace import trace_block


def cut_out(block: ElasticBlock, values: dict[str, Value], channels: int) -> nn.Module:
    module, _ = block.extract(values, block.spec(values, channels, 0.0, 8), torch.arange(channels), None)
    return module.train()


@pytest.mark.parametrize("name", ["relu", "relu6", "hardswish"])
def test_activations(name: str) -> None:
    assert activation(name)(torch.tensor(-100.0)) == 0


def test_an_unknown_activation() -> None:
    with pytest.raises(ConfigError, match="allowed: relu, relu6, hardswish"):
        activation("swishy")


@pytest.mark.parametrize("act", ["relu", None])
@pytest.mark.parametrize("width", [8, 12])
def test_a_convolution_that_is_cut_out(width: int, act: str | None) -> None:
    block = ElasticConvBlock("w", 6, (8, 12), kernel=3, stride=2, act=act)
    x = torch.randn(4, 5, 9, 9)
    module = cut_out(block, {"w": width}, 5)
    torch.testing.assert_close(module(x), block(x, {"w": width}))
    assert module(x).shape == (4, width, 5, 5)


def test_one_width_is_no_choice() -> None:
    block = ElasticConvBlock("w", 6, (8,), kernel=1, act="relu")
    assert block.choices == block.labels == ()
    x = torch.randn(4, 6, 5, 5)
    torch.testing.assert_close(cut_out(block, {}, 6)(x), block(x, {}))


def test_nothing() -> None:
    block, x = ElasticIdentity(), torch.randn(2, 3, 4, 4)
    module, out = block.extract({}, block.spec({}, 2, 0.0, 8), torch.tensor([0, 2]), None)
    assert module(x) is block(x, {}) is x
    assert out.tolist() == [0, 2]
    assert IdentitySpec(3).segments((3, 4, 4)) == (trace_block(IdentitySpec(3).build(), (3, 4, 4))[0], (3, 4, 4))


def test_a_classifier_that_is_cut_out() -> None:
    block = ElasticClassifier(16, 3)
    x = torch.randn(4, 10, 5, 5)
    torch.testing.assert_close(cut_out(block, {}, 10)(x), block(x, {}))
    _, out = block.extract({}, block.spec({}, 10, 0.0, 8), torch.arange(10), None)
    assert out.tolist() == [0, 1, 2]


def test_a_classifier_follows_the_channels_that_stay() -> None:
    block = ElasticClassifier(6, 2)
    inputs = torch.tensor([1, 4, 5])
    module, _ = block.extract({}, block.spec({}, 3, 0.0, 8), inputs, None)
    x = torch.zeros(2, 6, 3, 3)
    x[:, inputs] = torch.randn(2, 3, 3, 3)
    torch.testing.assert_close(module(x[:, inputs]), block(x, {}))


def test_a_classifier_with_a_layer_between() -> None:
    block = ElasticClassifier(16, 3, mix=20)
    x = torch.randn(4, 10, 5, 5)
    module = cut_out(block, {}, 10)
    torch.testing.assert_close(module(x), block(x, {}))
    ops, out = trace_block(module, (10, 5, 5))
    assert [(op.kind, op.params) for op in ops if op.params] == [("pointwise", 10 * 20), ("linear", 20 * 3 + 3)]
    assert out == (3,)
    inputs = torch.tensor([1, 4, 5])
    module, _ = block.extract({}, block.spec({}, 3, 0.0, 8), inputs, None)
    wide = torch.zeros(2, 16, 3, 3)
    wide[:, inputs] = torch.randn(2, 3, 3, 3)
    torch.testing.assert_close(module(wide[:, inputs]), block(wide, {}))


@pytest.mark.parametrize("size", [4, 6, 8])
def test_resize(size: int) -> None:
    block = ElasticResize("r", (4, 6, 8))
    x = torch.randn(2, 3, 8, 8)
    assert block(x, {"r": size}).shape == (2, 3, size, size)
    torch.testing.assert_close(cut_out(block, {"r": size}, 3)(x), block(x, {"r": size}))


def test_resize_to_the_same_size_is_nothing() -> None:
    x = torch.randn(2, 3, 8, 8)
    assert Resize(8)(x) is x
    assert Resize(12)(x) is x  # nothing is made larger
    # By half, bilinear is the mean of four pixels.
    torch.testing.assert_close(Resize(4)(x), nn.functional.avg_pool2d(x, 2))


@pytest.mark.parametrize(("size", "side", "wanted"), [(128, 224, 128), (224, 224, 224), (128, 32, 18), (224, 32, 32)])
def test_a_share_of_the_side(size: int, side: int, wanted: int) -> None:
    block, x = ElasticResize("r", (128, 224), 224), torch.randn(1, 3, side, side)
    assert block(x, {"r": size}).shape == (1, 3, wanted, wanted)
    torch.testing.assert_close(cut_out(block, {"r": size}, 3)(x), block(x, {"r": size}))


def test_a_share_of_each_side_and_at_least_a_pixel() -> None:
    assert Resize(4, 8)(torch.randn(1, 3, 6, 4)).shape == (1, 3, 3, 2)
    assert Resize(1, 8)(torch.randn(1, 3, 2, 2)).shape == (1, 3, 1, 1)
