"""A plan as Markdown: the facts and targets, and no markup from names."""

import re
from dataclasses import replace

from orchestrator.report.plan.markdown import render_plan_markdown
from tests.report.runs import EVIL, is_tame, large_fleet, plan


def test_a_plan_as_markdown_has_its_guards_targets_and_skip_reasons() -> None:
    text = render_plan_markdown(plan(None, max_targets=2), "Tidy up.", refusal="too many", details=True)
    head, facts, targets, skipped = re.split(r"\n(?=\| fact|<details>)", text)
    assert head.startswith("## Plan of ")
    assert "**This plan can't be executed: too many**" in head
    assert "**3 CVMs of 5 will be stopped (forced)**" in head
    assert "Tidy up." in head
    assert "| guards | REFUSED  max_targets: 3 targets, at most 2 allowed |" in facts
    assert len(re.findall(r"\| stop \|", targets)) == 3
    assert "protected by name kms-" in skipped
    assert "kms-" not in targets


def test_a_plan_as_markdown_names_its_plan_file() -> None:
    text = render_plan_markdown(plan(), None, plan_file=("stop.plan", "0a1b"))
    assert "| plan file | `stop.plan` |\n| digest | `0a1b` |" in text
    assert "can't be executed" not in text


def test_no_name_in_a_plan_is_markup() -> None:
    made = replace(plan(), playbook="<img> @all [x](y)")
    text = render_plan_markdown(made, f"about {EVIL}", refusal=f"*{EVIL}*", details=True)
    assert is_tame(text)
    for markup in ("<img", "@all", "[x]", "*\\", "[red]"):
        assert markup not in text


def test_a_large_plan_keeps_within_the_size_of_a_comment() -> None:
    text = render_plan_markdown(plan(large_fleet(), max_targets=999, max_percent=100), None, details=True)
    assert len(text) < 300_000
