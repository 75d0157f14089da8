"""The overview page, made from the document of `/api/overview`. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from xml.etree.ElementTree import Element
from zoneinfo import ZoneInfo

from orchestrator.history.saved import SavingsReport
from orchestrator.report.html.elements import Cell, Content, e, facts, figure, table
from orchestrator.report.layout import moment
from orchestrator.report.phrases import meaning_of
from orchestrator.report.savings.chart import draw_columns
from orchestrator.report.savings.page import build_tiles
from orchestrator.report.savings.text import describe_included
from orchestrator.service.page.frame import action_path, build_part, run_link, run_path
from orchestrator.service.page.run import WHO_ANSWERS, build_progress
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration

_Document = Mapping[str, Any]

STATES = ("running", "finished", "unfinished", "not_sent", "simulated", "altered", "unreadable")
"""The states of runs in the filter."""
_RESULTS = {
    "ran": "",
    "failed": "changed nothing",
    "snoozed": "snoozed",
    "missed": "missed",
    "wake_due": "dropped: its wake is due",
    "left": "left to a person",
}


def build_overview_parts(document: _Document, savings: SavingsReport | None, *, has_actions: bool) -> Iterator[Element]:
    """Make the parts of the page, in order.

    Args:
        document: the document of `/api/overview`.
        savings: the savings of the last 30 days; None for unreadable logs.
        has_actions: whether the service has tokens for actions.
    """
    yield build_part("service", "Service", *_build_service(document))
    questions = _build_questions(document, has_actions=has_actions)
    yield build_part("questions", "Waiting for an answer", *(questions or [e("p", "No run waits for an answer.")]))
    running = _build_running(document["running"], document["now"])
    yield build_part("running", "Running now", *(running or [e("p", "Nothing runs.")]))
    yield build_part("fleets", "Fleet runs", *_build_fleets(document["fleets"]))
    playbooks = _build_playbooks(document, has_actions=has_actions)
    yield build_part("playbooks", "Schedules", *(playbooks or [e("p", "No playbook has a schedule.")]))
    yield build_part("invalid", "Invalid files", *_build_invalid(document["invalid"]))
    kept = _build_kept(document["kept"])
    link = [e("p", e("a", "Keep a CVM …", href="/keep", cls="button"))] if has_actions else []
    yield build_part("kept", "Kept CVMs", *(kept or [e("p", "No CVM is kept.")]), *link)
    recent = build_runs_table(document["runs"], "The newest runs")
    yield build_part("runs", "Runs", build_search(_NO_FILTER), recent or e("p", "There are no runs."))
    yield build_part("team", "Workers", *_build_workers(document.get("team")))
    yield build_part("savings", "Savings of 30 days", *_build_savings(savings))


def _build_service(document: _Document) -> Iterator[Content]:
    troubles: Sequence[str] = document["troubles"]
    if document["stopping"]:
        yield e("p", "✗ The service is stopping: no firing starts.", cls="banner bad")
    elif troubles:
        yield e("p", f"✗ {plural(len(troubles), 'problem')}: firings may not run.", cls="banner bad")
    else:
        yield e("p", "✓ Firings run as planned.", cls="banner good")
    if troubles:
        yield e("ul", *(e("li", each) for each in troubles))
    pairs: list[tuple[str, Cell]] = [
        ("Running since", moment(document["began"])),
        ("API", _describe_api(document["api"])),
        ("API key", document["key"]),
    ]
    if document.get("leader") or document.get("standby"):
        duty = "another process" if document.get("standby") else "this process"
        pairs.append(("Leads", f"{document.get('leader') or 'no process known'} ({duty})"))
    yield facts(pairs)


def _describe_api(api: _Document) -> str:
    if api["down"] is not None:
        return f"✗ down: {safe_text(api['down'], 300)}"
    if api["last_reply_at"] is None:
        return "no request since the start of the service"
    return f"last answer {moment(api['last_reply_at'])}, status {api['last_status'] or 'unknown'}"


def _build_questions(document: _Document, *, has_actions: bool) -> list[Content]:
    found: list[Content] = []
    for each in document["questions"]:
        run_id = each["run_id"]
        found.append(e("h3", "Run of ", e("bdi", safe_text(each["playbook"], 200))))
        found.append(e("blockquote", safe_text(each["question"], 1000)))
        found.append(
            facts(
                [
                    ("Run", [run_link(run_id)]),
                    ("Step", each["step"]),
                    ("Until", f"{moment(each['expires_at'])}; without an answer the run ends"),
                    ("Who", WHO_ANSWERS),
                    ("Next", [e("span", line, cls="line") for line in each["next"]] or "the run ends"),
                ]
            )
        )
        if has_actions:
            key = {"question": each["hash"]}
            found.append(
                e(
                    "p",
                    e("a", "Approve …", href=action_path(f"{run_path(run_id)}/approve", key), cls="button"),
                    " ",
                    e("a", "Refuse …", href=action_path(f"{run_path(run_id)}/refuse", key), cls="button"),
                )
            )
    return found


def _build_running(running: Sequence[_Document], now: str) -> list[Content]:
    if not running:
        return []
    rows = []
    for each in running:
        left = each["seconds_left"]
        limit = each["limit_per_second"]
        took = _seconds_between(each["started_at"], now)
        where = "" if each["workspace_name"] is None else f", workspace {each['workspace_name']}"
        rows.append(
            (
                [e("bdi", safe_text(each["playbook"], 200)), e("span", run_link(each["run_id"]), cls="sub")],
                [build_progress(each["done"], each["targets"], f"CVMs of {each['run_id']}")],
                f"{each['failed']:,}",
                f"{each['requests_per_second']:.1f}" + ("" if limit is None else f" of {limit:g}"),
                "-" if left is None else f"about {format_duration(round(left))}",
                ", ".join(f"{number:,} {stage}" for stage, number in each["stages"].items()),
                f"{safe_text(each['actor'], 100)}{where}, for {took}",
            )
        )
    head = (
        ("run", ""),
        ("CVMs with an outcome", ""),
        ("with a problem", "num"),
        ("requests a second", "num"),
        ("time left", "nowrap"),
        ("stages", "words"),
        ("by", ""),
    )
    return [table("Runs in progress", head, rows)]


def _seconds_between(begin: str | None, end: str) -> str:
    if begin is None:
        return "-"
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
    return format_duration(max(0, round(seconds)))


def _build_fleets(fleets: Sequence[_Document]) -> Iterator[Content]:
    for fleet in fleets:
        code = "" if fleet["exit_code"] is None else f" (exit {fleet['exit_code']})"
        yield e("h3", e("bdi", safe_text(fleet["playbook"], 200)), f": {fleet['state']}{code}")
        yield e("p", run_link(fleet["fleet_id"]), f" started {moment(fleet['started_at'])}", cls="soft")
        rows = [
            (
                each["workspace"],
                [run_link(each["run_id"])],
                each["state"],
                f"{each['targets']:,}",
                ", ".join(f"{number:,} {stage}" for stage, number in each["stages"].items()) or "-",
                "-" if each["exit_code"] is None else str(each["exit_code"]),
            )
            for each in fleet["workspaces"]
        ]
        head = (("workspace", ""), ("run", ""), ("state", ""), ("CVMs", "num"), ("stages", "words"), ("exit", "num"))
        yield table(f"Workspaces of {fleet['fleet_id']}", head, rows)


def _build_playbooks(document: _Document, *, has_actions: bool) -> list[Content]:
    rows = [_build_playbook_row(each, has_actions=has_actions) for each in document["playbooks"]]
    head = [("playbook", ""), ("next firing", ""), ("last firing", ""), ("now", "")]
    if has_actions:
        head.append(("action", "nowrap"))
    return [table("Playbooks with a schedule", head, rows)] if rows else []


def _build_playbook_row(each: _Document, *, has_actions: bool) -> list[Cell]:
    name = each["playbook"]
    named: list[Content] = [e("bdi", safe_text(name, 200)), e("span", safe_text(each["file"], 200), cls="sub mono")]
    now: list[Content] = []
    if each["running"] is not None:
        now += ["running: ", run_link(each["running"])]
    if each["snoozed_until"] is not None:
        now += [e("span", f"snoozed until {moment(each['snoozed_until'])}", cls="line")]
    if each["waiting"]:
        now += [e("span", f"{plural(each['waiting'], 'firing')} waiting", cls="line")]
    row: list[Cell] = [named, _describe_next(each), _describe_last(each["last"]), now or "-"]
    if has_actions:
        row.append("-" if each.get("wakes") else [e("a", "Snooze …", href=action_path("/snooze", {"playbook": name}))])
    return row


def _describe_next(each: _Document) -> Cell:
    if each["next"] is None:
        return "none within a year"
    local = datetime.fromisoformat(each["next"]["local"])
    zone = each["timezone"]
    return [f"{local:%a %Y-%m-%d %H:%M %z}", e("span", _zone_name(zone), cls="sub")]


def _zone_name(zone: str) -> str:
    return ZoneInfo(zone).key


def _describe_last(last: _Document | None) -> Cell:
    if last is None:
        return "none yet"
    code, result = last["exit_code"], last["result"]
    words = _RESULTS.get(result, str(result))
    if code is not None:
        words = f"{meaning_of(code)} (exit {code})" if result == "ran" else f"{words} (exit {code})"
    mark = "✓" if code == 0 else "✗" if code is not None else "…"
    parts: list[Content] = [e("b", f"{mark} {words}", cls="good" if code == 0 else "bad" if code else None)]
    parts.append(e("span", f"{moment(last['at'])} ", run_link(last["run_id"]), cls="sub"))
    if last.get("reason"):
        parts.append(e("span", safe_text(last["reason"], 300), cls="sub"))
    return parts


def _build_invalid(invalid: Sequence[_Document]) -> Iterator[Content]:
    if not invalid:
        return
    rows = [
        (
            safe_text(each["file"], 300),
            "-" if each["line"] is None else str(each["line"]),
            [
                safe_text(each["error"], 600),
                e("span", safe_text(each["hint"], 300), cls="sub") if each["hint"] else None,
            ],
            "none: no schedule of this file runs"
            if each["keeps"] is None
            else f"the last valid version of {each['keeps']}"
            + (f", SHA-256 {each['keeps_sha256'][:12]}…" if each["keeps_sha256"] else ""),
        )
        for each in invalid
    ]
    head = (("file", ""), ("line", "num"), ("error", "words"), ("version in force", "words"))
    yield table("Files with an error", head, rows)


def _build_kept(kept: Sequence[_Document]) -> list[Content]:
    rows = [
        (
            each["cvm"],
            moment(each["until"]) + (" (expired)" if each["expired"] else ""),
            each["owner"],
            safe_text(each["reason"], 300),
            safe_text(each["source"], 200),
        )
        for each in kept
    ]
    head = (("CVM", ""), ("until", ""), ("owner", ""), ("reason", "words"), ("source", ""))
    return [table("CVMs exempted from stops", head, rows)] if rows else []


def build_runs_table(runs: Sequence[_Document], caption: str) -> Element | None:
    """Make the table of runs; None without runs."""
    rows = [
        (
            [run_link(each["run_id"]), _link_fleet(each)],
            moment(each["started_at"]),
            [e("bdi", safe_text(each["playbook"], 200))],
            f"schedule {each['trigger'].get('schedule')}" if each["trigger"] else safe_text(each["actor"], 100),
            each.get("workspace_name") or "-",
            _describe_outcome(each),
            _describe_counts(each),
        )
        for each in runs
    ]
    head = (
        ("run", ""),
        ("started", ""),
        ("playbook", ""),
        ("by", ""),
        ("workspace", ""),
        ("state", "nowrap"),
        ("CVMs", "words"),
    )
    return table(caption, head, rows) if rows else None


def _describe_counts(run: _Document) -> str:
    counts = run["counts"] if run["state"] == "finished" else run["stages"]
    return ", ".join(f"{number:,} {name}" for name, number in counts.items()) or "-"


def _link_fleet(run: _Document) -> Content:
    fleet = run.get("fleet")
    return None if fleet is None else e("span", "of ", run_link(fleet), cls="sub")


def _describe_outcome(run: _Document) -> Cell:
    code = run["exit_code"]
    if code is None:
        waits = ", waits for an answer" if run["question"] else ""
        return f"… {run['state']}{waits}"
    return [
        e("b", f"{'✓' if code == 0 else '✗'} exit {code}", cls="good" if code == 0 else "bad"),
        f" {meaning_of(code)}",
    ]


_NO_FILTER: Mapping[str, str] = {}


def build_search(asked: Mapping[str, str]) -> Element:
    """Make the form to filter and search runs.

    Args:
        asked: the present filter, by field.
    """

    def field(label: str, name: str, size: str, **more: str) -> Element:
        value = {"value": asked[name]} if asked.get(name) else {}
        return e("label", f"{label} ", e("input", name=name, size=size, **more, **value))

    chosen = asked.get("state")
    options = [e("option", state, value=state, selected="" if state == chosen else None) for state in STATES]
    return e(
        "form",
        field("Search", "q", "16", type="search"),
        field("Playbook", "playbook", "12"),
        e("label", "State ", e("select", e("option", "any", value=""), *options, name="state")),
        field("Exit code", "exit_code", "4", inputmode="numeric"),
        field("Since", "since", "8", placeholder="7d"),
        e("button", "Show runs"),
        method="get",
        action="/runs",
        role="search",
        cls="search",
    )


def _build_workers(team: _Document | None) -> Iterator[Content]:
    if team is None:
        return
    if team["error"] is not None:
        yield e("p", f"✗ {team['error']}", cls="banner bad")
        return
    rows = [
        (
            each["holder"],
            "✓ alive" if each["alive"] else "✗ gone",
            each["version"],
            ", ".join(each["workspaces"]) or "-",
            f"{each['seen_s']:.0f}s ago",
        )
        for each in team["workers"]
    ]
    head = (("worker", ""), ("state", "nowrap"), ("version", ""), ("workspaces", "words"), ("last sign", "num"))
    yield table("Workers of the team store", head, rows) if rows else e("p", "No worker has ever reported.")
    leases = [
        ([run_link(each["run_id"])], each["workspace"] or "-", each["state"], each["holder"] or "no worker")
        for each in team["leases"]
    ]
    if leases:
        head_of_leases = (("run", ""), ("workspace", ""), ("state", ""), ("held by", ""))
        yield table("Open runs of the team store, and the holders of their leases", head_of_leases, leases)


def _build_savings(savings: SavingsReport | None) -> Iterator[Content]:
    if savings is None:
        yield e("p", "The logs are not read yet, or can't be read: load the page again in a minute.")
        return
    yield e("p", f"{describe_included(savings)}.", cls="soft")
    yield build_tiles(savings)
    yield figure("Saved compute, by day (UTC)", (), draw_columns(savings))
    yield e("p", "Estimates by the rates of the plans; `orchestrator savings` explains every figure.", cls="soft")
