"""Instruction sets of a CPU, and whether its int8 arithmetic needs a narrower weight range."""

from __future__ import annotations

from pathlib import Path

__all__ = ["EXACT_INT8_FLAGS", "needs_reduced_range", "read_cpu_flags"]

# Dot-product instructions that add u8 x s8 products in 32 bits. Without them x86 adds pairs in 16 bits and saturates.
EXACT_INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})


def read_cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Flags of the first CPU in `cpuinfo` (Linux; "flags" on x86, "Features" on ARM).

    Returns an empty set where the file cannot be read, which is the careful answer: int8 weights then lose a bit.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return frozenset()


def needs_reduced_range(cpu_flags: frozenset[str]) -> bool:
    """Whether int8 weights must stay in 7 bits on a CPU with these flags, so that 16-bit sums do not saturate."""
    return not cpu_flags & EXACT_INT8_FLAGS
