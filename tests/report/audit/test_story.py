"""Audit logs as stories: one CVM from its plan to its outcome, and a run as a whole."""

import json
from typing import Any

import click
import pytest

from orchestrator.report.audit.run_story import RunStory
from orchestrator.report.audit.story import Chapter, CvmStory
from orchestrator.report.audit.story_text import chapter_head, cut, story_lines
from tests.logs import BILLING, STORY, Story, about, build_log, cvm
from tests.report.runs import EVIL


def cvm_story(wanted: str, story: Story = STORY) -> CvmStory:
    found = CvmStory(wanted)
    _hear(found, story)
    found.finish()
    return found


def run_story(story: Story = STORY, limit: int | None = None) -> RunStory:
    found = RunStory(limit)
    _hear(found, story)
    return found


def _hear(found: CvmStory | RunStory, story: Story) -> None:
    for _, line in build_log(story, every=1.2):
        found.apply_record(json.loads(line))


def text_of(chapter: Chapter, start: str, width: int = 10_000) -> list[str]:
    return [click.unstyle(line) for line in story_lines(chapter.lines, start, width)]


def test_the_story_of_a_cvm_goes_from_its_plan_to_its_outcome() -> None:
    found = cvm_story("web-0")
    (chapter,) = found.chapters
    assert text_of(chapter, found.start) == [
        "  08:00:01.2     +1.2s  planned to stop in step stop; it was running",
        "  08:00:02.4     +2.4s  asked to stop (request 1), accepted (HTTP 200, request r-1)",
        "  08:00:08.4     +8.4s  settled after 4.5s, stopped",
        "  08:00:09.6     +9.6s  the run: finished: completed with problems (exit 6); 1 settled",
    ]
    assert chapter.outcome == "settled"


@pytest.mark.parametrize("wanted", ["web-1", "cvm_1"])
def test_a_cvm_is_found_by_its_name_and_by_its_id(wanted: str) -> None:
    (chapter,) = cvm_story(wanted).chapters
    assert (chapter.cvm["id"], chapter.outcome) == ("cvm_1", "refused")
    assert chapter.lines[1].seq == (5, 6)


def test_a_cvm_is_found_by_any_spelling_of_its_uuid() -> None:
    uuid = "00000000-0000-4000-8000-00000000000A"
    target = {"step": "s", "action": "stop", "cvm": {**cvm(7), "id": None, "vm_uuid": uuid}, "status": "running"}
    story: Story = [STORY[0], ("run.planned", {"targets": [target], "skipped": []})]
    assert len(cvm_story(uuid.replace("-", "").lower(), story).chapters) == 1
    assert not cvm_story("-", story).chapters


def test_cvms_of_the_same_name_have_chapters_of_their_own() -> None:
    twins = [{**cvm(1), "name": "twin"}, {**cvm(2), "name": "twin"}]
    targets = [{"step": "s", "action": "stop", "cvm": each, "status": "running"} for each in twins]
    skipped = [{"cvm": {**cvm(3), "name": "twin"}, "reason": "protected by name t*", "status": "running"}]
    found = cvm_story("twin", [STORY[0], ("run.planned", {"targets": targets, "skipped": skipped})])
    heads = [click.unstyle(" ".join(chapter_head(chapter, 10_000))) for chapter in found.chapters]
    assert heads == [
        "twin  cvm_1 on prod-1  to stop in step 's': no outcome",
        "twin  cvm_2 on prod-1  to stop in step 's': no outcome",
        "twin  cvm_3 on prod-1  skipped",
    ]
    assert found.chapters[2].lines[0].text == "skipped: protected by name t*; it was running"


def test_a_step_with_several_waves_names_the_wave() -> None:
    targets = [{"step": step, "action": "stop", "cvm": cvm(1), "status": "running", "wave": 2} for step in ("a", "b")]
    planned = {"targets": targets, "skipped": [], "steps": [{"name": "a", "waves": ["1", "100%"]}, {"name": "b"}]}
    found = cvm_story("cvm_1", [STORY[0], ("run.planned", planned)])
    texts = [chapter.lines[0].text for chapter in found.chapters]
    assert texts == [
        "planned to stop in step a, in wave 2; it was running",
        "planned to stop in step b; it was running",
    ]


def test_the_same_cvm_in_two_steps_has_a_chapter_for_each() -> None:
    late = {"step": "again", "action": "start", "cvm": cvm(0), "status": "stopped"}
    story: Story = [*STORY[:-1], ("step.planned", {"step": "again", "action": "start", "targets": [late]})]
    found = cvm_story("web-0", [*story, ("action.intent", {**about(0, attempt=1), "step": "again", "action": "start"})])
    assert [(chapter.step, chapter.action) for chapter in found.chapters] == [("stop", "stop"), ("again", "start")]
    assert found.chapters[1].lines[-1].text == "asked to start (request 1); no answer in the log"


def test_an_unanswered_request_differs_from_an_observed_effect() -> None:
    story: Story = [
        *STORY[:3],
        ("run.resumed", {"open": 3}),
        ("action.accepted", about(0, attempt=1, observed=True, status="stopping", billing=BILLING)),
    ]
    (chapter,) = cvm_story("web-0", story).chapters
    assert [line.text for line in chapter.lines[1:]] == [
        "asked to stop (request 1); no answer in the log",
        "the run: resumed with 3 targets open",
        "observed to have taken effect (stopping)",
    ]


def test_an_escalation_is_in_the_same_chapter() -> None:
    story: Story = [
        *STORY[:4],
        ("action.escalated", about(0, to="stop", reason="not down after 2m")),
        ("action.intent", about(0, attempt=2)),
    ]
    (chapter,) = cvm_story("web-0", story).chapters
    assert [line.event for line in chapter.lines[-2:]] == ["action.escalated", "action.intent"]


def test_a_run_story_has_every_problem_and_a_sentence_per_step() -> None:
    found = run_story()
    assert [line.text for line in found.lines()] == [
        "started by -: playbook démo",
        "planned: 3 targets (3 to stop), 0 CVMs skipped",
        "step stop (to stop): 2 requests, 1 accepted, 1 settled or gone, 1 ended otherwise, within 6s",
        "web-1: refused (HTTP 403, request r-2): rented",
        "web-1: refused by the API after 0.2s: rented",
        "finished: completed with problems (exit 6); 1 settled",
    ]


def test_a_run_story_has_questions_messages_guards_and_charges() -> None:
    planned = {
        **STORY[1][1],
        "guards": [{"name": "max_targets", "limit": "200", "value": "3", "ok": True}],
        "skipped": [{"cvm": cvm(9), "reason": "already stopped", "status": "stopped"}] * 2,
        "warnings": ["one has GPUs"],
    }
    charge: dict[str, Any] = {"state": "pending", "charged": {"usd": None}}
    charged: dict[str, Any] = {"state": "charged", "charged": {"usd": "0.5"}}
    story: Story = [
        STORY[0],
        ("run.planned", planned),
        ("approval.requested", {"step": "ask", "question": "Go on?", "expires_at": "later"}),
        ("approval.answered", {"step": "ask", "answer": "approved", "by": "ann", "via": "terminal"}),
        ("notice", {"step": "say", "message": "half way"}),
        STORY[-1],
        ("billing.reconciled", about(0, **charge)),
        ("billing.reconciled", about(1, **charge)),
        ("billing.reconciled", about(0, **charged)),
    ]
    assert [line.text for line in run_story(story).lines()][2:] == [
        "guard max_targets: 3, at most 200",
        "skipped 2: already stopped",
        "warning: one has GPUs",
        "step ask asks: Go on? (until later)",
        "step ask: approved by ann, through terminal",
        "step say says: half way",
        "finished: completed with problems (exit 6); 1 settled",
        "billing reconciled: 1 charged, 1 pending; $0.50 in all",
    ]


def test_a_long_story_is_cut_and_says_so() -> None:
    refused = [("action.refused", about(number % 3, reason="rented")) for number in range(50)]
    found = run_story([*STORY[:2], *refused, STORY[-1]], limit=10)
    assert (found.left_out, len(found.lines())) == (40, 14)
    (chapter,) = cvm_story("web-0", [*STORY[:2], *refused]).chapters
    lines, more = cut(chapter.lines, 8)
    assert (len(lines), more, lines[-1]) == (8, len(chapter.lines) - 8, chapter.lines[-1])


def test_foreign_text_is_harmless_and_fits_a_narrow_terminal() -> None:
    evil = {**cvm(0), "name": EVIL, "teepod": EVIL}
    target = {"step": EVIL, "action": EVIL, "cvm": evil, "status": EVIL, "billing": BILLING}
    story: Story = [
        ("run.started", {"playbook": {"name": EVIL}, "actor": EVIL, "vars": {EVIL: EVIL}}),
        ("run.planned", {"targets": [target], "skipped": [], "warnings": [EVIL]}),
        ("action.refused", {**about(0, reason=EVIL * 9), "cvm": evil, "step": EVIL, "action": EVIL}),
    ]
    found = cvm_story(EVIL, story)
    (chapter,) = found.chapters
    shown = [*chapter_head(chapter, 60), *text_of(chapter, found.start, 60)]
    shown += [click.unstyle(line) for line in story_lines(run_story(story).lines(), found.start, 60)]
    for line in map(click.unstyle, shown[1:]):
        assert len(line) <= 60
        assert line.isprintable()


def test_a_new_day_is_said_once() -> None:
    found = RunStory()
    for record, _ in build_log(STORY[:2], every=24 * 3600):
        found.apply_record(record)
    texts = list(story_lines(found.lines(), found.start, 10_000))
    assert texts[1] == "  2026-11-24"
    assert "+1d" in texts[2]
