from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from residual import Residual
from residual import build as build_residual
from torch import nn
from torch.nn.utils import prune

from hwnas.compress.own import fingerprint_of, load_build, own_network
from hwnas.core.task import TaskLike, TaskShape
from hwnas.errors import BuildError, ConfigError

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
        ("{dir}/model.py:biuld", BuildError, ["no function 'biuld'", "did you mean 'build'?", "it has: build"]),
        ("{dir}/model.py:number", BuildError, ["no function 'number'"]),
        ("{dir}/raises.py:build", BuildError, ["raises.py raised ZeroDivisionError"]),
        ("{dir}/syntax.py:build", BuildError, ["syntax.py raised SyntaxError"]),
        ("{dir}/lacks.py:build", BuildError, ["ModuleNotFoundError", "no_such_package"]),
        ("{dir}/exits.py:build", BuildError, ["SystemExit: 3", "it is a script", "__main__"]),
        ("{dir}/binary.py:build", BuildError, ["binary.py raised SyntaxError"]),
        ("{dir}/folder.py:build", BuildError, ["no file"]),
    ],
)
def test_a_file_that_is_no_good(model: Path, spec: str, kind: type[Exception], words: list[str]) -> None:
    home = model.parent
    (home / "raises.py").write_text("1 / 0")
    (home / "syntax.py").write_text("def build(:")
    (home / "lacks.py").write_text("import no_such_package")
    (home / "exits.py").write_text("import sys\nsys.exit(3)")
    (home / "binary.py").write_bytes(b"\xff\xfe\0")
    (home / "folder.py").mkdir()
    with pytest.raises(kind) as caught:
        load_build(spec.replace("{dir}", str(home)))
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


class Raises(Residual):
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


@pytest.mark.parametrize(
    "change",
    [torch.compile, nn.DataParallel, nn.Module.half, nn.Module.bfloat16, nn.Module.double, nn.Module.train],
    ids=["compiled", "parallel", "fp16", "bf16", "fp64", "in training"],
)
def test_what_a_network_is_wrapped_or_stored_in(change: Callable[[nn.Module], nn.Module]) -> None:
    given = change(Residual(1, 10))
    network = own_network(given, TASK, None, name="mine")
    assert isinstance(network, Residual)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert not any(module.training for module in network.modules())
    weights = Residual(1, 10).state_dict()
    assert fingerprint_of(own_network(lambda: given, TASK, weights, name="mine")) == fingerprint_of(
        own_network(build_residual, TASK, weights, name="mine")
    )


def needs_three(a: int, b: int, c: int) -> nn.Module:
    return Residual(1, 10)


def raises(task: TaskLike) -> nn.Module:
    raise KeyError("width")


class Gives(nn.Module):
    """What its inner network gives, changed."""

    def __init__(self, change: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.change, self.network = change, Residual(1, 10)

    def forward(self, x: torch.Tensor) -> Any:
        return self.change(self.network(x))


class Two(Gives):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.change(self.network(x) + y)


class Trains(Gives):
    def forward(self, x: torch.Tensor) -> Any:
        self.network.stem.train()
        return self.change(self.network(x))


class Viewed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 16, 3, padding=1), nn.Linear(16 * 64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.stem(x).view(x.shape[0], -1))
        return y


def with_layer(change: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    """A network of which one convolution is changed."""
    return lambda: nn.Sequential(change(nn.Conv2d(1, 16, 8)), nn.Flatten(), nn.Linear(16, 10))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (needs_three, ["(task), (architecture, task) or nothing, got (a, b, c)"]),
        (raises, ["raised KeyError: 'width'"]),
        (sys.exit, ["raised SystemExit"]),
        (lambda: 3, ["must give a torch.nn.Module, got int"]),
        (lambda: Residual, ["must give a torch.nn.Module, got type"]),
        (lambda: Residual(3, 10), ["does not run on the task's input of shape (1, 8, 8)"]),
        (lambda: Residual(1, 100), ["10 logits", "got (2, 100)"]),
        (lambda: nn.Conv2d(1, 10, 8), ["got (2, 10, 1, 1)"]),
        (lambda: Raises(1, 10), ["ValueError: no"]),
        (lambda: Two(lambda y: y), ["missing 1 required positional argument: 'y'"]),
        (lambda: Gives(lambda y: (y, y)), ["got tuple", "return the logits alone"]),
        (lambda: Gives(lambda y: {"logits": y}), ["got dict", "return the logits alone"]),
        (lambda: Gives(lambda y: None), ["got NoneType"]),
        (lambda: Gives(lambda y: y.argmax(1)), ["got (2,)"]),
        (lambda: Gives(lambda y: y.half()), ["float32 logits, got float16"]),
        (lambda: Gives(lambda y: y.long()), ["float32 logits, got int64"]),
        (lambda: Gives(lambda y: y.to(torch.complex64)), ["float32 logits, got complex64"]),
        (lambda: Trains(lambda y: y), ["training mode when it is called: network.stem, "]),
        (Viewed, ["channels_last", "view size is not compatible", "write reshape"]),
        (lambda: torch.jit.script(Residual(1, 10)), ["TorchScript program"]),
        (lambda: Residual(1, 10).to(torch.complex64), ["complex64 weights in stem.0.weight"]),
        (lambda: Residual(1, 10).to("meta"), ["without data", "stem.0.weight"]),
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), ["lazy layers", "1.weight"]),
        (nn.Flatten, ["has no weights"]),
        (with_layer(nn.utils.parametrizations.weight_norm), ["'0' (ParametrizedConv2d)", "remove_parametrizations"]),
        (with_layer(nn.utils.weight_norm), ["'0' (Conv2d)", "remove_weight_norm"]),
        (with_layer(nn.utils.spectral_norm), ["'0' (Conv2d)"]),
        (with_layer(lambda layer: prune.random_unstructured(layer, "weight", 0.5)), ["'0' (Conv2d)", "prune.remove"]),
    ],
    ids=[
        *("arguments", "raises", "exits", "no module", "a class", "input", "classes", "shape", "forward"),
        *("two inputs", "tuple", "dict", "none", "labels", "fp16", "int64", "complex", "trains", "view", "script"),
        *("complex weights", "meta", "lazy", "no weights", "weight norm", "old weight norm", "spectral norm", "masked"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # torch's own, of lazy layers and of weight_norm
def test_a_network_that_is_no_good(build: Callable[..., Any], words: list[str]) -> None:
    with pytest.raises(BuildError) as caught:
        own_network(build, TASK, None, name="mine")
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)
