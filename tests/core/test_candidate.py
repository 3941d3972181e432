from __future__ import annotations

import json

import pytest

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.errors import InvalidArchitectureError

ARCHITECTURE = Architecture.of("s", {"width": 8, "kernel": "3x3", "scale": 0.5})


@pytest.mark.parametrize(
    "plan", [CompressionPlan(), CompressionPlan.of("int8"), CompressionPlan.of("fp16", {"b": 0.5, "a": 0.25})]
)
def test_json_round_trip(plan: CompressionPlan) -> None:
    candidate = Candidate(ARCHITECTURE, plan)
    again = Candidate.from_json(json.loads(json.dumps(candidate.to_json())))
    assert again == candidate
    assert again.id == candidate.id


def test_ids_differ_by_plan() -> None:
    plans = [CompressionPlan(), CompressionPlan.of("int8"), CompressionPlan.of("fp32", {"a": 0.5})]
    assert len({Candidate(ARCHITECTURE, plan).id for plan in plans}) == 3


def test_compression_may_be_missing() -> None:
    assert Candidate.from_json({"space": "s", "architecture": {"w": 1}}).compression == CompressionPlan()


def test_bad_plan() -> None:
    raw = {"space": "s", "architecture": {}, "compression": {"precision": "int4"}}
    with pytest.raises(InvalidArchitectureError, match="unknown precision 'int4'; allowed: fp32"):
        Candidate.from_json(raw)
