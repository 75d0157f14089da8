"""Plans and runs for people: what they say, and that no name takes over the terminal."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.action import Action
from orchestrator.audit.events import RunStarted
from orchestrator.cli.confirmation import plan_question
from orchestrator.cvm import Cvm
from orchestrator.outcome import Exit
from orchestrator.playbook.planning import make_plan
from orchestrator.playbook.resolved_steps import PlannedStep
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.report.plan.text import print_plan
from orchestrator.report.plan.totals import app_of, groups, largest, prefix_of, teepod_of
from orchestrator.report.run.text import print_run
from tests.logs import RUN_ID
from tests.report.runs import EVIL, LIMITS, about, console, cvm, plan, run

STYLE = re.compile(r"\x1b\[[0-9;]*m")
LOG = Path(f"/state/{EVIL}/run.jsonl")


def printed(width: int = 200, *, details: bool = True, **guards: int) -> str:
    target, file = console(width)
    print_plan(target, plan(None, **guards), f"about {EVIL}", details=details)
    return file.getvalue()


def ended(code: int, *events: tuple[str, dict[str, object]], width: int = 200) -> str:
    target, file = console(width)
    print_run(target, run(*events), code, LOG)
    return file.getvalue()


def is_tame(text: str) -> bool:
    """Nothing but our own styles, line breaks and visible characters."""
    plain = STYLE.sub("", text)
    return all(char == "\n" or char.isprintable() for char in plain) and "\u202e" not in plain


@pytest.mark.parametrize("width", [20, 80, 260])
def test_no_name_description_status_or_warning_takes_over_the_terminal(width: int) -> None:
    text = printed(width)
    assert is_tame(text)
    assert width < 260 or text.count("[red]x[/]\\x1b[2J\\u202egnp\\u200b\\n\\x00:smile:") >= 5


def test_a_plan_says_how_many_why_not_and_under_which_guards() -> None:
    text = STYLE.sub("", printed(max_targets=2))
    assert "3 CVMs of 5 will be stopped" in text
    assert "1 protected by name kms-*, 1 already stopped" in text
    assert "REFUSED  max_targets: 3 targets, at most 2 allowed" in text
    assert "ok  max_percent: 3 targets are 75.0% of the 4 CVMs of the workspace that are up now" in text
    assert "about 6 requests" in text
    assert "each CVM then has 10m to go down" in text
    assert "compute $0.1000/h, $73.00 a month, and 2 CVMs of unknown rate" in text


def test_a_plan_says_how_its_stops_are_sent_and_where_the_rate_begins() -> None:
    made = plan()
    target, file = console()
    print_plan(target, replace(made, limits=replace(made.limits, dispatch="batch", adaptive=True)), None)
    rate = f"{made.limits.requests_per_second:.3g}"
    text = STYLE.sub("", file.getvalue())
    assert (
        f"requests with up to 50 stops each, less than a second to send at {rate} a second at first, then adapted"
        in text
    )


def test_a_plan_names_every_cvm_only_when_asked() -> None:
    assert "skipped: protected by name kms-*" in STYLE.sub("", printed(details=True))
    assert "kms-1" not in printed(details=False)


PODS = {f"prod-{n}": n for n in range(1, 7)}


def large_fleet(cvms: int = 930) -> list[Cvm]:
    """CVMs of 310 apps on six teepods, at a tenth of a dollar each."""
    pods = list(PODS.items())
    return [
        cvm(
            n,
            f"{('web', 'db', 'batch')[n % 3]}-{n}",
            app=f"{n // 3:040x}",
            teepod=pods[n % 6][0],
            pod=pods[n % 6][1],
            hourly_compute=Decimal("0.1"),
            disk_gb=Decimal(20),
        )
        for n in range(cvms)
    ]


@pytest.mark.parametrize(("width", "height"), [(60, 28), (80, 24), (160, 24)])
def test_a_large_plan_shows_totals_by_teepod_name_and_app_within_one_screen(width: int, height: int) -> None:
    target, file = console(width, height=height)
    print_plan(target, plan(large_fleet(), max_targets=999, max_percent=100), None)
    text = STYLE.sub("", file.getvalue())
    assert text.count("\n") < height
    assert sum(bool(re.search(rf"{teepod} +155 +15\.5000", text)) for teepod in PODS) >= (
        1 if width < 80 else len(PODS)
    )
    assert re.search(r"and \d+ more +\d+ +\d+\.\d{4}", text)
    assert re.search(r"web-\* +310 +31\.0000", text)
    assert re.search(r"[0-9a-f]{40} +3 +0\.3000", text)


def test_a_large_plan_shows_every_teepod_where_there_is_room() -> None:
    target, file = console(80, height=50)
    print_plan(target, plan(large_fleet(), max_targets=999, max_percent=100), None)
    text = STYLE.sub("", file.getvalue())
    assert all(re.search(rf"{teepod} +155 +15\.5000", text) for teepod in PODS)


def test_the_totals_of_a_large_plan_add_up_to_the_whole_plan() -> None:
    made = plan(large_fleet(), max_targets=999, max_percent=100)
    for name in (teepod_of, prefix_of, app_of):
        for most in (2, 5, 1000):
            found = largest(groups(made.targets, name), most)
            assert len(found) <= max(most, 2)
            assert sum(group.cvms for group in found) == len(made.targets)
            assert sum((group.total.compute for group in found), Decimal(0)) == made.stopped_total.compute


def test_details_name_every_cvm_of_a_large_plan() -> None:
    target, file = console(160, height=24)
    fleet = large_fleet()
    print_plan(target, plan(fleet, max_targets=999, max_percent=100), None, details=True)
    assert all(f" {each.ref.id} " in file.getvalue() for each in fleet)


def test_details_show_the_type_and_the_age_of_a_cvm() -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    ages = (timedelta(hours=5), timedelta(days=3, hours=1), None)
    fleet = [
        replace(cvm, instance_type="tdx.large", created_at=None if age is None else now - age)
        for cvm, age in zip(large_fleet(3), ages, strict=True)
    ]
    target, file = console(220)
    print_plan(target, plan(fleet, max_targets=9, max_percent=100), None, details=True, now=now)
    rows = [line.split() for line in STYLE.sub("", file.getvalue()).splitlines() if "tdx.large" in line]
    assert [row[row.index("tdx.large") + 1] for row in rows][:2] == ["5h", "3d"]
    assert not rows[2][rows[2].index("tdx.large") + 1].endswith(("h", "d"))


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_no_id_and_no_command_is_wrapped_or_cut_at_any_width(width: int) -> None:
    """What has no room is left out whole."""
    made = plan(large_fleet(5), max_targets=9, max_percent=100)
    target, file = console(width)
    print_plan(target, made, None)
    print_plan(target, made, None, details=True)
    print_run(target, run(*STOPPED, *REFUSED, ("run.interrupted", {})), Exit.FAILED, Path("/a" * 60) / "run.jsonl")
    lines = STYLE.sub("", file.getvalue()).splitlines()
    for command in ("audit verify", "resume"):
        assert any(f"orchestrator {command} {RUN_ID}" in line for line in lines)
    assert any(line.endswith("/run.jsonl") and "/a" * 60 in line for line in lines)
    for app_id in re.findall(r"\b0{8,}[0-9a-f]*", "\n".join(lines)):
        assert len(app_id) == 40
    assert {found for line in lines for found in re.findall(r"cvm_\w*", line)} <= {f"cvm_{n}" for n in range(9)}


def test_a_plan_without_targets_says_so_and_tells_no_bill() -> None:
    target, file = console()
    print_plan(target, plan([]), None)
    assert "0 CVMs of 0 will be stopped" in file.getvalue()
    assert "billing" not in file.getvalue()


BILLING = {"triggered": True, "compute_usd_per_hour": "0.1", "storage_usd_per_hour": "0.002", "notes": []}
STOPPED = [
    ("action.intent", about(0, attempt=1)),
    ("action.accepted", about(0, attempt=1, billing=BILLING, request_id="r1")),
    ("target.settled", about(0, outcome="settled", status="stopped", seconds=4.5)),
]
REFUSED = [
    ("action.intent", about(1, attempt=1)),
    ("action.refused", about(1, attempt=1, reason=f"rented {EVIL}", request_id=f"r2{EVIL}")),
    ("target.failed", about(1, outcome="refused", reason=f"rented {EVIL}", seconds=0.2)),
]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_name_reason_or_request_id_takes_over_the_terminal_at_the_end(width: int) -> None:
    assert is_tame(ended(Exit.FAILED, *STOPPED, *REFUSED, width=width))


def test_the_end_of_a_run_tells_what_did_not_end_as_wanted_and_what_to_type_next() -> None:
    text = STYLE.sub("", ended(Exit.FAILED, *STOPPED, *REFUSED, ("run.interrupted", {})))
    assert f"Run {RUN_ID}  completed with problems: 1 of 3 CVMs stopped (exit 6)" in text
    assert "1 settled  1 refused  1 not_sent" in text
    assert "rented [red]x[/]" in text
    assert "not sent: " in text
    assert "4.5s from first request to end" in text
    assert "ends  compute $0.1000/h, $73.00 a month" in text
    assert f"orchestrator resume {RUN_ID}" in text
    assert "resume" not in ended(Exit.OK, *STOPPED, ("run.finished", {"exit_code": 0}))


@pytest.mark.parametrize(("by", "words"), [("cloud_down", "the cloud was down for too long"), ("a\x1b", "a\\x1b")])
def test_the_end_of_a_run_names_what_cut_it_short(by: str, words: str) -> None:
    text = ended(8, *STOPPED, ("run.finished", {"exit_code": 8, "cut_short_by": by}))
    assert re.search(rf"cut short +{re.escape(words)}", STYLE.sub("", text))


def test_a_code_that_this_version_does_not_know_is_shown_all_the_same() -> None:
    assert "(exit 99)" in STYLE.sub("", ended(99, *STOPPED))


def test_a_run_id_of_a_log_from_elsewhere_is_shown_and_not_obeyed() -> None:
    state = run(*STOPPED)
    state.run_id = EVIL
    target, file = console()
    print_run(target, state, 0, LOG)
    assert is_tame(file.getvalue())


def test_a_plan_and_its_question_name_each_action_and_what_begins() -> None:
    steps = [{"name": action, "action": action, "select": {"name": name}} for action, name in ACTIONS.items()]
    fleet = [cvm(n, name, hourly_compute=Decimal("0.1"), status=STATUS.get(name, "running")) for n, name in NUMBERED]
    made = make_plan(
        Playbook.model_validate({"name": "x", "steps": steps}),
        fleet,
        guards=Guards(),
        limits=LIMITS,
        settle_timeout=600,
        price_list={},
        storage_usd_per_gb_hour=Decimal("0.000139"),
        batch_size=100,
    )
    target, file = console()
    print_plan(target, made, None)
    text = STYLE.sub("", file.getvalue())
    assert (
        "4 CVMs of 4: 1 stopped (forced), 1 shut down (the guest is asked to), 1 started, "
        "1 restarted (the guest is asked to shut down)"
    ) in text
    assert "each CVM then has 10m to settle" in text
    assert "ends  compute $0.2000/h" in text
    assert "begins  compute $0.1000/h" in text
    assert plan_question(made) == (
        "Type the number of CVMs to act on, 1 to stop, 1 to shut down, 1 to start, 1 to restart (4) to continue: "
    )


ACTIONS = {"stop": "a", "shutdown": "b", "start": "c", "restart": "d"}
NUMBERED = list(enumerate(ACTIONS.values()))
STATUS = {"c": "stopped"}


def test_a_plan_of_starts_alone_says_what_they_begin_to_cost_and_to_run() -> None:
    book = Playbook.model_validate({"name": "x", "steps": [{"action": "start", "select": {"all": "true"}}]})
    made = replace(
        plan([cvm(1, "a", hourly_compute=Decimal("0.1"))]),
        steps=tuple(PlannedStep(step.name, Action.START, 600) for step in book.steps),
    )
    made = replace(made, targets=tuple(replace(each, action=Action.START) for each in made.targets))
    target, file = console()
    print_plan(target, made, None)
    text = STYLE.sub("", file.getvalue())
    assert "1 CVM of 1 will be started" in text
    assert "then has 10m to run" in text
    assert "stops" not in text
    assert plan_question(made) == "Type the number of CVMs to start (1) to continue: "


def test_a_run_that_a_schedule_began_says_which_and_for_when() -> None:
    state = run(*STOPPED)
    firing = {"schedule": EVIL, "planned": "2026-11-23T18:30:00.000000Z", "moment": "2026-11-23T18:31:07.000000Z"}
    for trigger in (None, firing):
        state.started = RunStarted({**state.started.record, "trigger": trigger})
        target, file = console()
        print_run(target, state, 0, LOG)
        assert ("for 2026-11-23 18:30Z" in STYLE.sub("", file.getvalue())) == (trigger is not None)
        assert is_tame(file.getvalue())
