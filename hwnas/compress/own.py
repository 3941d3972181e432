"""A network that the user already has: code from a file of theirs, weights from another, checked against the task."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hwnas.compress.weights import fill, odd_value, some_of, type_of
from hwnas.core.architecture import Architecture
from hwnas.core.error_text import kind_and_line
from hwnas.core.task import TaskLike
from hwnas.errors import BuildError, ConfigError, ModelFileError, nearest

__all__ = ["fingerprint_of", "load_build", "own_network"]

Build = Callable[..., Any]


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
        guess = nearest(name, own)
        hint = f" did you mean {guess!r}?" if guess else ""
        raise BuildError(f"{path} has no function {name!r};{hint} it has: {some_of(own) or 'none'}")
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
    except SystemExit as error:
        raise BuildError(
            f"importing {path} raised {kind_and_line(error)}: it is a script; put what it does under "
            "`if __name__ == '__main__':`, so that its functions can be imported"
        ) from error
    except Exception as error:  # a file of the user's may raise anything
        raise BuildError(f"importing {path} raised {kind_and_line(error)}") from error
    return module


def own_network(
    build: Build | nn.Module, task: TaskLike, weights: Mapping[str, Tensor] | None, *, name: str
) -> nn.Module:
    """The user's network with its weights, in eval mode on the CPU, at fp32, after a look at what it gives.

    Args:
        build: a network (what compiled it or made it parallel is taken off), or a function that makes one:
            `build(task)`, `build(architecture, task)` or `build()`; an argument is known by its name, else by how many
            there are. `architecture` is empty but for the name.
        task: its shapes.
        weights: a state dict that must fit; None: those that it comes with.
        name: of the network, for messages.
    Raises:
        BuildError: `build` raised or gave no network, or one that cannot be cut or does not fit the task.
        ModelFileError: the weights do not fit the network, or are not finite.
    """
    given = build if isinstance(build, nn.Module) else _built(build, task, name)
    network = _bare(given)
    if reason := _odd(network):
        raise BuildError(f"the network {name!r} {reason}")
    network = (copy.deepcopy(network) if given is build else network).cpu().float().eval()
    if weights is not None:
        fill(network, weights)
    broken = [
        key for key, value in network.state_dict().items() if value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        raise ModelFileError(f"the weights of {name!r} are not finite: {some_of(broken)}; was the training stable?")
    _check_output(network, task, name)
    return network


def _built(build: Build, task: TaskLike, name: str) -> nn.Module:
    arguments = _arguments(build, Architecture.of(name, {"network": name}), task, name)
    try:
        network = build(**arguments) if isinstance(arguments, dict) else build(*arguments)
    except (Exception, SystemExit) as error:  # a function of the user's may raise anything
        raise BuildError(f"building the network {name!r} raised {kind_and_line(error)}") from error
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


def _bare(network: nn.Module) -> nn.Module:
    """The network itself, without what compiles it or makes it parallel."""
    bare: Any = network
    while isinstance(bare, nn.DataParallel | nn.parallel.DistributedDataParallel) or hasattr(bare, "_orig_mod"):
        bare = bare._orig_mod if hasattr(bare, "_orig_mod") else bare.module
    return cast(nn.Module, bare)


def _odd(network: nn.Module) -> str | None:
    """Why a network cannot be taken as it is; None if it can."""
    for name, module in network.named_modules():
        layer = f"{name!r} ({type(module).__name__})"
        if isinstance(module, torch.jit.ScriptModule):
            return "is a TorchScript program; give the torch.nn.Module that it was made of"
        held = [key for key, _ in module.named_parameters(recurse=False)]
        # weight_norm, spectral_norm and masks: as hooks that set `weight` before each call, or as parametrizations.
        if parametrize.is_parametrized(module) or ("weight" in vars(module) and {"weight_g", "weight_orig"} & {*held}):
            return (
                f"computes the weights of {layer} anew at each call, which cannot be cut; make them plain parameters "
                "first (remove_parametrizations, remove_weight_norm, prune.remove)"
            )
    odd = {name: words for name, value in network.state_dict().items() if (words := odd_value(value))}
    if odd:
        words = next(iter(odd.values()))
        return f"{words} in {some_of([*odd])}; give it with real, dense float weights"
    return None if any(True for _ in network.parameters()) else "has no weights; there is nothing to compress"


def _check_output(network: nn.Module, task: TaskLike, name: str) -> None:
    shape = tuple(task.input_shape)
    try:
        with torch.no_grad():
            output = network(torch.zeros(2, *shape))
    except (Exception, SystemExit) as error:  # a network of the user's may raise anything
        raise BuildError(
            f"the network {name!r} does not run on the task's input of shape {shape}: {kind_and_line(error)}; "
            "is it for another task?"
        ) from error
    got = f"{tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    if got != f"{(2, task.n_outputs)}":
        raise BuildError(
            f"the network {name!r} must give {task.n_outputs} logits for this task: an output of shape "
            f"(2, {task.n_outputs}) for two inputs, got {got}; return the logits alone, or choose another --task"
        )
    if output.dtype is not torch.float32:
        raise BuildError(
            f"the network {name!r} must give float32 logits, got {type_of(output)}; convert them at its end"
        )
    if training := [layer for layer, module in network.named_modules() if module.training]:
        raise BuildError(
            f"the network {name!r} turns to training mode when it is called: {some_of(training)}; "
            "leave train() out of its forward"
        )
    if len(shape) == 3:
        _check_layout(network, shape, name)


def _check_layout(network: nn.Module, shape: tuple[int, ...], name: str) -> None:
    """Training and evaluation give images as channels_last, which is the quicker layout."""
    try:
        with torch.no_grad():
            network(torch.empty(2, *shape, memory_format=torch.channels_last).zero_())
    except Exception as error:
        raise BuildError(
            f"the network {name!r} runs on plain tensors alone, not on channels_last ones: {kind_and_line(error)}; "
            "write reshape or flatten in its forward where there is view"
        ) from error


def fingerprint_of(network: nn.Module) -> str:
    """Ten hexadecimal digits that name a network's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:10]
