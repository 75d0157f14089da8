"""The top of the page: the end of the run, its trigger and start, and the outcomes of its targets."""

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from orchestrator.report.formatting import after, moment, per_hour, per_month
from orchestrator.report.full.phrases import (
    STAGES,
    charged_words,
    deadline_words,
    headline,
    limit_words,
    next_words,
    sign,
    trigger_words,
)
from orchestrator.report.html.elements import Cell, Content, e, facts, section

_CLASSES = {"✓": "good", "✗": "bad"}


def head(document: Mapping[str, Any]) -> list[Content]:
    """Make the heading of the page, with the run's end."""
    run = document["run"]
    good = run["state"] == "finished" and run["exit_code"] == 0
    bad = run["state"] == "altered" or (run["exit_code"] or 0) != 0
    sign = "✓ " if good else "✗ " if bad else "… "
    name = run["playbook"].get("name") or "unknown playbook"
    return [
        e("h1", "Run of ", e("bdi", name)),
        e("p", "Run ", e("code", run["run_id"]), f" started {moment(run['started_at'])}", cls="soft"),
        e("p", sign + headline(document), cls="banner good" if good else "banner bad" if bad else "banner"),
    ]


def summary(document: Mapping[str, Any]) -> Element:
    """Make the section of facts."""
    run, total = document["run"], document["billing"]["total"]
    variables = ", ".join(f"{key} = {value}" for key, value in (run["vars"] or {}).items())
    pairs: list[tuple[str, Cell]] = [
        ("Started by", run["actor"]),
        ("Because of", trigger_words(document)),
        ("Started", moment(run["started_at"])),
        ("Last record" if run["exit_code"] is None else "Ended", moment(run["ended_at"])),
        ("Took", _length(document)),
        ("Playbook", [e("bdi", run["playbook"].get("path") or run["playbook"].get("name") or "-")]),
        ("Variables", variables or "none"),
        ("Cloud", f"{run['cloud_url'] or '-'}{' (simulated)' if run['simulated'] else ''}"),
        ("Limits", limit_words(document)),
        ("Workspace", f"{run['workspace_size']:,} CVMs" if run["workspace_size"] else "only some apps were read"),
        ("Steps", ", ".join(f"{step['name']} ({step['action']})" for step in run["steps"] if "action" in step) or "-"),
        ("Deadline", deadline_words(document) or "none"),
        ("Ending", f"{run['ending'] or 'none yet'}"),
    ]
    if next_words(document):
        pairs.append(("To go on", e("code", next_words(document))))
    if total["stops"]:
        pairs += [
            (
                "Compute that ended",
                f"{per_hour(total['ended'], 'compute')} an hour, {per_month(total['ended'], 'compute')} a month",
            ),
            ("Charged", charged_words(total["charged"])),
        ]
    return section("summary", "Summary", _tiles(document), facts(pairs))


def _tiles(document: Mapping[str, Any]) -> Element:
    counts = document["stages"]
    tiles = [e("li", e("strong", f"{sum(counts.values()):,}"), "targets planned")]
    for stage in STAGES:
        if counts.get(stage):
            mark, about = sign(stage), e("span", STAGES[stage], cls="soft")
            number = e("strong", f"{counts[stage]:,}")
            tiles.append(e("li", number, f"{mark} {stage}", e("br"), about, cls=_CLASSES.get(mark)))
    return e("ul", *tiles, cls="tiles")


def _length(document: Mapping[str, Any]) -> str:
    run = document["run"]
    paused = sum(run["paused_s"])
    return after(run["seconds"]) + (f", {after(paused)} of it interrupted" if paused else "")
