"""`orchestrator report`."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli.consoles import text_width
from orchestrator.cli.named_runs import find_run
from orchestrator.cli.out_file import STDOUT, check_place, write_out
from orchestrator.cli.print_error import print_error
from orchestrator.errors import OrchestratorError
from orchestrator.outcome import Exit
from orchestrator.report.full.reading import read_run_document

if TYPE_CHECKING:
    from orchestrator.report.full.blocks import Report


def write_report(
    run_id: str,
    form: str,
    out: Path | None,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    even_if_altered: bool,
) -> int:
    """Write a full report of a run, from its audit log."""
    return print_report(
        partial(_find_and_read, run_id, config, assignments, even_if_altered=even_if_altered), form, out
    )


def print_report(read: Callable[[], tuple[dict[str, Any], bool]], form: str, out: Path | None) -> int:
    """Write a report in a format; returns the exit code.

    Args:
        read: reads the document of the report; also returns whether a log was altered.
        form: the format.
        out: the output file; None for stdout.
    """
    try:
        check_place(out)
        document, is_altered = read()
        if out is not None and out != STDOUT:
            write_out(out, _FORMATS[form](document))
        elif form == "text":
            _print_text(document)
        else:
            _print_bytes(_FORMATS[form](document))
    except OrchestratorError as error:
        print_error(error, as_json=form == "json")
        return int(error.exit_code)
    return int(Exit.FAILED if is_altered else Exit.OK)


def _find_and_read(
    run_id: str, config: Path | None, assignments: tuple[str, ...], *, even_if_altered: bool
) -> tuple[dict[str, Any], bool]:
    return read_run_document(find_run(run_id, config, assignments), even_if_altered=even_if_altered)


def _describe(document: Mapping[str, Any]) -> "Report":
    """Describe the sections of a report, of a run or of a fleet run."""
    if "fleet" in document:
        from orchestrator.report.fleet.full import describe_fleet_report  # noqa: PLC0415 - the same

        return describe_fleet_report(document)
    from orchestrator.report.full.sections import describe_report  # noqa: PLC0415 - the same

    return describe_report(document)


def _render_text(document: Mapping[str, Any]) -> bytes:
    from orchestrator.report.full.text import render_text  # noqa: PLC0415 - only the format that was asked for

    return render_text(_describe(document)).encode("utf-8")


def _print_text(document: Mapping[str, Any]) -> None:
    """Print in the encoding and the width of the terminal."""
    from orchestrator.report.full.text import PIPE_WIDTH, render_text  # noqa: PLC0415 - the same

    sys.stdout.write(render_text(_describe(document), text_width(PIPE_WIDTH)))
    sys.stdout.flush()


def _render_json(document: Mapping[str, Any]) -> bytes:
    from orchestrator.runs.documents import write_document  # noqa: PLC0415 - the same

    text = StringIO()
    write_document(dict(document), text.write)
    return text.getvalue().encode("utf-8")


def _render_html(document: Mapping[str, Any]) -> bytes:
    from orchestrator.report.full.html import render_html  # noqa: PLC0415 - the same

    return render_html(_describe(document))


def _render_csv(document: Mapping[str, Any]) -> bytes:
    from orchestrator.report.full.csv import build_report_csv  # noqa: PLC0415 - the same

    return build_report_csv(document).encode("utf-8")


def _render_markdown(document: Mapping[str, Any]) -> bytes:
    from orchestrator.report.full.markdown import render_markdown  # noqa: PLC0415 - the same

    return render_markdown(_describe(document)).encode("utf-8")


_FORMATS: Mapping[str, Callable[[Mapping[str, Any]], bytes]] = {
    "text": _render_text,
    "json": _render_json,
    "html": _render_html,
    "csv": _render_csv,
    "md": _render_markdown,
}


def _print_bytes(data: bytes) -> None:
    """Print to stdout in UTF-8, in any terminal."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
