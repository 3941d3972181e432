from __future__ import annotations

import pytest
import torch
from torch import nn

from hwnas.core.architecture import Value
from hwnas.elastic.block import ElasticBlock
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock, ElasticResize, Resize, activation
from hwnas.errors import ConfigError


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


@pytest.mark.parametrize("size", [4, 6, 8])
def test_resize(size: int) -> None:
    block = ElasticResize("r", (4, 6, 8))
    x = torch.randn(2, 3, 8, 8)
    assert block(x, {"r": size}).shape == (2, 3, size, size)
    torch.testing.assert_close(cut_out(block, {"r": size}, 3)(x), block(x, {"r": size}))


def test_resize_to_the_same_size_is_nothing() -> None:
    x = torch.randn(2, 3, 8, 8)
    assert Resize(8)(x) is x
    # By half, bilinear is the mean of four pixels.
    torch.testing.assert_close(Resize(4)(x), nn.functional.avg_pool2d(x, 2))
