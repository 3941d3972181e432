"""A web server for one page, on this machine only."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hwnas.errors import ConfigError, HwnasError

__all__ = ["HOST", "PageServer"]

HOST = "127.0.0.1"
Answer = tuple[str, Callable[[], bytes]]  # content type, and what makes the content


class PageServer(ThreadingHTTPServer):
    """Serves what functions make, each time anew: the page at "/", JSON at "/NAME.json"; to this machine only.

    A request that names another host is refused: a page of somebody else's, whose name was pointed at this machine
    (DNS rebinding), reads nothing.

    Args:
        page: makes the HTML.
        documents: name -> what makes the JSON object.
        port: 0 takes a free one; the attribute `address` says which.
    Raises:
        ConfigError: the port is in use, or this user may not have it.
    """

    daemon_threads = True

    def __init__(
        self, page: Callable[[], str], documents: Mapping[str, Callable[[], Mapping[str, Any]]], *, port: int = 0
    ) -> None:
        self.answers: dict[str, Answer] = {"/": ("text/html; charset=utf-8", lambda: page().encode("utf-8", "replace"))}
        for name, make in documents.items():
            self.answers[f"/{name}.json"] = ("application/json", _json_of(make))
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise ConfigError(f"port {port} {reason}; give another --port, or none for a free one") from error

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{HOST}:{self.server_port}/"

    def knows(self, host: str | None) -> bool:
        """Whether a request that names this host may be answered."""
        return host in (f"{HOST}:{self.server_port}", f"localhost:{self.server_port}")


def _json_of(make: Callable[[], Mapping[str, Any]]) -> Callable[[], bytes]:
    return lambda: json.dumps(make(), allow_nan=False).encode()


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "hwnas", ""
    timeout = 30  # seconds for a client to send its request

    def do_GET(self) -> None:
        """Answer with one of the documents."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with what a GET would begin with."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        kind, body, status = "text/plain; charset=utf-8", b"", HTTPStatus.OK
        answer = self.server.answers.get(self.path.partition("?")[0])
        if not self.server.knows(self.headers.get("Host")):
            status, body = HTTPStatus.MISDIRECTED_REQUEST, b"this server answers to its own address only\n"
        elif answer is None:
            status, body = HTTPStatus.NOT_FOUND, b"there is no such page here\n"
        else:
            try:
                body, kind = answer[1](), answer[0]
            except HwnasError as error:
                status, body = HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n".encode()
        self._send(status, kind, body if with_body else b"", len(body))

    def _send(self, status: HTTPStatus, kind: str, body: bytes, length: int) -> None:
        try:
            self.send_response(status)
            for name, value in (
                *(("Content-Type", kind), ("Content-Length", str(length)), ("Cache-Control", "no-store")),
                *(("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")),
                *(("X-Frame-Options", "DENY"), ("Cross-Origin-Resource-Policy", "same-origin")),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the browser went away

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal shows the address and errors only."""
