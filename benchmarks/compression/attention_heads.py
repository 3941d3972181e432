"""What attention costs with fewer heads: `nn.MultiheadAttention` whole, and as `hwnas compress` leaves it.

    python benchmarks/compression/attention_heads.py --seconds 1

Self-attention of one sequence at batch 1, fp32, exported for ONNX Runtime; all files are measured interleaved.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import record

from hwnas.compress.attention import FewerHeads
from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.measurement import Measurement
from hwnas.core.runtime import ExportSpec
from hwnas.measure.session import MeasureItem, measure_files
from hwnas.runtimes.onnxruntime import OnnxRuntime

SIZES = ((64, 4, 16), (192, 6, 64), (384, 6, 196))  # width, heads, tokens


class Alone(nn.Module):
    """An attention as a network of its own: every token looks at every token."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return found


def networks(width: int, heads: int) -> dict[str, nn.Module]:
    """What is left -> the attention with it; "whole" is torch's own."""
    torch.manual_seed(0)
    whole = nn.MultiheadAttention(width, heads, batch_first=True).eval()
    counts = (heads, heads // 2, 1)
    fewer = {f"{count} of {heads}": Alone(FewerHeads.of(whole, range(count))) for count in counts}
    return {"whole": Alone(whole).eval()} | {name: network.eval() for name, network in fewer.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of measuring, a file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    items: list[MeasureItem] = []
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        for width, heads, tokens in SIZES:
            for name, network in networks(width, heads).items():
                spec = ExportSpec(precision="fp32", input_shape=(tokens, width))
                file = OnnxRuntime().export(network, spec, Path(folder) / f"{len(items)}.onnx")
                candidate = Candidate(Architecture.of("attention", {"width": width, "tokens": tokens, "heads": name}))
                items.append(MeasureItem(candidate, file.path, "fp32", (tokens, width)))
                rows.append({"width": width, "tokens": tokens, "heads": name})
        seen = measure_files(
            items, device="cpu", runtime="onnxruntime", threads=1, seconds_per_model=options.seconds, seed=options.seed
        )
    for row, one in zip(rows, seen, strict=True):
        measured = isinstance(one, Measurement)
        row |= {
            "measured_ms": one.percentile_ms(10) if measured else None,
            "stable": one.stable if measured else None,
        }
    record(
        "attention-heads",
        f"python benchmarks/compression/attention_heads.py --seconds {options.seconds:g} --seed {options.seed}",
        {"attention": rows},
    )


if __name__ == "__main__":
    main()
