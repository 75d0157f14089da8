"""A plan as GitHub-flavoured Markdown, for pull requests and job summaries. Names from outside are never markup."""

from collections.abc import Iterable, Iterator

from rich.text import Text

from orchestrator.playbook.plan import Plan
from orchestrator.report.full.blocks import (
    Block,
    Cell,
    Code,
    ColumnKind,
    Facts,
    Items,
    Paragraph,
    Table,
    TableColumn,
    TableGroup,
    TableGroups,
)
from orchestrator.report.full.markdown import escape_markdown, render_block
from orchestrator.report.plan.sections import app_of, teepod_of
from orchestrator.report.plan.text import describe_effects, format_price, list_facts
from orchestrator.text import plural


def render_plan_markdown(
    plan: Plan,
    description: str | None,
    *,
    refusal: str | None = None,
    plan_file: tuple[str, str] | None = None,
    details: bool = False,
    workspace: str | None = None,
) -> str:
    """Render a plan.

    Args:
        plan: the plan.
        description: the playbook's description of itself.
        refusal: the reason for refusing the plan.
        plan_file: the path and digest of the written plan file.
        details: whether to list the skipped CVMs, each with its reason.
        workspace: the name of the workspace, for the heading of a section of a larger plan.
    """
    title, mark = (f"Plan of {plan.playbook}", "##") if workspace is None else (f"Workspace {workspace}", "###")
    lines = [f"{mark} {escape_markdown(title, 128)}", ""]
    if refusal is not None:
        lines += [f"**This plan can't be executed: {escape_markdown(refusal)}**", ""]
    lines += [f"**{escape_markdown(describe_effects(plan))}**", ""]
    blocks = _list_blocks(plan, description, plan_file, details=details)
    return "\n".join([*lines, *(line for block in blocks for line in render_block(block))])


def _list_blocks(
    plan: Plan, description: str | None, plan_file: tuple[str, str] | None, *, details: bool
) -> Iterator[Block]:
    if description:
        yield Paragraph(description)
    if plan.warnings:
        yield Items([f"Warning: {warning.message}" for warning in plan.warnings])
    pairs = fact_pairs(list_facts(plan))
    if plan_file is not None:
        pairs += [("plan file", Code(plan_file[0])), ("digest", Code(plan_file[1]))]
    yield Facts(pairs)
    tables = [TableGroup(plural(len(plan.targets), "target"), _list_targets(plan))] if plan.targets else []
    if details and plan.skipped:
        tables.append(TableGroup(f"{len(plan.skipped)} skipped", _list_skipped(plan)))
    if tables:
        yield TableGroups(tables, is_open=False)


def fact_pairs(facts: Iterable[tuple[str, str | Text]]) -> list[tuple[str, Cell]]:
    """Split facts of several lines into rows."""
    pairs: list[tuple[str, Cell]] = []
    for name, value in facts:
        first, *more = str(value).split("\n")
        pairs += [(name, first), *(("", line) for line in more)]
    return pairs


def _list_targets(plan: Plan) -> Table:
    columns = [TableColumn(name) for name in ("CVM", "id", "step", "action", "teepod", "app")]
    rows: list[list[Cell]] = [
        [
            target.cvm.ref.name,
            Code(target.cvm.ref.address),
            target.step,
            target.action.verb,
            teepod_of(target.cvm.ref),
            app_of(target.cvm.ref),
            format_price(target),
        ]
        for target in plan.targets
    ]
    return Table("targets", [*columns, TableColumn("$/h", ColumnKind.NUMBER)], rows)


def _list_skipped(plan: Plan) -> Table:
    columns = [TableColumn(name) for name in ("CVM", "id", "teepod", "app", "status", "reason")]
    rows: list[list[Cell]] = [
        [
            each.cvm.ref.name,
            Code(each.cvm.ref.address),
            teepod_of(each.cvm.ref),
            app_of(each.cvm.ref),
            each.cvm.status,
            each.why.in_full,
        ]
        for each in plan.skipped
    ]
    return Table("skipped", columns, rows)
