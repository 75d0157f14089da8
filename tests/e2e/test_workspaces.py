"""One workspace of the settings, by name: chosen by option or playbook, and named in every document."""

import json
import signal

import pytest

from tests.e2e.conftest import OpenSite
from tests.e2e.site import Site, until


@pytest.fixture
def named_site(open_site: OpenSite) -> Site:
    """A site without a default key, and with the workspaces `prod` and `spare`."""
    site = open_site()
    del site.environment["PHALA_CLOUD_API_KEY"]
    site.environment |= {
        "PROD_KEY": site.sim.api_key,
        "ORCHESTRATOR_WORKSPACES__PROD__API_KEY_ENV": "PROD_KEY",
        "ORCHESTRATOR_WORKSPACES__PROD__GUARDS__PROTECT__NAME": "web-8",
        "ORCHESTRATOR_WORKSPACES__SPARE__API_KEY_FILE": str(site.folder / "missing"),
    }
    return site


def test_a_run_of_a_named_workspace_is_planned_run_listed_and_undone_by_its_name(named_site: Site) -> None:
    site = named_site
    playbook = site.playbook("{name: 'web-*'}")
    plan_file = str(site.folder / "plan.json")
    plan, markdown, as_json = site.run_each(
        ("plan", playbook, "--workspace", "prod", "-o", plan_file),
        ("plan", playbook, "--workspace", "p*", "--format", "md"),
        ("plan", playbook, "--workspace", "prod", "--json"),
    )
    assert "workspace  prod" in plan.out
    assert "| workspace | prod |" in markdown.out
    assert as_json.document["workspace_name"] == "prod"
    assert {each["code"] for each in as_json.document["skipped"]} == {"protected"}
    run = site.run("run", "--plan", plan_file, "--expect", "7")
    assert run.code == 0, run.err
    assert "workspace  prod" in run.out
    assert {line["workspace"] for line in run.logged} == {"prod"}
    assert site.records[0]["workspace_name"] == "prod"
    run_id = site.records[0]["run_id"]
    restored = site.run("restore", run_id, "--yes", "--json")
    assert (restored.code, restored.document["workspace_name"]) == (0, "prod")
    listed, as_table, shown, report, unknown = site.run_each(
        ("runs", "--json"),
        ("runs",),
        ("show", run_id, "--json"),
        ("report", run_id),
        ("restore", run_id, "--yes"),
        envs=[{}, {}, {}, {}, {"ORCHESTRATOR_WORKSPACES__PROD__API_KEY_ENV": "", **_NO_GUARDS}],
    )
    assert [each["workspace_name"] for each in listed.document] == ["prod", "prod"]
    assert "workspace" in as_table.out.splitlines()[0]
    assert shown.document["workspace_name"] == "prod"
    assert "prod, 8 CVMs" in report.out
    assert unknown.code == 2
    assert "the run belongs to workspace 'prod', and the settings have no such workspace" in unknown.err


_NO_GUARDS = {"ORCHESTRATOR_WORKSPACES__PROD__GUARDS__PROTECT__NAME": None}


def test_the_playbook_chooses_the_workspace_and_adhoc_commands_and_whoami_take_the_option(named_site: Site) -> None:
    site = named_site
    playbook = site.playbook("{name: web-1}", more="}\nworkspaces: [prod]\nfleet: {max_targets: 3")
    run = site.run("run", playbook, "--yes", "--json")
    stop = site.run("stop", "web-2", "--workspace", "prod", "--yes", "--json")
    assert (run.code, run.document["workspace_name"]) == (0, "prod")
    assert (stop.code, stop.document["workspace_name"]) == (0, "prod")
    whoami, cvms, doctor, savings = site.run_each(
        ("whoami", "--workspace", "prod"),
        ("cvms", "--workspace", "prod", "--json"),
        ("doctor", "--json"),
        ("savings", "--json", "--live"),
        envs=[{}, {}, {}, {"ORCHESTRATOR_WORKSPACES__SPARE__API_KEY_FILE": None}],
    )
    assert (savings.code, savings.document["live"]) == (0, True), savings.err
    assert "environment variable PROD_KEY (workspaces.prod.api_key_env)" in " ".join(whoami.out.split())
    assert len(cvms.document) == 8
    assert doctor.code == 2
    keys = [each for each in doctor.document["checks"] if each["name"] == "key"]
    assert [each["ok"] for each in keys] == [True, False]
    assert keys[0]["message"].startswith("workspace prod: from environment variable PROD_KEY")
    assert keys[1]["message"].startswith("workspace spare: ")


def test_an_interrupted_run_of_a_named_workspace_is_resumed_or_abandoned_with_its_key(named_site: Site) -> None:
    site = named_site
    playbook = site.playbook("{name: 'web-*'}", rate=2, burst=1)
    process = site.start("run", playbook, "--workspace", "prod", "--yes")
    until(lambda: site.stops)
    process.send_signal(signal.SIGINT)
    ended = site.end(process)
    assert ended.code == 130, ended.err
    run_id = site.records[0]["run_id"]
    # One after the other: each holds the log.
    seen = site.run("resume", run_id, "--dry-run", "--json")
    shown = site.run("resume", run_id, "--dry-run")
    refused = site.run("resume", run_id, "--yes", "--profile", "x")
    assert (seen.code, seen.document["workspace_name"]) == (0, "prod")
    assert "prod" in shown.out
    assert (refused.code, "leave --profile out" in refused.err) == (2, True)
    abandoned = site.run("abandon", run_id, "--reason", "enough", "--json")
    assert (abandoned.code, abandoned.document["workspace_name"]) == (8, "prod")


def test_cvms_and_whoami_of_several_workspaces_are_one_answer(named_site: Site, open_site: OpenSite) -> None:
    site, other = named_site, open_site(fleet={"cvms": 1, "seed": 4, "names": ["solo"], "stopped_share": 0})
    other_env = {
        "OTHER_KEY": other.sim.api_key,
        "ORCHESTRATOR_WORKSPACES__OTHER__API_KEY_ENV": "OTHER_KEY",
        "ORCHESTRATOR_WORKSPACES__OTHER__BASE_URL": other.sim.url,
    }
    both = ("--workspace", "prod", "--workspace", "other")
    as_text, as_json, as_csv, whoami, saved, refused, missing, same = site.run_each(
        ("cvms", *both, "--name", "web-1", "--name", "solo", "--name", "nobody"),
        ("cvms", *both, "--json", "--sort", "name"),
        ("cvms", *both, "--format", "csv"),
        ("whoami", "--json", *both),
        ("cvms", *both, "--save", "x.json"),
        ("cvms", *both),
        ("cvms", "--workspace", "*"),
        ("cvms", *both),
        envs=[
            *[other_env] * 5,
            {**other_env, "OTHER_KEY": "phak_wrong"},
            other_env,
            {**other_env, "ORCHESTRATOR_WORKSPACES__OTHER__BASE_URL": None, "OTHER_KEY": site.sim.api_key},
        ],
    )
    assert as_text.code == 0, as_text.err
    rows = {cells[0]: cells[1] for cells in map(str.split, as_text.out.splitlines()) if cells[1:]}
    assert (rows["CVM"], rows["web-1"], rows["solo"]) == ("workspace", "prod", "other")
    assert [line for line in as_text.err.splitlines() if line.startswith("hint:")] == [
        "hint: no CVM named 'nobody'; 9 known values, no similar value"
    ]
    assert [each["name"] for each in as_json.document] == ["solo", *(f"web-{number}" for number in range(1, 9))]
    assert {each["workspace_name"] for each in as_json.document} == {"prod", "other"}
    protected = [each["name"] for each in as_json.document if each["protected_by"]]
    assert protected == ["web-8"]
    assert as_csv.out.splitlines()[0].endswith(",kept_until,workspace_name")
    assert {each["workspace_name"] for each in whoami.document["workspaces"]} == {"other", "prod"}
    assert (saved.code, refused.code, missing.code) == (2, 5, 2)
    assert "--save needs one workspace" in saved.err
    assert "workspace other: " in refused.err
    assert "workspace spare" in missing.err
    assert (same.code, "have the same API key" in same.err) == (2, True)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "no workspace is named, and there is no default API key"),
        (("--workspace", "prdo"), "--workspace 'prdo' matches no workspace of the settings"),
        (("--workspace", "prod", "--workspace", "x-*"), "--workspace 'x-*' matches no workspace"),
        (("--workspace", "spare"), "the API key of workspace spare can't be read"),
        (("--workspace", "*"), "named CVMs need one workspace, but 2 workspaces match"),
        (("--workspace", "prod", "--profile", "x"), "--workspace and --profile exclude each other"),
        (("--workspace", "prod", "--simulate"), "--workspace and --simulate exclude each other"),
    ],
)
def test_a_wrong_choice_is_refused(named_site: Site, args: tuple[str, ...], says: str) -> None:
    ended = named_site.run("stop", "web-1", "--yes", *args)
    assert ended.code == 2
    assert says in ended.err
    named_site.assert_nothing_happened()


def test_a_run_without_a_name_names_no_workspace(open_site: OpenSite) -> None:
    site = open_site()
    plan, run = site.run("plan", site.playbook(), "--json"), site.run("run", site.playbook(), "--yes")
    assert "workspace_name" not in plan.document
    assert "workspace" not in plan.out + run.out.replace(str(site.folder), "")
    assert "workspace_name" not in json.dumps(site.records)
