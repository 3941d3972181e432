"""The report in Chromium: writes benchmarks/results/<date>-report.json.

    python benchmarks/report.py [--models 30] [--candidates 5000] [--times 10]

A made-up run with real networks and the shipped predictors. Told are the size of the page, the time from the start of
loading it to the picture of the front and to that of all candidates (median of several loads, each in a browser context
of its own), and from a click on a model's row to its open panel, drawn (median over models). Needs playwright and
Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "viz"))
from conftest import made_run
from playwright.sync_api import Page, sync_playwright

from hwnas.viz.report import write_report

GOALS = {"bytes": 6_000_000, "first_picture_ms": 1500, "click_ms": 100}
# From the click to the second frame after it: by then the first one, with the panel, was drawn.
CLICK = """(id) => new Promise((done) => {
  const row = document.querySelector(`#models tr[data-id="${id}"]`), start = performance.now();
  row.click();
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
})"""


def loaded(page: Page, address: str) -> tuple[float, float]:
    """Milliseconds from the start of the navigation to the front, drawn, and to all candidates beside it."""
    page.goto(address)
    page.wait_for_selector("html[data-ready]", state="attached")
    found = page.evaluate("['front', 'ready'].map((name) => performance.getEntriesByName(name)[0].startTime)")
    return float(found[0]), float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=30)
    parser.add_argument("--candidates", type=int, default=5000)
    parser.add_argument("--times", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        front = made_run(Path(folder), args.models, args.candidates)
        path = write_report(Path(folder))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        first_ms, click_ms = [], []
        for _ in range(args.times):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            first_ms.append(loaded(page, path.as_uri()))
            click_ms += [float(page.evaluate(CLICK, model.id)) for model in front.models[:10]]
            context.close()
        found: dict[str, Any] = {
            "goal": GOALS,
            "models": args.models,
            "candidates": args.candidates,
            "bytes": path.stat().st_size,
            "first_picture_ms": round(statistics.median(front_ms for front_ms, _ in first_ms)),
            "all_candidates_ms": round(statistics.median(all_ms for _, all_ms in first_ms)),
            "each_ms": [[round(value) for value in pair] for pair in first_ms],
            "click_ms": round(statistics.median(click_ms)),
            "click_ms_most": round(max(click_ms)),
        }
        browser.close()
    record("report", "python benchmarks/report.py", found)


if __name__ == "__main__":
    main()
