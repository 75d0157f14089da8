"""The workspace of a run, compared with an earlier record."""

import pytest

from orchestrator.errors import UsageError
from orchestrator.playbook.plan_warning import WarningCode
from orchestrator.runs.session import WorkspaceIdentity, fingerprint_key

KEY, OTHER = fingerprint_key("phak_1"), fingerprint_key("phak_2")


@pytest.mark.parametrize(
    ("now", "earlier"),
    [
        (WorkspaceIdentity("ws_1", KEY), WorkspaceIdentity("ws_1", OTHER)),
        (WorkspaceIdentity(None, KEY), WorkspaceIdentity("ws_1", KEY)),
        (WorkspaceIdentity("ws_1", KEY), WorkspaceIdentity.from_record({})),
    ],
    ids=["new key", "id unknown", "record of an earlier version"],
)
def test_the_same_or_an_unrecorded_workspace_is_accepted(now: WorkspaceIdentity, earlier: WorkspaceIdentity) -> None:
    assert now.compare_with(earlier, "the run") is None
    assert WorkspaceIdentity.from_record(now.record_fields()) == now


def test_another_workspace_is_refused() -> None:
    with pytest.raises(UsageError, match="the run belongs to workspace ws_1"):
        WorkspaceIdentity("ws_2", KEY).compare_with(WorkspaceIdentity("ws_1", KEY), "the run")


def test_another_key_without_an_id_is_a_warning_without_the_key() -> None:
    warning = WorkspaceIdentity(None, KEY).compare_with(WorkspaceIdentity(None, OTHER), "the run")
    assert warning is not None
    assert warning.code is WarningCode.OTHER_KEY
    assert "phak" not in f"{warning.message}{KEY}"
