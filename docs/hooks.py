"""Hooks of mkdocs: what pages link to outside of this folder becomes part of the site, programs as listings.

So pages link as they do on a disk, and the site needs no repository behind it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
ROOT = DOCS.parent
LINK = re.compile(r"(?<=\]\()[^)#\s]+")

_sources: dict[str, Path] = {}  # page of the site -> what it shows


def on_files(files: Files, *, config: Any) -> Files:
    """Add what the pages link to, and what that links to."""
    waiting = {file.src_uri: DOCS / file.src_uri for file in files.documentation_pages()}
    while waiting:
        uri, source = waiting.popitem()
        _sources[uri] = source
        for path in _linked(source):
            if files.get_file_from_path(found := _uri(path)) is None:
                is_page = found.endswith(".md")
                files.append(File.generated(config, found, content=_text(path) if is_page else path.read_bytes()))
                waiting |= {found: path} if is_page else {}
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Turn links on a disk into links of the site."""
    uri: str = page.file.src_uri

    def turned(link: re.Match[str]) -> str:
        path = _target(_sources[uri], link[0])
        return link[0] if path is None else posixpath.relpath(_uri(path), posixpath.dirname(uri) or ".")

    return LINK.sub(turned, markdown)


def _uri(path: Path) -> str:
    """Where the site has a file of the project."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    uri = f"project/{path.relative_to(ROOT).as_posix()}"
    return f"{uri}/index.md" if path.is_dir() else f"{uri}.md" if path.suffix == ".py" else uri


def _text(path: Path) -> str:
    """A page of the site: a text, the listing of a program, or the list of a folder."""
    if path.is_dir():
        names = sorted(file.name for file in path.iterdir() if file.is_file())
        return f"# {path.name}\n\n" + "\n".join(f"- [{name}]({name})" for name in names)
    text = path.read_text(encoding="utf-8")
    return f"# {path.name}\n\n```python\n{text}```\n" if path.suffix == ".py" else text


def _linked(source: Path) -> Iterator[Path]:
    for link in LINK.findall(_text(source)):
        if (path := _target(source, link)) is not None:
            yield path


def _target(source: Path, link: str) -> Path | None:
    """The file or folder of the project that a link on a page means, if it means one."""
    path = ((source if source.is_dir() else source.parent) / link).resolve()
    return path if "://" not in link and path.is_relative_to(ROOT) and path.exists() else None
