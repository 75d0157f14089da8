"""Read the logs and render the pages, in a process of its own: the runs of the service never wait for a viewer.

The process keeps its readings between the calls. See `call_reader`.
"""

import pickle
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import datetime, timedelta
from functools import cache, partial
from io import StringIO
from itertools import islice
from typing import Any, TypeVar

from orchestrator import __version__
from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.fleet_store import is_fleet_id
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import StoredRun, is_run_id, read_run
from orchestrator.errors import OrchestratorError, SettingsError, UsageError
from orchestrator.history.entry import read_entry
from orchestrator.history.filter import RunFilter
from orchestrator.history.index import Index
from orchestrator.history.logs import read_entries, read_rows, select_named_within
from orchestrator.history.saved import SavingsReport, add_up_savings
from orchestrator.history.time_range import parse_time_range
from orchestrator.report.fleet.full import describe_fleet_report
from orchestrator.report.fleet.reading import read_fleet_document
from orchestrator.report.full.reading import read_run_document
from orchestrator.report.full.sections import describe_report
from orchestrator.report.html.elements import e
from orchestrator.report.plan.sections import step_lines, targets_ahead
from orchestrator.report.run.listing import FleetLogs, describe_listed_run, find_run_state
from orchestrator.runs.documents import write_document
from orchestrator.runs.records import steps_from
from orchestrator.runs.stores import fleet_store, read_clock, run_store
from orchestrator.service.page.actions import PageActions
from orchestrator.service.page.follow import RunFollower
from orchestrator.service.page.frame import build_page, run_path, write_part
from orchestrator.service.page.overview import build_overview_parts, build_runs_table, build_search
from orchestrator.service.page.run import (
    build_cancel_link,
    build_cvm_row,
    build_live_main,
    build_live_parts,
    build_report_main,
    measure_run,
    row_id,
)
from orchestrator.service.page.values import Answer, Frame, ServiceFacts, Update
from orchestrator.settings.load import Settings
from orchestrator.times import timestamp

_T = TypeVar("_T")
_LISTED = 20
"""Runs on the overview."""
_SEARCHED = 1000
"""The newest runs, searched for runs in progress and open questions."""
_MOST_RUNS = 500
_CODE_DIGITS = 3
_PATIENCE_S = 3.0
"""Longest read of logs for one overview; the next overview goes on with the logs after these."""
_REPORTS = 4
"""Reports of ended runs in memory."""
_SHOWN_FLEETS = 5
_SAVINGS_FOR = timedelta(days=30)
_SAVINGS_AGAIN = timedelta(minutes=5)
_SHOWN_AGAIN = timedelta(seconds=1)
"""Time after which rate and remaining time are shown anew without a new record."""
_NOT_FOUND, _BAD_REQUEST, _UNAVAILABLE = 404, 400, 503
_FILTERS = ("q", "playbook", "state", "exit_code", "since")


@cache
def open_reader(settings: bytes) -> "PageReader":
    """Open the reader of these settings, once for each process."""
    return PageReader(pickle.loads(settings))  # noqa: S301 - from the parent process


class PageReader:
    """Reads logs, and renders pages.

    Attributes:
        actions: the actions of operators.
    """

    def __init__(self, settings: Settings, wall: Callable[[], datetime] | None = None) -> None:
        """Set up.

        Args:
            settings: the settings.
            wall: the time of day; None for the time of day of the store.
        """
        self._settings, self._wall = settings, wall or partial(read_clock, settings)
        self._has_actions = settings.service.token_file is not None
        self._runs, self._fleets = run_store(settings), fleet_store(settings)
        self._rows: dict[str, tuple[str, dict[str, Any]]] = {}
        self._reports: dict[str, tuple[str, dict[str, Any]]] = {}
        self._followers: dict[str, RunFollower] = {}
        self.actions = PageActions(settings, self._runs, self._wall)
        self._savings: tuple[datetime, SavingsReport | None] | None = None

    # The overview

    def overview_document(self, facts: ServiceFacts) -> Answer:
        """Build the document of `/api/overview`."""
        return Answer(_write_json(self._describe_overview(facts)))

    def overview_page(self, facts: ServiceFacts, frame: Frame) -> Answer:
        """Build the overview page."""
        parts = self._build_overview_parts(facts)
        return Answer(build_page("Overview", [e("h1", "Overview"), *parts], frame, events="/api/events"))

    def overview_parts(self, facts: ServiceFacts) -> Update:
        """Build the parts of the overview page."""
        begin = time.thread_time()
        parts = {str(part.get("id")): write_part(part) for part in self._build_overview_parts(facts)}
        return Update(0, parts, cost=time.thread_time() - begin)

    def _build_overview_parts(self, facts: ServiceFacts) -> Iterator[Any]:
        savings = self._read_savings()
        return build_overview_parts(self._describe_overview(facts), savings, has_actions=self._has_actions)

    def _describe_overview(self, facts: ServiceFacts) -> dict[str, Any]:
        rows, faults = [], []
        try:
            with closing(self._list_runs()) as found:
                rows = list(_within(_PATIENCE_S, islice(found, _SEARCHED)))
        except OrchestratorError as error:
            faults.append(f"the runs can't be read: {error}")
        running = [row for row in rows if row["state"] == "running"]
        for run_id in {*self._followers} - {row["run_id"] for row in running}:
            del self._followers[run_id]
        followed = [(row, follower) for row in running if (follower := self._follow(row["run_id"])) is not None]
        now = self._wall()
        document = {
            "version": __version__,
            **facts.overview.document(),
            "troubles": [*facts.overview.troubles, *facts.troubles, *faults],
            "key": facts.key,
            "api": {
                "last_reply_at": None if facts.last_reply_at is None else timestamp(facts.last_reply_at),
                "last_status": facts.last_status,
                "down": facts.down,
            },
            "running": [measure_run(each.timeline, now).document() for _, each in followed],
            "questions": [
                question
                for row, each in followed
                if (question := _describe_question(each.timeline.state, row["playbook"])) is not None
            ],
            "fleets": self._describe_fleets(rows),
            "runs": rows[:_LISTED],
            "savings": self._describe_savings(),
        }
        if self._settings.store.url is not None:
            document["team"] = self._describe_team()
        return document

    def _describe_fleets(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        by_fleet: dict[str, dict[str, dict[str, Any]]] = {}
        for row in rows:
            if row.get("fleet") is not None:
                by_fleet.setdefault(row["fleet"], {})[row["run_id"]] = row
        fleets = []
        for fleet_id, members in islice(by_fleet.items(), _SHOWN_FLEETS):
            state = FleetState(fleet_id)
            with suppress(OSError, OrchestratorError):
                read_run(self._fleets.get_fleet(fleet_id), state.apply_record)
            fleets.append(_describe_fleet(state, members))
        return fleets

    def _describe_team(self) -> dict[str, Any]:
        from orchestrator.postgres import submissions  # noqa: PLC0415 - only with a team store
        from orchestrator.service.team_stores import open_connection  # noqa: PLC0415 - the same

        try:
            with open_connection(self._settings.store)() as connection:
                workers = submissions.list_workers(connection)
                unfinished = submissions.list_unfinished(connection)
        except OrchestratorError as error:
            return {"error": str(error), "workers": [], "leases": []}
        return {
            "error": None,
            "workers": [
                {
                    "holder": each.holder,
                    "alive": each.is_alive,
                    "version": each.version,
                    "workspaces": list(each.workspaces),
                    "seen_s": round(each.seen_s, 1),
                }
                for each in workers
            ],
            "leases": [
                {
                    "run_id": each.run_id,
                    "workspace": each.workspace,
                    "state": each.state,
                    "holder": each.holder if each.is_held else None,
                }
                for each in unfinished
            ],
        }

    def _read_savings(self) -> SavingsReport | None:
        now = self._wall()
        if self._savings is None or now - self._savings[0] > _SAVINGS_AGAIN:
            self._savings, begin = (now, None), time.monotonic()
            try:
                with Index(self._settings.audit.state_dir) as index:
                    runs = list(self._runs.list_runs())
                    entries = list(_within(_PATIENCE_S, read_entries(runs, index, read_entry)))
            except OrchestratorError:
                return None
            if len(entries) < len(runs) and time.monotonic() - begin > _PATIENCE_S:
                self._savings = None  # the next call goes on: the index has the logs so far
                return None
            self._savings = now, add_up_savings(entries, "playbook", now - _SAVINGS_FOR, now)
        return self._savings[1]

    def _describe_savings(self) -> dict[str, Any] | None:
        from orchestrator.report.savings.document import savings_document  # noqa: PLC0415 - not for a run's page

        found = self._read_savings()
        return None if found is None else savings_document(found)

    # Lists of runs

    def _list_runs(self) -> Generator[dict[str, Any]]:
        """Yield the entries of `runs --json`, newest first, with `stages`."""
        return self._select_runs(RunFilter(), "")

    def _select_runs(self, choice: RunFilter, state: str) -> Generator[dict[str, Any]]:
        fleets = FleetLogs(self._fleets)
        with Index(self._settings.audit.state_dir) as index:
            for run in select_named_within(self._runs.list_runs(), choice.time_range):
                row = self._read_row(run, index)
                if row is None or not choice.takes(row):
                    continue
                found = find_run_state(row, run, fleets)
                if not state or found == state:
                    listed = describe_listed_run(row, run, fleets, found)
                    yield {**listed, "stages": row.get("stages") or {}}

    def _read_row(self, run: StoredRun, index: Index) -> dict[str, Any] | None:
        """Read the row of a log, or take an unchanged row from memory; None for a vanished log."""
        try:
            stamp = run.read_version().stamp
        except OSError:
            return None
        known = self._rows.get(run.run_id)
        if known is not None and known[0] == stamp:
            return known[1]
        found = next(read_rows([run], index), None)
        if found is None:
            return None
        self._rows[run.run_id] = stamp, found[1]
        return found[1]

    def runs_document(self, asked: Mapping[str, str]) -> Answer:
        """Build the document of `/api/runs`."""
        try:
            return Answer(_write_json({"runs": list(self._search_runs(asked))}))
        except UsageError as error:
            return _json_error(error, _BAD_REQUEST)

    def runs_page(self, asked: Mapping[str, str], frame: Frame) -> Answer:
        """Build the page with the found runs."""
        try:
            found = list(self._search_runs(asked))
        except UsageError as error:
            return _error_page(error, frame, _BAD_REQUEST)
        words = {key: asked[key] for key in _FILTERS if asked.get(key)}
        caption = f"{len(found):,} runs, newest first" + (
            f"; there may be more than {_MOST_RUNS:,}" if len(found) == _MOST_RUNS else ""
        )
        table = build_runs_table(found, caption) or e("p", "No run is like that.")
        return Answer(build_page("Runs", [e("h1", "Runs"), build_search(words), table], frame, path="/runs"))

    def _search_runs(self, asked: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the matching runs.

        Raises:
            UsageError: when a field is invalid.
        """
        code = asked.get("exit_code") or ""
        if code and not (code.isascii() and code.isdecimal() and len(code) <= _CODE_DIGITS):
            raise UsageError("the exit code is not a number of at most three digits", hint="give a number such as 6")
        since = asked.get("since") or None
        playbook = asked.get("playbook") or ""
        choice = RunFilter(
            parse_time_range(since, None, self._wall()),
            (playbook if any(each in playbook for each in "*?") else f"*{playbook}*",) if playbook else (),
            exit_codes=(int(code),) if code else (),
        )
        words = (asked.get("q") or "").casefold().split()
        matching = (row for row in self._select_runs(choice, asked.get("state") or "") if _has_words(row, words))
        return islice(matching, _MOST_RUNS)

    # A run

    def run_document(self, run_id: str) -> Answer:
        """Build the document of `/api/runs/RUN_ID`: the document of `report --format json`."""
        try:
            return Answer(_write_json(self._read_document(run_id)))
        except OrchestratorError as error:
            return _json_error(error, _NOT_FOUND)

    def run_page(self, run_id: str, frame: Frame, can_cancel: frozenset[str]) -> Answer:
        """Build the page of a run or a fleet run: live, or the report."""
        path = run_path(run_id)
        try:
            document = self._read_document(run_id)
        except OrchestratorError as error:
            return _error_page(error, frame, _NOT_FOUND)
        if is_fleet_id(run_id):
            main = list(build_report_main(describe_fleet_report(document)))
            if self._has_actions and document["fleet"]["state"] == "running" and self._may_cancel(run_id, can_cancel):
                main.insert(1, build_cancel_link(run_id))
            return Answer(build_page(f"Fleet run {run_id}", main, frame, path=path))
        follower = self._follow(run_id) if document["run"]["state"] == "running" else None
        if follower is None:
            return Answer(build_page(f"Run {run_id}", build_report_main(describe_report(document)), frame, path=path))
        may_cancel = self._may_cancel(run_id, can_cancel)
        main = list(
            build_live_main(
                follower.timeline, document, self._wall(), has_actions=self._has_actions, may_cancel=may_cancel
            )
        )
        events = f"/api{path}/events?after={follower.seq}"
        return Answer(build_page(f"Run {run_id}", main, frame, events=events, path=path))

    def _may_cancel(self, run_id: str, can_cancel: frozenset[str]) -> bool:
        return self._settings.store.url is not None or run_id in can_cancel

    def _read_document(self, run_id: str) -> dict[str, Any]:
        if is_fleet_id(run_id):
            fleet = self._fleets.find_fleet(run_id)
            return read_fleet_document(fleet, self._runs, even_if_altered=True)[0]
        if not is_run_id(run_id):  # a path would read any file
            raise UsageError(f"there is no run {run_id!r}", hint="see the list of runs")
        return self._read_report(self._runs.find_run(run_id))

    def _read_report(self, run: StoredRun) -> dict[str, Any]:
        """Read the document of a report; of an ended run, only once: all its viewers load the report at the end."""
        try:
            stamp = run.read_version().stamp
        except OSError:
            stamp = ""
        known = self._reports.get(run.run_id)
        if known is not None and known[0] == stamp:
            return known[1]
        document = read_run_document(run, even_if_altered=True)[0]
        if document["run"]["state"] == "finished":
            while len(self._reports) >= _REPORTS:
                del self._reports[next(iter(self._reports))]
            self._reports[run.run_id] = stamp, document
        return document

    def follow_run(self, run_id: str, after: int) -> Update:
        """Build the changes of a run's page since a version.

        Raises:
            UsageError: when there is no such run.
        """
        begin, now = time.thread_time(), self._wall()
        follower = self._follow(run_id) if is_run_id(run_id) else None
        if follower is None:
            raise UsageError(f"there is no run {run_id!r}", hint="see the list of runs")
        state = follower.timeline.state
        has_ended = state.finished is not None or not self._is_held(follower)
        if has_ended or follower.new_rows > after or follower.seq < after:
            self._followers.pop(run_id, None)
            return Update(follower.seq, is_outdated=True)
        if follower.seq == after and follower.shown_at is not None and now - follower.shown_at < _SHOWN_AGAIN:
            return Update(follower.seq)
        follower.shown_at = now
        keys = {key: seq for key, seq in follower.changed.items() if seq > after}
        rows = {
            row_id(number): (keys[key], write_part(build_cvm_row(number, target)))
            for number, (key, target) in enumerate(state.targets.items())
            if key in keys
        }
        parts = build_live_parts(follower.timeline, now, has_actions=self._has_actions)
        written = {str(part.get("id")): write_part(part) for part in parts}
        return Update(follower.seq, written, rows, cost=time.thread_time() - begin)

    def _is_held(self, follower: RunFollower) -> bool:
        """Check for the process of a run, at most every few seconds."""
        now = self._wall()
        if follower.held_at is None or now - follower.held_at > timedelta(seconds=2):
            try:
                follower.held_at = now if follower.run.is_locked() else None
            except OSError:
                follower.held_at = None
        return follower.held_at is not None

    def _follow(self, run_id: str) -> RunFollower | None:
        """Read the new records of a run; None for a missing or unreadable log."""
        follower = self._followers.get(run_id)
        if follower is None:
            while len(self._followers) >= _MOST_RUNS:
                del self._followers[next(iter(self._followers))]
            follower = self._followers[run_id] = RunFollower(self._runs.get_run(run_id))
        try:
            follower.read_new()
        except OSError:
            del self._followers[run_id]
            return None
        return follower


def _within(seconds: float, found: Iterable[_T]) -> Iterator[_T]:
    """Yield for a limited time: a first look at years of logs must not hold the page back."""
    end = time.monotonic() + seconds
    for each in found:
        yield each
        if time.monotonic() > end:
            return


def _has_words(row: Mapping[str, Any], words: Iterable[str]) -> bool:
    """Check a run for all words, in its id, playbook, author, workspace, fleet run, state or outcomes."""
    texts = [row["run_id"], row["playbook"], row["actor"], row["state"], *row["counts"]]
    texts += [row.get("workspace_name"), row.get("fleet"), (row["trigger"] or {}).get("schedule")]
    text = " ".join(str(each) for each in texts if each).casefold()
    return all(word in text for word in words)


def _describe_question(state: RunState, playbook: str) -> dict[str, Any] | None:
    question = state.question
    if question is None:
        return None
    steps = steps_from(state.planned.steps)
    number = next((n for n, step in enumerate(steps, start=1) if step.name == question.step), 0)
    return {
        "run_id": state.run_id,
        "playbook": playbook,
        "step": question.step,
        "question": question.question,
        "expires_at": question.expires_at,
        "hash": question.hash,
        "next": [line for n, line in step_lines(steps, *targets_ahead(state)) if n > number],
    }


def _describe_fleet(state: FleetState, members: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    started = state.started
    named = {run.run_id: (run.workspace, run.targets) for run in state.planned.runs} if state.has_plan else {}
    workspaces = []
    for run_id in dict.fromkeys([*named, *sorted(members)]):
        row = members.get(run_id, {})
        stages = row.get("stages", {})
        workspace, targets = named.get(run_id, (row.get("workspace_name"), sum(stages.values())))
        workspaces.append(
            {
                "workspace": str(workspace or "-"),
                "run_id": run_id,
                "state": row.get("state", "not begun"),
                "targets": targets,
                "stages": stages,
                "exit_code": row.get("exit_code"),
            }
        )
    is_running = any(each["state"] == "running" for each in workspaces)
    finished = state.finished
    return {
        "fleet_id": state.fleet_id,
        "playbook": str(started.playbook.get("name") or "unknown playbook") if started.record else "unknown playbook",
        "started_at": started.record.get("ts"),
        "state": "finished" if finished is not None else "running" if is_running else "unfinished",
        "exit_code": None if finished is None else finished.exit_code,
        "workspaces": workspaces,
    }


def _write_json(document: Mapping[str, Any]) -> bytes:
    text = StringIO()
    write_document(dict(document), text.write)
    return text.getvalue().encode("utf-8")


def _json_error(error: OrchestratorError, status: int) -> Answer:
    found = _UNAVAILABLE if isinstance(error, SettingsError) else status
    return Answer(_write_json({"error": {"message": _word_error(error), "hint": error.hint}}), found)


def _error_page(error: OrchestratorError, frame: Frame, status: int) -> Answer:
    found = _UNAVAILABLE if isinstance(error, SettingsError) else status
    main = [e("h1", "The page can't be shown"), e("p", _word_error(error), cls="banner bad"), e("p", error.hint or "")]
    return Answer(build_page("Error", main, frame), found)


def _word_error(error: OrchestratorError) -> str:
    """Return the message with the name of the field, not of the option of a command."""
    return str(error).replace("--since: ", "since: ", 1)
