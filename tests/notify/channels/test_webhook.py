"""The JSON document for a webhook."""

import json

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.notify.channels.webhook import WebhookChannel
from tests.logs import RUN_ID
from tests.notify.stories import begun, failed, finished, notices_of


def test_a_webhook_gets_the_text_and_the_facts() -> None:
    body = json.loads(WebhookChannel("").write_body(notices_of(finished(settled=3))[-1]))
    assert body["id"] == f"{RUN_ID}-3"
    assert body["event"] == "run.finished"
    assert body["text"].startswith("nightly succeeded: 3 settled (exit 0)\n")
    assert (body["exit_code"], body["counts"], body["money"]["triggered"]) == (0, {"settled": 3}, 2)


@given(st.text(max_size=300))
def test_any_name_makes_a_valid_document(name: str) -> None:
    for notice in notices_of(failed(1, name=name, reason=name), first=begun(name=name, cvm_name=name)):
        assert json.loads(WebhookChannel("").write_body(notice))["playbook"] == name
