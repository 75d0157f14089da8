"""The messages to Slack, Mattermost and Discord."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.notify.channels.slack import SlackChannel, escape_text
from tests.logs import RUN_ID
from tests.notify.stories import begun, failed, finished, notices_of


def test_slack_gets_the_same_text_plain_and_as_a_block() -> None:
    body = json.loads(SlackChannel("").write_body(notices_of(finished(settled=3))[-1]))
    assert body["text"].startswith("nightly succeeded: 3 settled (exit 0)\n")
    (block,) = body["blocks"]
    assert block["text"]["type"] == "mrkdwn"
    assert block["text"]["text"].startswith("*nightly succeeded: 3 settled (exit 0)*\n")
    assert f"`orchestrator show {RUN_ID}`" in block["text"]["text"]
    assert body["unfurl_links"] is body["unfurl_media"] is False


@pytest.mark.parametrize(
    "hostile",
    ["<!channel>", "<!here|x>", "<@U012AB3CD>", "<https://evil.example|prod>", "@here", "@everyone", "@channel"],
)
def test_a_hostile_name_mentions_nobody_and_makes_no_link(hostile: str) -> None:
    for notice in notices_of(failed(1, name=hostile, reason=hostile), first=begun(name=hostile, cvm_name=hostile)):
        body = json.loads(SlackChannel("").write_body(notice))
        for text in (body["text"], body["blocks"][0]["text"]["text"]):
            assert "<" not in text
            assert ">" not in text
            assert hostile not in text


def test_a_hostile_name_is_no_link_or_image_in_markdown() -> None:
    assert "](" not in escape_text("![x](https://evil.example/pixel)", 100)


def test_entities_are_escaped_once_and_never_cut_in_two() -> None:
    assert escape_text("a & <b>", 100) == "a &amp; &lt;b&gt;"
    for width in range(1, 30):
        cut = escape_text("&" * 10, width)
        assert len(cut) <= width
        assert cut.replace("&amp;", "") in {"", "…"}


def test_a_long_message_is_cut_to_the_limits_of_slack_and_discord() -> None:
    long = notices_of(("notice", {"step": "tell", "message": "<&>" * 5000 + "\nx" * 5000}))[-1]
    body = json.loads(SlackChannel("").write_body(long))
    assert len(body["text"]) <= 2000
    assert 0 < len(body["blocks"][0]["text"]["text"]) <= 3000


@given(st.text(max_size=300))
def test_any_name_makes_a_valid_block_without_tags(name: str) -> None:
    for notice in notices_of(failed(1, name=name, reason=name), first=begun(name=name, cvm_name=name)):
        text = json.loads(SlackChannel("").write_body(notice))["blocks"][0]["text"]["text"]
        assert 0 < len(text) <= 3000
        assert "<" not in text
