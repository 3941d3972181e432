from __future__ import annotations

import copy
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from residual import Residual
from torch import Tensor, nn
from torch.nn import functional

from hwnas.compress.prune import PrunableNetwork, find_channels
from hwnas.errors import BuildError, ConfigError, InvalidArchitectureError, MissingDependencyError
from hwnas.trace import trace_module

SHAPE = (3, 16, 16)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A network whose batch norm has lived."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make()
        for _ in range(3):
            network(torch.randn(8, *SHAPE))
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.uniform_(layer.bias, -0.5, 0.5)
    return network.eval()


def residual() -> nn.Module:
    return seeded(lambda: Residual(3, 10, 16))


def samples() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, *SHAPE, generator=generator), torch.arange(8))]


def every(prunable: PrunableNetwork, ratio: float) -> dict[str, float]:
    return dict.fromkeys(prunable.stages, ratio)


def two_layers() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [(0.0, 0.0, (16, 32)), (0.5, 0.0, (8, 32)), (0.0, 0.25, (16, 24)), (0.5, 0.75, (8, 8)), (0.4, 0.6, (8, 16))],
)
def test_work_and_weights_of_two_layers(first: float, second: float, kept: tuple[int, int]) -> None:
    prunable = find_channels(two_layers(), SHAPE)
    assert tuple(prunable.stages) == ("0", "3")
    ratios = {"0": first, "3": second}
    assert prunable.kept(ratios, 8) == kept
    a, b = kept
    ops = trace_module(prunable.pruned(ratios), SHAPE)
    assert ops.params == 27 * a + 2 * a + (9 * a * b + b) + (b * 10 + 10)
    assert ops.macs == 256 * (27 * a + 9 * a * b) + 10 * b


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
def test_without_ratios_it_is_the_network_itself(importance: str) -> None:
    network, x = residual(), torch.randn(4, *SHAPE)
    before = copy.deepcopy(network.state_dict())
    prunable = find_channels(network, SHAPE, importance=importance, samples=samples())
    for ratios in ({}, every(prunable, 0.0)):
        assert torch.equal(prunable.pruned(ratios)(x), network(x))
    prunable.pruned(every(prunable, 0.5))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in prunable.network.parameters())


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
def test_channels_that_do_nothing_go_first(importance: str) -> None:
    network = two_layers()
    dead = [1, 2, 5, 8, 9, 10, 13, 15]
    with torch.no_grad():
        network[0].weight[dead] = 0.0
        network[1].weight[dead] = 0.0
        network[1].bias[dead] = 0.0
        network[3].weight[:, dead] = 0.0
    prunable = find_channels(network, SHAPE, importance=importance, samples=samples())
    pruned, (x, _) = prunable.pruned({"0": 0.5}), samples()[0]
    assert pruned[0].out_channels == pruned[1].num_features == pruned[3].in_channels == 8
    torch.testing.assert_close(pruned(x), network(x))


@pytest.mark.parametrize("multiple", [1, 4, 8])
@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.75, 0.99])
def test_channels_that_are_left_are_multiples(multiple: int, ratio: float) -> None:
    prunable = find_channels(residual(), SHAPE, multiple=multiple)
    pruned = prunable.pruned(every(prunable, ratio), multiple=multiple)
    assert pruned(torch.randn(2, *SHAPE)).shape == (2, 10)
    convolutions = [layer for layer in pruned.modules() if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        assert layer.out_channels >= multiple
        assert layer.out_channels % multiple == 0
        assert layer.weight.shape[:2] == (layer.out_channels, layer.in_channels)
    assert convolutions[0].in_channels == 3
    assert pruned.head.out_features == 10
    # A sum needs the same channels on both sides.
    assert pruned.stem[0].out_channels == pruned.layer1[0].conv2.out_channels == pruned.layer1[1].conv2.out_channels
    assert pruned.layer2[0].short[0].out_channels == pruned.layer2[1].conv2.out_channels == pruned.head.in_features


class Joined(nn.Module):
    """Concatenation, a depthwise and a grouped convolution, a group norm, a hidden linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(3, 16, 3, padding=1)
        self.mix, self.deep = nn.Conv2d(48, 64, 1), nn.Conv2d(64, 64, 3, groups=64)
        self.grouped, self.norm = nn.Conv2d(64, 64, 3, groups=4), nn.GroupNorm(4, 64)
        self.hidden, self.out = nn.Linear(64 * 4, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(self.mix(torch.cat([self.a(x), self.b(x)], 1)))
        x = functional.adaptive_avg_pool2d(self.norm(self.grouped(x)), 2).flatten(1)
        y: Tensor = self.out(torch.relu(self.hidden(x)))
        return y


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.place = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.randn(1, 16, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.place
        y: Tensor = self.out(self.blocks(x).mean(1))
        return y


@pytest.mark.parametrize(("make", "smaller"), [(Joined, 0.5), (Attending, 0.5), (lambda: Residual(3, 10, 16), 0.4)])
def test_torch_pruning_itself_prunes_the_same(make: Callable[[], nn.Module], smaller: float) -> None:
    import torch_pruning as tp

    network, x = seeded(make), torch.randn(2, *SHAPE)
    prunable = find_channels(network, SHAPE)
    pruned = prunable.pruned(every(prunable, 0.5))
    # The slow twin: group after group, each with a graph of the network that is left.
    twin = copy.deepcopy(network).requires_grad_(True)
    for group, kept in zip(prunable.groups, prunable.kept(every(prunable, 0.5), 8), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = tp.DependencyGraph().build_dependency(twin, (torch.zeros(1, *SHAPE),), verbose=False)
        layer = twin.get_submodule(group.name)
        cut = graph.get_pruner_of_module(layer).prune_out_channels
        graph.get_pruning_group(layer, cut, group.lost(kept)).prune()
    assert torch.equal(pruned(x), twin(x))
    count, before = (sum(p.numel() for p in one.parameters()) for one in (pruned, network))
    assert count < smaller * before


def test_parts_lose_the_same_places() -> None:
    prunable = find_channels(seeded(Joined), SHAPE)
    by_name = {group.name: group for group in prunable.groups}
    assert by_name["grouped"].parts == 4
    lost = by_name["grouped"].lost(by_name["grouped"].kept(0.5, 8))
    assert len(lost) == 32
    assert {place % 16 for place in lost} == {place - 16 for place in lost if 16 <= place < 32}
    heads = find_channels(seeded(Attending), SHAPE).groups[0]
    assert (heads.name, heads.parts, heads.kept(0.5, 8)) == ("patch", 4, 16)


class Counting(nn.Module):
    """A forward that knows how many channels there are."""

    def __init__(self, *, first: int = 32) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, first, 3, padding=1), nn.Conv2d(first, 32, 3, padding=1)
        self.out = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.adaptive_avg_pool2d(self.b(torch.relu(self.a(x))), 1)
        y: Tensor = self.out(x.view(-1, 32))
        return y


class Cut(Counting):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


class Wavering(Counting):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("never ready\nat all")


class Looking(Counting):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if float(x.sum()) >= 0 else -x)


class Halting(nn.Module):
    """Its gradient ends before the head."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Conv2d(3, 16, 3), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.a(x).mean((2, 3)).detach())
        return y


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.LSTM(48, 32, batch_first=True), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.a(x.flatten(2).transpose(1, 2).reshape(len(x), 16, 48))[0][:, -1])
        return y


def test_what_breaks_the_network_stays_whole_and_is_named() -> None:
    prunable = find_channels(Counting(), SHAPE)
    assert tuple(prunable.stages) == ("a",)
    assert len(prunable.left_whole) == 1
    assert "the channels of 'b' stay" in prunable.left_whole[0]
    assert "view" in prunable.left_whole[0] or "shape" in prunable.left_whole[0]


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Counting(first=8), ["nothing of the network can be pruned", "'b'"]),
        (Cut(), ["cannot take the network: at 'out' (Linear)", "loses the gradient"]),
        (Wavering(), ["cannot take the network", "never ready"]),
        (Looking(), ["without data: at the network itself", "neither look at"]),
        (Halting(), ["the dependency graph cannot follow 'a' (Conv2d)"]),
        (Recurrent(), ["the dependency graph cannot follow 'a' (LSTM)"]),
        (nn.Sequential(nn.Flatten(), nn.Linear(768, 10)), ["no layer has more than 8 channels"]),
        (nn.Sequential(nn.Conv2d(3, 8, 16), nn.Flatten(), nn.Linear(8, 10)), ["no layer has more than 8 channels"]),
    ],
    ids=["hard-coded", "no gradient", "raises", "looks", "detached", "recurrent", "one layer", "narrow"],
)
def test_a_network_that_cannot_be_taken(network: nn.Module, words: list[str]) -> None:
    with pytest.raises(BuildError) as caught:
        find_channels(network, SHAPE)
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ({"0": 1.0}, "ratio of 1.0 empties the layers of stage '0'"),
        ({"0": 1.5}, "empties the layers"),
        ({"0": -0.1}, "allowed: 0 to below 1"),
        ({"0": float("nan")}, "allowed: 0 to below 1"),
        ({"0": "0.5"}, "ratio of '0.5' empties the layers of stage '0'"),
        ({"00": 0.5}, "no stage '00'; did you mean '0'"),
    ],
)
def test_wrong_ratios(ratios: Any, said: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=said):
        find_channels(two_layers(), SHAPE).pruned(ratios)


def test_wrong_importance() -> None:
    with pytest.raises(ConfigError, match="must be one of taylor, magnitude, got 'luck'"):
        find_channels(two_layers(), SHAPE, importance="luck")
    with pytest.raises(ConfigError, match="needs samples"):
        find_channels(two_layers(), SHAPE, importance="taylor")


def test_a_loss_without_gradient() -> None:
    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = two_layers()

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 2:
                raise ValueError("too\nmany")
            y: Tensor = self.network(x)
            return y

    with pytest.raises(BuildError, match=r"gradient of the loss cannot be computed: too; is"):
        find_channels(Fragile(), SHAPE, importance="taylor", samples=samples())


def test_without_torch_pruning_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingDependencyError, match="pip install torch-pruning"):
        find_channels(two_layers(), SHAPE)


def test_torch_pruning_is_not_imported_before_it_is_asked() -> None:
    code = "import sys, hwnas.search.compression; print('torch_pruning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
