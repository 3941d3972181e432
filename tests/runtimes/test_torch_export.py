from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.errors import MeasurementError, RuntimeExportError
from hwnas.plugins import load_plugin
from hwnas.runtimes.torch_export import Torch, TorchCompiled, TorchCuda
from hwnas.testing.networks import small_network
from hwnas.testing.runtime import RuntimeContract, samples, spec_of


class TestTorch(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> Torch:
        return Torch()


class TestTorchCuda(RuntimeContract):
    """Its files are made and checked without a GPU."""

    @pytest.fixture
    def runtime(self) -> TorchCuda:
        return TorchCuda()


def test_are_plugins() -> None:
    assert load_plugin("runtime", "torch-cuda") is TorchCuda
    assert load_plugin("runtime", "torch") is Torch
    assert load_plugin("runtime", "torch-compile") is TorchCompiled


def test_the_compiled_program_answers_alike(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    Torch().export(small_network(), spec_of("fp32"), path)
    eager, compiled = (runtime.load(path).run(samples(3)) for runtime in (Torch(), TorchCompiled()))
    np.testing.assert_allclose(compiled, eager, rtol=1e-3, atol=1e-5)


def test_profiling_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.pt2"
    Torch().export(small_network(), spec_of("fp32"), path)
    capfd.readouterr()
    assert Torch().profile(path, samples(1), calls=2, warmup=1)
    assert capfd.readouterr() == ("", "")


def test_what_inductor_compiled_has_no_profiler(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    TorchCompiled().export(small_network(), spec_of("fp32"), path)
    with pytest.raises(MeasurementError, match="inductor"):
        TorchCompiled().profile(path, samples(1))


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def forged(path: Path, changes: dict[str, bytes]) -> Path:
    """The archive with entries replaced, those whose name ends so."""
    out = path.with_name("forged.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            ending = next((ending for ending in changes if name.endswith(ending)), None)
            new.writestr(name, changes[ending] if ending else old.read(name))
    return out


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "m.pt2"
    Torch().export(small_network(), spec_of("fp32"), path)
    return path


def test_a_forged_archive_still_loads_when_nothing_is_changed(program: Path) -> None:
    assert Torch().load(forged(program, {})).run(samples(2)).shape == (2, 5)


@pytest.mark.parametrize("place", ["sample_inputs", "weights", "constants"])
def test_nothing_is_unpickled(program: Path, tmp_path: Path, place: str) -> None:
    sprung, buffer = tmp_path / "sprung", io.BytesIO()
    torch.save(Trap(sprung), buffer)
    index = b'{"config": {"x": {"path_name": "tensor_0", "is_param": true, "use_pickle": true, "tensor_meta": null}}}'
    changes = {
        "sample_inputs": {"sample_inputs/model.pt": buffer.getvalue()},
        "weights": {"_weights_config.json": index},
        "constants": {"_constants_config.json": index},
    }
    with pytest.raises(RuntimeExportError):
        Torch().load(forged(program, changes[place]))
    assert not sprung.exists()
