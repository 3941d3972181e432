from __future__ import annotations

import pytest
import torch

from hwnas.elastic.residual import ElasticResidual, Residual, ResidualSpec
from hwnas.trace import trace_block


@pytest.mark.parametrize(("stride", "projects"), [(1, False), (1, True), (2, True)])
@pytest.mark.parametrize("shape", [(16, 20, 33), (24, 7, 8)], ids=str)
def test_the_closed_form_is_what_a_trace_finds(shape: tuple[int, ...], stride: int, projects: bool) -> None:
    spec = ResidualSpec(shape[0], 40, 56 if projects else shape[0], stride, projects)
    (segment,), output = spec.segments(shape)
    ops, traced = trace_block(spec.build(), shape)
    assert (segment.ops, output) == (ops, traced)


def test_macs() -> None:
    (segment,), _ = ResidualSpec(16, 24, 32, 2, True).segments((16, 20, 33))
    assert sum(op.macs for op in segment.ops) == 10 * 17 * (9 * 16 * 24 + 9 * 24 * 32 + 16 * 32)


def block(index: int) -> ElasticResidual:
    torch.manual_seed(0)
    return ElasticResidual("s", index, 32, (16, 32), (1, 2), stride=1)


@pytest.mark.parametrize("index", [0, 1])
def test_a_block_that_was_cut_out_answers_like_the_elastic_one(index: int) -> None:
    elastic, values = block(index), {f"s.{index}.hidden": 0.75, "s.width": 32, "s.depth": 2}
    spec = elastic.spec(values, 32, 0.0, 8)
    plain, outputs = elastic.extract(values, spec, torch.arange(32), None)
    x = torch.randn(8, 32, 6, 6)
    # Batch norm in training mode uses the batch's statistics, as the elastic one always does.
    torch.testing.assert_close(plain.train()(x), elastic(x, values))
    assert outputs.tolist() == list(range(32))


def test_pruning_keeps_the_hidden_channels_with_the_largest_weights() -> None:
    elastic, values = block(1), {"s.1.hidden": 1.0, "s.width": 32, "s.depth": 2}
    with torch.no_grad():
        elastic.conv1.weight[8:24] *= 0.01
        elastic.conv2.weight[:, 8:24] *= 0.01
    spec = elastic.spec(values, 32, 0.5, 8)
    plain, _ = elastic.extract(values, spec, torch.arange(32), None)
    assert isinstance(plain, Residual)
    kept = [*range(8), *range(24, 32)]
    torch.testing.assert_close(plain.conv1.weight, elastic.conv1.weight[kept])
    torch.testing.assert_close(plain.conv2.weight, elastic.conv2.weight[:, kept])


def test_a_block_beyond_the_depth_is_left_out() -> None:
    assert not block(1).is_active({"s.depth": 1})
    assert block(1).is_active({"s.depth": 2})
