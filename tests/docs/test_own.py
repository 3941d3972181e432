"""The pages on things of one's own: what they show is installed like a package of a user's, and used."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.task import TaskShape
from hwnas.plugins import load_plugin
from hwnas.trace import operations

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class Package:
    """A folder as pip leaves it, with a page's entry points, on the path of each process that is started here."""

    def __init__(self, home: Path, page: str) -> None:
        self.home = home
        (home / "my_package").mkdir()
        (home / "my_package/__init__.py").write_text("")
        info = home / "a_user-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a-user\nVersion: 1.0\n")
        groups = tomllib.loads("\n".join(blocks(page, "toml")))["project"]["entry-points"]
        lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in groups.items()]
        (info / "entry_points.txt").write_text("\n".join(lines))

    def write(self, path: str, code: str) -> None:
        (self.home / path).write_text(code)

    def run(self, *arguments: str) -> str:
        paths = [str(self.home), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "HWNAS_CACHE": str(self.home / "cache"),
            "PYTEST_ADDOPTS": "",  # what these tests were called with is not for the page's
        }
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.home, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def hwnas(self, *arguments: str) -> str:
        return self.run("-c", "from hwnas.cli.main import main; main()", *arguments)


def test_own_data(tmp_path: Path) -> None:
    package = Package(tmp_path, "own-data.md")
    search, load = blocks("own-data.md", "python")
    package.run("-c", f"{search.replace('time_s=20', 'time_s=8')}\nassert max(m.accuracy for m in result.front) > 0.7")
    package.write("my_package/stripes.py", search[: search.index("task = ")] + load)
    listed = {row["name"]: row["about"] for row in json.loads(package.hwnas("tasks", "--json"))}
    assert listed["stripes"] == "Stripes that run across or down; made up."
    load_it = (
        "from hwnas.plugins import load_plugin\nprint(load_plugin('task', 'stripes')(input_shape=(3, 32, 32)).sides)"
    )
    assert package.run("-c", load_it) == "(32, 32)\n"


@pytest.mark.slow
def test_own_device_and_own_runtime(tmp_path: Path) -> None:
    (tmp_path / "device").mkdir()
    package = Package(tmp_path / "device", "own-device.md")
    device, lab = blocks("own-device.md", "python")
    package.write("my_package/my_board.py", device)
    package.run("-c", lab)
    table = package.home / "lab/my-board.csv"
    latencies = measure_by_macs(table)
    calibrate = ("calibrate", "--measurements", str(table), "--space", "nasbench201", "--precision", "fp32", "--json")
    (card,) = json.loads(package.hwnas(*calibrate, "--device", "my-board"))
    assert (card["device"], card["n_measurements"]) == ("my-board", len(latencies))
    predicted = json.loads(package.hwnas("predict", "--device", "my-board", "lab/0.onnx", "--json"))
    assert predicted["in_domain"]
    assert predicted["latency_ms"] == pytest.approx(latencies[0], rel=0.3)

    (tmp_path / "runtime").mkdir()
    package = Package(tmp_path / "runtime", "own-runtime.md")
    write_runtime(package)
    json.loads(package.hwnas(*calibrate, "--device", "slow-cpu"))
    package.run("-c", SEARCH)


def measure_by_macs(table: Path) -> list[float]:
    """Fill in the table as a lab would, on a device that takes half a millisecond and one for 50 million MACs."""
    space, shape = load_plugin("space", "nasbench201"), TaskShape((3, 32, 32), n_outputs=10)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        architecture = space.architecture({choice.label: row[choice.label] for choice in space.choices})
        macs = operations(space, Candidate(architecture, CompressionPlan.of("fp32")), shape).macs
        row["latency_ms"] = str(0.5 + macs / 5e7)
        assert (table.parent / row["file"]).is_file()
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return [float(row["latency_ms"]) for row in rows]


def write_runtime(package: Package) -> None:
    runtime, contract, device = blocks("own-runtime.md", "python")
    package.write("reference_runtime.py", runtime)
    package.write("test_reference_runtime.py", contract)
    package.write("slow_cpu.py", device)


# Its models are written, read and checked by the runtime of the page.
SEARCH = """
import json
import hwnas
from hwnas import Choice, SearchSpace
from torch import nn

def build(architecture, task):
    stem = [nn.Conv2d(task.input_shape[0], architecture["width"], 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*stem, nn.Linear(architecture["width"], task.n_outputs))

space = SearchSpace("tiny", [Choice("width", (4, 8))], build)
result = hwnas.search(device="slow-cpu", space=space, trials=2, n_front=1)
(model,) = result.front
assert model.accuracy_detail.source == "deployed-file"
manifest = json.loads((result.run_dir / "models" / model.id / "manifest.json").read_text())
assert manifest["runtime"]["name"] == "reference", manifest["runtime"]
"""


def test_own_runtime_keeps_the_contract(tmp_path: Path) -> None:
    package = Package(tmp_path, "own-runtime.md")
    write_runtime(package)
    report = package.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_reference_runtime.py")
    assert re.search(r"^9 passed, 10 skipped", report, re.MULTILINE), report  # int8 is what it does not have
    listed = {row["name"]: row for row in json.loads(package.hwnas("runtimes", "--json"))}
    assert listed["reference"]["version"]
    assert "slow-cpu" in [row["name"] for row in json.loads(package.hwnas("devices", "--json"))]


@pytest.mark.slow
def test_the_page_on_notebooks(tmp_path: Path) -> None:
    code = "\n".join(blocks("notebook.md", "python"))
    assert code.count('device="jetson"') == 2
    tiny = code.replace('device="jetson"', 'device="jetson", trials=6').replace("n_front=4", "n_front=1, time_s=8")
    Package(tmp_path, "own-data.md").run("-c", tiny.replace("time_s=600", "n_front=1, time_s=8"))
    assert (tmp_path / "front.html").is_file()
    assert (tmp_path / "deploy/model.onnx").is_file()
