"""Notices over the wire."""

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.notify.messages import escaped, slack_body, webhook_body
from orchestrator.notify.signature import headers
from tests.notify.stories import RUN_ID, begun, failed, finished, told


def document(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    return json.loads(body)


def test_a_webhook_gets_the_text_and_the_facts() -> None:
    body = document(webhook_body(told(finished(settled=3))[-1]))
    assert body["id"] == f"{RUN_ID}-3"
    assert body["event"] == "run.finished"
    assert body["text"].startswith("nightly finished, all as wanted: 3 settled (exit 0)\n")
    assert (body["exit_code"], body["counts"], body["money"]["triggered"]) == (0, {"settled": 3}, 2)


def test_slack_gets_a_text_and_a_block_that_says_the_same() -> None:
    body = document(slack_body(told(finished(settled=3))[-1]))
    assert body["text"].startswith("nightly finished, all as wanted: 3 settled (exit 0)\n")
    (block,) = body["blocks"]
    assert block["text"]["type"] == "mrkdwn"
    assert block["text"]["text"].startswith("*nightly finished, all as wanted: 3 settled (exit 0)*\n")
    assert f"`orchestrator show {RUN_ID}`" in block["text"]["text"]
    assert body["unfurl_links"] is body["unfurl_media"] is False


@pytest.mark.parametrize(
    "hostile",
    ["<!channel>", "<!here|x>", "<@U012AB3CD>", "<https://evil.example|prod>", "@here", "@everyone", "@channel"],
)
def test_a_hostile_name_pings_nobody_and_poses_as_no_link(hostile: str) -> None:
    for notice in told(failed(1, name=hostile, reason=hostile), first=begun(name=hostile, cvm_name=hostile)):
        body = document(slack_body(notice))
        for text in (body["text"], body["blocks"][0]["text"]["text"]):
            assert "<" not in text
            assert ">" not in text
            assert hostile not in text


def test_a_hostile_name_is_no_link_or_image_in_markdown() -> None:
    assert "](" not in escaped("![x](https://evil.example/pixel)", 100)


def test_entities_are_escaped_once_and_never_cut_in_two() -> None:
    assert escaped("a & <b>", 100) == "a &amp; &lt;b&gt;"
    for width in range(1, 30):
        cut = escaped("&" * 10, width)
        assert len(cut) <= width
        assert cut.replace("&amp;", "") in {"", "…"}


def test_a_message_of_any_length_fits_what_slack_and_discord_take() -> None:
    long = told(("notice", {"step": "tell", "message": "<&>" * 5000 + "\nx" * 5000}))[-1]
    body = document(slack_body(long))
    assert len(body["text"]) <= 2000
    assert 0 < len(body["blocks"][0]["text"]["text"]) <= 3000


@given(st.text(max_size=300))
def test_any_name_makes_bodies_that_are_plain_json(name: str) -> None:
    for notice in told(failed(1, name=name, reason=name), first=begun(name=name, cvm_name=name)):
        assert document(webhook_body(notice))["playbook"] == name
        text = document(slack_body(notice))["blocks"][0]["text"]["text"]
        assert 0 < len(text) <= 3000
        assert "<" not in text


def test_a_signature_is_the_one_of_standard_webhooks() -> None:
    """The example of the specification's reference implementations."""
    found = headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        at=1614265330,
        secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    assert found == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_without_a_secret_there_is_an_id_and_no_signature() -> None:
    assert set(headers("x", b"", at=1, secret=None)) == {"webhook-id", "webhook-timestamp"}
    other = headers("x", b"", at=1, secret="whsec_" + b64encode(b"k" * 24).decode())
    assert "webhook-signature" in other
