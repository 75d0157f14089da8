"""The inventory for people: a table, and a line with totals."""

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal

from rich.console import Console

from orchestrator.billing.rates import HOURS_PER_MONTH
from orchestrator.cvm import Cvm
from orchestrator.playbook.keep import KeepList
from orchestrator.report.layout import Column, print_lines, print_table, prose_lines, warning_lines
from orchestrator.report.plan.sections import app_of, teepod_of
from orchestrator.runs.inventory import InventoryReading
from orchestrator.text import plural, safe_text

_COLUMNS = [
    Column("CVM", wraps=True),
    Column("id"),
    Column("status", rank=1),
    Column("$/h", rank=2, right=True),
    Column("teepod", rank=3),
    Column("GPUs", rank=4, right=True),
    Column("age", rank=5, right=True),
    Column("up", rank=6, right=True),
    Column("type", rank=7),
    Column("region", rank=8),
    Column("creator", rank=9),
    Column("app", rank=10),
]


def print_inventory(
    console: Console,
    reading: InventoryReading,
    cvms: Sequence[Cvm],
    names: Sequence[str] = (),
    keep: KeepList | None = None,
) -> None:
    """Print the inventory.

    Args:
        console: the console to print on.
        reading: the read inventory.
        cvms: the chosen CVMs in order.
        names: the name of each CVM's workspace; empty for the default key.
        keep: the exemptions; None without any.
    """
    kept = [None if keep is None else keep.find_entry(cvm) for cvm in cvms]
    if cvms:
        rows = [_list_cells(cvm) for cvm in cvms]
        if names:
            rows = [[cells[0], safe_text(name, 64), *cells[1:]] for name, cells in zip(names, rows, strict=True)]
        columns = [*_COLUMNS[:1], *([Column("workspace")] if names else []), *_COLUMNS[1:]]
        if any(kept):
            columns.append(Column("kept until", rank=1))
            rows = [
                [*cells, "" if entry is None else f"{entry.until:%Y-%m-%d %H:%MZ}"]
                for cells, entry in zip(rows, kept, strict=True)
            ]
        print_table(console, columns, rows)
        console.print()
    print_lines(console, prose_lines(console, describe_totals(cvms)))
    for warning in _list_warnings(reading):
        print_lines(console, warning_lines(console, warning))


def describe_totals(cvms: Sequence[Cvm]) -> str:
    """Describe the number of CVMs by status, and the compute price of the CVMs that are up."""
    if not cvms:
        return "0 CVMs"
    statuses = Counter(cvm.status for cvm in cvms)
    counts = ", ".join(f"{number:,} {safe_text(status, 40)}" for status, number in statuses.most_common())
    prices = [cvm.usd_per_hour for cvm in cvms if not cvm.down]
    total = sum((price for price in prices if price is not None), Decimal(0))
    unknown = sum(price is None for price in prices)
    more = f", and {plural(unknown, 'CVM')} of unknown price" if unknown else ""
    month = f"${total * HOURS_PER_MONTH:,.2f} a month"
    return f"{plural(len(cvms), 'CVM')}: {counts}; up now: compute ${total:,.4f}/h, {month}{more}"


def _list_warnings(reading: InventoryReading) -> Iterator[str]:
    for key, number in reading.unknown_facts.items():
        yield f"{plural(number, 'CVM')} not listed: the fact for `{key}` is not known"
    unread = sum(cvm.uptime is None and not cvm.down for cvm in reading.cvms)
    if unread and unread > len(reading.cvms) / 2:
        yield f"the uptime of {plural(unread, 'CVM')} is not known; narrow the list, or use `--up-longer-than`"
    if not reading.is_stable:
        yield "the list of CVMs changed during the read; a new CVM may be missing"


def _list_cells(cvm: Cvm) -> list[str]:
    return [
        safe_text(cvm.ref.name, 64),
        safe_text(cvm.ref.address, 128),
        safe_text(cvm.status, 40) + (" …" if cvm.in_progress else ""),
        "" if cvm.usd_per_hour is None else f"{cvm.usd_per_hour:,.4f}",
        teepod_of(cvm.ref),
        "" if cvm.gpus is None else str(cvm.gpus),
        _format_age(cvm.age),
        _format_age(cvm.uptime),
        safe_text(cvm.instance_type or "", 64),
        safe_text(cvm.region or "", 64),
        safe_text(cvm.creator or cvm.creator_id or "", 64),
        app_of(cvm.ref),
    ]


def _format_age(seconds: float | None) -> str:
    """Format seconds in days, hours or minutes; empty for an unknown time."""
    if seconds is None:
        return ""
    minutes = int(seconds // 60)
    hours = minutes // 60
    return f"{minutes}m" if not hours else f"{hours}h" if hours < 48 else f"{hours // 24}d"  # noqa: PLR2004 - two days
