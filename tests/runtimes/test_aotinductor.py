from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.measurement import Measurement
from hwnas.errors import RuntimeExportError
from hwnas.measure.session import MeasureItem, measure_files
from hwnas.plugins import load_plugin
from hwnas.runtimes.aotinductor import AotInductor
from hwnas.testing.networks import small_network
from hwnas.testing.runtime import INPUT_SHAPE, N_OUTPUTS, samples, spec_of, torch_logits


def test_is_a_plugin() -> None:
    assert load_plugin("runtime", "aotinductor") is AotInductor


def test_a_broken_package_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "broken.pt2"
    for write in (lambda: None, lambda: path.write_bytes(b"not a package")):
        write()
        with pytest.raises(RuntimeExportError, match=r"cannot load .*broken\.pt2"):
            AotInductor().load(path)


def test_a_precision_that_it_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeExportError, match="allowed: fp32, bf16"):
        AotInductor().export(small_network(), spec_of("int8"), tmp_path / "m.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # one package: to make it takes a minute, and that is why the contract is tested on one
def test_a_package_answers_like_torch_and_is_timed(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    exported = AotInductor().export(small_network(input_shape=INPUT_SHAPE, n_outputs=N_OUTPUTS), spec_of("fp32"), path)
    assert exported.parity is not None and exported.parity < 1e-4
    assert exported.details["input"]["shape"] == [1, *INPUT_SHAPE]
    with zipfile.ZipFile(path) as package:
        kept = next(name for name in package.namelist() if name.endswith("hwnas.json"))
        assert json.loads(package.read(kept)) == {"made-by": "a test"}
    for n in (1, 7):
        got, wanted = AotInductor().load(path).run(samples(n)), torch_logits(samples(n))
        assert np.abs(got - wanted).max() <= 1e-4 * np.abs(wanted).max()
    item = MeasureItem(Candidate(Architecture.of("any", {})), path, "fp32", INPUT_SHAPE)
    (found,) = measure_files([item], device="cpu", runtime="aotinductor", threads=1, seconds_per_model=0.2)
    assert isinstance(found, Measurement), found
