"""The report's HTML: the frame that its script fills. What came from outside is data, and never markup."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["page"]

BODY = """
<a class="skip" href="#models">Skip to the table of models</a>
<header>
  <div class="titles"><h1 id="title"></h1><p id="summary" class="soft"></p></div>
  <section id="suggestion" aria-label="Suggested model" hidden></section>
</header>
<section id="progress" aria-label="Progress of the search" hidden></section>
<main>
  <div id="controls" role="group" aria-label="What is shown"></div>
  <div id="notices"></div>
  <div id="board">
    <section id="overview" aria-labelledby="chart-title">
      <h2 id="chart-title"></h2>
      <ul id="legend" aria-label="Legend"></ul>
      <div id="chart" role="figure"></div>
      <p id="reading" class="soft"></p>
    </section>
    <div id="panels"></div>
    <section id="models" aria-labelledby="models-title" tabindex="-1"></section>
    <section id="compression" aria-labelledby="compression-title" hidden></section>
    <section id="course" aria-labelledby="course-title" hidden></section>
  </div>
</main>
<footer class="soft">Made by hwnas. Up and to the left is better; every number says where it comes from.
This page loads nothing from the network.</footer>
<p id="status" role="status" class="hidden"></p>
<noscript><p>This page needs JavaScript; <code>hwnas front RUN</code> shows the same numbers.</p></noscript>
"""


def page(data: Mapping[str, Any], plotly_js: str) -> str:
    """The whole document; scripts are allowed by their hash.

    Args:
        data: of `page_data`.
        plotly_js: the chart library's source.
    """
    home = Path(__file__).parent
    script, style = ((home / name).read_text(encoding="utf-8") for name in ("report.js", "report.css"))
    title = f"hwnas: {data['task']} on {', '.join(device['name'] for device in data['devices'])}"
    allowed = " ".join(f"'sha256-{_digest(source)}'" for source in (plotly_js, script))
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {chr(39) + ('self' if data['live'] else 'none') + chr(39)}; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title>"
        # An icon of its own: a browser asks its server for one otherwise.
        '<link rel="icon" href="data:,">'
        f"<style>{style}</style></head>\n<body>{BODY}"
        f'<script type="application/json" id="data">{_script_safe(json.dumps(data, allow_nan=False))}</script>\n'
        f"<script>{plotly_js}</script>\n<script>{script}</script></body></html>\n"
    )


def _script_safe(text: str) -> str:
    """JSON in which nothing can end or open an HTML element; the same values when read."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(script: str) -> str:
    # What a browser hashes: the element's text with line ends as HTML reads them.
    text = script.replace("\r\n", "\n").replace("\r", "\n")
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
