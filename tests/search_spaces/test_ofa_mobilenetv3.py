from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from hwnas.search_spaces.ofa_mobilenetv3 import RESOLUTIONS, SPACE

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.task import TaskShape
from hwnas.errors import ConfigError
from hwnas.plugins import load_plugin
from hwnas.trace import operations, trace_module

SHAPE = (3, 224, 224)
TASK = TaskShape(SHAPE, 1000)
IMAGENET = SPACE.for_task(TASK)
TABLE = Path(__file__).parents[2] / "../shared/data/ofa_mbv3/archs.parquet"


def test_it_is_installed() -> None:
    assert load_plugin("space", "ofa-mobilenetv3") is SPACE
    assert len(RESOLUTIONS) == 25
    assert SPACE.size == 25 * 3**5 * 9**20


def test_it_holds_every_network_of_the_published_table() -> None:
    if not TABLE.exists():
        pytest.skip("the table of HELP is not here")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = parquet.read_table(TABLE).to_pydict()
    assert {choice.label for choice in SPACE.choices} == columns.keys() - {"idx"}
    for choice in SPACE.choices:
        assert set(columns[choice.label]) <= set(choice.options)


def closed_form(architecture: Architecture, widths: tuple[int, ...]) -> tuple[int, int]:
    """Multiply-adds and parameters, written down from the published skeleton."""
    side = int(architecture["r"])
    stem, head, mix = widths[0], widths[-2], widths[-1]
    side = (side + 1) // 2
    macs, params = 27 * stem * side**2, 29 * stem
    macs, params = macs + (9 * stem + stem * stem) * side**2, params + 9 * stem + stem * stem + 4 * stem
    before = stem
    for stage, (width, stride, gated) in enumerate(zip(widths[1:6], (2, 2, 2, 1, 2), (0, 1, 0, 1, 1), strict=True)):
        for slot in range(4 * stage, 4 * stage + int(architecture[f"d{stage}"])):
            hidden, kernel = before * int(architecture[f"e{slot:02}"]), int(architecture[f"ks{slot:02}"])
            out = -(-side // stride) if slot == 4 * stage else side
            macs += before * hidden * side**2 + (kernel**2 * hidden + hidden * width) * out**2
            params += before * hidden + kernel**2 * hidden + hidden * width + 4 * hidden + 2 * width
            squeezed = (hidden // 4 + 4) // 8 * 8
            macs, params = macs + gated * 2 * hidden * squeezed, params + gated * (2 * hidden + 1) * squeezed
            params += gated * hidden
            side, before = out, width
    macs, params = macs + before * head * side**2 + head * mix, params + before * head + 2 * head + head * mix
    return macs + mix * 1000, params + mix * 1000 + 1000


def test_counts_are_those_of_the_skeleton() -> None:
    widths = (24, 32, 48, 96, 136, 192, 1152, 1536)
    rng = np.random.default_rng(0)
    for architecture in (IMAGENET.smallest(), IMAGENET.largest(), *[IMAGENET.sample(rng) for _ in range(20)]):
        ops = operations(SPACE, Candidate(architecture), TASK)
        assert (ops.macs, ops.params) == closed_form(architecture, widths)


def test_counts_equal_fvcore() -> None:
    architecture = IMAGENET.sample(np.random.default_rng(5))
    ops = operations(SPACE, Candidate(architecture), TASK)
    module = SPACE.build(architecture, TASK).eval()
    counter = FlopCountAnalysis(module, torch.zeros(1, *SHAPE)).unsupported_ops_warnings(False)
    counted = counter.uncalled_modules_warnings(False).by_operator()
    assert ops.macs == counted["conv"] + counted["linear"]
    assert ops.params == sum(parameter.numel() for parameter in module.parameters())


def test_operations_are_the_trace_of_the_network() -> None:
    rng = np.random.default_rng(1)
    for architecture in (IMAGENET.largest(), IMAGENET.sample(rng)):
        with torch.device("meta"):
            module = SPACE.build(architecture, TASK)
        found = operations(SPACE, Candidate(architecture), TASK)
        assert [(op.kind, op.inputs, op.output, op.macs, op.params, op.detail) for op in found] == [
            (op.kind, op.inputs, op.output, op.macs, op.params, op.detail) for op in trace_module(module, SHAPE)
        ]


def test_layers_beyond_the_depth_take_their_first_option() -> None:
    values = dict(IMAGENET.largest()) | {"d1": 2, "d4": 3}
    same = IMAGENET.canonical(IMAGENET.architecture(values))
    unused = {"ks06", "ks07", "e06", "e07", "ks19", "e19"}
    assert {label for label, value in same.choices if value != values[label]} == unused
    assert all(same[label] == 3 for label in unused)


def test_the_resolution_scales_the_image_inside_the_network() -> None:
    ops = operations(SPACE, Candidate(IMAGENET.architecture(dict(IMAGENET.largest()) | {"r": 160})), TASK)
    assert (ops[0].kind, ops[0].output) == ("resize", (3, 160, 160))
    assert operations(SPACE, Candidate(IMAGENET.largest()), TASK)[0].kind == "conv"


def test_it_learns_on_small_images_and_subnets_answer_as_inside() -> None:
    task = TaskShape(SHAPE, 3)
    net, space = SPACE.supernet(task), SPACE.for_task(task)
    rng = np.random.default_rng(0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    labels = torch.tensor([0, 1, 2, 0])
    small = torch.randn(4, 3, 56, 56)  # a quarter of the side; `r` = 128 makes 32 of it
    before = net(small, dict(space.largest())).detach()
    for architecture in (space.largest(), space.smallest(), space.sample(rng)):
        torch.nn.functional.cross_entropy(net(small, dict(architecture)), labels).backward()
    optimizer.step()
    assert not torch.equal(net(small, dict(space.largest())), before)
    with torch.no_grad():
        for architecture in (space.smallest(), space.sample(rng)):
            inside, outside = net(small, dict(architecture)), net.extract(architecture).train()(small)
            torch.testing.assert_close(outside, inside, rtol=1e-3, atol=1e-4)


def test_another_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="defined for inputs of"):
        SPACE.for_task(TaskShape((3, 32, 32), 10))
