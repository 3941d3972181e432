from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.runtimes.cpu_flags import needs_reduced_range, read_cpu_flags

X86 = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor\t: 1\nflags\t\t: other\n"
ARM = "processor\t: 0\nBogoMIPS\t: 38.40\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd0b\n"


@pytest.mark.parametrize(("text", "flags"), [(X86, {"fpu", "avx2", "avx512_vnni"}), (ARM, {"fp", "asimd", "asimddp"})])
def test_flags_of_the_first_cpu(text: str, flags: set[str], tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert read_cpu_flags(path) == flags


@pytest.mark.parametrize("text", [None, "", "processor : 0\n"])
def test_unknown_cpu_has_no_flags(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    assert read_cpu_flags(path) == frozenset()


@pytest.mark.parametrize(
    ("flags", "reduced"),
    [
        ({"avx2", "fma"}, True),
        (set(), True),
        ({"avx2", "avx512f"}, True),
        ({"avx2", "avx_vnni"}, False),
        ({"avx512_vnni"}, False),
        ({"asimd"}, True),
        ({"asimd", "asimddp"}, False),
    ],
)
def test_range_is_reduced_without_exact_int8_sums(flags: set[str], reduced: bool) -> None:
    assert needs_reduced_range(frozenset(flags)) is reduced
