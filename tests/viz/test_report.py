from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import HwnasError, RunFolderError
from hwnas.store import write_json
from hwnas.testing.front import example_front
from hwnas.viz.report import read_trials, render_report, write_report


def data_of(text: str) -> dict[str, Any]:
    start = text.index('id="data">') + len('id="data">')
    found: dict[str, Any] = json.loads(text[start : text.index("</script>", start)])
    return found


def test_report_is_one_file_in_the_run_folder_by_default(tmp_path: Path) -> None:
    write_json(tmp_path / "front.json", example_front().to_json())
    path = write_report(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.stat().st_size < 6_000_000
    assert len(data_of(path.read_text())["models"]) == 8


def test_the_same_front_gives_the_same_page(tmp_path: Path) -> None:
    assert render_report(example_front(), tmp_path) == render_report(example_front(), tmp_path)


def test_trials_of_the_run_folder(tmp_path: Path) -> None:
    assert read_trials(tmp_path) == []
    (tmp_path / "trials.jsonl").write_text('{"id": "a", "latency_ms": 1, "accuracy": 0.5}\n[1]\n{"id": "b", "laten')
    assert [trial["id"] for trial in read_trials(tmp_path)] == ["a"]
    write_json(tmp_path / "front.json", example_front().to_json())
    text = write_report(tmp_path, tmp_path / "deep" / "r.html").read_text()
    assert data_of(text)["devices"][0]["searched"]["id"] == ["a"]


@pytest.mark.parametrize(
    ("make", "out", "message"),
    [
        (lambda run: None, "r.html", "no front.json"),
        (lambda run: (run / "front.json").write_text("{]"), "r.html", "damaged"),
        (lambda run: write_json(run / "front.json", {"schema": 7}), "r.html", "schema 7"),
        (lambda run: write_json(run / "front.json", example_front().to_json()), ".", "it is a folder"),
        (lambda run: write_json(run / "front.json", example_front().to_json()), "front.json/r.html", "cannot make"),
    ],
)
def test_what_cannot_be_read_or_written_is_said(tmp_path: Path, make: Any, out: str, message: str) -> None:
    make(tmp_path)
    with pytest.raises(HwnasError, match=message):
        write_report(tmp_path, tmp_path / out)


def test_a_missing_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run folder"):
        write_report(tmp_path / "none")
