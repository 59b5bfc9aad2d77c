"""A service of HTTP that answers as a test has written down, or hangs up."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

Said: TypeAlias = tuple[int, dict[str, str], Any] | None
"""Status, headers and what is said, as JSON unless it is bytes; None: it hangs up."""


class Scripted(http.server.BaseHTTPRequestHandler):
    """A service that answers as a test has written down, or hangs up where that is None."""

    protocol_version = "HTTP/1.1"
    answers: list[Said]
    seen: list[tuple[str, str, str]]

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.seen.append((self.command, self.path, body))
        said = self.answers.pop(0)
        if said is None:
            self.close_connection = True
            return
        status, headers, value = said
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, each in {"Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, each)
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = answer  # noqa: N815 - the names of http.server

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def scripted(*answers: Said) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Its address, and what it is asked."""
    seen: list[tuple[str, str, str]] = []
    handler = type("Script", (Scripted,), {"answers": list(answers), "seen": seen})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            thread.join(30)


NOTHING: Said = (200, {}, {"studies": []})
