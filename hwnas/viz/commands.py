"""The commands that a reader of the report copies: to export a model, to measure it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

__all__ = ["export_command", "verify_command"]


def export_command(run_dir: Path, model_id: str, formats: Sequence[str]) -> str:
    """The shell command that exports a model of the run."""
    chosen = ",".join(formats) or "onnx"
    return shlex.join(
        ["hwnas", "export", str(run_dir), "--model", model_id, "--format", chosen, "--to", f"deploy/{model_id}"]
    )


def verify_command(run_dir: Path, device: str) -> str:
    """The shell command that measures the models of the run again, where the device can be reached."""
    return shlex.join(["hwnas", "verify", str(run_dir), "--device", device])
