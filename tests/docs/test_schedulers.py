"""The files for schedulers in contrib/ are what these take, start the command as it is, and agree with the playbook."""

import configparser
import re
import shlex
from datetime import UTC, datetime
from typing import Any

import yaml

from orchestrator.playbook.firings import Firing, Timetable, list_firings
from orchestrator.playbook.load import load_playbook
from orchestrator.playbook.schedule import Schedule
from orchestrator.settings.model import SettleSection
from tests.docs.pages import ROOT
from tests.docs.test_commands import parse

CONTRIB = ROOT / "contrib"
SECRETS_AND_STATE = {"PHALA_CLOUD_API_KEY", "ORCHESTRATOR_STATE_DIR"}
YEAR = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)


def unit(name: str) -> configparser.ConfigParser:
    """A unit of systemd's; of a key that stands there twice the last."""
    parser = configparser.ConfigParser(delimiters="=", comment_prefixes="#", strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # keys keep their case; the documented way
    parser.read_string((CONTRIB / "systemd" / name).read_text(encoding="utf-8"))
    return parser


def moments(cron: str, timezone: str) -> list[datetime]:
    """When this fires in a year."""
    table = Timetable("x", Schedule.model_validate({"cron": cron, "timezone": timezone}))
    return [each.planned for each in list_firings(table, *YEAR) if isinstance(each, Firing)]


def of_the_playbook() -> list[datetime]:
    """When the playbook is due in a year, had it no days off."""
    schedule = load_playbook(ROOT / "playbooks/nightly-cost-stop.yaml", {}).playbook.schedule
    assert schedule is not None
    return moments(schedule.cron, schedule.timezone)


def test_the_unit_of_systemd_runs_one_playbook_at_a_time_and_keeps_its_log() -> None:
    service = unit("orchestrator-run@.service")
    assert set(service.sections()) == {"Unit", "Service"}
    settings = service["Service"]
    assert settings["Type"] == "oneshot"
    path, *words = shlex.split(settings["ExecStart"].replace("%i", "nightly-cost-stop"))
    assert path == "/opt/orchestrator/bin/orchestrator"
    parse(words)
    assert (words[0], "--yes" in words) == ("run", True)
    assert settings["Environment"] == f"ORCHESTRATOR_STATE_DIR=%S/{settings['StateDirectory']}"
    assert "Restart" not in settings


def test_the_unit_of_the_service_keeps_its_state_and_goes_on_after_a_crash() -> None:
    service = unit("orchestrator-serve.service")
    assert set(service.sections()) == {"Unit", "Service", "Install"}
    settings = service["Service"]
    path, *words = shlex.split(settings["ExecStart"])
    assert path == "/opt/orchestrator/bin/orchestrator"
    parse(words)
    assert words[0] == "serve"
    assert settings["Environment"] == f"ORCHESTRATOR_STATE_DIR=%S/{settings['StateDirectory']}"
    assert (settings["Restart"], settings["SuccessExitStatus"]) == ("on-failure", "143")
    assert int(settings["TimeoutStopSec"]) > SettleSection().timeout


def test_the_unit_of_the_service_with_a_team_store_hands_over_within_its_time_limit() -> None:
    settings = unit("orchestrator-serve-team.service")["Service"]
    path, *words = shlex.split(settings["ExecStart"])
    parse(words)
    assert (path, words[0], "--playbooks" in words) == ("/opt/orchestrator/bin/orchestrator", "serve", False)
    assert settings["Environment"] == f"ORCHESTRATOR_STATE_DIR=%S/{settings['StateDirectory']}"
    assert settings["Restart"] == "on-failure"


def test_the_timer_of_systemd_is_due_when_the_playbook_is() -> None:
    timer = unit("orchestrator-run@nightly-cost-stop.timer")
    assert set(timer.sections()) == {"Unit", "Timer", "Install"}
    match = re.fullmatch(r"Mon\.\.Fri \*-\*-\* (\d\d):(\d\d):00 (\S+)", timer["Timer"]["OnCalendar"])
    assert match
    hour, minute, timezone = match.groups()
    assert moments(f"{minute} {hour} * * MON-FRI", timezone) == of_the_playbook()
    assert timer["Timer"]["Persistent"] == "false"


def test_the_cron_job_of_kubernetes_is_due_when_the_playbook_is_and_is_never_tried_again() -> None:
    text = (CONTRIB / "kubernetes/cronjob.yaml").read_text(encoding="utf-8")
    claim, job = yaml.safe_load_all(text)
    assert (claim["kind"], job["apiVersion"], job["kind"]) == ("PersistentVolumeClaim", "batch/v1", "CronJob")
    spec = job["spec"]
    assert moments(spec["schedule"], spec["timeZone"]) == of_the_playbook()
    assert spec["concurrencyPolicy"] == "Forbid"
    inner = spec["jobTemplate"]["spec"]
    (rule,) = inner["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["operator"], rule["onExitCodes"]["values"]) == ("FailJob", "NotIn", [0])
    assert inner["template"]["spec"]["restartPolicy"] == "Never"


def test_its_container_runs_the_playbook_with_a_key_and_a_state_folder_that_lasts() -> None:
    text = (CONTRIB / "kubernetes/cronjob.yaml").read_text(encoding="utf-8")
    claim, job = yaml.safe_load_all(text)
    pod: dict[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"][0] == "orchestrator"
    parse(container["command"][1:])
    environment = {each["name"]: each for each in container["env"]}
    assert set(environment) == SECRETS_AND_STATE
    assert "secretKeyRef" in environment["PHALA_CLOUD_API_KEY"]["valueFrom"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts["state"] == environment["ORCHESTRATOR_STATE_DIR"]["value"]
    assert container["command"][2].startswith(mounts["playbooks"] + "/")
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert set(volumes) == set(mounts)
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_the_workflow_of_github_runs_the_playbook_once_and_keeps_the_log_whatever_comes_out() -> None:
    text = (CONTRIB / "github-actions/nightly-cost-stop.yml").read_text(encoding="utf-8")
    workflow = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - makes text of everything; `on` is no boolean then
    (cron,) = workflow["on"]["schedule"]
    in_winter = [each for each in of_the_playbook() if each.month in {1, 2, 12}]
    assert [each for each in moments(cron["cron"], "UTC") if each.month in {1, 2, 12}] == in_winter
    assert workflow["concurrency"]["cancel-in-progress"] == "false"
    (job,) = workflow["jobs"].values()
    steps = {each.get("name") or each.get("uses", each.get("run")): each for each in job["steps"]}
    run = steps["run"]
    parse(shlex.split(run["run"].split(" > ")[0])[1:])
    assert set(run["env"]) == SECRETS_AND_STATE
    assert run["env"]["PHALA_CLOUD_API_KEY"] == "${{ secrets.PHALA_CLOUD_API_KEY }}"
    keeps = steps["actions/upload-artifact@v4"]
    assert (keeps["if"], "state/runs/" in keeps["with"]["path"]) == ("always()", True)
