"""A webhook receiver on loopback that answers as it is told: well, with errors, late, drop by drop, or not at all."""

from __future__ import annotations

import html
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

OK, DROP, DRIP, SILENT, ECHO = "ok", "drop", "drip", "silent", "echo"


class Receiver:
    """What arrived, and how the next requests are answered (then well again)."""

    def __init__(self) -> None:
        self.answers: deque[str | int] = deque()
        """`ok`, `drop` (no answer), `drip` (a byte now and then), `silent` (none, connection kept), or a status."""
        self.received: list[dict[str, Any]] = []
        """Bodies of all requests, also of those that were not acknowledged."""
        self.ids: list[str] = []
        """Header `Idempotency-Key` of all requests."""
        self.acknowledged: list[str] = []
        """The same of those that were answered with 200."""
        self.end = threading.Event()
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Note what was sent and answer as planned."""
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self.received.append(json.loads(body))
        self.ids.append(request.headers["Idempotency-Key"])
        planned = self.answers.popleft() if self.answers else OK
        if planned == DROP:
            request.connection.close()
        elif planned == SILENT:
            self.end.wait(30)
        elif planned == ECHO:
            # As error pages of proxies and frameworks do.
            page = (
                f"{'<br>' * 5} no route {request.path} at {html.escape(request.path)} {quote(request.path, safe='')} "
            )
            page += json.dumps({"url": f"http://h{request.path}"}).replace("/", "\\/") + " x" * 2_000 + request.path
            request.send_response(404, f"No {request.path}")
            request.send_header("Content-Length", str(len(page)))
            request.end_headers()
            request.wfile.write(page.encode())
        elif planned == DRIP:
            # Never a whole status line, always a byte before the socket's own timeout.
            while not self.end.wait(0.02):
                try:
                    request.wfile.write(b"H")
                    request.wfile.flush()
                except OSError:
                    return
        else:
            status = 200 if planned == OK else int(planned)
            if status == 200:
                # Before the answer: whoever has it looks here at once.
                self.acknowledged.append(request.headers["Idempotency-Key"])
            request.send_response(status)
            if status == 429:
                request.send_header("Retry-After", "600")
            request.send_header("Content-Length", "2")
            request.end_headers()
            request.wfile.write(b"ok")


@contextmanager
def webhook_receiver() -> Iterator[Receiver]:
    """Run a receiver for the length of a block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Connections that are cut are what these tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        receiver.url = f"http://127.0.0.1:{server.server_port}/services/T0/B0/s3cr3t"
        yield receiver
        receiver.end.set()
        server.shutdown()
        thread.join()
