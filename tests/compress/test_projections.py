from __future__ import annotations

from collections.abc import Iterator

import pytest
from attending import Apart, Counted, Cross, Fused, Inside, Outside
from torch import nn

from hwnas.compress.projections import Projections, readings


class Named(nn.Module):
    def __init__(self, count: str, *names: str, widths: tuple[int, ...] = (), heads: object = 2, out: int = 8) -> None:
        super().__init__()
        setattr(self, count, heads)
        for name, width in zip(names, widths or (8,) * len(names), strict=True):
            self.add_module(name, nn.Linear(5, width))
        self.add_module("last", nn.Linear(out, 5))


def ways(module: nn.Module) -> list[Projections] | str | None:
    found = readings(nn.ModuleDict({"it": module}), "it")
    return list(found) if isinstance(found, Iterator) else found


@pytest.mark.parametrize(
    ("count", "names"),
    [
        ("num_heads", ("q", "k", "v")),
        ("n_heads", ("wq", "wk", "wv")),
        ("heads", ("to_q", "to_k", "to_v")),
        ("n_head", ("q_proj", "v_proj", "k_proj")),
        ("num_attention_heads", ("query_layer", "key_layer", "value_layer")),
        ("nhead", ("W_Q", "W_K", "W_V")),
        ("num_heads", ("linear_q", "linear_k", "linear_v")),
        ("num_heads", ("queries", "keys", "values")),
        ("num_heads", ("q_lin", "k_lin", "v_lin")),
        ("num_heads", ("queryProjection", "keyProjection", "valueProjection")),
    ],
)
def test_names_of_layers(count: str, names: tuple[str, ...]) -> None:
    found = ways(Named(count, *names))
    assert isinstance(found, list)
    roles = [layer.removeprefix("it.").lower() for layer, _ in found[0].rows]
    assert [sorted(names, key=str.lower).index(next(n for n in names if n.lower() == r)) for r in roles] == [1, 0, 2]
    assert (found[0].heads, found[0].size, found[0].out, dict(found[0].counts)) == (2, 4, "it.last", {count: 1})
    assert [rows for _, rows in found[0].rows] == [((0, 1, 2, 3), (4, 5, 6, 7))] * 3


@pytest.mark.parametrize(
    ("names", "widths", "rows"),
    [
        (("qkv",), (12,), [((0, 1, 4, 5, 8, 9), (2, 3, 6, 7, 10, 11)), ((0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 10, 11))]),
        (("in_proj",), (12,), [((0, 1, 4, 5, 8, 9), (2, 3, 6, 7, 10, 11)), ((0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 10, 11))]),
        (("to_q", "to_kv"), (4, 8), [((0, 1, 4, 5), (2, 3, 6, 7)), ((0, 1, 2, 3), (4, 5, 6, 7))]),
    ],
)
def test_rows_of_a_fused_layer_by_part_or_by_head(
    names: tuple[str, ...], widths: tuple[int, ...], rows: object
) -> None:
    found = ways(Named("heads", *names, widths=widths, out=4))
    assert isinstance(found, list)
    assert [way.replaced for way in found] == [False, False, True]
    assert [way.rows[-1][1] for way in found[:2]] == rows


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Cross(), None),
        (nn.Linear(3, 3), None),
        (Outside(), None),  # its part is one
        (Named("num_heads", "q", "k"), None),
        (Named("num_heads", "q", "k", "value_head"), None),
        (Named("num_heads", "q", "k", "v", heads=1), None),
        (Named("num_heads", "q", "k", "v", heads=2.0), None),
        (Named("num_heads", "q", "k", "v", heads=True), None),
        (Named("num_layers", "q", "k", "v"), None),
        (Named("num_heads", "q", "k", "v", widths=(8, 4, 4)), "different numbers of heads"),
        (Named("num_heads", "qkv", widths=(25,)), "do not come in 2 heads"),
        (Named("num_heads", "q", "k", "v", heads=3), "8 features do not come in 3 heads"),
        (Named("num_heads", "q", "k", "v", out=7), "no linear layer that reads its 8 features"),
    ],
)
def test_what_is_not_read(module: nn.Module, said: str | None) -> None:
    found = ways(module)
    assert found is None if said is None else isinstance(found, str) and said in found


def test_attributes_that_grow_with_the_heads() -> None:
    counts = {}
    for module in (Fused(), Counted(), Apart(), Inside()):
        found = readings(nn.Sequential(nn.ModuleDict({"it": module, "out": nn.Linear(32, 3)})), "0.it")
        assert isinstance(found, Iterator)
        counts[type(module).__name__] = dict(next(found).counts)
    assert counts == {
        "Fused": {"num_heads": 1, "attn_dim": 8},
        "Counted": {"num_heads": 1},
        "Apart": {"heads": 1, "inner_dim": 6},
        "Inside": {"num_attention_heads": 1, "all_head_size": 8},
    }
