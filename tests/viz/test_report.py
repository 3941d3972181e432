from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hwnas.core.front import Artifact, Front
from hwnas.errors import HwnasError, RunFolderError
from hwnas.store import write_json
from hwnas.testing.front import example_front
from hwnas.viz.page import export_command
from hwnas.viz.report import read_trials, render_report, write_report

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&<b>"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements in order, the text of scripts, and whether every element is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif self._open and self._open[-1] != "style":
            self.words.append(data)


def hostile_front() -> Front:
    front = example_front(("cpu", f"nano {HOSTILE}"), task=HOSTILE)
    model = replace(front.models[0], id=HOSTILE, artifacts={HOSTILE: Artifact(HOSTILE, HOSTILE)})
    detail = replace(model.accuracy_detail, split=HOSTILE, source=HOSTILE)
    return replace(front, space=HOSTILE, models=(replace(model, accuracy_detail=detail), *front.models[1:]))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_json(folder / "front.json", example_front().to_json())
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page(write_report(run).read_text())


def test_report_is_one_file_in_the_run_folder_by_default(run: Path, page: Page) -> None:
    assert (run / "report.html").is_file()
    assert page.tags[0] == ("html", {"lang": "en"})


def test_report_loads_nothing(page: Page) -> None:
    loading = {"src", "href", "srcset", "data", "poster", "action", "background"}
    assert [tag for tag in page.tags if tag[0] in {"link", "img", "iframe", "object", "embed", "base", "form"}] == []
    assert [tag for tag, attrs in page.tags if loading & attrs.keys()] == []
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_every_script_that_runs_is_allowed_by_its_hash(page: Page) -> None:
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv")) or ""
    kinds = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
    assert kinds == ["application/json", None, None]
    for script in page.scripts[1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_figures_hold_every_device_on_both_grounds(page: Page) -> None:
    figures = json.loads(page.scripts[0])
    assert len(figures) == 2
    assert all(set(figure) == {"light", "dark"} for figure in figures)
    assert [tag for tag, attrs in page.tags if tag == "button" and "data-show" in attrs] == ["button", "button"]


def test_table_holds_every_number_and_the_command(run: Path, page: Page) -> None:
    text = " ".join(page.words)
    for model in example_front().models:
        assert text.count(model.id) >= 2
        assert model.artifacts["onnx"].sha256[:12] in text
        assert export_command(run, model.id, ["onnx"]) in text
    for word in ("measured", "predicted", "knee", "unstable", "out of domain", "deployed-file", "not measured"):
        assert word in text
    assert sum(tag == "table" for tag, _ in page.tags) == 2
    assert sum(tag == "caption" for tag, _ in page.tags) == 2
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")


def test_one_device_needs_no_switch(tmp_path: Path) -> None:
    page = Page(render_report(example_front(("cpu",)), tmp_path))
    assert "button" not in [tag for tag, _ in page.tags]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    trials = [{"id": HOSTILE, "latency_ms": 0.1, "accuracy": 0.9, "in_domain": True}]
    text = render_report(hostile_front(), tmp_path / "a'b <i>", trials)
    page = Page(text)
    assert "img" not in [tag for tag, _ in page.tags]
    assert "b" not in [tag for tag, _ in page.tags]
    assert [tag for tag, attrs in page.tags if any(name.startswith("on") for name in attrs)] == []
    assert len(page.scripts) == 3
    for figure in json.loads(page.scripts[0]):
        texts = [text for trace in figure["light"]["data"] for text in trace.get("hovertext", [])]
        assert all(set(re.findall(r"<[^>]*>", text)) <= {"<b>", "</b>", "<br>"} for text in texts)
    assert HOSTILE in " ".join(page.words)


def test_an_empty_front_gives_a_page(tmp_path: Path) -> None:
    page = Page(render_report(replace(example_front(), models=()), tmp_path))
    assert "No models." in page.words


def test_the_same_front_gives_the_same_page(tmp_path: Path) -> None:
    assert render_report(example_front(), tmp_path) == render_report(example_front(), tmp_path)


def test_command_survives_a_shell() -> None:
    import shlex

    words = shlex.split(export_command(Path("my runs/it's"), "$(rm -rf x)", ["onnx"]))
    assert words[2] == "my runs/it's"
    assert words[4] == "$(rm -rf x)"


def test_trials_of_the_run_folder(tmp_path: Path) -> None:
    assert read_trials(tmp_path) == []
    (tmp_path / "trials.jsonl").write_text('{"id": "a", "latency_ms": 1, "accuracy": 0.5}\n[1]\n{"id": "b", "laten')
    assert [trial["id"] for trial in read_trials(tmp_path)] == ["a"]
    write_json(tmp_path / "front.json", example_front().to_json())
    assert "searched candidates (1)" in write_report(tmp_path, tmp_path / "deep" / "r.html").read_text()


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
