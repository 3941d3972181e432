from __future__ import annotations

import shlex
from pathlib import Path

from hwnas.viz.commands import export_command, verify_command


def test_commands_survive_a_shell() -> None:
    words = shlex.split(export_command(Path("my runs/it's"), "$(rm -rf x)", ["onnx", "openvino"]))
    assert words == [
        *("hwnas", "export", "my runs/it's", "--model", "$(rm -rf x)"),
        *("--format", "onnx,openvino", "--to", "deploy/$(rm -rf x)"),
    ]
    assert shlex.split(verify_command(Path("a b"), "my;device")) == ["hwnas", "verify", "a b", "--device", "my;device"]
