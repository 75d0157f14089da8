"""Exemptions: which CVMs, until when, for which actions; and the file of exemptions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.action import Action
from orchestrator.cvm import Cvm, CvmRef
from orchestrator.errors import PlaybookError, SettingsError
from orchestrator.outcome import SkipReason
from orchestrator.playbook.keep import KeepEntry, KeepList, read_keep_file
from orchestrator.playbook.source import parse_source

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
WEB = Cvm(ref=CvmRef("cvm_1", "a" * 32, "web-1", app_id="f" * 40), status="running", in_progress=False)
DB = replace(WEB, ref=CvmRef("cvm_2", "b" * 32, "db-1", app_id="e" * 40))


def entry(key: str = "name", value: str = "web-*", hours: float = 1, reason: str = "load test") -> KeepEntry:
    return KeepEntry(key, value, NOW + timedelta(hours=hours), "ann", reason, "keep.yaml:2")


@pytest.mark.parametrize("found", [entry(), entry("id", "cvm_1"), entry("id", "A" * 32), entry("app_id", "f" * 40)])
def test_an_exemption_covers_cvms_by_identifier_name_or_app(found: KeepEntry) -> None:
    keep = KeepList.at([found], NOW)
    assert keep.find_entry(WEB) == found
    assert keep.find_entry(DB) is None


def test_an_exemption_binds_every_action_but_starts() -> None:
    keep = KeepList.at([entry()], NOW)
    for action in Action:
        reason = keep.find_reason(action, WEB)
        assert (reason is None) == action.starts_cvms
    reason = keep.find_reason(Action.STOP, WEB)
    assert reason is not None
    assert (reason.code, reason.text) == (SkipReason.KEPT, "kept until 2026-11-26 13:00 UTC by ann: load test")


def test_a_cvm_without_the_fact_to_tell_counts_as_exempted() -> None:
    unnamed = replace(WEB, ref=CvmRef(None, "a" * 32, "web-1"))
    keep = KeepList.at([entry("id", "cvm_9")], NOW)
    assert keep.find_entry(unnamed) is not None


@given(
    st.lists(
        st.one_of(
            st.builds(entry, st.just("name"), st.sampled_from(["web-1", "web-*", "?b-1", "[w]eb-1", "*"])),
            st.builds(entry, st.just("id"), st.sampled_from(["cvm_1", "cvm_2", "A" * 32, "b" * 32])),
            st.builds(entry, st.just("app_id"), st.sampled_from(["f" * 40, "0x" + "e" * 40])),
        ),
        max_size=5,
    ),
    st.builds(
        CvmRef,
        st.sampled_from([None, "cvm_1", "cvm_2"]),
        st.sampled_from([None, "a" * 32, "b" * 32]),
        st.sampled_from(["", "web-1", "db-1", "[w]eb-1"]),
        app_id=st.sampled_from([None, "f" * 40, "e" * 40]),
    ),
)
def test_the_list_finds_the_exemptions_that_cover_a_cvm_one_by_one(entries: list[KeepEntry], ref: CvmRef) -> None:
    cvm = replace(WEB, ref=ref)
    found = KeepList.at(entries, NOW).find_entry(cvm)
    assert (found is not None) == any(each.matches(cvm) for each in entries)
    assert found is None or found.matches(cvm)


def test_an_expired_exemption_is_reported_and_not_obeyed() -> None:
    keep = KeepList.at([entry(hours=-1), entry(hours=-2, reason="older")], NOW)
    assert keep.find_reason(Action.STOP, WEB) is None
    ((cvm, last),) = keep.list_expired([WEB, DB])
    assert (cvm, last.reason) == (WEB, "load test")
    renewed = KeepList.at([entry(hours=-1), entry(hours=5)], NOW)
    assert renewed.list_expired([WEB]) == []


def test_an_exemption_ends_at_its_moment() -> None:
    last = entry(hours=1)
    assert KeepList.at([last], last.until - timedelta(microseconds=1)).entries == (last,)
    assert KeepList.at([last], last.until).expired == (last,)


def test_of_several_exemptions_the_latest_end_counts() -> None:
    keep = KeepList.at([entry(hours=1), entry(hours=3, reason="longer"), entry(hours=2)], NOW)
    found = keep.find_entry(WEB)
    assert found is not None
    assert found.reason == "longer"


def test_an_override_allows_the_action_and_names_the_exemption() -> None:
    keep = KeepList.at([entry()], NOW, "incident 4711")
    assert keep.find_reason(Action.STOP, WEB) is None
    assert [cvm for cvm, _ in keep.list_overridden([WEB, DB])] == [WEB]


SOUND = "{name: a, until: 2026-12-01, owner: a, reason: x}"


def read(text: str) -> tuple[KeepEntry, ...]:
    return read_keep_file(parse_source(text.encode(), Path("keep.yaml")))


def test_a_file_has_exemptions_with_their_lines() -> None:
    text = """\
keep:
  - {cvm: cvm_1, until: 2026-12-01, owner: ann, reason: load test}
  - {name: "web-*", until: "2026-12-01T08:00+02:00", owner: bob, reason: demo}
  - {app_id: ffffffffffffffffffffffffffffffffffffffff, until: "2026-12-01T08:00", owner: bob, reason: demo}
"""
    first, second, third = read(text)
    assert (first.key, first.value, first.source) == ("id", "cvm_1", "keep.yaml:2")
    assert first.until == datetime(2026, 12, 2, tzinfo=UTC), "a day counts to its end, in UTC, as with `keep --until`"
    assert second.until == datetime(2026, 12, 1, 6, tzinfo=UTC)
    assert (third.key, third.until.hour) == ("app_id", 8)
    assert read("keep: []") == ()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("keep:\n- {cvm: cvm_1, owner: ann, reason: x}", 2, "the key 'until' is missing"),
        ("keep:\n- {cvm: cvm_1, until: 2026-12-01, reason: x}", 2, "the key 'owner' is missing"),
        ("keep:\n- {cvm: cvm_1, name: web, until: 2026-12-01, owner: a, reason: x}", 2, "exactly one of"),
        ("keep:\n- {until: 2026-12-01, owner: a, reason: x}", 2, "exactly one of"),
        (f"keep:\n- {SOUND}\n- {{name: b, until: soon, owner: a, reason: x}}", 3, "soon"),
        ("keep:\n- {nomen: web, until: 2026-12-01, owner: a, reason: x}", 2, "nomen"),
        ("kepe: []", 1, "the key 'keep' is missing"),
    ],
)  # fmt: skip
def test_an_invalid_file_is_refused_with_the_line(text: str, line: int, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        read(text)
    assert refused.value.line == line


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n"])
def test_a_file_without_the_key_is_no_empty_list_of_exemptions(text: str) -> None:
    with pytest.raises((SettingsError, PlaybookError)):
        read(text)
