"""Every command when nothing goes wrong: what it says, to whom, and in which words."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import yaml
from dirty_equals import IsFloat, IsInt, IsList, IsPartialDict, IsStr

from tests.e2e.site import COMMAND, MODULE, NAMES, Ended, Site
from tests.logs import LogBuilder, build_stop

RUN_ID = r"\d{8}T\d{6}Z-[0-9a-f]{4}"
CVM = {
    "id": IsStr(regex="cvm_.*"),
    "vm_uuid": IsStr(),
    "name": IsStr(regex="web-.*"),
    "app_id": IsStr(regex="[0-9a-f]{40}"),
    "teepod_id": IsInt(),
    "teepod": IsStr(regex="alpha|beta"),
}


def test_a_plan_says_what_would_be_stopped_and_sends_nothing(site: Site) -> None:
    ended = site.run("plan", site.playbook("{teepod: [alpha]}"), "--details")
    assert ended.code == 0
    assert "4 CVMs of 8 will be stopped" in ended.out
    assert all(name in ended.out for name in NAMES)
    site.assert_nothing_happened()


def test_the_document_of_a_plan_has_the_fields_of_the_contract(site: Site) -> None:
    file = site.playbook("{teepod: [alpha]}", guards="{max_targets: 4, max_percent: 50, protect: {name: [kms-*]}}")
    ended = site.run("plan", file, "--json")
    assert ended.code == 0
    assert ended.document == IsPartialDict(
        playbook="everything",
        targets=IsList(length=4),
        skipped=IsList(length=4),
        estimate={"requests": 7, "seconds": 0.0},
        billing=IsPartialDict(compute_usd_per_hour=IsStr(), storage_usd_per_hour=IsStr()),
    )
    assert ended.document["targets"][0] == IsPartialDict(step="pull the power", action="stop", cvm=CVM)
    assert ended.document["skipped"][0] == IsPartialDict(cvm=CVM, reason="not selected")
    assert [(each["name"], each["limit"], each["value"], each["ok"]) for each in ended.document["guards"]] == [
        ("max_targets", 4, 4, True),
        ("max_percent", 50, 50, True),
        ("protect", None, 0, True),
    ]
    site.assert_nothing_happened()


def test_a_run_stops_every_target_once_and_says_so_in_words(site: Site) -> None:
    ended = site.run("run", site.playbook(), "--yes")
    assert ended.code == 0
    assert "8 CVMs of 8 will be stopped" in ended.out
    assert "succeeded: 8 of 8 CVMs stopped (exit 0)" in ended.out
    assert f"orchestrator audit verify {site.log.stem}" in ended.out
    assert site.effective == dict.fromkeys(NAMES, 1)


def test_the_document_of_a_run_is_alone_on_stdout_and_each_outcome_is_one_line_of_json_on_stderr(site: Site) -> None:
    ended = site.run("run", site.playbook(), "--expect", "8", "--json")
    assert ended.code == 0
    assert ended.document == IsPartialDict(
        run_id=IsStr(regex=RUN_ID),
        exit_code=0,
        audit_log=str(site.log),
        counts={"settled": 8},
        targets=IsList(length=8),
        billing=IsPartialDict(triggered=8, compute_usd_per_hour=IsStr(), storage_usd_per_hour=IsStr()),
    )
    for target in ended.document["targets"]:
        assert target == {
            "step": "pull the power",
            "action": "stop",
            "escalated": False,
            "taken_up_by": None,
            "cvm": CVM,
            "outcome": "settled",
            "seconds": IsFloat(gt=0),
            "reason": None,
            "code": None,
            "request_id": IsStr(),
        }
    assert len(ended.logged) == len(ended.err.splitlines())
    assert sorted(line["cvm"] for line in ended.logged if line["event"] == "cvm.settled") == NAMES
    assert [line["event"] for line in ended.logged if line["event"].startswith("run.")] == [
        "run.started",
        "run.finished",
    ]


def test_cvms_that_are_stopped_already_are_skipped_and_count_as_wanted(site: Site) -> None:
    site.run("run", site.playbook(), "--yes")
    ended = site.run("run", site.playbook(), "--expect", "0", "--json")
    assert (ended.code, ended.document["counts"], ended.document["targets"]) == (0, {}, [])
    assert site.effective == dict.fromkeys(NAMES, 1)


def test_a_finished_run_is_listed_shown_verified_and_not_resumed_again(site: Site) -> None:
    ran = site.run("run", site.playbook(), "--yes", "--json").document
    run_id, sent = ran["run_id"], len(site.stops)

    runs, listed, unfinished, show, shown, verify, verified, resume = site.run_each(
        ("runs",),
        ("runs", "--json"),
        ("runs", "--unfinished"),
        ("show", run_id),
        ("show", run_id, "--json"),
        ("audit", "verify", run_id),
        ("audit", "verify", str(site.log), "--json"),
        ("resume", run_id, "--yes"),
    )
    resumed = site.run("resume", run_id, "--json", "--yes")  # two at once would be in each other's way
    (line,) = [line for line in runs.out.splitlines() if run_id in line]
    began = f"{datetime.strptime(run_id[:15], '%Y%m%dT%H%M%S'):%Y-%m-%d %H:%MZ}"  # noqa: DTZ007 - UTC, as it is shown
    assert re.search(rf"{began} +\d+s  \S+@\S+ +everything  finished \(0\), 8 settled$", line)
    entry = IsPartialDict(run_id=run_id, state="finished", exit_code=0, counts={"settled": 8}, next=None)
    assert listed.document == [entry]
    assert "No unfinished runs" in unfinished.out
    assert "succeeded: 8 of 8 CVMs stopped" in show.out
    assert {key: shown.document[key] for key in ran} == ran
    assert (verify.code, "whole and finished" in verify.out) == (0, True)
    assert verified.document == IsPartialDict(exit_code=0, verdict="whole", audit_log=str(site.log))
    assert (resume.code, "This run is finished" in resume.out) == (0, True)
    assert resumed.document == ran
    assert len(site.stops) == sent


def test_validate_needs_no_network_and_takes_several_playbooks(site: Site) -> None:
    file = site.playbook()
    offline = {"PHALA_CLOUD_API_KEY": None, "PHALA_CLOUD_API_PREFIX": None}
    ended = site.run("validate", file, file, env=offline)
    assert (ended.code, ended.out) == (0, f"{file}: ok, 1 step\n" * 2)
    document = site.run("validate", file, "--json", env=offline).document
    assert document == [IsPartialDict(file=file, playbook="everything", steps=1, variables_needed=[])]


def test_validate_prints_one_document_for_all_playbooks_that_are_wrong(site: Site) -> None:
    good = site.playbook()
    wrong = [site.folder / "one.yaml", site.folder / "two.yaml"]
    for file in wrong:
        file.write_text("name: x\nsteps: []\n")
    ended = site.run("validate", str(wrong[0]), good, str(wrong[1]), "--json")
    assert ended.code == 2
    assert [ended.fault["file"], *(each["file"] for each in ended.fault["more"])] == [str(file) for file in wrong]


def test_the_schema_accepts_what_the_command_accepts(site: Site) -> None:
    schema = site.run("schema").document
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(Path(site.playbook()).read_text()), schema)


def test_python_m_is_the_same_command(site: Site) -> None:
    for command in ((COMMAND,), MODULE):
        ended = site.end(site.start("--version", command=command))
        assert re.fullmatch(r"orchestrator, version \d+\.\d+\.\d+\n", ended.out)
    ended = site.end(site.start("plan", site.playbook(), "--json", command=MODULE))
    assert (ended.code, len(ended.document["targets"])) == (0, 8)


def test_a_playbook_is_found_by_its_name(site: Site) -> None:
    (site.folder / "playbooks").mkdir()
    Path(site.playbook()).rename(site.folder / "playbooks" / "tidy.yaml")
    assert site.run("plan", "tidy", "--json").code == 0
    assert site.run("plan", "tidyy", "--json").fault["hint"] == "did you mean 'tidy'?"


def test_a_simulated_cloud_says_first_where_it_is_and_serves_a_run(site: Site) -> None:
    config = site.folder / "simulator.toml"
    config.write_text("[timing]\nstop_seconds = [0.05, 0.1]\n")
    cloud = site.start("simulate", "--cvms", "5", "--seed", "2", "--config", str(config))
    try:
        assert cloud.stdout is not None
        where = json.loads(cloud.stdout.readline())
        env = {"PHALA_CLOUD_API_KEY": where["api_key"], "PHALA_CLOUD_API_PREFIX": where["url"]}
        ended = site.run("run", site.playbook(), "--yes", "--json", env=env)
        assert (ended.code, ended.document["counts"]) == (0, {"settled": 5})
    finally:
        cloud.terminate()
        assert site.end(cloud) == Ended(0, "", "")


def test_a_list_of_runs_keeps_names_whole_and_uses_the_words_of_show(site: Site) -> None:
    """A playbook's name stands whole in 80 columns, and an open run is told in the stages that `show` prints."""
    begun = datetime(2026, 11, 1, 8, tzinfo=UTC)
    made = LogBuilder.start(begun, playbook="emergency-stop-teepod", actor="somebody@a-host-of-a-long-name")
    made.plan((1, "stop", "running"), (2, "stop", "running"), (3, "stop", "running")).end(1)
    made.accept(2).write(site.state)
    build_stop(begun + timedelta(hours=1), 1, playbook="emergency-stop-teepod").write(site.state)
    ends = site.run_each(("runs",), ("show", made.run_id), ("runs", "--json"), envs=[{"COLUMNS": "80"}] * 3)
    listed, shown, document = ends
    table, _, commands = listed.out.partition("next commands:\n")
    assert table.count("emergency-stop-teepod") == 2
    assert commands == f"orchestrator resume {made.run_id}\n"
    words = " ".join(table.split())
    for stage in ("1 settled", "1 settling", "1 waiting"):
        assert stage in words
        assert stage in shown.out
    assert "unsettled" not in words
    assert document.document[1]["counts"] == {"settled": 1, "unsettled": 1, "not_sent": 1}
    assert "stages" not in document.document[1]
