"""The manifests in contrib/kubernetes/ against the Kubernetes schemas and the command."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from orchestrator import __version__
from orchestrator.runs.worker import ANSWERS_S, LAST_RECORDS_S
from orchestrator.settings.load import load_settings
from orchestrator.settings.model import SettleSection
from tests.docs.pages import ROOT
from tests.docs.test_commands import parse

FOLDER = ROOT / "contrib" / "kubernetes"
TEAM = {"worker", "serve-team"}
"""Files about a team store: with a password, and with keys of named workspaces."""
FILES = sorted(FOLDER.glob("*.yaml"))


def documents(file: Path) -> dict[str, dict[str, Any]]:
    """The objects of a file by their kinds."""
    return {each["kind"]: each for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))}


def pod(file: Path) -> dict[str, Any]:
    found = documents(file)
    if "Deployment" in found:
        spec: dict[str, Any] = found["Deployment"]["spec"]["template"]["spec"]
    else:
        spec = found["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def test_there_are_services_a_cron_job_and_a_worker() -> None:
    assert [file.name for file in FILES] == ["cronjob.yaml", "serve-team.yaml", "serve.yaml", "worker.yaml"]


@pytest.mark.parametrize("version", ["1.31", "1.37"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_object_is_valid_by_the_schemas_of_kubernetes(file: Path, version: str) -> None:
    for each in documents(file).values():
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_pod_is_restricted(file: Path) -> None:
    spec = pod(file)
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not spec["automountServiceAccountToken"]
    assert set(container["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_container_starts_the_command_of_this_version_with_its_mounts_and_its_key(file: Path) -> None:
    spec = pod(file)
    (container,) = spec["containers"]
    assert container["image"].endswith(f"/cvm-orchestrator:{__version__}")
    assert container["command"][0] == "orchestrator"
    parse(container["command"][1:])
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert set(mounts) == {each["name"] for each in spec["volumes"]}
    environment = {each["name"]: each for each in container["env"]}
    assert environment.pop("ORCHESTRATOR_STATE_DIR")["value"] == mounts["state"]
    secrets = {"PGPASSWORD", "PROD_EU_KEY"} if file.stem in TEAM else {"PHALA_CLOUD_API_KEY"}
    assert set(environment) == secrets
    assert all("secretKeyRef" in each["valueFrom"] for each in environment.values())


def test_one_service_at_a_time_uses_the_state_and_has_time_to_stop() -> None:
    found = documents(FOLDER / "serve.yaml")
    deployment, spec = found["Deployment"]["spec"], pod(FOLDER / "serve.yaml")
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    grace = spec["terminationGracePeriodSeconds"]
    assert SettleSection().timeout < grace < deployment["progressDeadlineSeconds"]
    claims = [each["persistentVolumeClaim"]["claimName"] for each in spec["volumes"] if "persistentVolumeClaim" in each]
    assert claims == [found["PersistentVolumeClaim"]["metadata"]["name"]]


@pytest.mark.parametrize("name", ["serve.yaml", "serve-team.yaml"])
def test_probes_and_clients_reach_the_port_of_the_service(name: str) -> None:
    found = documents(FOLDER / name)
    (container,) = pod(FOLDER / name)["containers"]
    (port,) = container["ports"]
    assert container["command"][-2:] == ["--listen", f"0.0.0.0:{port['containerPort']}"]
    paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {each["port"] for each in paths.values()} == {port["name"]}
    assert [each["path"] for each in paths.values()] == ["/healthz", "/healthz", "/readyz"]
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels


@pytest.mark.parametrize("name", ["worker.yaml", "serve-team.yaml"])
def test_the_settings_of_a_worker_are_valid_and_its_pods_end_one_after_the_other(name: str, tmp_path: Path) -> None:
    found = documents(FOLDER / name)
    file = tmp_path / "config.toml"
    file.write_text(found["ConfigMap"]["data"]["config.toml"])
    settings = load_settings(file)
    (container,) = pod(FOLDER / name)["containers"]
    names = {each["name"] for each in container["env"]}
    assert {section.api_key_env for section in settings.workspaces.values()} <= names
    deployment, spec = found["Deployment"]["spec"], pod(FOLDER / name)
    assert deployment["replicas"] >= 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    assert spec["terminationGracePeriodSeconds"] > ANSWERS_S + LAST_RECORDS_S
    ports = {each["port"] for rule in found["NetworkPolicy"]["spec"]["egress"] for each in rule["ports"]}
    assert 5432 in ports
