"""`orchestrator savings`."""

import shutil
import sys
from pathlib import Path

import click

from orchestrator.audit.store import RunStore
from orchestrator.billing.savings import By
from orchestrator.cli.reading import told
from orchestrator.errors import UsageError
from orchestrator.history.index import Index
from orchestrator.history.logs import entries
from orchestrator.history.saved import Saved, saved
from orchestrator.history.stretch import stretch
from orchestrator.moment import utc_now
from orchestrator.report.savings_document import savings_csv, savings_document
from orchestrator.report.savings_text import savings_lines
from orchestrator.settings.load import load_settings

_PIPE_WIDTH = 100


def savings(
    *,
    since: str,
    until: str | None,
    by: By,
    form: str,
    config: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
    simulated: bool,
) -> None:
    """Say how long CVMs stood still that runs stopped, what that spared, and what it did not."""
    settings = load_settings(config, assignments)
    store = RunStore(settings.audit.state_dir)
    store.prepare()
    now = utc_now()
    asked = stretch(since, until, now)
    begin, end = asked.since, min(asked.until or now, now)
    if begin is None or begin >= end:
        raise UsageError("there is no time between --since and --until", hint="--since 30d looks back 30 days from now")
    with Index(settings.audit.state_dir) as index:
        paths = list(store)
        found = saved(entries(told(paths), index), by, begin, end, simulated=simulated)
        index.keep_only(path.name for path in paths)
    if as_json:
        form = "json"
    if form == "json":
        from orchestrator.report.documents import write_document  # noqa: PLC0415 - the engine's rooms come with it

        write_document(savings_document(found), sys.stdout.write)
    elif form == "csv":
        sys.stdout.write(savings_csv(found))
    elif form == "text":
        _print(found)
    else:
        from orchestrator.report.savings_page import savings_page, savings_svg  # noqa: PLC0415 - charts load long

        sys.stdout.buffer.write(savings_page(found) if form == "html" else savings_svg(found))


def _print(found: Saved) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH
    blocks = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    first, *others = savings_lines(found, width, blocks=blocks)
    click.echo("\n".join((click.style(first, bold=True), *others)))
