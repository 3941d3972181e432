"""Weights from a file, and whether they are those of a network; nothing in a file is run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hwnas.core.error_text import kind_and_line
from hwnas.errors import ModelFileError

__all__ = ["fill", "load_weights", "odd_value", "some_of", "type_of"]

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # keys that training scripts keep weights under
_PREFIXES = ("module.", "_orig_mod.")  # of parallel training and of torch.compile, one in the other in any order
_SHOWN = 3  # names of weights in a message


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict: `.safetensors`, or what `torch.save` wrote of one; nothing in the file is run.

    A state dict under one of the keys "state_dict", "model_state_dict", "model" and "net" is found, and the prefixes
    "module." of parallel training and "_orig_mod." of `torch.compile` are taken off.

    Raises:
        ModelFileError: the file is missing or damaged, or holds something else than tensors by name.
    """
    if not path.is_file():
        raise ModelFileError(f"no weights file {path}; give a .safetensors file, or a state dict that torch.save wrote")
    try:
        raw = _read(path)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"{path} holds more than weights, and reading that would run code; "
            "save the weights alone: torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # safetensors, zipfile and torch each have errors of their own
        if "TorchScript" in str(error):  # torch's own words recommend to run what is in the file
            raise ModelFileError(
                f"{path} is a TorchScript program, not weights; save torch.save(model.state_dict(), FILE) instead"
            ) from error
        raise ModelFileError(f"{path} cannot be read as weights: {kind_and_line(error)}; save them again") from error
    found = next((raw[key] for key in WRAPPERS if isinstance(raw, Mapping) and isinstance(raw.get(key), Mapping)), raw)
    is_mapping = isinstance(found, Mapping)
    if not is_mapping or not found or not all(isinstance(value, Tensor) for value in found.values()):
        held = [str(key) for key, value in found.items() if not isinstance(value, Tensor)] if is_mapping else []
        got = f"{type(found).__name__}{f' with other values under {some_of(held)}' if held else ''}"
        raise ModelFileError(
            f"{path} must hold tensors by name (a state dict), alone or under one of the keys {', '.join(WRAPPERS)}; "
            f"got {got}; save it with torch.save(model.state_dict(), FILE)"
        )
    weights = {str(name): tensor for name, tensor in found.items()}
    for prefix in _PREFIXES * 2:
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(9)
        # Files are renamed: what is in them counts. The header of a .safetensors file is JSON behind its length.
        if head[8:] == b"{" or (path.suffix == ".safetensors" and not head.startswith(b"PK")):
            from safetensors.torch import load_file

            return load_file(path)
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def odd_value(value: object) -> str | None:
    """What is odd about a value of a state dict, in words that follow "the network"; None if nothing is."""
    if not isinstance(value, Tensor):
        return "holds what is no tensor (is it quantized already?)"
    if is_lazy(value):
        return "has lazy layers that never ran"
    if value.is_meta:
        return "has weights without data (on the device 'meta')"
    if value.is_quantized or value.is_complex() or value.layout is not torch.strided:
        return f"has {type_of(value)} weights"
    return None


def type_of(tensor: Tensor) -> str:
    """Type of a tensor's values, and how it holds them if that is unusual."""
    how = [str(tensor.dtype).removeprefix("torch.")]
    how += [] if tensor.layout is torch.strided else [str(tensor.layout).removeprefix("torch.")]
    return " ".join([*how, *(["meta"] if tensor.is_meta else [])])


def fill(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network its weights; those of 16 or 64 bits are taken at the network's own type.

    Raises:
        ModelFileError: names, shapes or kinds differ (all of them are said), or values are no plain tensors.
    """
    own = network.state_dict()
    both = [key for key in own if key in weights]
    # Only training reads how many batches there were; files that were converted do without.
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    shapes = [
        f"{key} {tuple(weights[key].shape)}, the network has {tuple(own[key].shape)}"
        for key in both
        if weights[key].shape != own[key].shape
    ]
    kinds = [
        f"{key} {type_of(weights[key])}, the network has {type_of(own[key])}"
        for key in both
        if odd_value(weights[key]) or weights[key].is_floating_point() != own[key].is_floating_point()
    ]
    said = (
        ("missing", missing),
        ("not of the network", [key for key in weights if key not in own]),
        ("of another shape", shapes),
        ("of another kind", kinds),
    )
    if found := [f"{what}: {some_of(names)}" for what, names in said if names]:
        raise ModelFileError(f"the weights do not fit the network; {'; '.join(found)}. Are they of this network?")
    network.load_state_dict(dict(weights), strict=False)


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
