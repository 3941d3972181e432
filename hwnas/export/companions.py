"""What lies beside an exported model, so that it can be used without hwnas: labels, a card, and a short program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.core.graph_record import GraphRecord, layers_in_fp32
from hwnas.errors import RunFolderError
from hwnas.store import write_atomic

__all__ = ["write_companions"]

LABELS, CARD, PROGRAM = "labels.txt", "README.md", "predict.py"

# They run on numpy and ONNX Runtime alone; everything that they must know stands in the manifest.
_BEGIN = """import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

here = Path(__file__).parent
manifest = json.loads((here / "manifest.json").read_text(encoding="utf-8"))
"""
_END = """session = onnxruntime.InferenceSession(here / manifest["artifact"]["path"])
(logits, *_) = session.run(None, {session.get_inputs()[0].name: inputs})
print(*(manifest["class_names"][best] for best in logits.argmax(axis=1)), sep="\\n")
"""
_IMAGES = f'''"""Classify images: python predict.py images.npy (uint8, n x channels x height x width, resized)."""
{_BEGIN}mean, std = (np.array(manifest["preprocessing"][key], np.float32)[:, None, None] for key in ("mean", "std"))
images = np.load(sys.argv[1], allow_pickle=False).astype(np.float32)
inputs = (images / np.float32(255) - mean) / std
{_END}'''
_CLIPS = f'''"""Classify recordings: python predict.py clips.npy (int16, n x samples, at the rate in manifest.json)."""
{_BEGIN}clips, wanted = np.load(sys.argv[1], allow_pickle=False), manifest["preprocessing"]["samples"]
spare = clips.shape[1] - wanted
clips = clips[:, spare // 2 : spare // 2 + wanted] if spare >= 0 else clips
clips = np.pad(clips, ((0, 0), (max(0, -spare) // 2, max(0, -spare) - max(0, -spare) // 2)))
inputs = clips[:, None].astype(np.float32) * np.float32(manifest["preprocessing"]["scale"])
{_END}'''
_TEXTS = f'''"""Classify texts: python predict.py "a text" "another one"."""
import re
{_BEGIN}how = manifest["preprocessing"]
ids = {{word: number for number, word in enumerate(how["vocabulary"].split(" "))}}
inputs = np.full((len(sys.argv) - 1, how["tokens"]), how["pad"], np.int64)
for row, text in zip(inputs, sys.argv[1:]):
    words = re.findall(how["pattern"], text.lower())[: how["tokens"]]
    row[: len(words)] = [ids.get(word, how["unknown"]) for word in words]
{_END}'''


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of input: what a model of it is called, its program, and how the program is called."""

    title: str
    samples: str
    program: str
    arguments: str
    use: Callable[[Mapping[str, Any]], str]


def _use_images(how: Mapping[str, Any]) -> str:
    height, width = how["size"]
    return (
        f"Images: {'grey' if how['channels'] == 1 else 'RGB'}, {height} x {width} pixels (resized {how['resize']}), "
        f"channels first; divided by 255, then less the mean {how['mean']} and divided by {how['std']}, for each "
        "channel."
    )


def _use_clips(how: Mapping[str, Any]) -> str:
    return (
        f"Recordings: 16-bit samples at {how['sample_rate']} Hz, channels {how['channels']}, {how['samples']} samples "
        f"({how['length']}); divided by {round(1 / how['scale'])}. The model computes the spectrum itself."
    )


def _use_texts(how: Mapping[str, Any]) -> str:
    return (
        f"Texts: {how['case']} case, cut into words by the regular expression `pattern` of `manifest.json`, numbered "
        f"by their place in its `vocabulary` ({how['unknown']} for others), the first {how['tokens']} of them, padded "
        f"with {how['pad']} at the end."
    )


_KINDS = {
    "images": _Kind("An image classifier", "images", _IMAGES, "images.npy", _use_images),
    "waveform": _Kind("A classifier of recordings", "recordings", _CLIPS, "clips.npy", _use_clips),
    "tokens": _Kind("A text classifier", "texts", _TEXTS, '"a text"', _use_texts),
}


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
        write_atomic(folder / PROGRAM, _kind_of(manifest).program.encode())
    write_atomic(folder / CARD, _card(manifest, with_program=is_onnx).encode("utf-8", "replace"))


def _kind_of(manifest: Mapping[str, Any]) -> _Kind:
    return _KINDS[(manifest.get("preprocessing") or {}).get("kind", "images")]


def _card(manifest: Mapping[str, Any], *, with_program: bool) -> str:
    kind, how = _kind_of(manifest), manifest.get("preprocessing")
    artifact, compression = manifest["artifact"], manifest.get("compression") or {}
    lines = [
        f"# Model {_code(manifest.get('id', 'without an id'))}",
        "",
        f"{kind.title} that hwnas found in the search space {_code(manifest.get('space', 'not known'))}.",
        "",
        "| what | value |",
        "| --- | --- |",
        f"| file | {_code(artifact['path'])}, {artifact.get('size_bytes', 'not known')} bytes |",
        f"| SHA-256 | {_code(artifact.get('sha256', 'not known'))} |",
        *_accuracy(manifest.get("accuracy"), kind.samples),
        f"| precision | {_code(manifest.get('precision', 'not known'))} |",
        *_mixed(layers_in_fp32(manifest)),
        f"| channels cut | {_cut(compression.get('prune') or {})} |",
        f"| multiply-adds, parameters | {manifest.get('macs', 'not known')}, {manifest.get('params', 'not known')} |",
        f"| runtime | {_runtime(manifest.get('runtime'))} |",
        *_graph(manifest.get("details")),
        f"| data | {_code((manifest.get('data') or {}).get('source') or manifest.get('task', 'not known'))} |",
        f"| made | {_code(manifest.get('created', 'not known'))} |",
        "",
        "## Use",
        "",
        *([kind.use(how), ""] if how else []),
        "`labels.txt` names the outputs in their order; `manifest.json` holds all of this for programs.",
    ]
    if with_program:
        lines += ["", "```bash", "pip install numpy onnxruntime", f"python predict.py {kind.arguments}", "```"]
    limits = (
        "It knows the classes of its data and no others; its accuracy holds for "
        f"{kind.samples} like those it was tested on."
    )
    return "\n".join([*lines, "", "## Limits", "", limits, ""])


def _code(text: object) -> str:
    """Text from outside as code in a table of Markdown: nothing in it is markup."""
    plain = " ".join(str(text).split()).replace("`", "'").replace("|", "/")
    return f"`{plain}`"


def _accuracy(blocks: object, samples: str) -> list[str]:
    found = blocks if isinstance(blocks, Mapping) else {}
    return [
        f"| accuracy, {split} | {block['value'] * 100:.2f} % of {block['n']} {samples}, read from the file |"
        for split in ("test", "validation")
        if isinstance(block := found.get(split), Mapping)
    ]


def _cut(prune: Mapping[str, float]) -> str:
    return ", ".join(f"{_code(stage)} {share:.0%}" for stage, share in prune.items()) or "none"


def _mixed(layers: Sequence[str]) -> list[str]:
    """Layers of an int8 file that are in fp32."""
    said = ", ".join(map(_code, layers))
    return [f"| layers in fp32, where int8 lost too much accuracy | {said} |"] if layers else []


def _graph(details: object) -> list[str]:
    """What the runtime makes of the file, as far as it tells."""
    try:
        record = GraphRecord.from_json(details["graph"] if isinstance(details, Mapping) else None)
    except (KeyError, RunFolderError):  # a run of before records were made
        return []
    rows = [f"| on the machine that exported it | {_code(note)} |" for note in record.notes]
    if record.before is not None:
        runs = "not known" if record.after is None else sum(record.after.values())
        rows.append(f"| operations in the file, operations that run | {sum(record.before.values())}, {runs} |")
    if record.fused:
        merged = ", ".join(f"{_code(words)} {n} times" for words, n in record.fused.items())
        rows.append(f"| fused or folded | {merged} |")
    if record.precisions:
        parts = ", ".join(f"{n} in {_code(precision)}" for precision, n in record.precisions.items())
        rows.append(f"| convolutions, linear layers, matrix products | {parts} |")
    return rows


def _runtime(runtime: Mapping[str, Any] | None) -> str:
    return "not known" if not runtime else _code(f"{runtime.get('name')} {runtime.get('version')}")
