"""What the environment says of proxies holds for notices as for the API: not for this machine."""

import pytest

from orchestrator.notify.notice import Notice
from orchestrator.notify.retry import Answer
from orchestrator.notify.transport import WebhookPost
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


async def post(url: str) -> Answer:
    way = WebhookPost(url, lambda _: b"{}", lambda *_: {}, 10)
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
async def test_a_proxy_is_for_the_outside_world_alone(
    monkeypatch: pytest.MonkeyPatch, host: str, named: dict[str, str], *, through: bool
) -> None:
    async with serving(always) as proxy, serving(always) as server:
        for name, value in named.items():
            monkeypatch.setenv(name, value.format(port=proxy.port))
        assert (await post(f"http://{host}:{server.port}/x")).taken
    assert (len(proxy.requests), len(server.requests)) == ((1, 0) if through else (0, 1))


async def test_a_proxy_that_makes_no_sense_is_a_notice_not_delivered_and_nothing_worse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://user:s3cret@127.0.0.1:1")
    answer = await post("http://hooks.example/x")
    assert answer.status is None
    assert "s3cret" not in answer.problem


async def test_certificates_of_the_environment_that_are_not_there_are_nothing_worse_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    assert (await post("https://hooks.example/x")).status is None
