from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from attending import HEADS, SIZE, WIDTH, Apart, Block, Counted, Cross, Fused, Outside, attend, blocks, encoder, tokens
from torch import Tensor, nn
from torch.nn import functional

from hwnas.compress.heads import HeadGroup, cut_heads, find_heads
from hwnas.compress.prune import PrunableNetwork, find_channels
from hwnas.compress.quantize import simulate
from hwnas.core.compression import PRECISIONS
from hwnas.runtimes.exporting import export_onnx
from hwnas.trace import trace_module

SHAPE = (3, 16, 16)
LAYERS = ("blocks.layers.0.self_attn", "blocks.layers.1.self_attn")
BLOCKS = ("blocks.0.attention", "blocks.1.attention")
# Name -> how to make it, and the attention in it.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "encoder": (encoder, LAYERS),
    "norm first": (lambda: encoder(norm_first=True, activation="gelu"), LAYERS),
    "no bias": (lambda: encoder(bias=False), LAYERS),
    "cross": (Cross, ("blocks.cross",)),
    "fused": (lambda: blocks(Fused), BLOCKS),
    "by head": (lambda: blocks(lambda: Fused(by_head=True)), BLOCKS),
    "counted": (lambda: blocks(Counted), BLOCKS),
    "apart": (lambda: blocks(Apart), BLOCKS),
    "outside": (lambda: blocks(Outside), ("blocks.0.attention.self", "blocks.1.attention.self")),
}  # fmt: skip


def made(name: str) -> nn.Module:
    return tokens(NETWORKS[name][0])


def images(n: int = 8) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(1))


def samples() -> list[tuple[Tensor, Tensor]]:
    return [(images(), torch.arange(8)), (images().flip(0), torch.arange(8))]


def out_of(network: nn.Module, name: str) -> nn.Linear:
    """The layer that reads the heads, as the test knows it."""
    attention = network.get_submodule(name)
    found = {"self": "output.dense"}.get(name.rpartition(".")[2])
    if found is not None:
        layer = network.get_submodule(f"{name.rpartition('.')[0]}.{found}")
    else:
        layer = next(getattr(attention, key) for key in ("out_proj", "proj", "to_out") if hasattr(attention, key))
    layer = layer[0] if isinstance(layer, nn.Sequential) else layer
    assert isinstance(layer, nn.Linear)
    return layer


def deaf(network: nn.Module, gone: dict[str, list[int]]) -> nn.Module:
    """The closed form: zeros where a head that goes would be read."""
    twin = copy.deepcopy(network).requires_grad_(False)
    for name, heads in gone.items():
        layer = out_of(twin, name)
        size = layer.in_features // HEADS
        for head in heads:
            layer.weight[:, size * head : size * (head + 1)] = 0.0
    return twin


def gone(prunable: PrunableNetwork, stay: dict[str, int]) -> dict[str, list[int]]:
    return {group.name: list(group.order[: group.heads - stay[group.name]]) for group in prunable.heads}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
def test_without_heads_it_answers_as_if_nobody_listened(name: str, importance: str) -> None:
    network, x = made(name), images()
    prunable = find_channels(network, SHAPE, importance=importance, samples=samples())
    assert tuple(group.name for group in prunable.heads) == NETWORKS[name][1]
    assert [line for line in prunable.left_whole if "heads of" in line] == []
    assert torch.equal(prunable.pruned({}, heads=dict.fromkeys(NETWORKS[name][1], HEADS))(x), network(x))
    for counts in ((1, 1), (2, 3), (4, 2)):
        stay = dict(zip(NETWORKS[name][1], counts, strict=False))
        cut = prunable.pruned({}, heads=stay)
        with torch.no_grad():
            torch.testing.assert_close(cut(x), deaf(network, gone(prunable, stay))(x))
        lost = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in cut.parameters())
        size = out_of(network, NETWORKS[name][1][0]).in_features // HEADS
        biases = 0 if name in ("no bias", "fused", "by head") else 3
        assert lost == sum(HEADS - count for count in stay.values()) * size * (4 * WIDTH + biases)


@pytest.mark.parametrize("name", NETWORKS)
def test_heads_and_channels_go_together(name: str) -> None:
    network, x = made(name), images()
    prunable = find_channels(network, SHAPE, importance="taylor", samples=samples())
    ratios, stay = dict.fromkeys(prunable.stages, 0.5), dict.fromkeys(NETWORKS[name][1], 2)
    narrow = prunable.pruned(ratios)
    both = prunable.pruned(ratios, heads=stay)
    with torch.no_grad():
        torch.testing.assert_close(both(x), deaf(narrow, gone(prunable, stay))(x))
    counts = [sum(p.numel() for p in one.parameters()) for one in (both, narrow, network)]
    assert counts == sorted(counts)
    assert len(set(counts)) == 3
    if name not in ("counted", "cross"):  # its forward holds the width of the stream, or of its queries
        assert both.patch.out_channels == WIDTH // 2
    assert list(trace_module(both, SHAPE)) == list(trace_module(both.to("meta"), SHAPE))


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
@pytest.mark.parametrize("name", ["encoder", "fused", "outside"])
def test_what_matters_least_goes_first(name: str, importance: str) -> None:
    network = made(name).requires_grad_(False)
    for at, attention in enumerate(NETWORKS[name][1]):
        weight = out_of(network, attention).weight
        for place, head in enumerate(orders := ([2, 0, 3, 1], [1, 3, 0, 2])[at]):
            weight[:, SIZE * head : SIZE * (head + 1)] *= 0.0 if place == 0 else 10.0 ** (place - 2)
    prunable = find_channels(network, SHAPE, importance=importance, samples=samples())
    found = {group.name: group.order for group in prunable.heads}
    assert found[NETWORKS[name][1][1]] == tuple(orders)
    assert found[NETWORKS[name][1][0]] == (2, 0, 3, 1)
    x = images()
    torch.testing.assert_close(prunable.pruned({}, heads=dict.fromkeys(NETWORKS[name][1], 3))(x), network(x))


def test_importances_are_the_sums_over_what_is_read_of_a_head() -> None:
    network = made("encoder").requires_grad_(True)
    for x, labels in samples():
        functional.cross_entropy(network(x), labels).backward()
    for importance in ("taylor", "magnitude"):
        groups, _ = find_heads(network, importance, images(2))
        for group in groups:
            layer = out_of(network, group.name)
            assert layer.weight.grad is not None
            worth = []
            for head in range(HEADS):
                part = slice(SIZE * head, SIZE * (head + 1))
                w, g = layer.weight[:, part].detach(), layer.weight.grad[:, part]
                worth.append(float((w * g).abs().sum() if importance == "taylor" else (w**2).sum()))
            assert list(group.order) == np.argsort(worth, kind="stable").tolist()


@pytest.mark.parametrize(
    ("heads", "options"),
    [(2, (1, 2)), (3, (1, 2, 3)), (4, (1, 2, 3, 4)), (6, (2, 3, 4, 6)), (8, (2, 4, 6, 8)), (12, (3, 6, 9, 12))],
)
def test_a_few_numbers_of_heads_are_offered(heads: int, options: tuple[int, ...]) -> None:
    group = HeadGroup("it", heads, tuple(reversed(range(heads))))
    assert group.options == options
    assert group.left(1) == [0]
    assert group.left(heads) == list(range(heads))


class Looking(nn.Module):
    """What becomes of the weights of attention is used."""

    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.wide, self.narrow = nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y, weights = self.mha(x, x, x)
        z: Tensor = self.narrow(torch.relu(self.wide(weights @ y)))
        return z


class Talking(Counted):
    """Heads are mixed with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(HEADS, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        n, count, width = x.shape
        q, k, v = self.qkv(x).reshape(n, count, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        scores = self.mix((q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y: Tensor = self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, count, width))
        return y


class Placed(Fused):
    """Each head has a bias for every pair of places."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(HEADS, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        n, count, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, count, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        y = (q @ k.transpose(-2, -1) + self.bias).softmax(-1) @ v
        z: Tensor = self.proj(y.transpose(1, 2).reshape(n, count, self.attn_dim))
        return z


class Causal(Counted):
    """Tokens look back alone, and a tensor is split where Torch-Pruning's graph loses the channels."""

    def forward(self, x: Tensor) -> Tensor:
        n, count, width = x.shape
        split = (y.view(n, count, self.num_heads, -1).transpose(1, 2) for y in self.qkv(x).split(width, 2))
        found = functional.scaled_dot_product_attention(*split, is_causal=True)
        y: Tensor = self.proj(found.transpose(1, 2).reshape(n, count, width))
        return y


class Silent(nn.Module):
    """An attention that nothing calls."""

    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(WIDTH, HEADS)
        self.wide, self.narrow = nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.narrow(torch.relu(self.wide(x)))
        return y


class Grouped(nn.Module):
    """Two heads of queries share one of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.q, self.k, self.v = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH // 2), nn.Linear(WIDTH, WIDTH // 2)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (y.unflatten(-1, (-1, SIZE)).transpose(1, 2) for y in (self.q(x), self.k(x), self.v(x)))
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        y: Tensor = self.proj(attend(q, k, v).transpose(1, 2).flatten(2))
        return y


@pytest.mark.parametrize(
    ("body", "name", "said"),
    [
        (lambda: Cross(add_zero_attn=True), "blocks.cross", "add_zero_attn"),
        (lambda: Cross(add_bias_kv=True), "blocks.cross", "add_bias_kv"),
        (Looking, "blocks.mha", "answers otherwise"),
        (lambda: Block(Talking()), "blocks.attention", "does not run without some of them"),
        (lambda: Block(Placed()), "blocks.attention", "does not run without some of them"),
        (lambda: Block(Causal()), "blocks.attention", "does not run without some of them"),
        (lambda: Block(Grouped()), "blocks.attention", "different numbers of heads"),
        (Silent, "blocks.mha", "does not call it"),
    ],
    ids=[
        "zero attention",
        "bias of keys",
        "weights are used",
        "heads talk",
        "places of heads",
        "looks back",
        "grouped queries",
        "silent",
    ],
)
def test_heads_that_cannot_go_stay_and_are_named(body: Callable[[], nn.Module], name: str, said: str) -> None:
    network = tokens(body)
    groups, why = find_heads(network, "magnitude", images(2))
    assert groups == ()
    assert [line for line in why if line.startswith(f"the heads of {name!r} stay: ") and said in line] == [*why]
    assert len(why) == 1
    assert "\n" not in why[0]


def test_the_rest_of_a_network_is_pruned_all_the_same() -> None:
    prunable = find_channels(tokens(lambda: blocks(Causal)), SHAPE, importance="taylor", samples=samples())
    assert prunable.heads == ()
    assert tuple(prunable.stages) == ("blocks.0", "blocks.1")
    assert any("'blocks.0.attention.qkv' stay: the graph loses them" in line for line in prunable.left_whole)
    assert sum("the heads of" in line for line in prunable.left_whole) == 2


def test_one_head_is_no_choice() -> None:
    network = tokens(lambda: nn.TransformerEncoderLayer(WIDTH, 1, 64, batch_first=True))
    assert find_heads(network, "magnitude", images(2)) == ((), ())


class Padded(nn.Module):
    """Ids below 0 are padding; in eval mode torch makes nested tensors of what is left."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True)
        self.blocks, self.out = nn.TransformerEncoder(layer, 2), nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.arange(x.shape[1]) >= torch.tensor([[x.shape[1]], [3]])
        y: Tensor = self.out(self.blocks(x, src_key_padding_mask=hidden)[:, 0])
        return y


def test_nested_tensors_are_given_up() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Padded().eval().requires_grad_(False)
    x = torch.randn(2, 6, WIDTH)
    groups, why = find_heads(network, "magnitude", x)
    assert why == ()
    stay = {"blocks.layers.0.self_attn": 2, "blocks.layers.1.self_attn": 1}
    twin = deaf(network, {group.name: list(group.order[: HEADS - stay[group.name]]) for group in groups})
    assert network.blocks.use_nested_tensor
    torch.testing.assert_close(cut_heads(copy.deepcopy(network), groups, stay)(x), twin(x))


@pytest.mark.parametrize("name", ["encoder", "cross", "fused", "counted", "outside"])
def test_the_exported_file_answers_like_torch(name: str, tmp_path: Path) -> None:
    network = made(name)
    prunable = find_channels(network, SHAPE)
    x = images(3)
    for one in (
        network,
        prunable.pruned(dict.fromkeys(prunable.stages, 0.5), heads=dict.fromkeys(NETWORKS[name][1], 2)),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing
            export_onnx(one, SHAPE, tmp_path / "model.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        with torch.no_grad():
            np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], one(x).numpy(), atol=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_is_rounded_like_any_other(precision: str) -> None:
    prunable = find_channels(made("encoder"), SHAPE)
    cut, x = prunable.pruned({}, heads=dict.fromkeys(NETWORKS["encoder"][1], 2)), images(32)
    with torch.no_grad():
        rounded, plain = simulate(cut, precision, x)(x), cut(x)
    assert torch.equal(rounded, plain) is (precision == "fp32")
    assert float((rounded - plain).abs().max()) < 0.1 * float(plain.abs().max())


def test_layers_that_stand_in_keep_what_trains() -> None:
    for name in ("encoder", "counted", "apart"):
        network = made(name)
        prunable = find_channels(network, SHAPE)
        cut = prunable.pruned({}, heads=dict.fromkeys(NETWORKS[name][1], 2))
        assert not any(module.training for module in cut.modules())
        cut.train()
        assert all(p.requires_grad and p.is_leaf for p in cut.parameters())
        functional.cross_entropy(cut(images()), torch.arange(8)).backward()
        assert all(p.grad is not None for p in cut.parameters())
