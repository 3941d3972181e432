from __future__ import annotations

import pytest
import torch
from torch import nn

from hwnas.elastic.layers import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear
from hwnas.errors import ConfigError


def chosen(*indices: int) -> torch.Tensor:
    return torch.tensor(indices)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_a_convolution_is_the_plain_one_of_its_slice(kernel: int, stride: int) -> None:
    layer = ElasticConv2d(6, 8, (3, 5, 7), stride=stride)
    x = torch.randn(2, 4, 9, 9)
    plain = nn.Conv2d(4, 5, kernel, stride, kernel // 2, bias=False)
    layer.copy_to(plain, 4, 5)
    torch.testing.assert_close(layer(x, 5, kernel), plain(x))


def test_a_depthwise_convolution_is_the_plain_one_of_its_slice() -> None:
    layer = ElasticConv2d(8, 8, (3, 5), depthwise=True)
    plain = nn.Conv2d(6, 6, 3, 1, 1, groups=6, bias=False)
    layer.copy_to(plain, 6, 6)
    x = torch.randn(2, 6, 7, 7)
    torch.testing.assert_close(layer(x, 6, 3), plain(x))


def test_a_grouped_convolution_is_the_plain_one() -> None:
    layer, x = ElasticConv2d(8, 12, (1, 3), groups=2), torch.randn(2, 8, 5, 5)
    for kernel in (1, 3):
        plain = nn.Conv2d(8, 12, kernel, padding=kernel // 2, groups=2, bias=False)
        layer.copy_to(plain, torch.arange(8), torch.arange(12))
        torch.testing.assert_close(layer(x, 12, kernel), plain(x))


def test_chosen_channels_are_copied_in_their_order() -> None:
    layer = ElasticConv2d(4, 6, (3,))
    plain = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    layer.copy_to(plain, chosen(1, 3), chosen(0, 4, 5))
    assert torch.equal(plain.weight, layer.weight[[0, 4, 5]][:, [1, 3]])


def test_a_smaller_kernel_is_a_learned_map_of_the_centre() -> None:
    layer = ElasticConv2d(2, 3, (3, 5, 7))
    assert torch.equal(layer.kernel_weight(7), layer.weight)
    # The matrices begin as the identity.
    assert torch.equal(layer.kernel_weight(5), layer.weight[:, :, 1:6, 1:6])
    assert torch.equal(layer.kernel_weight(3), layer.weight[:, :, 2:5, 2:5])
    with torch.no_grad():
        for matrix in layer.shrink:
            matrix.copy_(torch.randn_like(matrix))
    five = torch.zeros(3, 2, 5, 5)
    for out in range(3):
        for source in range(2):  # the slow twin
            flat = layer.weight[out, source, 1:6, 1:6].reshape(25)
            five[out, source] = (flat @ layer.shrink[1]).reshape(5, 5)
    torch.testing.assert_close(layer.kernel_weight(5), five)
    three = (five[:, :, 1:4, 1:4].reshape(6, 9) @ layer.shrink[0]).reshape(3, 2, 3, 3)
    torch.testing.assert_close(layer.kernel_weight(3), three)


def test_every_kernel_learns() -> None:
    layer = ElasticConv2d(2, 2, (3, 5))
    layer(torch.randn(1, 2, 5, 5), 2, 3).sum().backward()
    assert layer.shrink[0].grad is not None
    assert layer.weight.grad is not None
    assert layer.weight.grad[:, :, 0].abs().sum() == 0  # the rim has no part in the small kernel


def test_importance_is_the_sum_of_absolute_weights() -> None:
    layer = ElasticConv2d(2, 3, (3,))
    wanted = [float(layer.weight[out].detach().abs().sum()) for out in range(3)]
    torch.testing.assert_close(layer.importance(), torch.tensor(wanted))


@pytest.mark.parametrize("kernels", [(2,), (5, 3), (3, 3), (3, 4)])
def test_wrong_kernels(kernels: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="odd, different and ascending"):
        ElasticConv2d(2, 2, kernels)


def test_batch_norm_is_torch_in_train_mode() -> None:
    layer, plain = ElasticBatchNorm2d(6), nn.BatchNorm2d(4)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    layer.copy_to(plain, 4)
    x = torch.randn(5, 4, 3, 3) * 3 + 1
    torch.testing.assert_close(layer(x), plain.train()(x))
    layer.eval()
    torch.testing.assert_close(layer(x), plain.train()(x))  # it keeps no statistics


def test_linear_takes_the_first_features() -> None:
    layer, plain = ElasticLinear(8, 3), nn.Linear(5, 3)
    nn.init.normal_(layer.bias)
    layer.copy_to(plain, 5)
    x = torch.randn(2, 5)
    torch.testing.assert_close(layer(x), plain(x))
    layer.copy_to(plain, chosen(0, 2, 3, 6, 7))
    assert torch.equal(plain.weight, layer.weight[:, [0, 2, 3, 6, 7]])
