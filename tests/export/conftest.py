from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.task import Preprocessing, Split, Task
from hwnas.export.bundle import export_bundle
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.testing.networks import small_network

SHAPE, N_CLASSES = (3, 16, 16), 5


def split(n: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (n, *SHAPE), dtype=np.uint8), rng.integers(0, N_CLASSES, n))


@pytest.fixture(scope="session")
def task() -> Task:
    return Task(
        name="noise",
        input_shape=SHAPE,
        n_outputs=N_CLASSES,
        class_names=("a", "b", "c", "d", "e"),
        train=split(200, 0),
        validation=split(40, 1),
        test=split(70, 2),
        preprocessing=Preprocessing((16, 16), 3, (0.5,) * 3, (0.25,) * 3),
        source="random pixels",
        fingerprint="f00d",
    )


@pytest.fixture(scope="session")
def candidate() -> Candidate:
    return Candidate(Architecture.of("test", {"width": 16}), CompressionPlan("int8"))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, task: Task, candidate: Candidate) -> tuple[Path, dict[str, Any]]:
    """A run folder with one finished int8 model, and the model's manifest. Read it only."""
    folder = tmp_path_factory.mktemp("run")
    manifest = export_bundle(
        small_network(),
        candidate,
        task,
        runtime=OnnxRuntime(),
        precision="int8",
        folder=folder,
        cpu_flags=frozenset({"avx512_vnni"}),
        extra={"accuracy": {"value": 0.5}},
    )
    return folder, manifest
