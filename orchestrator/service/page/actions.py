"""The actions of the page: answer a question, cancel a run, snooze a playbook, keep a CVM.

Each action has a page that says in words what the action does, and asks for the number of CVMs where CVMs change. The
same functions serve both: an action checks again what its page has shown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import anyio

from orchestrator.audit.fleet_store import is_fleet_id
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import RunStore, StoredRun, is_run_id
from orchestrator.errors import NotAskedError, OrchestratorError, UsageError
from orchestrator.playbook.keep import KeepEntry
from orchestrator.report.html.elements import Content, e, facts
from orchestrator.report.layout import moment
from orchestrator.report.plan.sections import step_lines, targets_ahead
from orchestrator.report.plan.until import parse_until
from orchestrator.runs.adhoc import is_identifier
from orchestrator.runs.answer import AskedRun, leave_answer, needs_signature, read_question, read_state
from orchestrator.runs.keeping import COMMAND
from orchestrator.runs.records import steps_from
from orchestrator.runs.stores import keep_store
from orchestrator.service.overview import Row
from orchestrator.service.page.frame import build_field, build_form, build_page, run_link, run_path
from orchestrator.service.page.values import Answer, Done, Frame, ServiceFacts
from orchestrator.service.scheduler import Snooze, Snoozed
from orchestrator.service.stores import snooze_store
from orchestrator.settings.load import Settings
from orchestrator.text import plural, safe_text

_LONGEST = 300
_NOT_FOUND, _REFUSED = 404, 409
Fields = Mapping[str, str]
"""The fields of a form, or of the address of its page."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A confirmation page of an action.

    Attributes:
        title: the heading.
        words: the action in words.
        fields: the fields of the form.
        button: the text of the button.
        path: the address of the form.
    """

    title: str
    words: Sequence[Content]
    fields: Sequence[Content]
    button: str
    path: str


class PageActions:
    """Shows the pages of actions, and carries the actions out."""

    def __init__(self, settings: Settings, runs: RunStore, wall: Callable[[], datetime]) -> None:
        """Set up.

        Args:
            settings: the settings.
            runs: the store of runs.
            wall: the time of day.
        """
        self._settings, self._runs, self._wall = settings, runs, wall

    def ask(
        self, action: str, fields: Fields, frame: Frame, facts_now: ServiceFacts, fault: str | None = None
    ) -> Answer:
        """Build the page of an action.

        Args:
            action: the name of the action.
            fields: the fields of the address, or of the refused form.
            frame: the viewer and the service.
            facts_now: the facts of the service.
            fault: the fault of the refused form; None for a new page.
        """
        try:
            question = self._describe(action, fields, facts_now)
        except OrchestratorError as error:
            refusal = [e("h1", "This can't be done"), e("p", str(error), cls="banner bad"), e("p", error.hint or "")]
            return Answer(build_page("Error", refusal, frame), _NOT_FOUND if fault is None else _REFUSED)
        may_act = frame.role == "operator" and frame.form_key is not None
        if may_act:
            button = e("p", e("button", question.button, cls="strong"))
            form: Content = build_form(question.path, frame.form_key, *question.fields, button)
        else:
            form = e("p", "Only an operator can do this: log in with the token of an operator.", cls="banner")
        shown = None if fault is None else e("p", f"✗ {fault}", cls="banner bad", role="alert")
        main: list[Content] = [e("h1", question.title), shown, *question.words, form, e("p", e("a", "Back", href="/"))]
        status = 200 if fault is None else _REFUSED
        return Answer(build_page(question.title, main, frame, path=question.path), status)

    def do(self, action: str, fields: Fields, who: str, facts_now: ServiceFacts) -> Done:
        """Carry an action out.

        Args:
            action: the name of the action.
            fields: the fields of the form.
            who: the person, for the record.
            facts_now: the facts of the service.
        """
        try:
            return self._carry_out(action, fields, who, facts_now)
        except OrchestratorError as error:
            text = str(error).removeprefix("--until: ")
            return Done(fault=f"{text}; {error.hint}" if error.hint else text)

    def _carry_out(self, action: str, fields: Fields, who: str, facts_now: ServiceFacts) -> Done:
        match action:
            case "approve" | "refuse":
                return self._answer(fields, who, approved=action == "approve")
            case "cancel":
                return self._cancel(fields, who)
            case "snooze":
                return self._snooze(fields, who, facts_now)
            case _:
                return self._keep(fields, who)

    def _describe(self, action: str, fields: Fields, facts_now: ServiceFacts) -> _Question:
        match action:
            case "approve" | "refuse":
                return self._describe_answer(action, fields)
            case "cancel":
                return self._describe_cancel(fields, facts_now)
            case "snooze":
                return self._describe_snooze(fields, facts_now)
            case _:
                return _describe_keep(fields)

    # An answer

    def _find_run(self, fields: Fields) -> StoredRun:
        run_id = fields.get("run_id", "")
        if not is_run_id(run_id):
            raise UsageError(f"there is no run {run_id[:60]!r}", hint="see the list of runs")
        return self._runs.find_run(run_id)

    def _read_asked(self, fields: Fields) -> AskedRun:
        """Read the open question; the question must be the question of the form."""
        asked = read_question(self._find_run(fields), now=self._wall())
        if fields.get("question") not in {None, asked.question.hash}:
            raise NotAskedError("the run has a different question now", hint="go back, and answer again")
        return asked

    def _describe_answer(self, action: str, fields: Fields) -> _Question:
        asked = self._read_asked(fields)
        state, question, path = asked.state, asked.question, run_path(asked.run.run_id)
        steps = steps_from(state.planned.steps)
        number = next((n for n, step in enumerate(steps, start=1) if step.name == question.step), 0)
        ahead = [line for n, line in step_lines(steps, *targets_ahead(state)) if n > number]
        so_far = ", ".join(f"{count:,} {stage}" for stage, count in state.stages.items() if count)
        words: list[Content] = [
            e("blockquote", safe_text(question.question, 1000)),
            facts(
                [
                    ("Run", [run_link(asked.run.run_id)]),
                    ("Playbook", str(state.started.playbook.get("name"))),
                    ("Workspace", state.started.workspace_name or "of the default key"),
                    ("So far", so_far or "nothing was sent"),
                    ("Until", f"{moment(question.expires_at)}; without an answer the run ends"),
                ]
            ),
        ]
        hidden = e("input", type="hidden", name="question", value=question.hash)
        comment = build_field("Comment, for the record", "comment", maxlength=str(_LONGEST))
        if action == "refuse":
            words.append(e("p", "The run ends, and sends nothing more."))
            return _Question("Refuse", words, [hidden, comment], "Refuse: end the run", f"{path}/refuse")
        if needs_signature(self._settings, state):
            hint = f"sign with: orchestrator approve {asked.run.run_id} --key KEY.pem"
            raise NotAskedError("the run needs a signed answer, and a token is no signature", hint=hint)
        words += [e("p", "The run continues:"), e("ul", *(e("li", line) for line in ahead or ["the run ends"]))]
        typed = _word_to_type(state)
        what = f"the number of CVMs, {typed}," if typed.isdecimal() else typed
        field = build_field(f"Type {what} to approve", "typed", autocomplete="off", required="")
        return _Question("Approve", words, [hidden, field, comment], "Approve: continue the run", f"{path}/approve")

    def _answer(self, fields: Fields, who: str, *, approved: bool) -> Done:
        asked = self._read_asked(fields)
        if approved:
            self._describe_answer("approve", fields)
            typed = _word_to_type(asked.state)
            if fields.get("typed", "").strip() != typed:
                raise UsageError(f"not approved: type {typed}")
        comment = fields.get("comment", "").strip()[:_LONGEST] or None
        answer = asked.answer(approved=approved, by=who, comment=comment, now=self._wall())
        anyio.run(leave_answer, asked.run, answer)
        return Done(path=run_path(asked.run.run_id), notice="approved" if approved else "refused")

    # The end of a run

    def _describe_cancel(self, fields: Fields, facts_now: ServiceFacts) -> _Question:
        run_id = fields.get("run_id", "")
        path = f"{run_path(run_id)}/cancel"
        state = None if is_fleet_id(run_id) else read_state(self._find_run(fields))
        if state is not None and state.finished is not None:
            raise UsageError("the run has ended already")
        if self._settings.store.url is None and run_id not in facts_now.can_cancel:
            raise _not_of_this_service()
        if state is None:
            words: list[Content] = [e("p", "The runs of all workspaces end for good.")]
        else:
            waiting = state.stages["waiting"]
            sent = sum(state.stages[stage] for stage in ("sending", "unknown", "settling"))
            words = [
                facts(
                    [
                        ("Run", [run_link(run_id)]),
                        ("Playbook", str(state.started.playbook.get("name"))),
                        ("Not sent yet", f"{plural(waiting, 'CVM')}: nothing is sent to them"),
                        ("Sent already", f"{plural(sent, 'CVM')}: watched until they settle"),
                    ]
                ),
                e("p", "The run ends for good, and can't be resumed."),
            ]
        return _Question("Cancel the run", words, [], "Cancel the run", path)

    def _cancel(self, fields: Fields, who: str) -> Done:
        """Cancel a run of the team store; the service's own process cancels its runs itself."""
        run_id = fields.get("run_id", "")
        if self._settings.store.url is None:
            raise _not_of_this_service()
        from orchestrator.postgres import submissions  # noqa: PLC0415 - only with a team store
        from orchestrator.service.team_stores import open_connection  # noqa: PLC0415 - the same

        with open_connection(self._settings.store)() as connection:
            run = submissions.find_run(connection, run_id)
            if not submissions.cancel_run(connection, run.run_id, at_once=False, by=who):
                raise UsageError("the run has ended already")
        return Done(path=run_path(run_id), notice="cancelled")

    # A snooze

    def _describe_snooze(self, fields: Fields, facts_now: ServiceFacts) -> _Question:
        row = _find_row(fields, facts_now)
        zone = row.timezone
        snoozed = (
            "not snoozed" if row.snoozed_until is None else f"snoozed until {row.snoozed_until:%Y-%m-%d %H:%M} UTC"
        )
        words: list[Content] = [
            facts([("Playbook", row.name), ("Now", snoozed), ("Active run", [run_link(row.running)])]),
            e("p", "No firing of the playbook starts until then. An active run continues."),
        ]
        hint = f"Such as 8h, 3d, 2026-12-01 or 2026-12-01T08:00, in {zone}. Leave empty to end the snooze."
        field = build_field("Until", "until", hint, value=fields.get("until"), autocomplete="off")
        hidden = e("input", type="hidden", name="playbook", value=row.name)
        return _Question("Snooze a playbook", words, [hidden, field], "Snooze", "/snooze")

    def _snooze(self, fields: Fields, who: str, facts_now: ServiceFacts) -> Done:
        row, now, until = _find_row(fields, facts_now), self._wall(), fields.get("until", "").strip()
        snoozes = snooze_store(self._settings)
        if not until:
            snoozes.clear_snooze(row.name, now)
            return Done(path="/", notice="awake")
        ends = parse_until(until, row.timezone, now)
        snoozes.set_snooze(row.name, Snoozed(Snooze(now, ends), who))
        return Done(path="/", notice="snoozed")

    # An exemption

    def _keep(self, fields: Fields, who: str) -> Done:
        cvm, reason = fields.get("cvm", "").strip(), fields.get("reason", "").strip()[:_LONGEST]
        if not cvm or not reason:
            raise UsageError("give a CVM and a reason")
        now = self._wall()
        until = parse_until(fields.get("until", ""), "UTC", now)
        entry = KeepEntry("id" if is_identifier(cvm) else "name", cvm, until, who, reason, COMMAND)
        keep_store(self._settings).add_entries([entry], now)
        return Done(path="/", notice="kept")


def _not_of_this_service() -> UsageError:
    hint = "press Ctrl-C where the run was started"
    return UsageError("the service does not carry this run out", hint=hint)


def _describe_keep(fields: Fields) -> _Question:
    words = [e("p", "No run stops, shuts down or restarts the CVM until then. Starts are allowed. You are the owner.")]
    hint = "Its id, UUID or exact name."
    inputs = [
        build_field("CVM", "cvm", hint, value=fields.get("cvm"), required="", autocomplete="off"),
        build_field(
            "Until", "until", "Such as 8h, 3d, or 2026-12-01T08:00 in UTC.", value=fields.get("until"), required=""
        ),
        build_field("Reason", "reason", value=fields.get("reason"), required="", maxlength=str(_LONGEST)),
    ]
    return _Question("Keep a CVM", words, inputs, "Keep the CVM", "/keep")


def _find_row(fields: Fields, facts_now: ServiceFacts) -> Row:
    """Find the schedule to snooze.

    Raises:
        UsageError: for an unknown playbook, and for a wake.
    """
    name = fields.get("playbook", "")
    row = next((row for row in facts_now.overview.rows if row.name == name), None)
    if row is None:
        raise UsageError(f"no playbook {name[:60]!r} with a schedule", hint="see the list of schedules")
    if row.wakes is not None:
        raise UsageError("a snooze covers the stops of a playbook only", hint=f"snooze {row.wakes}")
    return row


def _word_to_type(state: RunState) -> str:
    """Return the number of CVMs of the next steps; without a number, the word `approve`."""
    open_targets, may_follow = targets_ahead(state)
    number = sum(open_targets.values()) + sum(may_follow.values())
    return str(number) if number else "approve"
