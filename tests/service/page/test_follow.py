"""The log of a run, followed while it grows."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.audit.store import FileRun
from orchestrator.service.page.follow import RunFollower
from orchestrator.service.page.run import LiveRun, describe_rate, describe_time_left, measure_run
from tests.logs import LogBuilder

BEGIN = datetime(2026, 11, 23, 8, tzinfo=UTC)


def test_only_whole_new_lines_are_read(tmp_path: Path) -> None:
    log = LogBuilder.start(BEGIN).plan((1, "stop", "running"), (2, "stop", "running")).accept(1)
    path = tmp_path / f"{log.run_id}.jsonl"
    path.write_bytes(b"".join(log.lines[:-1]) + log.lines[-1][:20])
    follower = RunFollower(FileRun(path))
    assert follower.read_new()
    assert (follower.seq, follower.new_rows) == (3, 2)
    assert not follower.read_new()
    path.write_bytes(b"".join(log.lines))
    assert follower.read_new()
    assert (follower.seq, list(follower.changed.values())) == (4, [4])
    log.record("run.interrupted", reason="sigterm", exit_code=143, counts={})
    path.write_bytes(b"".join([*log.lines[:4], b"torn\n", log.lines[4]]))
    assert follower.read_new()
    assert (follower.seq, follower.new_rows) == (5, 5)


def measure(*ended: int, seconds: float = 10, **started: Any) -> LiveRun:  # noqa: ANN401 - fields of the record
    log = LogBuilder.start(BEGIN, **started).plan(*((number, "stop", "running") for number in range(6)))
    for number in ended:
        log.end(number)
    follower = RunFollower(FileRun(Path("x")))
    for record in log.records:
        follower.timeline.apply_record(record)
    return measure_run(follower.timeline, BEGIN + timedelta(seconds=seconds))


def test_the_progress_of_a_run_is_measured_by_stage_teepod_rate_and_time_left() -> None:
    live = measure(0, 1, limits={"requests_per_second": 2})
    assert (live.total, live.done, live.failed) == (6, 2, 0)
    assert live.teepods == {"prod-0": {"settled": 1, "waiting": 2}, "prod-1": {"settled": 1, "waiting": 2}}
    assert (live.rate, live.limit, live.seconds_left) == (0.2, 2.0, 3.0)
    assert (describe_rate(live), describe_time_left(live)) == ("0.2 requests a second, limit 2", "about 3s")
    assert describe_time_left(measure()) == "not known yet"
    assert measure(*range(6)).seconds_left == 0
    assert describe_rate(measure(0, limits={"requests_per_second": "auto"})).endswith("found during the run")
    assert measure(0, seconds=600).rate == 0
