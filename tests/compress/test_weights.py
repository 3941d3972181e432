from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from residual import Residual
from residual import build as build_residual
from safetensors.torch import save_file
from torch import Tensor

from hwnas.compress.own import fingerprint_of, own_network
from hwnas.compress.weights import load_weights
from hwnas.core.task import TaskShape
from hwnas.errors import ModelFileError

TASK = TaskShape((1, 8, 8), 10)
Weights = dict[str, Tensor]


def prefixed(prefix: str, state: Weights) -> Weights:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def in_training(state: Weights) -> dict[str, Any]:
    """A checkpoint as training scripts write it."""
    network = Residual(1, 10)
    network(torch.zeros(2, 1, 8, 8)).sum().backward()
    optimizer = torch.optim.Adam(network.parameters())
    optimizer.step()
    return {"model_state_dict": state, "optimizer": optimizer.state_dict(), "epoch": 3, "loss": torch.tensor(0.3)}


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("w.safetensors", lambda state, path: save_file(state, path)),
        ("renamed.pt", lambda state, path: save_file(state, path)),
        ("w.pt", torch.save),
        ("renamed.safetensors", torch.save),
        ("old.pth", lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False)),
        ("w.ckpt", lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path)),
        ("w.ckpt", lambda state, path: torch.save(in_training(state), path)),
        ("w.pt", lambda state, path: torch.save(prefixed("module.", state), path)),
        ("w.pt", lambda state, path: torch.save(prefixed("module._orig_mod.", state), path)),
        ("w.pt", lambda state, path: torch.save(prefixed("_orig_mod.module.", state), path)),
        ("w.pt", lambda state, path: torch.save({k: v for k, v in state.items() if "num_batches" not in k}, path)),
    ],
    ids=[
        *("safetensors", "safetensors by another name", "pt", "pt by another name", "before zip", "wrapped"),
        *("beside an optimizer", "parallel", "compiled", "both", "without counts"),
    ],
)
def test_weights_from_a_file(tmp_path: Path, name: str, write: Callable[[Weights, Path], Any]) -> None:
    wanted, path = Residual(1, 10), tmp_path / name
    write(wanted.state_dict(), path)
    got = own_network(build_residual, TASK, load_weights(path), name="mine")
    assert fingerprint_of(got) == fingerprint_of(wanted) != fingerprint_of(Residual(1, 10))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_taken_at_fp32(dtype: torch.dtype) -> None:
    state = Residual(1, 10).to(dtype).state_dict()
    got = own_network(build_residual, TASK, state, name="mine").state_dict()
    assert {name: value.dtype for name, value in got.items()} == {
        name: value.dtype for name, value in Residual(1, 10).state_dict().items()
    }
    assert all(torch.equal(value, state[name].to(value.dtype)) for name, value in got.items())


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran-code"),))


def half_of(save: Callable[[Weights, Path], Any]) -> Callable[[Path], Any]:
    """A file of which the second half is missing."""

    def write(path: Path) -> None:
        save(Residual(1, 10).state_dict(), path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return write


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (None, ["no weights file"]),
        (Path.mkdir, ["no weights file"]),
        (lambda path: path.write_bytes(b""), ["cannot be read as weights"]),
        (lambda path: path.write_bytes(b"not weights"), ["w.pt"]),
        (half_of(torch.save), ["cannot be read as weights", "save them again"]),
        (half_of(save_file), ["cannot be read as weights", "save them again"]),
        (lambda path: torch.save(Residual(1, 10), path), ["holds more than weights", "model.state_dict()"]),
        (lambda path: torch.save({"a": Evil()}, path), ["holds more than weights"]),
        (lambda path: torch.save({"state_dict": {"a": torch.zeros(1)}, "b": Evil()}, path), ["holds more than"]),
        (lambda path: path.write_bytes(pickle.dumps(Evil())), ["holds more than weights"]),
        (lambda path: torch.jit.script(Residual(1, 10)).save(path), ["a TorchScript program"]),
        (lambda path: torch.save([1, 2], path), ["a state dict", "got list"]),
        (lambda path: torch.save({}, path), ["a state dict"]),
        (lambda path: torch.save({"epoch": 3, "ema": {"a": torch.zeros(1)}}, path), ["other values under epoch, ema"]),
    ],
    ids=[
        *("missing", "folder", "empty", "text", "half", "half safetensors", "whole model", "evil", "evil beside"),
        *("plain pickle", "script", "list", "nothing", "other keys"),
    ],
)
def test_weights_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], Any] | None, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pt"
    if write is not None:
        write(path)
    with pytest.raises(ModelFileError) as caught:
        load_weights(path)
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch recommends to run what is in a file
    assert not Path("ran-code").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: Residual(1, 10, 8).state_dict(), ["of another shape: stem.0.weight (8, 1, 3, 3)", "(16, 1, 3"]),
        (lambda state: {"x": torch.zeros(1)}, ["missing: stem.0.weight", "more", "not of the network: x"]),
        (lambda state: prefixed("model.", state), ["missing: stem.0", "not of the network: model.stem.0"]),
        (lambda state: {**state, "head.bias": torch.full((10,), float("nan"))}, ["not finite: head.bias"]),
        (lambda state: {**state, "head.bias": torch.full((10,), float("inf"))}, ["not finite: head.bias"]),
        (lambda state: {**state, "head.bias": state["head.bias"].to(torch.complex64)}, ["kind: head.bias complex64"]),
        (lambda state: {**state, "head.bias": state["head.bias"].int()}, ["kind: head.bias int32, the network has fl"]),
        (lambda state: {**state, "head.weight": state["head.weight"].to_sparse()}, ["head.weight float32 sparse_coo"]),
        (lambda state: {**state, "head.bias": state["head.bias"].to("meta")}, ["head.bias float32 meta"]),
    ],
    ids=["width", "other", "prefix", "nan", "inf", "complex", "int", "sparse", "meta"],
)
def test_weights_that_do_not_fit(change: Callable[[Weights], Weights], words: list[str]) -> None:
    with pytest.raises(ModelFileError) as caught:
        own_network(build_residual, TASK, change(Residual(1, 10).state_dict()), name="mine")
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)
