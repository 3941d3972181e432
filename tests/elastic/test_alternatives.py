from __future__ import annotations

import pytest
import torch

from hwnas.core.architecture import Value
from hwnas.core.space import Choice
from hwnas.elastic.alternatives import ElasticAlternatives
from hwnas.elastic.blocks import ElasticConvBlock, ElasticIdentity
from hwnas.elastic.inverted_residual import ElasticInvertedResidual, InvertedResidualSpec


def made() -> ElasticAlternatives:
    names = {"kernel": "k", "expand": "expand", "se": "se"}
    wide = ElasticInvertedResidual("s", 1, 8, (8,), (1, 2), kernels=(3, 5), expansions=(2, 4), labels=names)
    conv = ElasticConvBlock("w", 8, (4, 8))
    nothing: tuple[ElasticIdentity, dict[str, Value]] = (ElasticIdentity(), {})
    return ElasticAlternatives(
        "op", {"skip": nothing, "conv": (conv, {"w": 8}), 2: (wide, {"expand": 2}), 4: (wide, {"expand": 4})}
    )


def test_what_is_not_set_stays_a_choice() -> None:
    block = made()
    assert block.choices == (
        Choice("op", ("skip", "conv", 2, 4)),
        Choice("k", (3, 5)),
        Choice("se", (0, 1)),
        Choice("s.depth", (1, 2)),
    )
    assert block.labels == ("op", "k", "se", "s.depth")
    assert block.stage == "s"
    assert len(block.blocks) == 3


@pytest.mark.parametrize("op", ["skip", "conv", 2, 4])
def test_the_chosen_block_runs_and_is_cut_out(op: Value) -> None:
    block = made()
    values: dict[str, Value] = {"op": op, "k": 3, "se": 1, "s.depth": 2}
    x = torch.randn(4, 8, 6, 6)
    spec = block.spec(values, 8, 0.0, 8)
    module, out = block.extract(values, spec, torch.arange(8), None)
    torch.testing.assert_close(module.train()(x), block(x, values), rtol=1e-4, atol=1e-5)
    assert out.tolist() == list(range(8))
    assert block.width_importance(values) is None
    if isinstance(op, int):
        assert isinstance(spec, InvertedResidualSpec)
        assert spec.hidden == 8 * op


def test_the_chosen_block_says_whether_it_is_there() -> None:
    block = made()
    values: dict[str, Value] = {"k": 3, "se": 1, "s.depth": 1}
    assert [block.is_active(values | {"op": op}) for op in ("skip", "conv", 4)] == [True, True, False]
