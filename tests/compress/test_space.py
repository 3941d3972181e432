from __future__ import annotations

import numpy as np
import pytest
import torch
from attending import Fused, blocks, tokens
from residual import Residual

from hwnas.compress.prune import find_channels
from hwnas.compress.sensitivity import Sensitivity
from hwnas.compress.space import NetworkSpace
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.task import TaskShape
from hwnas.elastic.space import build_candidate
from hwnas.errors import ConfigError, InvalidArchitectureError
from hwnas.latency.draw import draw_candidates
from hwnas.search.joint import JointSpace
from hwnas.trace import operations, trace_module

SHAPE = TaskShape((1, 8, 8), 10)
STAGES = ("stem", "layer1.0", "layer1.1", "layer2.0.conv1", "layer2.0.conv2", "layer2.1")


def space_of(width: int = 16, *, importance: str = "magnitude") -> NetworkSpace:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Residual(1, 10, width).eval()
    return NetworkSpace("mine", find_channels(network, SHAPE.input_shape), SHAPE, importance=importance)


@pytest.fixture(scope="module")
def space() -> NetworkSpace:
    return space_of()


def candidate_of(space: NetworkSpace, precision: str = "fp32", **ratios: float) -> Candidate:
    return Candidate(space.largest(), CompressionPlan.of(precision, ratios))


def test_it_is_a_network_with_stages_and_blocks(space: NetworkSpace) -> None:
    assert (space.name, space.stages) == ("own-mine", STAGES)
    assert dict(space.largest()) == {"network": "mine", "blocks.layer1": 2, "blocks.layer2": 2}
    assert dict(space.smallest()) == {"network": "mine", "blocks.layer1": 0, "blocks.layer2": 1}
    assert space.is_whole(Candidate(space.largest(), CompressionPlan("int8")))
    assert not space.is_whole(Candidate(space.smallest()))
    assert not space.is_whole(candidate_of(space, stem=0.5))
    assert space.for_task(SHAPE) is space
    with pytest.raises(ConfigError, match="choose another --task"):
        space.for_task(TaskShape((3, 8, 8), 10))


def test_only_ratios_that_differ_are_offered(space: NetworkSpace) -> None:
    # Of 16 channels a quarter cannot go in multiples of 8 (12 is rounded to 16), and three quarters are a half.
    assert space.prune_ratios("stem") == (0.0, 0.5)
    assert space.prune_ratios("layer2.1") == (0.0, 0.25, 0.5, 0.75)
    sensitivity = Sensitivity(
        0.9, 0.1, 10, "fp32", dict.fromkeys(space.shares(), ((0.25, 0.9), (0.5, 0.8), (0.75, 0.2)))
    )
    narrowed = space.narrowed(sensitivity)
    assert narrowed.prune_ratios("layer2.1") == (0.0, 0.25, 0.5)
    assert {choice.label: choice.options for choice in narrowed.choices}["blocks.layer1"] == (1, 2)
    assert narrowed.fingerprint == space.fingerprint


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_operations_are_those_of_the_pruned_network(space: NetworkSpace, precision: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        ratios = {stage: float(rng.choice(space.prune_ratios(stage))) for stage in space.stages}
        candidate = Candidate(space.sample(rng), CompressionPlan.of(precision, ratios))
        network = build_candidate(space, candidate, SHAPE)
        wanted = trace_module(network, SHAPE.input_shape).at(precision)
        assert list(operations(space, candidate, SHAPE)) == list(wanted)
        assert wanted.params == sum(p.numel() for p in network.parameters())
        assert not network.training


def test_candidates_that_cut_alike_are_one(space: NetworkSpace) -> None:
    joint = JointSpace(space, SHAPE, ("fp32",), 8, space.stages)
    plan = CompressionPlan.of("fp32", {"stem": 0.25, "layer1.0": 0.6, "layer2.1": 0.5})
    found = joint.canonical(Candidate(space.largest(), plan)).compression
    assert dict(found.prune) == {"layer1.0": 0.5, "layer2.1": 0.5}
    assert found == joint.canonical(Candidate(space.largest(), found)).compression
    # What a block that is left out would have kept makes no difference.
    fewer = space.architecture({**space.largest(), "blocks.layer1": 1})
    more = CompressionPlan.of("fp32", {**dict(found.prune), "layer1.1": 0.5})
    assert (
        joint.canonical(Candidate(fewer, more)) == joint.canonical(Candidate(fewer, found)) == Candidate(fewer, found)
    )
    rng = np.random.default_rng(1)
    drawn = {joint.sample(rng) for _ in range(60)}
    assert len({space.operations(candidate).segments for candidate in drawn}) == len(drawn)


def test_shares_and_candidates(space: NetworkSpace) -> None:
    shares = space.shares()
    assert shares["layer2.1"] == (0.25, 0.5, 0.75)
    assert (shares["blocks.layer1"], shares["blocks.layer2"]) == ((0.5, 1.0), (0.5,))
    found = space.shortened({"blocks.layer1": 0.5, "stem": 0.5}, "int8")
    assert found.compression == CompressionPlan.of("int8", {"stem": 0.5})
    assert dict(found.architecture) == {"network": "mine", "blocks.layer1": 1, "blocks.layer2": 2}
    assert space.is_whole(space.shortened({}))


def test_what_is_measured_is_pruned(space: NetworkSpace) -> None:
    drawn = draw_candidates(space, ("fp32", "int8"), 20, rng=np.random.default_rng(0))
    of_fp32 = [dict(c.compression.prune) for c in drawn if c.compression.precision == "fp32"]
    assert space.is_whole(drawn[0])
    assert drawn[4].architecture == space.smallest()
    assert of_fp32[2] == {stage: space.prune_ratios(stage)[-1] for stage in space.stages}
    assert sum(not ratios for ratios in of_fp32) <= 2
    assert len({tuple(sorted(ratios.items())) for ratios in of_fp32}) > 15


def test_weights_and_importance_name_the_space(space: NetworkSpace) -> None:
    assert space.fingerprint == space_of().fingerprint
    assert space.fingerprint != space_of(24).fingerprint
    assert space.fingerprint != space_of(importance="taylor").fingerprint


def test_wrong_candidates(space: NetworkSpace) -> None:
    with pytest.raises(InvalidArchitectureError, match="no stage 'layer9'"):
        operations(space, candidate_of(space, layer9=0.5), SHAPE)


HEADS = ("heads.blocks.0.attention", "heads.blocks.1.attention")
ATTENDING = TaskShape((3, 16, 16), 10)


@pytest.fixture(scope="module")
def attending() -> NetworkSpace:
    return NetworkSpace("it", find_channels(tokens(lambda: blocks(Fused)), ATTENDING.input_shape), ATTENDING)


def test_heads_are_choices(attending: NetworkSpace) -> None:
    whole = {"network": "it", "blocks.blocks": 2, HEADS[0]: 4, HEADS[1]: 4}
    assert dict(attending.largest()) == whole
    assert {c.label: c.options for c in attending.choices if c.label in HEADS} == dict.fromkeys(HEADS, (1, 2, 3, 4))
    assert attending.is_whole(Candidate(attending.largest()))
    assert not attending.is_whole(Candidate(attending.architecture({**whole, HEADS[0]: 3})))
    assert attending.shares()[HEADS[0]] == (0.25, 0.5, 0.75)
    for share, left in ((0.25, 3), (0.5, 2), (0.75, 1)):
        found = attending.shortened({HEADS[1]: share, "patch": 0.5})
        assert dict(found.architecture) == {**whole, HEADS[1]: left}
        assert dict(found.compression.prune) == {"patch": 0.5}
    for wrong in (0, 5, 2.5, "2"):
        with pytest.raises(InvalidArchitectureError, match=r"must be one of \(1, 2, 3, 4\)"):
            attending.architecture({**whole, HEADS[0]: wrong})


@pytest.mark.parametrize(
    ("accuracies", "options"),
    [((0.9, 0.8, 0.7), (1, 2, 3, 4)), ((0.9, 0.8, 0.2), (2, 3, 4)), ((0.3, 0.2, 0.2), (3, 4))],
)
def test_heads_that_cost_too_much_stay(
    attending: NetworkSpace, accuracies: tuple[float, ...], options: tuple[int, ...]
) -> None:
    stages = {label: tuple(zip(shares, accuracies, strict=False)) for label, shares in attending.shares().items()}
    narrowed = attending.narrowed(Sensitivity(0.9, 0.1, 10, "fp32", stages))
    assert {c.label: c.options for c in narrowed.choices if c.label in HEADS} == dict.fromkeys(HEADS, options)
    assert narrowed.largest() == attending.largest()


def test_operations_with_fewer_heads(attending: NetworkSpace) -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        ratios = {stage: float(rng.choice(attending.prune_ratios(stage))) for stage in attending.stages}
        candidate = Candidate(attending.sample(rng), CompressionPlan.of("fp32", ratios))
        network = build_candidate(attending, candidate, ATTENDING)
        assert list(operations(attending, candidate, ATTENDING)) == list(trace_module(network, ATTENDING.input_shape))
    one = attending.operations(attending.shortened(dict.fromkeys(HEADS, 0.75)))
    # Of 16 tokens: three heads of 8 fewer in queries, keys, values and answers, and in two products of tokens x tokens.
    less = 2 * 16 * (3 * 8 * (4 * 32) + 3 * 8 * 2 * 16)
    assert attending.operations(attending.shortened({})).macs - one.macs == less


def test_heads_of_a_block_that_is_left_out_make_no_difference(attending: NetworkSpace) -> None:
    joint = JointSpace(attending, ATTENDING, ("fp32",), 8, attending.stages)
    few = {**attending.largest(), "blocks.blocks": 1, HEADS[0]: 2}
    found = {joint.canonical(Candidate(attending.architecture({**few, HEADS[1]: n}))) for n in (1, 2, 4)}
    assert found == {Candidate(attending.architecture({**few, HEADS[1]: 1}))}
    assert attending.canonical(attending.largest()) == attending.largest()
    rng = np.random.default_rng(1)
    drawn = {joint.sample(rng) for _ in range(40)}
    assert drawn == {joint.canonical(candidate) for candidate in drawn}
    both_gone = {**attending.largest(), "blocks.blocks": 0}
    x = torch.randn(2, 3, 16, 16)
    answers = [attending.fresh(Candidate(attending.architecture({**both_gone, HEADS[0]: n})))(x) for n in (1, 4)]
    assert torch.equal(*answers)
