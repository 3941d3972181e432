from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.core.candidate import Candidate
from hwnas.core.measurement import Measurement
from hwnas.core.predictor import Prediction
from hwnas.errors import RunFolderError
from hwnas.export.verify import compare, verify_file
from hwnas.store import sha256_of


def test_an_untouched_file_passes(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"weights")
    verify_file(path, sha256_of(path))


def test_a_changed_or_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"weights")
    promised = sha256_of(path)
    path.write_bytes(b"Weights")
    with pytest.raises(RunFolderError, match="was changed"):
        verify_file(path, promised)
    path.unlink()
    with pytest.raises(RunFolderError, match="cannot read"):
        verify_file(path, promised)


def measured(candidate: Candidate, value_ms: float, stable: bool | None = True) -> Measurement:
    samples = ((value_ms,) * 10,) * 12
    return Measurement(
        candidate=candidate, device="cpu", runtime="onnxruntime", runtime_version="1", samples_ms=samples,
        stable=stable, time="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value_ms", "kept", "says"),
    [
        (2.0, True, "inside"),
        (1.8, True, "inside"),
        (2.2, True, "inside"),
        (2.3, True, "by less than 5%"),
        (1.72, True, "by less than 5%"),
        (2.4, False, "outside"),
        (1.5, False, "outside"),
    ],
)
def test_the_interval_is_the_promise(value_ms: float, kept: bool, says: str, candidate: Candidate) -> None:
    promise = Prediction(2.0, 1.8, 2.2, True, None, "p")
    found = compare(promise, measured(candidate, value_ms))
    assert found.kept is kept
    assert says in found.reason
    assert found.measured_ms == pytest.approx(value_ms)
    assert found.relative_error == pytest.approx((2.0 - value_ms) / value_ms)


@pytest.mark.parametrize(("stable", "said"), [(True, False), (False, True), (None, False)])
def test_an_unstable_measurement_is_said_to_be_so(stable: bool | None, said: bool, candidate: Candidate) -> None:
    found = compare(Prediction(2.0, 1.8, 2.2, True, None, "p"), measured(candidate, 2.0, stable))
    assert found.stable is stable
    assert ("not stable" in found.reason) is said
