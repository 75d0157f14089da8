"""The health check for containers, before a real socket."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from orchestrator.service.healthcheck import find_health_fault, main

STATUS = {"/healthz": 200, "/stuck": 503, "/moved": 302}


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(STATUS[self.path])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_only_status_200_is_healthy(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{url}/healthz"]) == 0
    assert main([f"{url}/stuck"]) == 1
    assert main([f"{url}/moved"]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "healthy"


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1/healthz", "https://127.0.0.1/", "x", "http://h:x/", "http://[/"]
)
def test_no_service_and_a_wrong_address_are_faults(address: str) -> None:
    assert find_health_fault(address, timeout=1) is not None
