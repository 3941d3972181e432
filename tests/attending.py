"""Networks that attend, written in the ways that people write them, for tests that compress one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, SIZE = 32, 4, 8


class Tokens(nn.Module):
    """Patches of an image, what looks at them, and a classifier of their mean."""

    def __init__(self, body: nn.Module, channels: int = 3, n_outputs: int = 10, patch: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(channels, WIDTH, patch, patch)
        self.place = nn.Parameter(torch.randn(1, 16, WIDTH))
        self.blocks, self.out = body, nn.Linear(WIDTH, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.blocks(self.patch(x).flatten(2).transpose(1, 2) + self.place).mean(1))
        return y


class Block(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(WIDTH), attention
        self.norm2, self.wide, self.narrow = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.narrow(functional.gelu(self.wide(self.norm2(x))))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v


class Fused(nn.Module):
    """One layer makes queries, keys and values: all queries first, as timm does it, or head after head."""

    def __init__(self, *, by_head: bool = False) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim, self.by_head = HEADS, SIZE, WIDTH, by_head
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        split = (self.num_heads, 3, self.head_dim) if self.by_head else (3, self.num_heads, self.head_dim)
        order = (3, 0, 2, 1, 4) if self.by_head else (2, 0, 3, 1, 4)
        q, k, v = self.qkv(x).reshape(n, tokens, *split).permute(order).unbind(0)
        y: Tensor = self.proj(attend(q, k, v).transpose(1, 2).reshape(n, tokens, self.attn_dim))
        return y


class Counted(nn.Module):
    """The size of a head is counted from the width of the stream: its forward cannot do with fewer heads."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.num_heads, width // self.num_heads).permute(2, 0, 3, 1, 4)
        y: Tensor = self.proj(attend(q, k, v).transpose(1, 2).reshape(n, tokens, width))
        return y


class Apart(nn.Module):
    """Three layers in an order of their own, and a sequence after them; heads narrower than the stream would give."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.inner_dim = HEADS, HEADS * 6
        self.to_k, self.to_v = nn.Linear(WIDTH, self.inner_dim), nn.Linear(WIDTH, self.inner_dim)
        self.to_q = nn.Linear(WIDTH, self.inner_dim)
        self.to_out = nn.Sequential(nn.Linear(self.inner_dim, WIDTH), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.to_q(x), self.to_k(x), self.to_v(x))
        )
        y: Tensor = self.to_out(attend(q, k, v).transpose(1, 2).flatten(2))
        return y


class Inside(nn.Module):
    """Attention as BERT has it: the layer that reads the heads is in another module."""

    def __init__(self) -> None:
        super().__init__()
        self.num_attention_heads, self.attention_head_size, self.all_head_size = HEADS, SIZE, WIDTH
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.num_attention_heads, self.attention_head_size).permute(0, 2, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        found = attend(self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x)))
        return found.permute(0, 2, 1, 3).contiguous().view(*x.shape[:2], self.all_head_size)


class Outside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self = Inside()
        self.output = nn.ModuleDict({"dense": nn.Linear(WIDTH, WIDTH), "norm": nn.LayerNorm(WIDTH)})

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.output["norm"](self.output["dense"](self.self(x)) + x)
        return y


class Cross(nn.Module):
    """Learned queries look at the tokens."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(5, WIDTH))
        self.cross = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, **given)
        self.wide, self.narrow = nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cross(self.queries.expand(x.shape[0], -1, -1), x, x)[0]
        y: Tensor = self.narrow(torch.relu(self.wide(x)))
        return y


def encoder(depth: int = 2, **given: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True, **given)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


def blocks(attention: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(Block(attention()), Block(attention()))


def tokens(body: Callable[[], nn.Module], **given: Any) -> nn.Module:
    """A network in eval mode whose biases are not zero, the same at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Tokens(body(), **given)
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter, std=0.3)
    return network.eval()
