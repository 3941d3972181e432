from __future__ import annotations

import pytest
from made_up import add, conv

from hwnas.core.ops import Op, OpList
from hwnas.latency.domain import Domain, ranges_of

MEASURED = [OpList.of([conv(16, 8), add(16, 8)]), OpList.of([conv(32, 8), conv(64, 16), add(32, 8)])]
DOMAIN = Domain("fp32", ranges_of(MEASURED))


def test_what_was_measured_is_inside() -> None:
    assert all(DOMAIN.check_op(op) is None for network in MEASURED for op in network)
    assert DOMAIN.check_counts({"conv": 2, "elementwise": 1}) is None
    assert DOMAIN.check_totals({"macs": MEASURED[0].macs, "operations": 3}) is None


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (conv(8, 8), ("conv", "MACs", "147,456")),
        (conv(128, 16), ("conv", "MACs", "9,437,184")),
        (conv(64, 8, 5), ("conv", "kernel", "3 to 3")),
        (conv(32, 8, depthwise=True), ("no depthwise", "measured")),
        (Op("softmax", ((10,),), (10,), detail="_softmax"), ("no softmax (_softmax)",)),
        (OpList.of([conv(16, 8)]).at("int8")[0], ("int8", "fp32")),
    ],
)
def test_what_was_not_measured_is_named(op: Op, words: tuple[str, ...]) -> None:
    finding = DOMAIN.check_op(op)
    assert finding is not None
    assert finding.distance > 0
    assert all(word in finding.reason for word in words), finding.reason


@pytest.mark.parametrize("count", [0, 3])
def test_counts_outside(count: int) -> None:
    finding = DOMAIN.check_counts({"conv": count})
    assert finding is not None
    assert f"{count} conv operations, measured were 1 to 2" in finding.reason


def test_totals_have_a_margin() -> None:
    most = MEASURED[1].macs
    assert DOMAIN.check_totals({"macs": 1.05 * most}) is None
    finding = DOMAIN.check_totals({"macs": 2 * most})
    assert finding is not None
    assert "network" in finding.reason


def test_excess_is_a_factor_of_the_largest() -> None:
    assert DOMAIN.excess(conv(64, 16), "conv") == 1
    assert DOMAIN.excess(conv(64, 32), "conv") == 4
    assert DOMAIN.excess(conv(64, 32), "linear") == 1
