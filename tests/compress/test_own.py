from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from residual import Residual
from residual import build as build_residual
from safetensors.torch import save_file
from torch import nn

from hwnas.compress.own import check_data, fingerprint_of, load_build, load_weights, own_network
from hwnas.core.task import Split, Task, TaskLike, TaskShape
from hwnas.errors import BuildError, ConfigError, DataError, ModelFileError

TASK = TaskShape((1, 8, 8), 10)

GOOD = """
from torch import nn

import beside

def build(task):
    return nn.Sequential(nn.Flatten(), nn.Linear(beside.pixels(task), task.n_outputs))

network = nn.Linear(2, 2)
number = 3
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(GOOD)
    (tmp_path / "beside.py").write_text("def pixels(task):\n    import math\n    return math.prod(task.input_shape)\n")
    return tmp_path / "model.py"


def test_a_file_and_its_function(model: Path) -> None:
    name, build = load_build(f"{model}:build")
    assert name == "model"
    assert own_network(build, TASK, None, name=name)(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert isinstance(load_build(f"{model}:network")[1], nn.Linear)


@pytest.mark.parametrize(
    ("spec", "kind", "words"),
    [
        ("{dir}/model.py", ConfigError, ["FILE.py:FUNCTION"]),
        ("{dir}/model:build", ConfigError, ["FILE.py:FUNCTION"]),
        ("{dir}/model.py:", ConfigError, ["FILE.py:FUNCTION"]),
        ("{dir}/model.py:1x", ConfigError, ["FILE.py:FUNCTION"]),
        ("{dir}/none.py:build", BuildError, ["no file"]),
        ("{dir}/model.py:biuld", BuildError, ["no function 'biuld'", "it has: build"]),
        ("{dir}/model.py:number", BuildError, ["no function 'number'"]),
        ("{dir}/raises.py:build", BuildError, ["raises.py raised ZeroDivisionError"]),
        ("{dir}/syntax.py:build", BuildError, ["syntax.py raised SyntaxError"]),
        ("{dir}/lacks.py:build", BuildError, ["ModuleNotFoundError", "no_such_package"]),
    ],
)
def test_a_file_that_is_no_good(model: Path, spec: str, kind: type[Exception], words: list[str]) -> None:
    home = model.parent
    (home / "raises.py").write_text("1 / 0")
    (home / "syntax.py").write_text("def build(:")
    (home / "lacks.py").write_text("import no_such_package")
    with pytest.raises(kind) as caught:
        load_build(spec.replace("{dir}", str(home)))
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


class Raises(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("no")


def no_argument() -> nn.Module:
    return Residual(1, 10)


def by_place(what: TaskLike) -> nn.Module:
    return build_residual(what)


def by_two_places(values: Any, what: TaskLike) -> nn.Module:
    assert dict(values) == {"network": "mine"}
    return build_residual(what)


def by_name(*, task: TaskLike, width: int = 8) -> nn.Module:
    return Residual(task.input_shape[0], task.n_outputs, width)


def by_both(task: TaskLike, architecture: Any) -> nn.Module:
    assert dict(architecture) == {"network": "mine"}
    return build_residual(task)


@pytest.mark.parametrize("build", [no_argument, by_place, by_two_places, by_name, by_both, Residual(1, 10)])
def test_ways_to_build(build: Callable[..., nn.Module]) -> None:
    network = own_network(build, TASK, None, name="mine")
    assert isinstance(network, Residual)
    assert network is not build
    assert not network.training


def needs_three(a: int, b: int, c: int) -> nn.Module:
    return Residual(1, 10)


def raises(task: TaskLike) -> nn.Module:
    raise KeyError("width")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (needs_three, ["(task), (architecture, task) or nothing, got (a, b, c)"]),
        (raises, ["raised KeyError: 'width'"]),
        (lambda: 3, ["must give a torch.nn.Module, got int"]),
        (lambda: Residual(3, 10), ["does not run on the task's input of shape (1, 8, 8)"]),
        (lambda: Residual(1, 100), ["10 logits", "got (2, 100)"]),
        (lambda: nn.Conv2d(1, 10, 8), ["got (2, 10, 1, 1)"]),
        (Raises, ["ValueError: no"]),
    ],
    ids=["arguments", "raises", "no module", "input", "classes", "shape", "forward"],
)
def test_a_network_that_is_no_good(build: Callable[..., Any], words: list[str]) -> None:
    with pytest.raises(BuildError) as caught:
        own_network(build, TASK, None, name="mine")
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["safetensors", "pt", "wrapped", "parallel"])
def test_weights_from_a_file(tmp_path: Path, kind: str) -> None:
    wanted = Residual(1, 10)
    state, path = wanted.state_dict(), tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save_file(state, path)
    else:
        if kind == "parallel":
            state = {f"module.{name}": tensor for name, tensor in state.items()}
        torch.save({"state_dict": state, "epoch": 3} if kind == "wrapped" else state, path)
    got = own_network(build_residual, TASK, load_weights(path), name="mine")
    assert fingerprint_of(got) == fingerprint_of(wanted) != fingerprint_of(Residual(1, 10))


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran-code"),))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (None, ["no weights file"]),
        (lambda path: path.write_bytes(b""), ["cannot be read as weights"]),
        (lambda path: path.write_bytes(b"not weights"), ["w.pt"]),
        (lambda path: torch.save(Residual(1, 10), path), ["holds more than weights", "model.state_dict()"]),
        (lambda path: torch.save({"a": Evil()}, path), ["holds more than weights"]),
        (lambda path: path.write_bytes(pickle.dumps(Evil())), ["holds more than weights"]),
        (lambda path: torch.save([1, 2], path), ["a state dict", "got list"]),
        (lambda path: torch.save({}, path), ["a state dict"]),
        (lambda path: torch.save({"epoch": 3}, path), ["a state dict"]),
    ],
    ids=["missing", "empty", "text", "whole model", "evil", "plain pickle", "list", "nothing", "numbers"],
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
    assert not Path("ran-code").exists()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (lambda: Residual(1, 10, 8).state_dict(), ["of another shape: stem.0.weight (8, 1, 3, 3)", "(16, 1, 3, 3)"]),
        (lambda: {"x": torch.zeros(1)}, ["missing: stem.0.weight", "more", "not of the network: x"]),
        (
            lambda: {**Residual(1, 10).state_dict(), "head.bias": torch.full((10,), float("nan"))},
            ["not finite: head.bias"],
        ),
    ],
    ids=["width", "other", "nan"],
)
def test_weights_that_do_not_fit(weights: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises(ModelFileError) as caught:
        own_network(build_residual, TASK, weights(), name="mine")
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def with_inputs(task: Task, split: str, inputs: Any) -> Task:
    return replace(task, **{split: Split(inputs, getattr(task, split).labels)})  # type: ignore[arg-type]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_data_that_is_no_good(few_digits: Task, split: str) -> None:
    check_data(few_digits)
    inputs = getattr(few_digits, split).inputs
    broken = inputs.astype(np.float32)
    broken[[3, 7], 0, 2, 2] = np.nan
    with pytest.raises(DataError, match=rf"sample 3 of the {split} split .* is not finite"):
        check_data(with_inputs(few_digits, split, broken))
    with pytest.raises(DataError, match=rf"the {split} split .* shape \(1, 8, 4\), the task says \(1, 8, 8\)"):
        check_data(with_inputs(few_digits, split, inputs[..., :4]))
