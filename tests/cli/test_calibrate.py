"""A table of somebody else's measurements, energies among them, to a predictor and a budget."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hwnas.cli.main import app
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.task import TaskShape
from hwnas.plugins import load_plugin
from hwnas.trace import operations

CLI = CliRunner()
TASK = TaskShape((3, 32, 32), 10)
SPACE = load_plugin("space", "nasbench201").for_task(TASK)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Networks of a made-up device that draws 2 W all the time and 1 mJ for a million MACs."""
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    labels = [choice.label for choice in SPACE.choices]
    rows = [",".join([*labels, "ms", "mj"])]
    rng = np.random.default_rng(0)
    for architecture in {SPACE.sample(rng): None for _ in range(60)}:
        macs = operations(SPACE, Candidate(architecture, CompressionPlan()), TASK).macs
        ms = 1 + macs / 1e6
        cells = [architecture[label] for label in labels]
        rows.append(",".join(map(str, [*cells, ms, 2 * ms + macs / 1e6])))
    path = tmp_path / "table.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def calibrated(table: Path, *more: str) -> list[str]:
    return [
        *("calibrate", "--device", "raspberry-pi-4", "--measurements", str(table), "--space", "nasbench201"),
        *("--column", "ms", "--energy-column", "mj", "--sources", "none", *more),
    ]


def test_a_table_with_energies_gives_both_predictors_and_a_budget(table: Path, tmp_path: Path) -> None:
    done = CLI.invoke(app, calibrated(table, "--json"), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    cards = json.loads(done.stdout)
    assert [card["quantity"] for card in cards] == ["latency", "energy"]
    assert cards[1]["mape"] < 0.15

    candidate = Candidate(SPACE.sample(np.random.default_rng(1)), CompressionPlan())
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps(candidate.to_json()) + "\n")
    predict = ("predict", "--device", "raspberry-pi-4", "--space", "nasbench201", "--architectures", str(asked))
    (found,) = json.loads(CLI.invoke(app, [*predict, "--json"], catch_exceptions=False).stdout)
    macs = operations(SPACE, candidate, TASK).macs
    assert found["energy_mj"] == pytest.approx(2 + 3 * macs / 1e6, rel=0.2)
    assert "predicted mJ" in CLI.invoke(app, [*predict], catch_exceptions=False).stdout

    search = ("search", "--device", "raspberry-pi-4", "--space", "nasbench201", "--max-energy", "0.001")
    done = CLI.invoke(app, [*search, "--out", str(tmp_path / "run")])
    assert done.exit_code == 1
    assert "energy: asked for 0.001 mJ, least seen" in done.stderr


def test_the_table_of_figures_says_what_they_are_of(table: Path) -> None:
    done = CLI.invoke(app, calibrated(table), catch_exceptions=False)
    assert "energy" in done.stdout and "latency" in done.stdout


def test_without_energies_none_is_predicted(table: Path) -> None:
    done = CLI.invoke(app, [word for word in calibrated(table, "--json") if word not in ("--energy-column", "mj")])
    assert [card["quantity"] for card in json.loads(done.stdout)] == ["latency"]
