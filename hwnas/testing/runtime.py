"""Contract of deployment runtimes; a plugin's test subclasses `RuntimeContract` and gives a `runtime` fixture."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.core.graph_record import GraphRecord
from hwnas.core.ops import KINDS
from hwnas.core.profile import Profiler
from hwnas.core.runtime import MIN_MAX, ExportSpec, FloatArray, Runtime, calibration_methods
from hwnas.errors import MeasurementError, RuntimeExportError
from hwnas.testing.networks import ids_network, kept_network, small_network

__all__ = ["RuntimeContract"]

INPUT_SHAPE, N_OUTPUTS = (3, 16, 16), 5
N_LAYERS, COMPUTE = 6, ("conv", "pointwise", "depthwise", "grouped", "linear", "matmul")  # of `small_network`
# Largest relative difference from torch that a runtime may show at each precision.
KEPT_TOLERANCE = 0.03
TOLERANCE = {"fp32": 1e-4, "fp16": 0.02, "bf16": 0.1, "int8": 0.25, "int8-dynamic": 0.1, "int8-weights": 0.05}


def samples(n: int, seed: int = 0) -> FloatArray:
    """`n x INPUT_SHAPE` standard normal inputs."""
    return np.random.default_rng(seed).standard_normal((n, *INPUT_SHAPE)).astype(np.float32)


def spec_of(precision: str) -> ExportSpec:
    """An export that every runtime must be able to do at its precisions."""
    return ExportSpec(
        precision=precision, input_shape=INPUT_SHAPE, calibration=samples(16, seed=1), metadata={"made-by": "a test"}
    )


def torch_logits(inputs: FloatArray) -> FloatArray:
    """What torch answers."""
    import torch

    network = small_network(input_shape=INPUT_SHAPE, n_outputs=N_OUTPUTS)
    with torch.no_grad():
        logits: FloatArray = network(torch.from_numpy(inputs)).numpy()
    return logits


class RuntimeContract:
    """What every runtime must keep; subclass it and define the fixture `runtime`."""

    def test_names_itself(self, runtime: Runtime) -> None:
        """Name, suffix, version and precisions are there; fp32 is among them."""
        assert runtime.name
        assert runtime.suffix.startswith(".")
        assert runtime.version()
        assert "fp32" in runtime.precisions

    def test_every_precision_exports_and_runs(self, runtime: Runtime, tmp_path: Path) -> None:
        """At each precision the loaded file answers like torch, at any batch size."""
        for precision in runtime.precisions:
            path = tmp_path / f"{precision}{runtime.suffix}"
            exported = runtime.export(
                small_network(input_shape=INPUT_SHAPE, n_outputs=N_OUTPUTS), spec_of(precision), path
            )
            assert exported.path == path
            assert exported.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
            assert exported.size_bytes == path.stat().st_size
            session = runtime.load(path)
            for n in (1, 7):
                got, wanted = session.run(samples(n)), torch_logits(samples(n))
                assert got.shape == (n, N_OUTPUTS)
                assert np.abs(got - wanted).max() <= TOLERANCE[precision] * np.abs(wanted).max(), precision

    def test_ids_are_an_input(self, runtime: Runtime, tmp_path: Path) -> None:
        """A network of int64 ids answers like torch at each precision; padding included.

        At int8 only for the sample that set the ranges: runtimes average ranges, and cut off what few samples reach.
        """
        import torch

        ids = np.random.default_rng(0).integers(1, 50, (16, 12))
        ids[:, 9:] = 0
        network = ids_network()
        with torch.no_grad():
            wanted = network(torch.from_numpy(ids)).numpy()
        for precision in runtime.precisions:
            path = tmp_path / f"{precision}{runtime.suffix}"
            spec = ExportSpec(precision=precision, input_shape=(12,), n_ids=50, calibration=ids[:1])
            exported = runtime.export(network, spec, path)
            assert exported.details["input"]["dtype"] in ("int64", "int32")
            count = 1 if precision == "int8" else len(ids)
            difference = np.abs(runtime.load(path).run(ids[:count]) - wanted[:count]).max()
            assert difference <= TOLERANCE[precision] * np.abs(wanted[:count]).max(), precision

    def test_what_keeps_fp32_is_not_rounded(self, runtime: Runtime, tmp_path: Path) -> None:
        """Powers that span six orders of magnitude survive every precision, because their module says so."""
        import torch

        louder = np.logspace(-4, -1, 1600) * np.random.default_rng(0).standard_normal((16, 1, 1600))
        waves, network = louder.astype(np.float32), kept_network()
        with torch.no_grad():
            wanted = network(torch.from_numpy(waves)).numpy()
        for precision in runtime.precisions:
            path = tmp_path / f"{precision}{runtime.suffix}"
            spec = ExportSpec(precision=precision, input_shape=(1, 1600), calibration=waves)
            runtime.export(network, spec, path)
            got = runtime.load(path).run(waves)
            assert np.abs(got - wanted).max() <= KEPT_TOLERANCE * np.abs(wanted).max(), precision

    def test_threads_do_not_change_the_answer(self, runtime: Runtime, tmp_path: Path) -> None:
        """One and two threads agree."""
        path = tmp_path / f"model{runtime.suffix}"
        runtime.export(small_network(input_shape=INPUT_SHAPE, n_outputs=N_OUTPUTS), spec_of("fp32"), path)
        one, two = (runtime.load(path, threads=threads).run(samples(3)) for threads in (1, 2))
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)

    def test_an_unknown_precision_is_refused(self, runtime: Runtime, tmp_path: Path) -> None:
        """The message names what is allowed, and no file appears."""
        with pytest.raises(RuntimeExportError, match="fp32"):
            runtime.export(small_network(), spec_of("int3"), tmp_path / "model")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("calibration", "message"),
        [
            (None, "calibration samples of shape .* got NoneType"),
            (samples(0), r"calibration samples of shape .* got \(0, 3, 16, 16\)"),
            (samples(2)[..., :8], r"calibration samples of shape .* got \(2, 3, 16, 8\)"),
            (samples(2)[0], r"calibration samples of shape .* got \(3, 16, 16\)"),
            (samples(2).tolist(), "as a numpy array of float32, got list"),
            (samples(2).astype(np.int64), "got .* of int64"),
            (np.where(np.arange(4)[:, None, None, None] == 2, np.nan, samples(4)), "sample 2 is not finite"),
            (np.where(np.arange(4)[:, None, None, None] == 1, np.inf, samples(4)), "sample 1 is not finite"),
        ],
        ids=["none", "empty", "shape", "one sample", "list", "type", "nan", "inf"],
    )
    def test_int8_needs_calibration(self, runtime: Runtime, tmp_path: Path, calibration: Any, message: str) -> None:
        """A runtime with int8 says what its samples lack; what is no number sets no range."""
        if "int8" not in runtime.precisions:
            pytest.skip("the runtime has no int8")
        spec = ExportSpec(precision="int8", input_shape=INPUT_SHAPE, calibration=calibration)
        with pytest.raises(RuntimeExportError, match=message):
            runtime.export(small_network(input_shape=INPUT_SHAPE), spec, tmp_path / "model")
        assert not list(tmp_path.iterdir())

    def test_a_network_that_diverged_is_refused(self, runtime: Runtime, tmp_path: Path) -> None:
        """What is not finite is said of the network, at every precision, and no library ends the process."""
        network = small_network(input_shape=INPUT_SHAPE, n_outputs=N_OUTPUTS)
        next(network.parameters()).data.fill_(float("nan"))
        for precision in runtime.precisions:
            with pytest.raises(RuntimeExportError, match="output is not finite; was the training stable"):
                runtime.export(network, spec_of(precision), tmp_path / "model")
        assert not list(tmp_path.iterdir())

    def test_int8_ranges_are_set_as_asked(self, runtime: Runtime, tmp_path: Path) -> None:
        """Each calibration method that a runtime names gives a file that answers nearly like torch; others do not."""
        if "int8" not in runtime.precisions:
            pytest.skip("the runtime has no int8")
        assert calibration_methods(runtime)[0] == MIN_MAX
        network = small_network(input_shape=INPUT_SHAPE, n_outputs=N_OUTPUTS)
        wanted = torch_logits(samples(4))
        for method in calibration_methods(runtime)[1:]:
            path = tmp_path / f"{method}{runtime.suffix}"
            details = runtime.export(network, replace(spec_of("int8"), calibration_method=method), path).details
            assert details["calibration"]["method"] == method
            difference = np.abs(runtime.load(path).run(samples(4)) - wanted).max()
            assert difference <= TOLERANCE["int8"] * np.abs(wanted).max(), method
        with pytest.raises(RuntimeExportError, match="by 'guess'; allowed: min-max"):
            runtime.export(network, replace(spec_of("int8"), calibration_method="guess"), tmp_path / "model")

    def test_a_broken_file_is_an_error_of_ours(self, runtime: Runtime, tmp_path: Path) -> None:
        """Loading a file of nonsense, or none at all, raises RuntimeExportError."""
        path = tmp_path / f"broken{runtime.suffix}"
        with pytest.raises(RuntimeExportError):
            runtime.load(path)
        path.write_bytes(b"not a model")
        with pytest.raises(RuntimeExportError):
            runtime.load(path)

    def test_says_what_becomes_of_the_graph(self, runtime: Runtime, tmp_path: Path) -> None:
        """The record of each file can be read; what is known of it counts the network's six layers that compute."""
        for precision in runtime.precisions:
            path = tmp_path / f"{precision}{runtime.suffix}"
            exported = runtime.export(small_network(input_shape=INPUT_SHAPE), spec_of(precision), path)
            record = GraphRecord.from_json(exported.details["graph"])
            assert not [note for note in record.notes if "is not known" in note], record.notes
            assert record.before is None or sum(record.before.values()) >= N_LAYERS
            assert record.after is None or sum(record.after.values()) >= 1
            if record.precisions is not None:
                assert sum(record.precisions.values()) == N_LAYERS
                in_fp32 = record.precisions.get("fp32", 0)
                assert (
                    in_fp32 == N_LAYERS
                    if precision == "fp32"
                    else bool(in_fp32) == any("run in fp32" in note for note in record.notes)
                )

    def test_times_each_operation(self, runtime: Runtime, tmp_path: Path) -> None:
        """A runtime with a profiler names every layer that computes, with a duration for each call."""
        if not isinstance(runtime, Profiler):
            pytest.skip("the runtime has no profiler")
        for precision in runtime.precisions:
            path = tmp_path / f"{precision}{runtime.suffix}"
            runtime.export(small_network(input_shape=INPUT_SHAPE), spec_of(precision), path)
            try:
                found = runtime.profile(path, samples(1), calls=4, warmup=2)
            except MeasurementError as error:
                pytest.skip(str(error))
            assert {op.kind for op in found} <= set(KINDS)
            assert len([op for op in found if op.kind in COMPUTE]) == N_LAYERS, precision
            assert {len(op.samples_ms) for op in found} == {4}
            assert min(min(op.samples_ms) for op in found) >= 0
            assert sum(sum(op.samples_ms) for op in found) > 0
        with pytest.raises(RuntimeExportError):
            runtime.profile(tmp_path / f"none{runtime.suffix}", samples(1))
