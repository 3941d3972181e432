from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("executorch", reason="needs: pip install 'hwnas[executorch]'")

from hwnas.plugins import load_plugin
from hwnas.runtimes.executorch import ExecuTorch
from hwnas.testing.networks import small_network
from hwnas.testing.runtime import RuntimeContract, spec_of


class TestExecuTorch(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> ExecuTorch:
        return ExecuTorch()


def test_is_a_plugin() -> None:
    assert load_plugin("runtime", "executorch") is ExecuTorch


def test_says_what_is_delegated(tmp_path: Path) -> None:
    details = ExecuTorch().export(small_network(), spec_of("fp32"), tmp_path / "m.pte").details
    assert details["delegates"] >= 1
    assert not [name for name in details["graph"]["after"] if "portable" in name and "convolution" in name]
    assert details["graph"]["precisions"] == {"fp32": 6}


def test_files_load_without_hwnas(tmp_path: Path) -> None:
    path = tmp_path / "m.pte"
    ExecuTorch().export(small_network(), spec_of("int8"), path)
    code = (
        "import sys, torch\n"
        "from executorch.runtime import Runtime\n"
        "method = Runtime.get().load_program(sys.argv[1]).load_method('forward')\n"
        "print(tuple(method.execute([torch.zeros(1, 3, 16, 16)])[0].shape))\n"
        "assert not [name for name in sys.modules if name.startswith('hwnas.')]"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 5)"
