"""A cloud that cannot be read: the error names the address, the proxy, and what may be wrong with either."""

import socket

import pytest

from tests.e2e.site import Site

NO_PROXIES = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"))


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_an_address_that_nobody_answers_at_is_named(site: Site, closed_port: int) -> None:
    url = f"http://127.0.0.1:{closed_port}/api/v1"
    ended = site.run("plan", site.playbook(), env={**NO_PROXIES, "PHALA_CLOUD_API_PREFIX": url})
    assert (ended.code, f"cloud.base_url is {url}" in ended.err) == (5, True), ended.err
    assert "ends with /api/v1" not in ended.err


def test_an_address_without_its_path_is_not_to_be_tried_again_later(site: Site) -> None:
    url = site.sim.url.removesuffix("/api/v1")
    ended = site.run("plan", site.playbook(), env={**NO_PROXIES, "PHALA_CLOUD_API_PREFIX": url})
    assert (ended.code, "ends with /api/v1" in ended.err, "try again later" in ended.err) == (5, True, False), ended.err


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_dead_proxy_is_named_without_its_password(site: Site, closed_port: int, variable: str) -> None:
    proxy = f"http://me:pa55word@127.0.0.1:{closed_port}"
    env = {**NO_PROXIES, "PHALA_CLOUD_API_PREFIX": "https://cloud.example/api/v1", variable: proxy}
    ended = site.run("plan", site.playbook(), env=env)
    assert (ended.code, f"the proxy 127.0.0.1:{closed_port} of {variable}" in ended.err) == (5, True), ended.err
    assert "pa55word" not in ended.err
