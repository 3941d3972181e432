from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from hwnas.errors import ConfigError, RunFolderError
from hwnas.viz.server import HOST, PageServer


def broken() -> dict[str, Any]:
    raise RunFolderError("the run is gone")


@pytest.fixture
def server() -> Iterator[PageServer]:
    with PageServer(lambda: "<p>caf\u00e9 \ud800</p>", {"state": lambda: {"n": 1}, "broken": broken}) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server: PageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


def test_page_and_documents(server: PageServer) -> None:
    status, body, headers = ask(server, "/")
    assert (status, body.decode()) == (200, "<p>caf\u00e9 ?</p>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    status, body, headers = ask(server, "/state.json?again")
    assert (status, json.loads(body), headers["Content-Type"]) == (200, {"n": 1}, "application/json")
    assert headers["Cache-Control"] == "no-store"
    assert ask(server, "/state.json", "HEAD")[:2] == (200, b"")


@pytest.mark.parametrize("path", ["/x", "/../front.json", "/state", "/%2e%2e/config.json"])
def test_nothing_else_is_there(server: PageServer, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_sent(server: PageServer, method: str) -> None:
    assert ask(server, "/state.json", method)[0] == 501


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil:{port}", ""]
)
def test_a_name_that_was_pointed_here_reads_nothing(server: PageServer, host: str) -> None:
    status, body, _ = ask(server, "/state.json", Host=host.format(port=server.server_port))
    assert status == 421
    assert b'"n"' not in body


def test_this_machine_has_two_names(server: PageServer) -> None:
    assert ask(server, "/", Host=f"localhost:{server.server_port}")[0] == 200


def test_an_error_is_one_line_and_the_server_goes_on(server: PageServer) -> None:
    assert ask(server, "/broken.json")[:2] == (500, b"the run is gone\n")
    assert ask(server, "/")[0] == 200


def test_it_listens_on_this_machine_only(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/"


def test_a_port_in_use_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is in use; give another --port"):
            PageServer(str, {}, port=port)
