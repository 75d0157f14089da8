"""Questions that the installed command asks: answered from elsewhere, at the terminal, too late, or by nobody."""

import signal
import subprocess
from contextlib import AbstractContextManager
from typing import Any

import pytest
from dirty_equals import IsPartialDict, IsStr

from orchestrator.audit.approvals import ApprovalAnswer, FileApprovalStore
from orchestrator.audit.verify import Verdict, read_log
from tests.e2e.conftest import Finished, OpenSite, RunAll
from tests.e2e.site import Ended, Process, Site, until
from tests.e2e.test_terminal import Terminal, terminal

PLAYBOOK = """\
name: two halves
limits: {{requests_per_second: 200, burst: 50}}
steps:
{first}
  - name: look
    action: pause
    question: Dashboards green?
    timeout: {timeout}
  - name: rest
    action: stop
    select: {{name: "web-*"}}
"""
FIRST = """  - {name: first, action: stop, select: {name: [web-1, web-2]}}"""


def playbook(site: Site, *, timeout: str = "1m", first: str = FIRST) -> str:
    file = site.folder / "ask.yaml"
    file.write_text(PLAYBOOK.format(first=first, timeout=timeout))
    return str(file)


def asking(site: Site, **how: str) -> Process:
    """A run in the background that waits for its answer."""
    process = site.start("run", playbook(site, **how), "--yes", "--json")
    until(lambda: is_asked(site))
    return process


def is_asked(site: Site, times: int = 1) -> bool:
    return any(site.runs.glob("*.jsonl")) and site.events()["approval.requested"] == times


def approve(site: Site, *args: str) -> Ended:
    return site.run("approve", site.log.stem, *args)


def assert_each_stopped(site: Site, *names: str) -> None:
    """These were stopped exactly once, and no other CVM."""
    assert {name: number for name, number in site.effective.items() if number} == dict.fromkeys(names, 1)


ALL = [f"web-{number}" for number in range(1, 9)]


def approved(open_site: OpenSite) -> tuple[Site, Ended]:
    site = open_site()
    process = asking(site)
    assert_each_stopped(site, "web-1", "web-2")
    (row,) = site.run("runs", "--json").document
    assert row == IsPartialDict(state="running", next=f"orchestrator approve {site.log.stem}")
    assert row["question"] == IsPartialDict(step="look", question="Dashboards green?")
    assert "asks until" in site.run("runs").out
    assert "waits for an answer until" in site.run("show", site.log.stem).out
    unsure = approve(site, "--json")
    assert (unsure.code, unsure.fault["code"], unsure.fault["hint"]) == (3, "not_confirmed", "add --yes")
    other = approve(site, "--yes", "--json", "--step", "rest")
    assert (other.code, other.fault["code"]) == (3, "not_asked")
    yes = approve(site, "--yes", "--json", "--comment", "all \x1b[2J green")
    assert (yes.code, yes.document) == (0, IsPartialDict(answer="approved", on_record=True, step="look"))
    return site, site.end(process)


def refused(open_site: OpenSite) -> tuple[Site, Ended]:
    site = open_site()
    process = asking(site)
    no = approve(site, "--refuse", "--yes")
    assert (no.code, "Refused by" in no.out) == (0, True)
    ended = site.end(process)
    late = approve(site, "--yes", "--json")
    assert (late.code, late.fault["code"]) == (3, "not_asked")
    return site, ended


def timed_out(open_site: OpenSite) -> tuple[Site, Ended]:
    site = open_site()
    return site, site.end(asking(site, timeout="0.5s"))


def refused_first(open_site: OpenSite) -> tuple[Site, Ended]:
    site = open_site()
    process = asking(site, first="")
    assert approve(site, "--refuse", "--yes").code == 0
    return site, site.end(process)


def terminated(open_site: OpenSite) -> tuple[Site, Ended]:
    site = open_site()
    process = asking(site)
    process.send_signal(signal.SIGTERM)
    return site, site.end(process, seconds=40)  # the question is open for a minute


def killed(open_site: OpenSite) -> tuple[Site, Ended]:
    """Killed while it waits; the answer that was on its way to it is none to the question that `resume` asks."""
    site = open_site()
    process = asking(site)
    process.kill()
    process.communicate()
    asked = site.records[-1]
    dead = approve(site, "--yes", "--json")
    assert (dead.code, dead.fault["code"]) == (3, "not_asked")
    assert f"orchestrator resume {site.log.stem}" in dead.fault["hint"]
    assert FileApprovalStore(site.log).submit_answer(
        ApprovalAnswer(asked["seq"], asked["hash"], "look", approved=True, by="ann@desk", at="")
    )
    process = site.start("resume", site.log.stem, "--yes", "--json")
    until(lambda: is_asked(site, 2))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.2)
    assert_each_stopped(site, "web-1", "web-2")
    assert approve(site, "--yes").code == 0
    return site, site.end(process)


@pytest.fixture(scope="module")
def runs(run_all: RunAll) -> Finished:
    """One run for each way of being answered."""
    return run_all({each.__name__: each for each in (approved, refused, timed_out, refused_first, terminated, killed)})


def answer(site: Site) -> dict[str, Any]:
    (record,) = (record for record in site.records if record["event"] == "approval.answered")
    return record


def test_a_yes_lets_the_run_go_on_and_is_on_record_with_who_gave_it(runs: Finished) -> None:
    site, ended = runs["approved"]
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})
    said = IsPartialDict(answer="approved", by=IsStr(regex=".+@.+"), via="approve", comment="all \x1b[2J green")
    assert answer(site) == said
    assert ended.document["questions"] == [said & IsPartialDict(step="look", question="Dashboards green?")]
    assert_each_stopped(site, *ALL)
    assert read_log(site.log).verdict is Verdict.WHOLE
    assert list((site.state / "answers").iterdir()) == [], "nothing is left once it is on record"
    shown = site.run("show", site.log.stem).out
    assert "look: approved by " in shown
    assert "\x1b" not in shown
    assert "waiting_for_approval" in {line["event"] for line in ended.logged}


@pytest.mark.parametrize(("how", "word"), [("refused", "refused"), ("timed_out", "timed_out")])
def test_a_no_and_no_answer_end_the_run_with_8(runs: Finished, how: str, word: str) -> None:
    site, ended = runs[how]
    assert (ended.code, ended.document["counts"]) == (8, {"settled": 2, "not_sent": 6})
    assert answer(site)["answer"] == word
    assert site.records[-1] == IsPartialDict(event="run.finished", ending="not_approved")
    assert_each_stopped(site, "web-1", "web-2")
    assert site.run("resume", site.log.stem, "--yes").code == 8, "it is finished"


def test_a_no_before_anything_was_sent_is_3(runs: Finished) -> None:
    site, ended = runs["refused_first"]
    assert (ended.code, site.stops) == (3, [])


def test_told_to_end_it_ends_at_once_and_leaves_the_question_open(runs: Finished) -> None:
    site, ended = runs["terminated"]
    assert (ended.code, ended.document["counts"]) == (143, {"settled": 2, "not_sent": 6})
    assert site.events()["approval.answered"] == 0
    assert site.records[-1]["event"] == "run.interrupted"


def test_killed_while_it_waits_it_asks_anew_and_an_answer_to_the_old_question_counts_for_nothing(
    runs: Finished,
) -> None:
    site, ended = runs["killed"]
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})
    assert site.events()["approval.requested"] == 2
    assert answer(site)["by"] != "ann@desk"
    assert_each_stopped(site, *ALL)
    assert read_log(site.log).verdict is Verdict.WHOLE


def test_of_two_who_answer_at_once_the_first_counts_and_the_second_is_told(site: Site) -> None:
    process = asking(site)
    both = [site.start("approve", site.log.stem, "--yes", "--json", *more) for more in ((), ("--refuse",))]
    yes, no = (site.end(each) for each in both)
    assert sorted((yes.code, no.code)) == [0, 3]
    is_yes = yes.code == 0
    assert (no if is_yes else yes).fault["code"] == "not_asked"
    assert answer(site)["answer"] == ("approved" if is_yes else "refused")
    assert site.end(process).code == (0 if is_yes else 8)


def at_terminal(site: Site) -> AbstractContextManager[Terminal]:
    return terminal(site, "--yes", playbook=playbook(site))


def test_at_the_terminal_only_the_whole_word_counts(site: Site) -> None:
    with at_terminal(site) as user:
        user.type("approve\n")  # before the question: no answer to it
        until(lambda: user.shows("approve or refuse: "))
        for slip in ("\n", "y\n", "yes\n"):
            user.type(slip)
        until(lambda: user.shown.count("approve or refuse: ") >= 4 or user.shows("$^"))
        assert site.events()["approval.answered"] == 0
        assert "requests a second" not in user.shown.partition("approve or refuse: ")[2], "the live view makes way"
        user.type("approve\n")
        assert user.ends_with(0)
        assert "3  rest: stop 6 CVMs" in user.shown
    assert (answer(site)["answer"], answer(site)["via"]) == ("approved", "terminal")
    assert_each_stopped(site, *ALL)


def test_ctrl_c_at_the_question_ends_at_once_and_says_how_to_go_on(site: Site) -> None:
    with at_terminal(site) as user:
        until(lambda: user.shows("approve or refuse: "))
        user.type("\x03")
        assert user.ends_with(130)
        assert f"orchestrator resume {site.log.stem}" in user.shown
    assert site.events()["approval.answered"] == 0


def test_an_answer_from_elsewhere_ends_the_question_at_the_terminal(site: Site) -> None:
    with at_terminal(site) as user:
        until(lambda: user.shows("approve or refuse: "))
        assert approve(site, "--refuse", "--yes", "--comment", "not tonight").code == 0
        assert user.ends_with(8)
        assert "refused by" in user.shown
    assert answer(site)["comment"] == "not tonight"


def test_a_terminal_that_is_closed_at_the_question_leaves_it_to_others(site: Site) -> None:
    with at_terminal(site) as user:
        until(lambda: user.shows("approve or refuse: "))
        user.close()
        assert approve(site, "--yes").code == 0
        until(lambda: site.events()["run.finished"])
    assert_each_stopped(site, *ALL)


def test_a_word_that_was_typed_before_the_question_answers_nothing(site: Site) -> None:
    """Neither at the run's own terminal nor at that of `approve`."""
    with terminal(site, "--yes", playbook=playbook(site), typed="approve\n") as run:
        until(lambda: run.shows("approve or refuse: "))
        with terminal(site, command=("approve", site.log.stem), typed="approve\n") as user:
            until(lambda: user.shows("Type approve to continue"))
            user.type("no\n")
            assert user.ends_with(3)
        assert site.events()["approval.answered"] == 0
        run.type("refuse\n")
        assert run.ends_with(8)
