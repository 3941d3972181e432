"""What lies beside an exported model, so that it can be used without hwnas: labels, a card, and a short program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.store import write_atomic

__all__ = ["write_companions"]

LABELS, CARD, PROGRAM = "labels.txt", "README.md", "predict.py"

# Runs on numpy and ONNX Runtime alone; everything that it must know stands in the manifest.
PREDICT = '''"""Classify images: python predict.py images.npy (uint8, n x channels x height x width, resized)."""
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

here = Path(__file__).parent
manifest = json.loads((here / "manifest.json").read_text(encoding="utf-8"))
mean, std = (np.array(manifest["preprocessing"][key], np.float32)[:, None, None] for key in ("mean", "std"))
images = np.load(sys.argv[1], allow_pickle=False).astype(np.float32)
session = onnxruntime.InferenceSession(here / manifest["artifact"]["path"])
(logits, *_) = session.run(None, {session.get_inputs()[0].name: (images / np.float32(255) - mean) / std})
print(*(manifest["class_names"][best] for best in logits.argmax(axis=1)), sep="\\n")
'''


def write_companions(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write `labels.txt` (a class a line), `README.md` (a model card), and for an ONNX file `predict.py`.

    Args:
        folder: of the exported model.
        manifest: as in `manifest.json` there; keys that are missing leave lines out.
    Raises:
        RunFolderError: the folder cannot be written.
    """
    labels = [" ".join(str(name).split()) for name in manifest.get("class_names", ())]
    write_atomic(folder / LABELS, "".join(f"{label}\n" for label in labels).encode("utf-8", "replace"))
    is_onnx = str(manifest["artifact"]["path"]).endswith(".onnx")
    if is_onnx:
        write_atomic(folder / PROGRAM, PREDICT.encode())
    write_atomic(folder / CARD, _card(manifest, with_program=is_onnx).encode("utf-8", "replace"))


def _card(manifest: Mapping[str, Any], *, with_program: bool) -> str:
    artifact, compression = manifest["artifact"], manifest.get("compression") or {}
    lines = [
        f"# Model {_code(manifest.get('id', 'without an id'))}",
        "",
        f"An image classifier that hwnas found in the search space {_code(manifest.get('space', 'not known'))}.",
        "",
        "| what | value |",
        "| --- | --- |",
        f"| file | {_code(artifact['path'])}, {artifact.get('size_bytes', 'not known')} bytes |",
        f"| SHA-256 | {_code(artifact.get('sha256', 'not known'))} |",
        *_accuracy(manifest.get("accuracy")),
        f"| precision | {_code(manifest.get('precision', 'not known'))} |",
        f"| channels cut | {_cut(compression.get('prune') or {})} |",
        f"| multiply-adds, parameters | {manifest.get('macs', 'not known')}, {manifest.get('params', 'not known')} |",
        f"| runtime | {_runtime(manifest.get('runtime'))} |",
        f"| data | {_code((manifest.get('data') or {}).get('source') or manifest.get('task', 'not known'))} |",
        f"| made | {_code(manifest.get('created', 'not known'))} |",
        "",
        "## Use",
        "",
        *_use(manifest.get("preprocessing") or {}),
        "`labels.txt` names the outputs in their order; `manifest.json` holds all of this for programs.",
    ]
    if with_program:
        lines += ["", "```bash", "pip install numpy onnxruntime", "python predict.py images.npy", "```"]
    limits = (
        "It knows the classes of its data and no others; its accuracy holds for images like those it was tested on."
    )
    return "\n".join([*lines, "", "## Limits", "", limits, ""])


def _code(text: object) -> str:
    """Text from outside as code in a table of Markdown: nothing in it is markup."""
    plain = " ".join(str(text).split()).replace("`", "'").replace("|", "/")
    return f"`{plain}`"


def _accuracy(blocks: object) -> list[str]:
    found = blocks if isinstance(blocks, Mapping) else {}
    return [
        f"| accuracy, {split} | {found[split]['value'] * 100:.2f} % of {found[split]['n']} images, read from the file |"
        for split in ("test", "validation")
        if isinstance(found.get(split), Mapping)
    ]


def _cut(prune: Mapping[str, float]) -> str:
    return ", ".join(f"{_code(stage)} {share:.0%}" for stage, share in prune.items()) or "none"


def _runtime(runtime: Mapping[str, Any] | None) -> str:
    return "not known" if not runtime else _code(f"{runtime.get('name')} {runtime.get('version')}")


def _use(how: Mapping[str, Any]) -> list[str]:
    if not how:
        return []
    height, width = how["size"]
    colour = "grey" if how["channels"] == 1 else "RGB"
    return [
        f"Images: {colour}, {height} x {width} pixels (resized {how['resize']}), channels first; divided by 255, then "
        f"less the mean {how['mean']} and divided by {how['std']}, for each channel.",
        "",
    ]
