"""The savings as a JSON document and as CSV, and the assumptions stated in every format."""

import csv
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from typing import Any

from orchestrator.billing.rates import format_amount
from orchestrator.billing.savings import SavingsRow, Sum, to_hours
from orchestrator.history.saved import SavingsReport
from orchestrator.report.cells import cell
from orchestrator.text import plural
from orchestrator.times import timestamp

_COLUMNS = (
    *("times", "cvms", "hours", "known_compute_usd", "compute_unknown", "known_storage_usd", "storage_unknown"),
    *(
        "known_gpu_minimums_usd",
        "open",
        "seen",
        "seen_known_compute_usd",
        "stops",
        "charged_usd",
        "pending",
        "none",
        "unknown",
        "not_asked",
    ),
)


def savings_document(saved: SavingsReport) -> dict[str, Any]:
    """Build the document of `savings --json`."""
    return {
        "since": timestamp(saved.since),
        "until": timestamp(saved.until),
        "by": saved.by,
        "rows": [{"key": row.key, **_describe_row(row)} for row in saved.rows],
        "total": _describe_row(saved.together),
        "over_time": [
            {"from": timestamp(begin), "to": timestamp(end), "known_compute_usd": format_amount(usd)}
            for begin, end, usd in zip(saved.edges, saved.edges[1:], saved.savings, strict=False)
        ],
        "runs": saved.runs,
        "live": saved.live,
        **({} if saved.fleet is None else {"fleet": saved.fleet}),
        "left_out": dict(saved.left_out),
        "not_known_yet": saved.ask,
        "assumptions": list(list_assumptions(saved)),
    }


def savings_csv(saved: SavingsReport) -> str:
    """Build the text of `savings --format csv`: a line for every row. The sum of the rows is the total."""
    file = StringIO()
    writer = csv.writer(file)
    writer.writerow((saved.by, *_COLUMNS))
    for row in saved.rows:
        document = _describe_row(row)
        flat = {**document, **document["charges"]}
        writer.writerow((cell(row.key), *(flat[name] for name in _COLUMNS)))
    return file.getvalue()


def _describe_row(row: SavingsRow) -> dict[str, Any]:
    return {
        "times": row.times,
        "cvms": len(row.cvms),
        "hours": format_amount(to_hours(row.stood)),
        **_describe_sum("compute", row.compute),
        **_describe_sum("storage", row.storage),
        **_describe_sum("gpu_minimums", row.minimums),
        "open": row.open,
        "seen": row.seen,
        "seen_known_compute_usd": format_amount(row.at_most.usd),
        "charges": {"stops": len(row.stops), **row.charges.document(), "not_asked": row.not_asked},
    }


def _describe_sum(name: str, amounts: Sum) -> dict[str, str | int | None]:
    return {
        f"{name}_usd": None if amounts.known_total is None else format_amount(amounts.known_total),
        f"known_{name}_usd": format_amount(amounts.usd),
        f"{name}_unknown": amounts.unknown,
    }


def list_assumptions(saved: SavingsReport) -> Iterator[str]:
    """Explain the figures and their gaps, in sentences."""
    row, charges = saved.together, saved.together.charges
    yield (
        "Hours: from the acceptance of a stop, or from the end of a shutdown, to the next recorded start, or to the "
        "end of the time range."
    )
    yield "Saved compute: an estimate of these hours at the compute rate of the day of the stop."
    yield "Storage is also an estimate. It is still billed, so it is not a saving."
    yield (
        "Charged: the charges at the stop, by the vendor's usage records. This compute was "
        "used before the stop and would be charged anyway."
    )
    if row.seen:
        yield (
            f"{plural(row.seen, 'stopped period')} ended without a start by a run: counted until the first list with "
            f"the running CVM, so the hours are an upper bound. ${format_cents(row.at_most.usd)} of the saved compute "
            f"belongs to such periods, and may be less."
        )
    if row.open:
        unseen = "The present list shows none of the CVMs running. A" if saved.live else "A start or"
        yield f"{plural(row.open, 'stopped period')} had not ended. {unseen} deletion outside of runs is not known."
    if row.compute.unknown or row.storage.unknown:
        yield (
            f"Of {plural(row.times, 'stopped period')}, {row.compute.unknown} have no known compute rate and "
            f"{row.storage.unknown} no known storage rate: the hours count, but these amounts are not in the totals."
        )
    if row.minimums.usd or row.minimums.unknown:
        yield (
            f"GPU minimums: ${format_cents(row.minimums.usd)} of 24-hour minimums were paid for hours after the stops. "
            "Subtract this amount from the saved compute."
        )
    open_charges = row.not_asked + charges.pending_stops
    if open_charges:
        yield f"The charges of {plural(open_charges, 'stop')} are not known yet: these amounts are not in the totals."
    if charges.unknown_stops:
        unknown = plural(charges.unknown_stops, "stop")
        yield f"The charges of {unknown} can't be found out: these amounts are not in the totals."
    for why in ("altered", "unreadable"):
        if number := saved.left_out[why]:
            yield f"{plural(number, f'{why} log')} excluded: see `orchestrator runs`."


def format_cents(amount: Decimal) -> str:
    """Format an amount in dollars for people, to the cent."""
    return f"{amount:,.2f}"
