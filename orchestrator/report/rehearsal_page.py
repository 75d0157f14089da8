"""A rehearsal as an HTML page: the report of a run with its charts, marked as a rehearsal in every section."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.report.full.blocks import Facts, Items, Mood, Paragraph, Report, Section
from orchestrator.report.full.html import render_html
from orchestrator.report.full.sections import describe_report
from orchestrator.report.layout import moment
from orchestrator.report.rehearsal import FOOT, describe_end, list_facts

_LEFT_OUT = frozenset({"log"})
"""Sections about the log, because the log ends with the rehearsal."""


def render_rehearsal(result: Mapping[str, Any], report: Mapping[str, Any] | None) -> bytes:
    """Render the page.

    Args:
        result: the document of `rehearse --json`.
        report: the document of the rehearsed run's report; None for a refused plan.
    """
    facts = [(name, str(value).replace("\n", "; ")) for name, value in list_facts(result)]
    first = Section("rehearsal", "Rehearsal", [Paragraph(FOOT), Facts(facts, is_wide=True)])
    if report is None:
        return render_html(_describe_refusal(result, first))
    run = {**report["run"], "cloud_ended": True}  # nothing is left to resume
    found = describe_report({**report, "run": run})
    sections = [
        replace(each, title=f"{each.title} (rehearsal)") for each in found.sections if each.name not in _LEFT_OUT
    ]
    return render_html(
        replace(
            found,
            noun="Rehearsal",
            headline=f"Rehearsal: {found.headline}",
            sections=[first, *sections],
            foot=f"{FOOT} Times are UTC, and virtual.",
        )
    )


def _describe_refusal(result: Mapping[str, Any], first: Section) -> Report:
    """Describe a rehearsal of a refused plan."""
    cause = result["ended_by"] or {}
    guards = [f"{each['name']}: {each['message']}" for each in result["guards"]]
    more: Sequence[Section] = [Section("guards", "Guards (rehearsal)", [Items(guards)])] if guards else []
    return Report(
        playbook=result["playbook"],
        run_id=f"seed {result['seed']}",
        started_at=moment(result["inventory"]["read_at"]),
        headline=f"Rehearsal: ✗ {describe_end(result)}: {cause.get('message') or '-'}",
        mood=Mood.BAD,
        sections=[first, *more],
        foot=FOOT,
        noun="Rehearsal",
    )
