"""A network that the user already has: code from a file of theirs, weights from another, checked against the task."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import inspect
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core.architecture import Architecture
from hwnas.core.error_text import first_line
from hwnas.core.task import Task, TaskLike
from hwnas.errors import BuildError, ConfigError, DataError, ModelFileError

__all__ = ["check_data", "fingerprint_of", "load_build", "load_weights", "own_network"]

Build = Callable[..., Any]
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # keys that training scripts keep weights under
_SHOWN = 3  # names of weights in a message


def load_build(spec: str) -> tuple[str, Build | nn.Module]:
    """Import what `FILE.py:NAME` names: a name for the network, and the function (or network) itself.

    Raises:
        ConfigError: `spec` is not of this form.
        BuildError: there is no such file, importing it raised, or it has nothing of that name.
    """
    text, _, name = spec.rpartition(":")
    path = Path(text)
    if not text or not name.isidentifier() or path.suffix != ".py":
        raise ConfigError(f"the network is named by FILE.py:FUNCTION, such as model.py:build, got {spec!r}")
    if not path.is_file():
        raise BuildError(f"no file {path}; give the Python file that builds the network, as FILE.py:FUNCTION")
    module = _imported(path)
    found = getattr(module, name, None)
    if not isinstance(found, nn.Module) and not callable(found):
        own = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise BuildError(f"{path} has no function {name!r}; it has: {', '.join(own) or 'none'}")
    return path.stem, found


def _imported(path: Path) -> ModuleType:
    name = f"hwnas_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and the like look their module up
    # What lies beside the file can be imported by it, also later, when it builds the network.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a file of the user's may raise anything
        raise BuildError(f"importing {path} raised {_said(error)}") from error
    return module


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict: `.safetensors`, or what `torch.save` wrote of one; nothing in the file is run.

    A state dict under one of the keys "state_dict", "model_state_dict", "model" and "net" is found, and the prefix
    "module." of parallel training is taken off.

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
        raise ModelFileError(f"{path} cannot be read as weights: {_said(error)}; save them again") from error
    found = next((raw[key] for key in WRAPPERS if isinstance(raw, Mapping) and isinstance(raw.get(key), Mapping)), raw)
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise ModelFileError(
            f"{path} must hold tensors by name (a state dict), got {type(found).__name__}; "
            "save it with torch.save(model.state_dict(), FILE)"
        )
    weights = {str(name): tensor for name, tensor in found.items()}
    if all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    return weights


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def own_network(
    build: Build | nn.Module, task: TaskLike, weights: Mapping[str, Tensor] | None, *, name: str
) -> nn.Module:
    """The user's network with its weights, in eval mode on the CPU, after a look at what it gives.

    Args:
        build: a network, or a function that makes one: `build(task)`, `build(architecture, task)` or `build()`; an
            argument is known by its name, else by how many there are. `architecture` is empty but for the name.
        task: its shapes.
        weights: a state dict that must fit; None: those that it comes with.
        name: of the network, for messages.
    Raises:
        BuildError: `build` raised or gave no network, or the network does not fit the task.
        ModelFileError: the weights do not fit the network, or are not finite.
    """
    network = copy.deepcopy(build) if isinstance(build, nn.Module) else _built(build, task, name)
    network = network.cpu().eval()
    if weights is not None:
        _fill(network, weights)
    broken = [
        key for key, value in network.state_dict().items() if value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        raise ModelFileError(f"the weights of {name!r} are not finite: {_some(broken)}; was the training stable?")
    _check_output(network, task, name)
    return network


def _built(build: Build, task: TaskLike, name: str) -> nn.Module:
    arguments = _arguments(build, Architecture.of(name, {"network": name}), task, name)
    try:
        network = build(**arguments) if isinstance(arguments, dict) else build(*arguments)
    except Exception as error:  # a function of the user's may raise anything
        raise BuildError(f"building the network {name!r} raised {_said(error)}") from error
    if not isinstance(network, nn.Module):
        raise BuildError(f"building the network {name!r} must give a torch.nn.Module, got {type(network).__name__}")
    return network


def _arguments(build: Build, architecture: Architecture, task: TaskLike, name: str) -> dict[str, Any] | list[Any]:
    known = {"architecture": architecture, "task": task}
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):  # written in C
        return {}
    named = {p.name: known[p.name] for p in parameters if p.name in known and p.kind is not p.POSITIONAL_ONLY}
    fixed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p for p in parameters if p.default is p.empty and p.kind not in fixed]
    if all(p.name in named for p in needed):
        return named
    if len(needed) <= 2 and not named and all(p.kind is not p.KEYWORD_ONLY for p in needed):
        return [task] if len(needed) == 1 else [architecture, task]
    wanted = ", ".join(p.name for p in needed)
    raise BuildError(
        f"the function that builds {name!r} must take (task), (architecture, task) or nothing, got ({wanted})"
    )


def _fill(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    own = network.state_dict()
    missing, unknown = [k for k in own if k not in weights], [k for k in weights if k not in own]
    wrong = [
        f"{k} {tuple(weights[k].shape)}, the network has {tuple(own[k].shape)}"
        for k in own
        if k in weights and weights[k].shape != own[k].shape
    ]
    kinds = (("missing", missing), ("not of the network", unknown), ("of another shape", wrong))
    if said := [f"{what}: {_some(names)}" for what, names in kinds if names]:
        raise ModelFileError(f"the weights do not fit the network; {'; '.join(said)}. Are they of this network?")
    network.load_state_dict(dict(weights))


def _check_output(network: nn.Module, task: TaskLike, name: str) -> None:
    shape = tuple(task.input_shape)
    try:
        with torch.no_grad():
            output = network(torch.zeros(2, *shape))
    except Exception as error:  # a network of the user's may raise anything
        raise BuildError(
            f"the network {name!r} does not run on the task's input of shape {shape}: {_said(error)}; "
            "is it for another task?"
        ) from error
    got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if got != (2, task.n_outputs):
        raise BuildError(
            f"the network {name!r} must give {task.n_outputs} logits for this task: an output of shape "
            f"(2, {task.n_outputs}) for two inputs, got {got}"
        )


def check_data(task: Task) -> None:
    """Raise DataError unless every split has inputs of the task's shape, and finite ones."""
    for name in ("train", "validation", "test"):
        inputs = getattr(task, name).inputs
        if inputs.shape[1:] != tuple(task.input_shape):
            raise DataError(
                f"the {name} split of task {task.name!r} has inputs of shape {inputs.shape[1:]}, "
                f"the task says {tuple(task.input_shape)}; make them alike"
            )
        if np.issubdtype(inputs.dtype, np.floating) and not np.isfinite(inputs).all():
            first = int(np.argmin(np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1)))
            raise DataError(
                f"sample {first} of the {name} split of task {task.name!r} is not finite (NaN, infinity); leave it out"
            )


def fingerprint_of(network: nn.Module) -> str:
    """Ten hexadecimal digits that name a network's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:10]


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _said(error: BaseException) -> str:
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"
