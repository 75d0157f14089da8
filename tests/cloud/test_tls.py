"""TLS is verified always: a server that cannot prove who it is never sees a request, nor the key."""

import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from orchestrator.action import Action
from orchestrator.cloud.client import connect
from tests.cloud.fakes import KEY, REF
from tests.cloud.raw import always, every_name_is, reaching, serving

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("many", [False, True], ids=["few", "many"]),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate"),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and cloud.example that only itself vouches for, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,DNS:cloud.example"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
    subprocess.run(make, check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory, self_signed: tuple[Path, Path]) -> Path:
    """A folder of certificates that vouch, in the way that OpenSSL reads one."""
    folder = tmp_path_factory.mktemp("authorities")
    shutil.copy(self_signed[0], folder / "one.pem")
    rehash = ["openssl", "rehash", str(folder)]
    subprocess.run(rehash, check=True, capture_output=True)
    return folder


def _presenting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_a_certificate_that_nobody_vouches_for_is_refused_before_the_key_is_sent(
    self_signed: tuple[Path, Path], *, many: bool
) -> None:
    context = _presenting(self_signed)
    received: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                with context.wrap_socket(connection, server_side=True) as secured:
                    received.append(secured.recv(1000))
            except (ssl.SSLError, OSError):
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}/api/v1"
        async with connect(url, "phak_x", api_version="2026-06-23", timeout=10, max_in_flight=1, many=many) as cloud:
            reply = await cloud.list_page(1, 100)
        thread.join(10)
    assert reply.value is None
    assert not reply.sent
    assert "certificate" in (reply.problem or "").lower()
    assert not any(b"phak_x" in data for data in received)


async def test_who_vouches_can_be_named_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, self_signed: tuple[Path, Path], *, many: bool
) -> None:
    every_name_is(monkeypatch, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(self_signed[0]))
    async with (
        serving(always, context=_presenting(self_signed)) as server,
        reaching(server.port, many=many, scheme="https", host="cloud.example") as cloud,
    ):
        for _ in range(2):
            assert (await cloud.act(Action.STOP, REF)).value is not None
    assert (server.connections, len(server.requests)) == (1, 2)
    assert KEY.encode() in server.requests[0]


async def test_a_folder_of_who_vouches_can_be_named_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, self_signed: tuple[Path, Path], authorities: Path, *, many: bool
) -> None:
    every_name_is(monkeypatch, "127.0.0.1")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(authorities))
    async with (
        serving(always, context=_presenting(self_signed)) as server,
        reaching(server.port, many=many, scheme="https", host="cloud.example") as cloud,
    ):
        assert (await cloud.act(Action.STOP, REF)).value is not None
    assert len(server.requests) == 1


async def test_a_certificate_for_another_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, self_signed: tuple[Path, Path], *, many: bool
) -> None:
    every_name_is(monkeypatch, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(self_signed[0]))
    async with (
        serving(always, context=_presenting(self_signed)) as server,
        reaching(server.port, many=many, scheme="https", host="another.example") as cloud,
    ):
        reply = await cloud.act(Action.STOP, REF)
    assert (reply.http_status, reply.sent) == (None, False)
    assert "certificate" in (reply.problem or "").lower()
    assert not server.requests
