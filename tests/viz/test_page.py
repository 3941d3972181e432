from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hwnas.testing.front import example_front
from hwnas.viz.data import page_data
from hwnas.viz.page import page

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&<b>\u2028"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements in order, the text of scripts, and whether every element is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
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

    @property
    def policy(self) -> str:
        return next(str(attrs["content"]) for _, attrs in self.tags if attrs.get("http-equiv"))


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    return page_data(example_front(), tmp_path)


def test_the_page_loads_nothing(data: dict[str, Any]) -> None:
    found = Page(page(data, "var Plotly;"))
    loading = {"src", "srcset", "poster", "action", "background"}
    assert [tag for tag in found.tags if tag[0] in {"img", "iframe", "object", "embed", "base", "form"}] == []
    assert [tag for tag, attrs in found.tags if loading & attrs.keys()] == []
    links = [attrs["href"] for tag, attrs in found.tags if tag in ("a", "link")]
    assert sorted(map(str, links)) == ["#models", "data:,"]
    assert "default-src 'none'" in found.policy
    assert "connect-src 'none'" in found.policy
    assert "http" not in found.policy
    assert "connect-src 'self'" in Page(page({**data, "live": True}, "")).policy


def test_every_script_that_runs_is_allowed_by_its_hash(data: dict[str, Any]) -> None:
    found = Page(page(data, "var Plotly;\r\n1"))
    assert [attrs.get("type") for tag, attrs in found.tags if tag == "script"] == ["application/json", None, None]
    for script in found.scripts[1:]:
        read = script.replace("\r\n", "\n")
        assert f"'sha256-{base64.b64encode(hashlib.sha256(read.encode()).digest()).decode()}'" in found.policy
    assert [tag for tag, attrs in found.tags if any(name.startswith("on") for name in attrs)] == []


def test_hostile_data_stay_data(data: dict[str, Any]) -> None:
    hostile = {**data, "task": HOSTILE, "run": HOSTILE}
    hostile["devices"] = [{**device, "name": HOSTILE} for device in data["devices"]]
    found = Page(page(hostile, ""))
    assert not {"img", "b"} & {tag for tag, _ in found.tags}
    assert json.loads(found.scripts[0])["task"] == HOSTILE


def test_the_script_never_writes_markup() -> None:
    import hwnas.viz

    script = (Path(str(hwnas.viz.__file__)).parent / "report.js").read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"):
        assert word not in script
