"""A plan over several workspaces as GitHub-flavoured Markdown. Names from outside are never markup."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.playbook.guards import GuardCheck
from orchestrator.playbook.plan import Plan
from orchestrator.report.fleet.plan_text import COLUMNS, describe_fleet_effects, list_total_facts, workspace_rows
from orchestrator.report.fleet.totals import merge_plans, merge_warnings
from orchestrator.report.full.blocks import Block, ColumnKind, Facts, Items, Paragraph, Table, TableColumn
from orchestrator.report.full.markdown import escape_markdown, render_block
from orchestrator.report.plan.markdown import fact_pairs, render_plan_markdown


def render_fleet_plan_markdown(
    plans: Sequence[tuple[str, Plan]],
    description: str | None,
    *,
    guards: Sequence[GuardCheck] = (),
    first: str | None = None,
    left_out: Sequence[Mapping[str, Any]] = (),
    warnings: Sequence[str] = (),
    refusal: str | None = None,
    details: bool = False,
) -> str:
    """Render a plan over several workspaces: the totals, and a section for every workspace.

    Args:
        plans: the name of every workspace, and its plan.
        description: the playbook's description of itself.
        guards: the guards of the total.
        first: the name of the canary workspace.
        left_out: the unreachable workspaces left out on request.
        warnings: the warnings about the plan as a whole.
        refusal: the reason for refusing the plan.
        details: whether to list the skipped CVMs, each with its reason.
    """
    total = merge_plans([plan for _, plan in plans], guards)
    lines = [f"## Plan of {escape_markdown(total.playbook, 120)}", ""]
    if refusal is not None:
        lines += [f"**This plan can't be executed: {escape_markdown(refusal)}**", ""]
    lines += [f"**{escape_markdown(describe_fleet_effects(plans, total))}**", ""]
    pairs = fact_pairs(list_total_facts(plans, total, first=first, left_out=left_out))
    blocks = _list_blocks(plans, total, description, Facts(pairs), warnings)
    sections = [render_plan_markdown(plan, None, details=details, workspace=name) for name, plan in plans]
    return "\n".join([*lines, *(line for block in blocks for line in render_block(block)), *sections])


def _list_blocks(
    plans: Sequence[tuple[str, Plan]], total: Plan, description: str | None, facts: Facts, more: Sequence[str]
) -> Iterator[Block]:
    if description:
        yield Paragraph(description)
    warnings = [*more, *merge_warnings(plans)]
    if warnings:
        yield Items([f"Warning: {message}" for message in warnings])
    kinds = [ColumnKind.NUMBER if column.right else ColumnKind.NAME for column in COLUMNS]
    columns = [TableColumn(column.header, kind) for column, kind in zip(COLUMNS, kinds, strict=True)]
    *rows, foot = workspace_rows(plans, total)
    yield Table("workspaces", columns, rows, foot)
    yield facts
