"""The live view of a run: its report, served to this machine's browser, which asks for what is new."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from hwnas.search.state import RunReader, page_of
from hwnas.viz.report import render
from hwnas.viz.server import PageServer

__all__ = ["watch_server"]


def watch_server(run_dir: Path, port: int = 0) -> PageServer:
    """A server of the page of a run; `serve_forever` shows it until it is shut down.

    Nothing but the run folder is read, and nothing is written.

    Args:
        run_dir: of a search that runs, has ended, or was left half done.
        port: on 127.0.0.1; 0 takes a free one.
    Raises:
        RunFolderError, SchemaError: there is no run, or it is damaged.
        ConfigError: the port is in use.
    """
    reader, lock = RunReader(run_dir), threading.Lock()
    reader.look()  # what is wrong is said before a browser opens

    def data() -> dict[str, Any]:
        with lock:
            return page_of(reader.look(), live=True)

    def state() -> dict[str, Any]:
        with lock:
            found = reader.look()
        return {"version": found.version, "progress": found.progress}

    return PageServer(lambda: render(data()), {"data": data, "state": state}, port=port)
