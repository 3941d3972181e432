"""The documentation as a site: it builds strictly, is whole, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = re.findall(r"^::: (\S+)$", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.MULTILINE)
for package in ("mkdocs", "material", "mkdocstrings"):
    pytest.importorskip(package, reason="needs: pip install 'hwnas[docs]'")


class Page(HTMLParser):
    """What a page loads, where it leads to, and what can be pointed at in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.add(given.get("id") or "")
        if tag == "a":
            self.links.append(given.get("href") or "")
        elif loaded := given.get("src") or (given.get("href") if tag == "link" else None):
            self.loads.append(loaded)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_page_is_there(site: Path, pages: dict[Path, Page]) -> None:
    sources = {path.with_suffix(".html").name for path in (ROOT / "docs").glob("*.md")}
    assert sources <= {path.name for path in pages if path.parent == site}
    assert {"index.html", "CHANGELOG.html", "CONTRIBUTING.html"} <= {path.name for path in (site / "project").iterdir()}
    assert "class SearchSpace" not in (site / "api.html").read_text(encoding="utf-8")  # documented, not listed
    assert "ElasticInvertedResidual" in (site / "project/examples/elastic_space.py.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Page]) -> None:
    outside = [address for page in pages.values() for address in page.loads if urlsplit(address).netloc]
    assert outside == []


def test_every_link_leads_to_a_file_of_the_site(pages: dict[Path, Page]) -> None:
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if not parts.scheme and parts.path and not (path.parent / unquote(parts.path)).exists():
                dead.append(f"{path.name}: {link}")
    assert dead == []


@pytest.mark.parametrize("name", [name for name in REFERENCE if name != "hwnas.errors"])
def test_the_reference_holds(name: str, site: Path, pages: dict[Path, Page]) -> None:
    assert name in pages[site / "api.html"].ids
