"""`orchestrator savings`."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from io import StringIO
from pathlib import Path

import click

from orchestrator.audit.store import StoredRun
from orchestrator.billing.savings import By
from orchestrator.billing.stopped_period import SeenUp
from orchestrator.cli.consoles import text_width
from orchestrator.cli.out_file import STDOUT, check_place, write_out
from orchestrator.cli.print_error import print_error
from orchestrator.cli.reading import UnreadableLogs, with_progress
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.history.entry import Entry
from orchestrator.history.index import Index
from orchestrator.history.logs import read_entries
from orchestrator.history.saved import SavingsReport, add_up_savings
from orchestrator.history.time_range import parse_time_range
from orchestrator.outcome import Exit
from orchestrator.report.savings.document import savings_csv, savings_document
from orchestrator.report.savings.text import savings_lines
from orchestrator.runs.stores import fleet_store, run_store
from orchestrator.settings.load import Settings, load_settings
from orchestrator.times import utc_now

_PIPE_WIDTH = 100


def print_savings(
    *,
    since: str,
    until: str | None,
    by: By,
    fleet: str | None,
    form: str,
    out: Path | None,
    config: Path | None,
    assignments: tuple[str, ...],
    simulated: bool,
    live: bool,
) -> int:
    """Print the downtime of CVMs stopped by runs, the saved amounts, and the continuing costs."""
    try:
        check_place(out)
        if live and until is not None:
            raise UsageError("--live excludes --until", hint="the CVMs running now say nothing about an earlier time")
        settings = load_settings(config, assignments)
        running = _read_running(settings) if live else None
        found = _compute_savings(settings, by, parse_period(since, until), running, fleet, simulated=simulated)
        if out is None or out == STDOUT:
            _print_savings(found, form)
        else:
            write_out(out, _FORMATS[form](found))
    except OrchestratorError as error:
        print_error(error, as_json=form == "json")
        return int(error.exit_code)
    return int(Exit.OK)


def parse_period(since: str, until: str | None) -> tuple[datetime, datetime]:
    """Parse the requested time, cut off at the present.

    Raises:
        UsageError: when the time is empty.
    """
    now = utc_now()
    asked = parse_time_range(since, until, now)
    begin, end = asked.since, min(asked.until or now, now)
    if begin is None or begin >= end:
        raise UsageError("--since is not before --until", hint="--since 30d means the last 30 days")
    return begin, end


def _read_running(settings: Settings) -> list[SeenUp]:
    """List the running CVMs of the default key and of every named workspace: a run may have been in any of these."""
    import anyio  # noqa: PLC0415 - the network takes long to load

    from orchestrator.cli.log_observer import LogObserver  # noqa: PLC0415 - the same
    from orchestrator.runs.fleet.members import read_members  # noqa: PLC0415 - the same
    from orchestrator.runs.inventory import read_running, read_running_of_each  # noqa: PLC0415 - the same
    from orchestrator.runs.session import open_endpoint  # noqa: PLC0415 - the same

    members = read_members(settings, settings.workspaces)
    found = anyio.run(read_running_of_each, members, LogObserver) if members else []
    if members and not settings.has_default_key:
        return found
    with open_endpoint(settings, simulate=False) as where:
        return found + anyio.run(read_running, settings, where, LogObserver(settings))


def _compute_savings(
    settings: Settings,
    by: By,
    asked: tuple[datetime, datetime],
    running: list[SeenUp] | None,
    fleet: str | None,
    *,
    simulated: bool,
) -> SavingsReport:
    fleet_id = None if fleet is None else fleet_store(settings).find_fleet(fleet).run_id
    store = run_store(settings)
    store.prepare()
    unreadable = UnreadableLogs()
    with Index(settings.audit.state_dir) as index:
        runs = list(store.list_runs())
        every = _count_unreadable(read_entries(with_progress(runs), index), unreadable)
        found = add_up_savings(every, by, *asked, simulated=simulated, running=running, fleet=fleet_id)
        index.delete_missing(run.run_id for run in runs)
    unreadable.warn()
    return found


def _count_unreadable(
    found: Iterable[tuple[StoredRun, Entry]], unreadable: UnreadableLogs
) -> Iterator[tuple[StoredRun, Entry]]:
    for run, entry in found:
        unreadable.count(entry.row)
        yield run, entry


def _render_text(found: SavingsReport) -> bytes:
    return "".join(f"{line}\n" for line in savings_lines(found, _PIPE_WIDTH)).encode("utf-8")


def _render_json(found: SavingsReport) -> bytes:
    from orchestrator.runs.documents import write_document  # noqa: PLC0415 - the engine's packages come with it

    text = StringIO()
    write_document(savings_document(found), text.write)
    return text.getvalue().encode("utf-8")


def _render_csv(found: SavingsReport) -> bytes:
    return savings_csv(found).encode("utf-8")


def _render_html(found: SavingsReport) -> bytes:
    from orchestrator.report.savings.page import savings_page  # noqa: PLC0415 - only the format that was asked for

    return savings_page(found)


def _render_svg(found: SavingsReport) -> bytes:
    from orchestrator.report.savings.page import savings_svg  # noqa: PLC0415 - the same

    return savings_svg(found)


_FORMATS: Mapping[str, Callable[[SavingsReport], bytes]] = {
    "text": _render_text,
    "json": _render_json,
    "csv": _render_csv,
    "html": _render_html,
    "svg": _render_svg,
}


def _print_savings(found: SavingsReport, form: str) -> None:
    """Print to stdout: text in the terminal's encoding, other formats always in UTF-8."""
    if form == "text":
        width = text_width(_PIPE_WIDTH)
        blocks = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
        first, *others = savings_lines(found, width, blocks=blocks)
        click.echo("\n".join((click.style(first, bold=True), *others)))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(_FORMATS[form](found))
    sys.stdout.buffer.flush()
