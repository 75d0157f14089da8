"""The document of a run's report, read from its audit log."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.audit.store import StoredRun
from orchestrator.audit.verify import Take, Verdict, check_lines
from orchestrator.errors import AlteredError, UsageError
from orchestrator.report.full.document import LogFile, build_report_document
from orchestrator.report.full.timeline import RunTimeline
from orchestrator.times import utc_now


def read_run_document(run: StoredRun, *, even_if_altered: bool) -> tuple[dict[str, Any], bool]:
    """Read the document of a run's report; also returns True for an altered log.

    Raises:
        AlteredError: when the log was altered, unless `even_if_altered`.
        UsageError: when the log can't be read.
    """
    timeline = RunTimeline()
    log = read_log_file(
        run, timeline.apply_record, lambda: timeline.state.finished is not None, even_if_altered=even_if_altered
    )
    document = build_report_document(timeline, log, made_at=utc_now(), version=__version__)
    return document, log.reading.verdict is Verdict.ALTERED


def read_log_file(run: StoredRun, take: Take, has_finished: Callable[[], bool], *, even_if_altered: bool) -> LogFile:
    """Read a log once, for its records and for its digest.

    Args:
        run: the log.
        take: called with each record.
        has_finished: whether the records read so far have the end of the run.
        even_if_altered: whether to accept an altered log up to the altered line.

    Raises:
        AlteredError: when the log was altered, unless `even_if_altered`.
        UsageError: when the log can't be read.
    """
    sha256, size = hashlib.sha256(), 0

    def hash_lines() -> Iterator[bytes]:
        nonlocal size
        for line in run.read_lines():
            sha256.update(line)
            size += len(line)
            yield line

    try:
        reading = check_lines(each := hash_lines(), take)
        for _ in each:  # the digest also covers the rest of an altered log
            pass
        running = not has_finished() and run.is_locked()
    except OSError as error:
        raise UsageError(f"the log can't be read: {error.strerror or error}", file=run.location) from error
    if reading.verdict is Verdict.ALTERED and not even_if_altered:
        raise AlteredError(
            f"the audit log was altered: {reading.reason}",
            file=run.location,
            line=reading.line,
            hint="--even-if-altered reports the log up to that line",
        )
    return LogFile(Path(run.location), size, sha256.hexdigest(), reading, running)
