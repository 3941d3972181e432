from __future__ import annotations

import numpy as np
import pytest
import torch
from hwnas.search_spaces.mobilenet import SPACE as MOBILENET
from hwnas.search_spaces.nasbench201 import LABELS
from hwnas.search_spaces.nasbench201 import SPACE as NASBENCH201
from torch import Tensor, nn

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.task import TaskShape
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock
from hwnas.elastic.inverted_residual import ElasticInvertedResidual
from hwnas.elastic.space import ElasticSpace
from hwnas.elastic.supernet import Supernet
from hwnas.errors import ConfigError, InvalidArchitectureError
from hwnas.trace import operations, trace_module

CASES = [(MOBILENET, (1, 8, 8)), (MOBILENET, (3, 32, 32)), (NASBENCH201, (3, 32, 32))]
IDS = ["mobilenet-8", "mobilenet-32", "nasbench201"]


def lively(space: ElasticSpace, shape: tuple[int, ...], seed: int = 0) -> tuple[ElasticSpace, Supernet]:
    """A supernet whose batch norms, biases and kernel matrices are not those of fresh layers."""
    task = TaskShape(shape, 5)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = space.supernet(task)
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                if parameter.ndim == 1 or "shrink" in name:
                    parameter.add_(0.2 * torch.randn_like(parameter))
    return space.for_task(task), net  # type: ignore[return-value]


def assert_alike(found: Tensor, wanted: Tensor) -> None:
    scale = float(wanted.detach().abs().max())
    torch.testing.assert_close(found / scale, wanted / scale, rtol=0, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("space", "shape"), CASES, ids=IDS)
def test_a_subnet_that_is_cut_out_answers_as_it_did_inside(
    space: ElasticSpace, shape: tuple[int, ...], seed: int
) -> None:
    bound, net = lively(space, shape, seed)
    architecture = bound.sample(np.random.default_rng(seed))
    x = torch.randn(4, *shape)
    with torch.no_grad():
        # Both use the statistics of the batch.
        inside, outside = net(x, dict(architecture)), net.extract(architecture).train()(x)
    assert_alike(outside, inside)


@pytest.mark.parametrize("ratio", [0.25, 0.5])
@pytest.mark.parametrize(("space", "shape"), CASES, ids=IDS)
def test_a_pruned_subnet_has_the_operations_that_were_foretold(
    space: ElasticSpace, shape: tuple[int, ...], ratio: float
) -> None:
    bound, net = lively(space, shape)
    rng = np.random.default_rng(int(ratio * 100))
    for multiple in (4, 8):
        stages = [stage for stage in bound.stages if rng.random() < 0.7]
        plan = CompressionPlan.of("fp32", dict.fromkeys(stages, ratio))
        architecture = bound.sample(rng)
        module = net.extract(architecture, plan, multiple)
        foretold = operations(bound, Candidate(architecture, plan), TaskShape(shape, 5), multiple=multiple)
        wanted = [(op.kind, op.inputs, op.output, op.params) for op in foretold]
        assert [(op.kind, op.inputs, op.output, op.params) for op in trace_module(module, shape)] == wanted
        assert module(torch.randn(2, *shape)).shape == (2, 5)


def silence(parts: list[tuple[Tensor, int]], channels: Tensor) -> None:
    with torch.no_grad():
        for tensor, dim in parts:
            tensor.index_fill_(dim, channels, 0)


def test_pruning_channels_that_are_silent_changes_nothing_in_mobilenet() -> None:
    space, net = lively(MOBILENET, (1, 8, 8))
    rng = np.random.default_rng(0)
    values = dict(space.largest()) | {c.label: 0 for c in space.choices if c.label.endswith(".se")}
    architecture = space.architecture(values)
    blocks = [block for block in net.blocks if isinstance(block, ElasticInvertedResidual)]
    for block in blocks:
        hidden = len(block.expand.weight)
        half = torch.from_numpy(rng.choice(hidden, hidden // 2, replace=False))
        weights = [(block.expand.weight, 0), (block.depthwise.weight, 0), (block.project.weight, 1)]
        norms = (block.expand_norm, block.depthwise_norm)
        silence(weights + [(t, 0) for norm in norms for t in (norm.weight, norm.bias)], half)
    plan = CompressionPlan.of("fp32", dict.fromkeys(space.stages, 0.5))
    x = torch.randn(4, 1, 8, 8)
    whole, pruned = net.extract(architecture).train(), net.extract(architecture, plan).train()
    assert sum(p.numel() for p in pruned.parameters()) < 0.7 * sum(p.numel() for p in whole.parameters())
    assert_alike(pruned(x), whole(x))


def test_pruning_channels_that_are_silent_changes_nothing_in_nasbench201() -> None:
    space, net = lively(NASBENCH201, (3, 32, 32))
    rng = np.random.default_rng(0)
    architecture = space.architecture(dict.fromkeys(LABELS, "nor_conv_3x3") | {"e03": "skip_connect"})
    silent: dict[str, Tensor] = {}
    for block in net.blocks:
        if block.stage is None:
            continue
        if block.stage not in silent:
            half = rng.choice(block.channels, block.channels // 2, replace=False)
            silent[block.stage] = torch.from_numpy(half)
        for name, parameter in block.named_parameters():  # every output channel, whichever layer's
            if "shrink" not in name:
                silence([(parameter, 0)], silent[block.stage])
    plan = CompressionPlan.of("fp32", dict.fromkeys(space.stages, 0.5))
    whole, pruned = net.extract(architecture).train(), net.extract(architecture, plan).train()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        # What is silent still passes the last batch norm, which may shift it.
        last = next(block for block in net.blocks if hasattr(block, "norm") and block.stage is None)
        assert last.norm.bias.abs().sum() > 0
        last.norm.bias[silent["s3"]] = 0
        whole, pruned = net.extract(architecture).train(), net.extract(architecture, plan).train()
        assert_alike(pruned(x), whole(x))


def test_a_supernet_is_left_as_it_was() -> None:
    space, net = lively(MOBILENET, (1, 8, 8))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    module = net.extract(space.largest(), CompressionPlan.of("fp32", {"s1": 0.5}))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not module.training


def test_equal_blocks_share_their_segments() -> None:
    space, net = lively(MOBILENET, (3, 32, 32))
    values = dict(space.largest())
    one = net.operations(values, CompressionPlan(), 8)
    other = net.operations(values | {"head.width": 192}, CompressionPlan(), 8)
    assert one.segments[:-2] == other.segments[:-2]
    assert one.segments[-2] != other.segments[-2]
    eight_bits = [net.operations(values, CompressionPlan("int8"), 8).segments for _ in range(2)]
    assert eight_bits[0] == eight_bits[1]


def test_labels_of_blocks_that_are_not_there_are_not_used() -> None:
    space, net = lively(MOBILENET, (3, 32, 32))
    used = net.used_labels(dict(space.smallest()))
    assert "s4.0.kernel" in used
    assert "s4.1.kernel" not in used
    assert net.used_labels(dict(space.largest())) == {choice.label for choice in space.choices}


def test_two_sets_of_options_for_one_label() -> None:
    blocks = [ElasticConvBlock("w", 3, (8, 16)), ElasticConvBlock("w", 16, (8, 24))]
    with pytest.raises(ConfigError, match="two sets of options"):
        Supernet(blocks, (3, 8, 8))


def test_a_stage_that_is_not_there() -> None:
    space, net = lively(MOBILENET, (1, 8, 8))
    with pytest.raises(InvalidArchitectureError, match=r"no prunable stages \['s9'\]; allowed: s1, s2, s3, s4"):
        net.extract(space.smallest(), CompressionPlan.of("fp32", {"s9": 0.5}))
    plain = Supernet([ElasticConvBlock("w", 1, (8,)), ElasticClassifier(8, 2)], (1, 8, 8))
    with pytest.raises(InvalidArchitectureError, match="allowed: none"):
        plain.operations({"w": 8}, CompressionPlan.of("fp32", {"s1": 0.5}), 8)


def test_all_weights_are_reached() -> None:
    space, net = lively(MOBILENET, (1, 8, 8))
    # The largest kernel hides the matrices of the smaller ones, and no squeeze-excite hides its weights.
    small = dict(space.largest()) | {c.label: 3 for c in space.choices if c.label.endswith(".kernel")}
    x = torch.randn(4, 1, 8, 8)
    for values in (dict(space.largest()), small):
        net(x, values).square().sum().backward()
    assert not [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert isinstance(net, nn.Module)
