"""The shapes of version 2025-10-28: the UUID only, no hashid; memory in megabytes."""

from orchestrator.simulator.machine import App, SimulatedCvm
from orchestrator.simulator.wire.view import Json, WorldView, make_urls

IMAGE = "dstack-0.5.4"
GATEWAY_DOMAIN = "dstack-pha-prod.phala.network"


def hosted_cvm(view: WorldView, cvm: SimulatedCvm) -> Json:
    """An entry of a list of CVMs."""
    phase = view.phase_of(cvm)
    kind = cvm.instance_type
    return {
        "hosted": {
            "id": view.uuid_of(cvm) or "",
            "name": cvm.name,
            "status": phase.status,
            "uptime": view.uptime_of(cvm) or "",
            "app_url": None,
            "app_id": cvm.app.app_id,
            "instance_id": view.instance_id_of(cvm),
            "configuration": None,
            "exited_at": None,
            "boot_progress": "done" if phase.status == "running" else None,
            "boot_error": None,
            "shutdown_progress": None,
            "image_version": IMAGE,
            "events": [],
        },
        "name": cvm.name,
        "managed_user": {"id": 1, "username": view.world.settings.workspace.username},
        "node": node_ref(cvm),
        "listed": False,
        "status": phase.status,
        "in_progress": phase.in_progress,
        "dapp_dashboard_url": None,
        "syslog_endpoint": None,
        "allow_upgrade": False,
        "project_id": cvm.app.project_id,
        "project_type": "user",
        "billing_period": cvm.billing_period,
        "kms_info": None,
        "contract_address": None,
        "deployer_address": None,
        "vcpu": kind.vcpu,
        "memory": kind.memory_mb,
        "disk_size": cvm.disk_gb,
        "gateway_domain": GATEWAY_DOMAIN,
        "public_urls": make_urls(cvm),
    }


def cvm_detail(view: WorldView, cvm: SimulatedCvm) -> Json:
    """A CVM in detail."""
    phase = view.phase_of(cvm)
    kind = cvm.instance_type
    return {
        "id": cvm.number,
        "teepod_id": cvm.teepod.id,
        "teepod": node_ref(cvm),
        "name": cvm.name,
        "status": phase.status,
        "in_progress": phase.in_progress,
        "app_id": cvm.app.app_id,
        "vm_uuid": view.uuid_of(cvm),
        "instance_id": view.instance_id_of(cvm),
        "vcpu": kind.vcpu,
        "memory": kind.memory_mb,
        "disk_size": cvm.disk_gb,
        "base_image": IMAGE,
        "encrypted_env_pubkey": None,
        "listed": False,
        "project_id": cvm.app.project_id,
        "project_type": "user",
        "instance_type": kind.id,
        "public_sysinfo": True,
        "public_logs": True,
        "dapp_dashboard_url": None,
        "syslog_endpoint": None,
        "kms_info": None,
        "contract_address": None,
        "deployer_address": None,
        "scheduled_delete_at": None,
        "public_urls": make_urls(cvm),
        "gateway_domain": GATEWAY_DOMAIN,
    }


def app_entry(view: WorldView, deployment: App, members: list[SimulatedCvm]) -> Json:
    """An app with its CVMs."""
    cvms = [_app_cvm(view, cvm) for cvm in members]
    return {
        "id": deployment.project_id,
        "name": deployment.name,
        "app_id": deployment.app_id,
        "app_provision_type": "user",
        "app_icon_url": None,
        "created_at": view.format_time(deployment.created),
        "kms_type": "phala",
        "profile": None,
        "current_cvm": cvms[0] if cvms else None,
        "cvms": cvms,
        "cvm_count": len(cvms),
        "team_slug": view.world.settings.workspace.name,
        "team_name": view.world.settings.workspace.name,
    }


def node_ref(cvm: SimulatedCvm) -> Json:
    """The teepod of a CVM."""
    return {"id": cvm.teepod.id, "name": cvm.teepod.name, "region_identifier": cvm.teepod.region}


def _app_cvm(view: WorldView, cvm: SimulatedCvm) -> Json:
    kind = cvm.instance_type
    return {
        "vm_uuid": view.uuid_of(cvm),
        "app_id": cvm.app.app_id,
        "name": cvm.name,
        "status": view.phase_of(cvm).status,
        "vcpu": kind.vcpu,
        "memory": kind.memory_mb,
        "disk_size": cvm.disk_gb,
        "teepod_id": cvm.teepod.id,
        "teepod_name": cvm.teepod.name,
        "region_identifier": cvm.teepod.region,
        "kms_type": "phala",
        "instance_type": kind.id,
        "listed": False,
        "base_image": IMAGE,
        "kms_slug": None,
        "kms_id": None,
        "instance_id": view.instance_id_of(cvm),
        "machine_info": {
            "vcpu": kind.vcpu,
            "memory": kind.memory_mb,
            "disk_size": cvm.disk_gb,
            "gpu_count": kind.gpus,
        },
        "updated_at": view.format_time(cvm.created),
    }
