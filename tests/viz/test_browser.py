"""The report in a real browser: Debian's Chromium, driven by Playwright. Nothing is downloaded."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from hwnas.core.front import Front
from hwnas.core.graph_record import GraphRecord
from hwnas.search.watch import watch_server
from hwnas.store import read_front, write_json
from hwnas.testing.front import example_front
from hwnas.viz.report import write_report

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), "")
SCREENS = {"phone": (390, 844, "light"), "tablet": (1024, 768, "dark"), "desk": (1920, 1080, "light")}
HOSTILE = "<img src=x onerror=alert(1)>\"'&</script> \N{GRINNING FACE}" + "long " * 60


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    if not CHROMIUM:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@dataclass
class Shown:
    """A page, and whatever it did that it should not do."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def count(self, selector: str) -> int:
        return int(self.page.locator(selector).count())

    def chart(self, expression: str) -> Any:
        """Of the drawn chart, `gd`."""
        return self.page.evaluate(f"(() => {{ const gd = document.getElementById('chart'); return {expression}; }})()")

    def place_of(self, model_id: str | int) -> tuple[float, float]:
        """Where the point of a model, or of the candidate of a number, is on the screen."""
        found = self.page.evaluate(
            """(id) => { const gd = document.getElementById('chart'); gd.scrollIntoView({block: 'center'});
            const box = gd.getBoundingClientRect(), {xaxis, yaxis} = gd._fullLayout;
            for (const t of gd.data) for (const [i, c] of (t.customdata || []).entries()) if (c[1] === id)
              return [box.x + xaxis._offset + xaxis.d2p(t.x[i]), box.y + yaxis._offset + yaxis.d2p(t.y[i])]; }""",
            model_id,
        )
        return found[0], found[1]

    def until(self, expression: str) -> None:
        """Wait for an expression of the page to be true (the page's own policy forbids what Playwright has for it)."""
        for _ in range(400):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"it never came true: {expression}")

    def fits(self) -> bool:
        """Whether nothing is cut off at the side."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.fixture
def show(browser: Any) -> Iterator[Callable[..., Shown]]:
    contexts = []

    def make(address: Path | str, screen: str = "desk") -> Shown:
        width, height, scheme = SCREENS[screen]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        shown = Shown(context.new_page())
        shown.page.set_default_timeout(20_000)
        shown.page.on("request", lambda request: shown.requests.append(request.url))
        shown.page.on("pageerror", lambda error: shown.errors.append(str(error)))
        shown.page.on("dialog", lambda dialog: shown.errors.append(f"dialog: {dialog.message}"))
        shown.page.on(
            "console", lambda said: shown.errors.append(said.text) if said.type in ("error", "warning") else None
        )
        shown.page.goto(address if isinstance(address, str) else address.as_uri())
        shown.page.wait_for_selector("html[data-ready]", state="attached")
        return shown

    yield make
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Front]) -> Path:
    """The report of a run of 30 models and 5,000 candidates."""
    folder = tmp_path_factory.mktemp("large")
    make_run(folder, 30, 5000)
    return write_report(folder)


@pytest.fixture(scope="module")
def compressed(run_dir: Path) -> Path:
    """The report of a small run with sensitivities."""
    return write_report(run_dir, run_dir / "compressed.html")


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    write_json(folder / "front.json", example_front().to_json())
    return write_report(folder)


def keep(shown: Shown, name: str) -> None:
    """A screenshot that CI keeps, if it says where."""
    if folder := os.environ.get("HWNAS_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        shown.page.screenshot(path=str(Path(folder) / f"{name}.png"))


def rows(shown: Shown) -> list[str]:
    return list(shown.page.eval_on_selector_all("#models tr[data-id]", "rows => rows.map(row => row.dataset.id)"))


@pytest.mark.parametrize("screen", SCREENS)
def test_a_large_run_loads_alone_and_whole(show: Any, large: Path, screen: str) -> None:
    shown, front = show(large, screen), read_front(large.parent)
    assert large.stat().st_size < 6_000_000
    assert [address for address in shown.requests if not address.startswith(("file:", "data:"))] == []
    assert shown.errors == []
    assert shown.text("h1") == "cifar10 on jetson-nano"
    assert "30 models" in shown.text("#summary")
    assert "5,000 candidates searched" in shown.text("#summary")
    assert rows(shown) == [model.id for model in front.models]
    drawn = shown.chart("gd.data.map(t => [t.name, t.x.length])")
    assert sum(n for name, n in drawn if name.startswith("searched")) == 5000
    assert sum(n for name, n in drawn if name.startswith("predicted")) == 30
    assert shown.chart("gd.layout.shapes.filter(s => s.name === 'whisker').length") == 30
    assert shown.page.locator("#chart .points path").count() >= 5030
    assert shown.page.locator("#course-chart .lines path").count() == 1
    assert shown.fits()
    keep(shown, f"report-{screen}")


@pytest.mark.parametrize("screen", SCREENS)
def test_a_click_on_a_point_opens_all_that_is_known(show: Any, large: Path, screen: str) -> None:
    shown, front = show(large, screen), read_front(large.parent)
    model = front.models[-1]
    shown.page.mouse.click(*shown.place_of(model.id))
    shown.page.wait_for_selector(".panel")
    panel = shown.text(".panel")
    assert model.id in shown.text(".panel h2")
    words = ("Architecture", "Milliseconds per operation", "Accuracy by class", "Compression", "Files", "Commands")
    assert [word for word in words if word not in panel] == []
    assert model.artifacts["onnx"].sha256 in panel
    assert f"hwnas export {large.parent} --model {model.id} --format onnx" in panel
    assert f"hwnas verify {large.parent} --device jetson-nano" in panel
    assert "<b>tenth</b> \N{SNOWMAN}" in panel
    assert "not measured" in panel
    assert "not known" in panel  # the energy
    assert shown.count(".panel .stage") >= 6
    assert shown.count(".panel .part.depthwise") >= 5
    shown.page.click(".panel summary >> text=/All \\d+ operations/")
    assert shown.count(".panel table tbody tr") > 30
    assert shown.fits()
    assert shown.errors == []
    keep(shown, f"panel-{screen}")


@pytest.mark.parametrize("screen", SCREENS)
def test_two_models_stand_beside_each_other(show: Any, large: Path, screen: str) -> None:
    shown = show(large, screen)
    first, second = rows(shown)[3], rows(shown)[20]
    shown.page.click(f'tr[data-id="{first}"] button')
    shown.page.select_option(".against select", index=15)
    assert shown.count(".panel") == 2
    shown.page.click(f'tr[data-id="{second}"] button')  # another one takes the second place
    headings = shown.page.locator(".panel h2").all_inner_texts()
    assert headings[0].endswith(first)
    assert headings[1].endswith(second)
    table = shown.text("#comparison")
    for word in ("accuracy", "predicted ms", "size", "MACs", "points", "choices differ"):
        assert word in table
    left, right = (shown.page.locator(".panel").nth(i).bounding_box() for i in (0, 1))
    if screen == "phone":
        assert right["y"] > left["y"]  # no room for two panels; the table above has them side by side
    else:
        assert right["x"] >= left["x"] + left["width"]
    assert shown.fits()
    keep(shown, f"comparison-{screen}")
    shown.page.click(".panel.b button >> text=Close")
    assert (shown.count(".panel"), shown.count("#comparison")) == (1, 0)
    assert shown.errors == []


@pytest.mark.parametrize("screen", SCREENS)
def test_sliders_grey_out_the_rest(show: Any, large: Path, screen: str) -> None:
    shown, front = show(large, screen), read_front(large.parent)
    assert shown.page.is_disabled("#limit-energy")
    assert "not known" in shown.page.get_attribute("#limit-energy", "aria-valuetext")
    shown.page.focus("#limit-latency")
    for _ in range(9):
        shown.page.keyboard.press("PageDown")
    # The page greys out once a frame: what the last press did is there after the next one.
    shown.page.evaluate(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
    )
    shown.page.wait_for_selector("tr.outside")
    words = shown.page.get_attribute("#limit-latency", "aria-valuetext")
    limit_ms = float(words.split()[1])
    inside = [model.id for model in front.models if model.latency_ms <= limit_ms * 1.001]
    outside = shown.page.eval_on_selector_all("tr.outside", "rows => rows.map(row => row.dataset.id)")
    assert 0 < len(outside) < 30
    assert set(outside) == {model.id for model in front.models} - set(inside)
    assert shown.text("#kept") == f"{len(inside)} of 30 within the limits"
    assert shown.chart("gd.layout.shapes.filter(s => s.name === 'veil').length") == 1
    seen = shown.chart("gd.data.flatMap(t => t.customdata?.[0]?.[0] === 'model' ? t.marker.opacity : [])")
    assert sum(opacity == 0.2 for opacity in seen) == len(outside)
    assert shown.page.locator("tr.outside .hidden").first.inner_text() == "(outside the limits)"
    keep(shown, f"limits-{screen}")
    shown.page.click("#reset")
    shown.until("!document.querySelector('tr.outside')")
    assert shown.page.input_value("#limit-latency") == "200"
    assert shown.errors == []


def test_every_limit_greys_out_its_own(show: Any, two_devices: Path) -> None:
    shown, models = show(two_devices), example_front().models
    for name, step, wanted in (
        ("size", 100, [m.id for m in models if (m.size_bytes or 0) > (29_400 * 0.98 * 1_215_000 * 1.02) ** 0.5]),
        ("accuracy", 100, [m.id for m in models if m.accuracy < (0.8702 + 0.9853) / 2]),
    ):
        shown.page.fill(f"#limit-{name}", str(step))
        shown.page.wait_for_selector("tr.outside")
        assert shown.page.eval_on_selector_all("tr.outside", "rows => rows.map(row => row.dataset.id)") == wanted
        shown.page.click("#reset")
        shown.until("!document.querySelector('tr.outside')")


@pytest.mark.parametrize("screen", SCREENS)
def test_copy_copies_the_exact_command(show: Any, large: Path, screen: str) -> None:
    shown = show(large, screen)
    shown.page.click("#take")
    command = shown.page.locator(".command pre").first.inner_text()
    shown.page.click('button[aria-label="Copy: Export this model"]')
    shown.page.wait_for_selector("button >> text=Copied")
    assert shown.page.evaluate("navigator.clipboard.readText()") == command
    assert shown.text("#status") == "copied"
    assert shown.errors == []


def test_devices_are_switched_and_overlaid(show: Any, two_devices: Path) -> None:
    shown = show(two_devices)
    assert "on cpu" in shown.text("#chart-title")
    assert shown.chart("gd.data.filter(t => t.name === 'measured').map(t => [t.x.length, t.marker.symbol])") == [
        [8, "circle"]
    ]
    shown.page.check("input[name=device] >> nth=1", force=True)
    assert "on jetson-nano" in shown.text("#chart-title")
    assert "1 of 8 predictions on jetson-nano are out of domain" in shown.text("#notices")
    assert shown.chart("gd.data.filter(t => t.name.includes('out of domain')).map(t => t.marker.symbol)") == ["x-open"]
    shown.page.check("input[name=device] >> nth=2", force=True)
    assert "all devices" in shown.text("#chart-title")
    names = shown.chart("gd.data.map(t => t.name)")
    assert {"cpu: measured", "jetson-nano: predicted"} <= set(names)
    assert len(set(shown.chart("gd.data.filter(t => t.mode === 'lines').map(t => t.line.color)"))) == 2
    keep(shown, "overlay")
    assert shown.errors == []


def test_a_precision_that_this_machine_ignores_is_a_notice(show: Any, tmp_path: Path) -> None:
    front = example_front()
    model = next(model for model in front.models if model.compression.precision == "int8")
    graph = GraphRecord(precisions={"fp32": 30}).held_against("int8").to_json()
    manifest = {"schema": 1, "runtime": {"name": "onnxruntime"}, "details": {"graph": graph}}
    home = tmp_path / "models" / model.id
    home.mkdir(parents=True)
    write_json(home / "manifest.json", manifest)
    write_json(tmp_path / "front.json", front.to_json())
    shown = show(write_report(tmp_path))
    assert "1 of 8 models compute in fp32 where their files are smaller" in shown.text("#notices")
    shown.page.check("input[name=device] >> nth=1", force=True)
    assert "compute in fp32" not in shown.text("#notices")
    assert shown.errors == []


def test_the_axis_is_linear_or_logarithmic(show: Any, two_devices: Path) -> None:
    shown = show(two_devices)
    assert shown.chart("gd.layout.xaxis.type") == "linear"
    shown.page.check("input[name=scale] >> nth=1", force=True)
    assert shown.chart("gd._fullLayout.xaxis.type") == "log"
    shown.page.fill("#limit-latency", "60")
    shown.page.wait_for_selector("tr.outside")
    box = shown.page.locator("#chart .shapelayer path").last.bounding_box()
    assert box is not None
    assert shown.errors == []


def test_the_knee_is_suggested_with_its_reason(show: Any, two_devices: Path) -> None:
    shown = show(two_devices)
    assert "The knee of the front on cpu" in shown.text("#suggestion")
    assert "points of accuracy" in shown.text("#suggestion")
    assert "knee" in shown.chart("gd.layout.annotations.map(a => a.text)")
    knee = shown.page.locator("#suggestion code").inner_text()
    shown.page.click("#take")
    assert knee in shown.text(".panel h2")
    assert "Why this one: the knee" in shown.text(".panel")


def test_all_of_it_by_keyboard(show: Any, two_devices: Path) -> None:
    shown = show(two_devices)
    page, ids = shown.page, rows(shown)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "models"
    page.focus(f'tr[data-id="{ids[2]}"] button')
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "panel-0"
    assert ids[2] in shown.text(".panel h2")
    page.focus('button[aria-label="slower model"]')
    page.keyboard.press("Space")
    assert ids[3] in shown.text(".panel h2")
    page.keyboard.press("Escape")
    assert shown.count(".panel") == 0
    assert page.evaluate("document.activeElement.closest('tr').dataset.id") == ids[2]
    page.focus("input[name=device]:checked")
    page.keyboard.press("ArrowRight")
    assert "on jetson-nano" in shown.text("#chart-title")
    assert shown.errors == []


def test_light_and_dark(show: Any, two_devices: Path) -> None:
    shown = show(two_devices)
    light = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = shown.chart("gd.layout.font.color")
    shown.page.emulate_media(color_scheme="dark")
    shown.until(f"document.getElementById('chart').layout.font.color !== '{ink}'")
    assert shown.page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    assert shown.errors == []


@pytest.mark.parametrize("screen", ["phone", "desk"])
def test_names_from_outside_are_only_text(show: Any, tmp_path: Path, screen: str) -> None:
    front = example_front(("cpu", HOSTILE), task=HOSTILE)
    model = replace(front.models[0], id=HOSTILE)
    detail = replace(model.accuracy_detail, split=HOSTILE, source=HOSTILE)
    front = replace(front, space=HOSTILE, models=(replace(model, accuracy_detail=detail), *front.models[1:]))
    write_json(tmp_path / "front.json", front.to_json())
    trial = {"id": HOSTILE, "latency_ms": 0.1, "accuracy": 0.9, "in_domain": True}
    (tmp_path / "trials.jsonl").write_text(json.dumps(trial) + "\n")
    shown = show(write_report(tmp_path), screen)
    shown.page.locator("#models tbody button").first.click()
    assert HOSTILE.strip() in shown.page.locator(".panel h2").inner_text()
    shown.page.check("input[name=device] >> nth=1", force=True)
    shown.page.check("input[name=device] >> nth=2", force=True)
    x, y = shown.place_of(HOSTILE)
    shown.page.mouse.move(x, y)
    shown.page.wait_for_selector(".hoverlayer text")
    assert shown.count("img") == 0
    assert shown.errors == []
    assert shown.fits()


def test_fronts_of_no_model_and_of_one(show: Any, tmp_path: Path) -> None:
    front = example_front(("cpu",))
    for n, words in ((0, "No model is finished yet"), (1, "1 model")):
        write_json(tmp_path / "front.json", replace(front, models=front.models[:n]).to_json())
        shown = show(write_report(tmp_path))
        assert words in shown.text("body")
        assert len(rows(shown)) == n
        assert shown.errors == []


def test_a_search_that_has_no_model_yet_shows_its_candidates(show: Any, tmp_path: Path) -> None:
    write_json(tmp_path / "front.json", replace(example_front(("cpu",)), models=()).to_json())
    rows_ = [{"id": f"c{i}", "latency_ms": 0.05 + i * 0.01, "accuracy": 0.5 + 0.01 * i} for i in range(20)]
    (tmp_path / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_))
    shown = show(write_report(tmp_path))
    assert "Dots are searched candidates" in shown.text("#notices")
    assert shown.chart("gd.data.map(t => [t.name, t.x.length])")[1:] == [["searched, not dominated", 20], ["front", 20]]
    assert "front so far" in shown.text("#legend")
    shown.page.fill("#limit-latency", "60")
    shown.until("document.getElementById('chart').layout.shapes.some(s => s.name === 'veil')")
    shown.page.mouse.click(*shown.place_of(0))  # candidates are told apart by their numbers
    shown.page.wait_for_selector(".panel")
    assert "Searched candidate c0" in shown.text(".panel h2")
    assert shown.errors == []


def test_ten_thousand_models(show: Any, tmp_path: Path) -> None:
    front = example_front(("cpu",))
    models = [
        replace(m, id=f"{m.id}-{i}", accuracy_detail=replace(m.accuracy_detail, accuracy=m.accuracy - i * 1e-5))
        for i in range(1250)
        for m in front.models
    ]
    write_json(tmp_path / "front.json", replace(front, models=tuple(models)).to_json())
    path = write_report(tmp_path)
    assert path.stat().st_size < 6_000_000
    shown = show(path)
    assert "9,700 models are not shown" in shown.text("#notices")
    assert len(rows(shown)) == 100
    shown.page.click("#more")
    assert len(rows(shown)) == 300
    assert shown.errors == []


def test_a_running_search_refreshes_itself(show: Any, tmp_path: Path) -> None:
    write_json(tmp_path / "front.json", example_front(("cpu",)).to_json())
    with watch_server(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        shown = show(server.address, "tablet")
        assert len(rows(shown)) == 8
        shown.page.locator("#models tbody button").first.click()
        fewer = example_front(("cpu",))
        write_json(tmp_path / "front.json", replace(fewer, models=fewer.models[:3]).to_json())
        shown.until("document.querySelectorAll('#models tr[data-id]').length === 3")
        assert shown.count(".panel") == 1  # what was open stays open
        shown.page.close()
        server.shutdown()
        thread.join()
    assert shown.errors == []
    assert {address for address in shown.requests if not address.startswith((server.address, "data:"))} == set()


@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_no_serious_fault(show: Any, large: Path, two_devices: Path, screen: str) -> None:
    source = os.environ.get("HWNAS_AXE")
    if not source:
        pytest.skip("HWNAS_AXE does not name axe.min.js (npm pack axe-core)")
    for report in (large, two_devices):
        shown = show(report, screen)
        ids = rows(shown)
        shown.page.click(f'tr[data-id="{ids[1]}"] button')
        shown.page.select_option(".against select", index=3)
        shown.page.fill("#limit-accuracy", "120")
        shown.page.wait_for_selector("tr.outside")
        shown.page.evaluate(Path(source).read_text())
        found = shown.page.evaluate("axe.run()")
        assert len(found["passes"]) > 20
        faults = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
        assert [(v["id"], [node["html"][:150] for node in v["nodes"][:3]]) for v in faults] == []


@pytest.mark.parametrize("screen", SCREENS)
def test_what_compression_bought_is_shown(show: Any, compressed: Path, screen: str) -> None:
    shown, front = show(compressed, screen), read_front(compressed.parent)
    models = [model for model in front.models if model.compression.precision != "fp32" or model.compression.prune]
    assert shown.text("#compression h2") == "What compression bought on jetson-nano"
    assert shown.count("#compression table >> nth=0 >> tbody tr") == len(models)
    assert "\u00d7" in shown.text("#compression tbody")
    assert shown.count("#sensitivity-chart .scatterlayer .trace") == 8
    assert "<b>head</b> \N{SNOWMAN}" in shown.text("#compression .lines")
    assert "What begins with heads. are heads of an attention, left out whole." in shown.text("#compression")
    assert "What begins with blocks." not in shown.text("#compression")
    assert "compute in fp32" not in shown.text("#notices")  # the Jetson is not the machine that exported
    keep(shown, f"compression-{screen}")
    pruned = next(model for model in models if model.compression.prune)
    shown.page.locator("#compression tbody button", has_text=pruned.id).click()
    shown.page.wait_for_selector(".panel")
    panel = shown.text(".panel")
    for words in ("times as fast", "both predicted", "counted", "In the runtime", "51 operations in the file, 32 run"):
        assert words in panel, words
    assert shown.count(".panel tr.mine") == 1
    assert shown.count(".panel table[class=small] >> nth=1 >> tbody tr") == 4
    assert "<i>odd</i> folded \u00d7 1" in panel
    if pruned.compression.precision == "fp16":
        assert "run in fp32" in shown.text(".panel p.warn")
    assert shown.fits()
    assert shown.errors == []
    keep(shown, f"compression-panel-{screen}")
