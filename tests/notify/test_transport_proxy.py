"""Notices and the proxies of the environment: used for other machines, not for this machine."""

import pytest

from orchestrator.notify.channels.slack import SlackChannel
from orchestrator.notify.notice import Notice
from orchestrator.notify.retry import DeliveryResult
from orchestrator.notify.transport import WebhookTransport
from tests.cloud.raw import always, every_name_is, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def everything_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    every_name_is(monkeypatch, "127.0.0.1")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def post(url: str) -> DeliveryResult:
    way = WebhookTransport(SlackChannel(url), 10)
    try:
        return await way(Notice("r-1", "run.started", frozenset({"start"}), "text"))
    finally:
        await way.aclose()


@pytest.mark.parametrize(
    ("host", "named", "through"),
    [
        ("hooks.example", {}, False),
        ("hooks.example", {"HTTP_PROXY": "http://127.0.0.1:{port}"}, True),
        ("hooks.example", {"ALL_PROXY": "http://127.0.0.1:{port}", "NO_PROXY": "hooks.example"}, False),
        ("127.0.0.1", {"HTTP_PROXY": "http://127.0.0.1:{port}"}, False),
        ("localhost", {"ALL_PROXY": "http://127.0.0.1:{port}"}, False),
    ],
)
async def test_a_proxy_is_not_used_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, host: str, named: dict[str, str], *, through: bool
) -> None:
    async with serving(always) as proxy, serving(always) as server:
        for name, value in named.items():
            monkeypatch.setenv(name, value.format(port=proxy.port))
        assert (await post(f"http://{host}:{server.port}/x")).is_accepted
    assert (len(proxy.requests), len(server.requests)) == ((1, 0) if through else (0, 1))


async def test_an_invalid_proxy_only_fails_the_delivery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://user:s3cret@127.0.0.1:1")
    answer = await post("http://hooks.example/x")
    assert answer.status is None
    assert "s3cret" not in answer.problem


async def test_missing_certificate_files_only_fail_the_delivery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    assert (await post("https://hooks.example/x")).status is None
