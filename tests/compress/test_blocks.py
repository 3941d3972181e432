from __future__ import annotations

import pytest
import torch
from residual import Residual
from torch import Tensor, nn

from hwnas.compress.blocks import leave_out
from hwnas.compress.prune import find_channels

SHAPE = (3, 16, 16)


def residual() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Residual(3, 10).eval()


def conv(given: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(given, width, 3, padding=1), nn.ReLU())


class Branch(nn.Module):
    """A residual block written as a sequence, whose last convolution gives the shape that it takes."""

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        self.short = nn.Conv2d(given, width, 1, 2)
        self.body = nn.Sequential(
            *(nn.Conv2d(given, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.short(x) + self.body(x)
        return y


class Gated(nn.Module):
    """Its second block multiplies, and a layer after it knows the number of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16), Gate(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.out = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.body(x))
        return y


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()


@pytest.mark.parametrize(
    ("network", "blocks"),
    [
        (residual(), {"layer1": ("layer1.0", "layer1.1"), "layer2": ("layer2.1",)}),
        (Gated(), {"body": ("body.1",)}),
        # A layer of a branch is no block, though without it the network runs.
        (nn.Sequential(Branch(3, 16), Branch(16, 32), nn.Flatten(), nn.Linear(512, 10)), {}),
        # Norms and depthwise convolutions pass channels on.
        (
            nn.Sequential(
                nn.Sequential(nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, padding=1, groups=16)),
                *(nn.Flatten(), nn.Linear(4096, 10)),
            ),
            {},
        ),
        # The same shape in and out, and nothing that goes on without them.
        (nn.Sequential(conv(3, 16), conv(16, 16), conv(16, 16), nn.Flatten(), nn.Linear(4096, 10)), {}),
    ],
    ids=["residual", "gated", "branch", "depthwise", "chain"],
)
def test_blocks_that_add_to_a_stream_can_go(network: nn.Module, blocks: dict[str, tuple[str, ...]]) -> None:
    assert dict(find_channels(network.eval(), SHAPE).blocks) == blocks


def test_a_block_that_adds_nothing_is_not_missed() -> None:
    network, x = residual(), torch.randn(4, *SHAPE)
    for name in ("layer1.1", "layer2.1"):
        norm = network.get_submodule(f"{name}.bn2")
        nn.init.zeros_(norm.weight)
        nn.init.zeros_(norm.bias)
    prunable = find_channels(network, SHAPE)
    cut = prunable.pruned({}, left_out=["layer1.1", "layer2.1"])
    assert torch.equal(cut(x), network(x))  # what enters a block was cut off at 0 before
    gone = sum(p.numel() for name, p in network.named_parameters() if name.startswith(("layer1.1.", "layer2.1.")))
    assert sum(p.numel() for p in cut.parameters()) == sum(p.numel() for p in network.parameters()) - gone
    assert isinstance(network.layer1[1], nn.Module) and not isinstance(network.layer1[1], nn.Identity)


def test_channels_and_blocks_go_together() -> None:
    prunable = find_channels(residual(), SHAPE)
    ratios = dict.fromkeys(prunable.stages, 0.5)
    cut = prunable.pruned(ratios, left_out=["layer1.1"])
    twin = leave_out(prunable.pruned(ratios), ["layer1.1"])
    x = torch.randn(2, *SHAPE)
    assert torch.equal(cut(x), twin(x))
    kept = dict(zip((g.name for g in prunable.groups), prunable.kept(ratios, 8, ["layer1.1"]), strict=True))
    assert (kept["layer1.1.conv1"], kept["layer1.0.conv1"], kept["stem.0"]) == (16, 8, 8)
