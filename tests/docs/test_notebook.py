"""The notebook of the examples runs from top to bottom in a real kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SEARCH = 'device="jetson"'
NOTEBOOK = ROOT / "examples" / "first_search.ipynb"


def cells(kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def test_the_notebook_is_kept_without_outputs() -> None:
    assert len(cells("code")) == 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells("code"))


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("nbclient", "ipykernel", "ipywidgets"):
        pytest.importorskip(package, reason="needs: pip install 'hwnas[dev]'")
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (search,) = (cell for cell in notebook.cells if SEARCH in cell.source)
    search.source = search.source.replace(SEARCH, f"{SEARCH}, trials=20, time_s=15")  # a tiny budget
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    searched, shown, figure, chosen, exported = (cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    bars = json.dumps([client.widget_state, searched])
    assert all(phase in bars for phase in ("train the supernet", "search", "finish"))
    (run,) = (tmp_path / "runs").iterdir()
    ids = [model["id"] for model in json.loads((run / "front.json").read_text())["models"]]
    assert all(name in shown[0].data["text/html"] for name in ids)
    assert "Plotly.newPlot" in shown[0].data["text/html"]
    assert shown[0].data["text/plain"].startswith("SearchResult('runs/")
    assert int(figure[0].data["text/plain"]) >= 2
    assert chosen[0].text.split()[0] in ids
    assert "model.onnx" in exported[0].data["text/plain"]
