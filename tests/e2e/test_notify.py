"""Others are told how a run goes, and whatever they do with that, the run does not notice."""

import signal
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from dirty_equals import IsPartialDict

from orchestrator.notify.signature import sign_headers
from tests.e2e.conftest import Finished, OpenSite, RunAll
from tests.e2e.site import Ended, Site, until
from tests.notify.mailbox import SECRET, Mailbox, mailbox

KEY = "whsec_" + b64encode(b"k" * 32).decode()
SAYING = """\
name: nightly
{more}
steps:
  - {{action: notify, message: "Going down now."}}
  - {{action: stop, select: {{all: true}}}}
"""


def told(site: Site, box: Mailbox, **settings: str) -> Site:
    """The site, with settings that have this mailbox told."""
    given = {"WEBHOOK_URL": box.url, **settings}
    site.environment |= {f"ORCHESTRATOR_NOTIFY__{name}": value for name, value in given.items()}
    return site


def saying(site: Site, more: str = "") -> str:
    file = site.folder / "saying.yaml"
    file.write_text(SAYING.format(more=more))
    return str(file)


def keeps_the_secret(site: Site, ended: Ended) -> None:
    for text in (ended.out, ended.err, *(log.read_text() for log in site.runs.glob("*"))):
        assert SECRET not in text
        assert KEY not in text


def test_a_webhook_and_slack_are_told_of_start_message_and_end(site: Site) -> None:
    with mailbox() as box, mailbox() as slack:
        told(site, box, WEBHOOK_SECRET=KEY, SLACK_URL=slack.url)
        ended = site.run("run", saying(site), "--yes", "--json", "--set", "log.level=debug")
    assert ended.code == 0
    assert box.events == ["run.started", "notice", "run.finished"]
    run_id = ended.document["run_id"]
    start, said, end = box.got
    assert start == IsPartialDict(run_id=run_id, playbook="nightly", targets=8)
    assert (said["step"], said["message"]) == ("step 1", "Going down now.")
    assert end == IsPartialDict(exit_code=0, counts={"settled": 8}, commands=[f"orchestrator show {run_id}"])
    for head, document in zip(box.heads, box.got, strict=True):
        at = int(head["webhook-timestamp"])
        assert head == IsPartialDict(sign_headers(document["id"], document["body"], at=at, secret=KEY))
        assert not {"x-api-key", "authorization"} & set(head)
    assert [message["text"].split("\n")[0] for message in slack.got] == [
        "nightly started: 8 to stop",
        "nightly: Going down now.",
        "nightly succeeded: 8 settled (exit 0)",
    ]
    assert not any("webhook-signature" in head for head in slack.heads)
    assert set(box.paths) == {f"/hooks/{SECRET}"}
    assert "undelivered" not in ended.err
    keeps_the_secret(site, ended)


def test_a_message_that_is_in_the_log_is_not_sent_again_by_a_resume(open_site: OpenSite) -> None:
    site = open_site(timing={"stop_seconds": [0.5, 0.5]})
    with mailbox() as box:
        told(site, box)
        playbook = saying(site, "limits: {requests_per_second: 16, burst: 1}")
        process = site.start("run", playbook, "--yes", "--json")
        until(lambda: len(site.stops) >= 2 or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        assert site.end(process).code == 130
        run_id = site.log.stem
        assert box.events == ["run.started", "notice", "run.interrupted"]
        assert box.got[-1]["commands"] == [f"orchestrator resume {run_id}"]
        assert site.run("resume", run_id, "--yes").code == 0
    assert box.events[3:] == ["run.resumed", "run.finished"]
    numbers = {record["event"]: record["seq"] for record in site.records}
    assert [document["id"] for document in box.got] == [f"{run_id}-{numbers[event]}" for event in box.events]


def test_a_notice_that_was_not_taken_is_sent_again_under_the_same_id(site: Site) -> None:
    with mailbox(500, 429) as box:
        ended = told(site, box, DRAIN="20s").run("run", site.playbook(), "--yes", "--json")
    assert ended.code == 0
    assert box.events == ["run.started"] * 3 + ["run.finished"]
    assert len({head["webhook-id"] for head in box.heads[:3]}) == 1
    assert "undelivered" not in ended.err


def hung(**settings: str) -> Callable[[OpenSite], tuple[Site, Ended]]:
    """A run that tells a server which never answers."""

    def run(open_site: OpenSite) -> tuple[Site, Ended]:
        site = open_site()
        with mailbox(0, 0, 0, 0) as box:
            ended = told(site, box, TIMEOUT="10m", **settings).run("run", site.playbook(), "--yes", "--json")
        assert box.events == ["run.started"]
        return site, ended

    return run


def silent(status: int) -> Callable[[OpenSite], tuple[Site, Ended]]:
    """A run that tells a server which takes nothing, or is none any more."""

    def run(open_site: OpenSite) -> tuple[Site, Ended]:
        site = open_site()
        with mailbox(*[status] * 9) as box:
            told(site, box, DRAIN="0.3s")
            if status:
                return site, site.run("run", site.playbook(), "--yes", "--json")
        return site, site.run("run", site.playbook(), "--yes", "--json")

    return run


@pytest.fixture(scope="module")
def runs(run_all: RunAll) -> Finished:
    return run_all({"hangs": hung(DRAIN="0.3s"), "404": silent(404), "307": silent(307), "refuses": silent(0)})


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("hangs", "the run ended before delivery"),
        ("404", "HTTP 404 Not Found"),
        ("307", "HTTP 307 Temporary Redirect"),
        ("refuses", "no connection: All connection attempts failed"),
    ],
)
def test_whatever_a_recipient_does_the_run_does_the_same_and_warns(runs: Finished, trouble: str, reason: str) -> None:
    site, ended = runs[trouble]
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})
    warnings = [line for line in ended.logged if line["event"] == "notice.undelivered"]
    assert reason in {line["reason"] for line in warnings}
    assert {line["to"] for line in warnings} == {"webhook"}
    assert "run.finished" in " ".join(line["notices"] for line in warnings)
    keeps_the_secret(site, ended)


def test_a_recipient_that_hangs_does_not_keep_who_pressed_ctrl_c(open_site: OpenSite) -> None:
    site = open_site(timing={"stop_seconds": [0.2, 0.2]})
    with mailbox(0, 0) as box:
        told(site, box, TIMEOUT="10m", DRAIN="10m")
        process = site.start("run", site.playbook(rate=16, burst=1), "--yes", "--json")
        until(lambda: len(site.stops) >= 2 or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        assert site.end(process).code == 130


def test_a_signal_ends_the_wait_for_the_last_notice_and_changes_no_exit_code(site: Site) -> None:
    with mailbox(0) as box:
        told(site, box, TIMEOUT="10m", DRAIN="10m")
        process = site.start("run", site.playbook(), "--yes", "--json")
        said = process.stdout
        assert said is not None
        assert "}\n" in iter(said.readline, "")  # the document has ended: there is nothing left to do but to wait
        process.send_signal(signal.SIGTERM)
        assert site.end(process).code == 0


def test_a_playbook_chooses_what_is_told_and_a_resume_keeps_to_it(site: Site) -> None:
    with mailbox() as box:
        told(site, box, ON='["start", "message"]')
        ended = site.run("run", saying(site, "notify: {on: end}"), "--yes")
    assert ended.code == 0
    assert box.events == ["run.finished"]
    assert site.records[0]["notify"] == {"on": ["end"]}


def test_a_file_that_can_not_be_used_is_a_warning_and_stops_no_stop(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"https://hooks.example/{SECRET}\n")
    file.chmod(0o644)
    with mailbox() as box:
        told(site, box, SLACK_URL_FILE=str(file))
        ended = site.run("run", site.playbook(), "--yes", "--json")
    assert (ended.code, box.events) == (0, ["run.started", "run.finished"])
    (warning,) = (line for line in ended.logged if line["event"] == "notice.lost")
    assert (str(file) in warning["reason"], warning["hint"]) == (True, f"chmod 600 {file}")
    assert SECRET not in ended.out + ended.err


def test_who_is_asked_is_told_what_to_type_and_that_answers(site: Site) -> None:
    file = site.folder / "asking.yaml"
    file.write_text(SAYING.format(more="").replace('notify, message: "Going', 'pause, question: "Going'))
    with mailbox() as box:
        process = told(site, box).start("run", str(file), "--yes", "--json")
        until(lambda: len(box.got) > 1 or process.poll() is not None)
        asked = box.got[-1]
        assert (asked["event"], asked["question"]) == ("approval.requested", "Going down now.")
        (command,) = asked["commands"]
        assert site.run(*command.split()[1:], "--yes").code == 0
        assert site.end(process).code == 0
    assert box.events == ["run.started", "approval.requested", "approval.answered", "run.finished"]
    assert box.got[2]["answer"] == "approved"


def test_a_run_whose_log_fails_is_told_of_though_no_record_says_so(site: Site) -> None:
    with mailbox() as box:
        process = told(site, box).start("run", site.playbook(rate=16, burst=1), "--yes", "--json")
        until(lambda: len(site.stops) >= 2 or process.poll() is not None)
        site.log.unlink()
        assert site.end(process).code == 8
    assert box.events == ["run.started", "run.interrupted"]
    assert (box.got[-1]["reason"], box.got[-1]["exit_code"]) == ("log_failed", 8)
    assert "deleted" in box.got[-1]["text"]


def test_a_run_that_was_meant_to_begin_and_did_not_is_told_of(site: Site) -> None:
    guarded = ("run", site.playbook(), "--json", "--set", "guards.max_targets=2")
    with mailbox() as box:
        ends = told(site, box).run_each(
            guarded,  # not meant: nobody said yes
            (*guarded, "--yes"),
            ("run", site.playbook(), "--expect", "3"),
            ("run", site.playbook(), "--yes"),
            envs=[None, None, None, {"PHALA_CLOUD_API_KEY": "no"}],
        )
    assert [each.code for each in ends] == [3, 3, 3, 5]
    assert set(box.events) == {"refused"}
    assert sorted(document["exit_code"] for document in box.got) == [3, 3, 5]
    assert any("max_targets" in document["text"] for document in box.got)
    site.assert_nothing_happened()
