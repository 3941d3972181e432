"""A made-up device whose latency is exactly known, and networks to time on it."""

from __future__ import annotations

import numpy as np

from hwnas.core.ops import Op, OpList, Segment


def conv(channels: int, size: int, kernel: int = 3, *, depthwise: bool = False) -> Op:
    per = 1 if depthwise else channels
    weights = channels * per * kernel * kernel
    kind = "depthwise" if depthwise else "conv" if kernel > 1 else "pointwise"
    shape = (channels, size, size)
    return Op(kind, (shape,), shape, (kernel, kernel), macs=weights * size * size, params=weights, detail="convolution")


def add(channels: int, size: int) -> Op:
    shape = (channels, size, size)
    return Op("elementwise", (shape, shape), shape, detail="add")


def true_ms(network: OpList) -> float:
    """0.2 ms, 10 us an operation, 40 us a million MACs (three times that if depthwise), 100 us a megabyte."""
    ms = 0.2
    for op in network:
        ms += 0.01 + op.macs / 1e6 * (0.12 if op.kind == "depthwise" else 0.04)
        ms += (op.input_bytes + op.output_bytes) / 1e6 * 0.1
    return ms


def random_networks(count: int, seed: int) -> list[OpList]:
    rng = np.random.default_rng(seed)
    networks = []
    for _ in range(count):
        segments = []
        for _ in range(int(rng.integers(3, 12))):
            channels, size = int(rng.integers(1, 9)) * 16, int(rng.choice([8, 16, 32]))
            kernel = int(rng.choice([3, 5, 7]))
            segments.append(Segment([conv(channels, size, 1), conv(channels, size, kernel, depthwise=True)]))
            if rng.random() < 0.7:
                segments.append(Segment([conv(channels, size), add(channels, size)]))
        networks.append(OpList(segments))
    return networks
