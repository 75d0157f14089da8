"""A web server that accepts notices and keeps their content."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "s3cretw0rd"
"""Part of the path of its URL, and of nothing else."""


@dataclass
class Mailbox:
    """A web server that accepts notices; it answers with the statuses of its script, then 200; 0 never answers."""

    script: list[int] = field(default_factory=list)
    got: list[dict[str, Any]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @property
    def events(self) -> list[str]:
        return [document["event"] for document in self.got]

    def take(self, path: str, head: dict[str, str], body: bytes) -> int:
        self.paths.append(path)
        self.heads.append(head)
        self.got.append({"event": "?", **json.loads(body), "body": body})
        return self.script.pop(0) if self.script else 200


@contextmanager
def mailbox(*script: int) -> Iterator[Mailbox]:
    box = Mailbox(list(script))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = box.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            if not status:
                box.over.wait()
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    box.url = f"http://127.0.0.1:{server.server_address[1]}/hooks/{SECRET}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield box
    finally:
        box.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
