"""The shapes of version 2026-01-21, and the hourly rate and GPU rental of newer versions."""

from orchestrator.simulator.machine import App, SimulatedCvm, Teepod
from orchestrator.simulator.wire.legacy import GATEWAY_DOMAIN, IMAGE
from orchestrator.simulator.wire.view import Json, WorldView, format_dollars, make_urls


def cvm_info(view: WorldView, cvm: SimulatedCvm) -> Json:
    """An entry of a list of CVMs."""
    phase = view.phase_of(cvm)
    kind = cvm.instance_type
    progress = None
    if phase.operation is not None:
        progress = {
            "target": phase.operation.target,
            "started_at": view.format_time(phase.operation.started),
            "correlation_id": phase.operation.correlation_id,
        }
    info: Json = {
        "id": cvm.hashid,
        "name": cvm.name,
        "app_id": cvm.app.app_id,
        "vm_uuid": view.uuid_of(cvm),
        "instance_id": view.instance_id_of(cvm),
        "resource": {
            "instance_type": kind.id,
            "vcpu": kind.vcpu,
            "memory_in_gb": kind.memory_mb / 1024,
            "disk_in_gb": cvm.disk_gb,
            "gpus": kind.gpus,
            "compute_billing_price": format_dollars(cvm.compute_rate),
            "billing_period": cvm.billing_period,
        },
        "node_info": node_ref(cvm.teepod),
        "os": {"name": IMAGE, "version": "0.5.4", "is_dev": False, "os_image_hash": None},
        "kms_type": "phala",
        "kms_info": {"chain_id": None, "encrypted_env_pubkey": None},
        "status": phase.status,
        "in_progress": phase.in_progress,
        "progress": progress,
        "compose_hash": None,
        "docker_compose_hash": None,
        "pre_launch_script_hash": None,
        "gateway": {"base_domain": GATEWAY_DOMAIN, "cname": None},
        "logs": {"serial": None, "stdout": None, "stderr": None, "container_log_base": None},
        "services": [],
        "endpoints": make_urls(cvm),
        "public_logs": True,
        "public_sysinfo": True,
        "public_tcbinfo": True,
        "gateway_enabled": True,
        "secure_time": False,
        "storage_fs": "zfs",
        "workspace": workspace_ref(view),
        "creator": {"object_type": "user", "id": "usr_operator", "username": view.world.settings.workspace.username},
        "created_at": view.format_time(cvm.created),
        "deleted_at": None,
        "listed": False,
        "project_type": "user",
    }
    if view.is_newest:
        compute, disk = cvm.compute_rate, cvm.disk_rate
        info["hourly_rate"] = {
            "total": format_dollars(compute + disk),
            "compute": format_dollars(compute),
            "disk": format_dollars(disk),
        }
        info["billing_interval"] = "hour"
        info["gpu_rental_order"] = {"id": f"gro_{cvm.number}", "status": "active"} if cvm.gpu_rental else None
    return info


def cvm_detail(view: WorldView, cvm: SimulatedCvm) -> Json:
    """A CVM in detail."""
    return cvm_info(view, cvm) | {"compose_file": None}


def app_entry(view: WorldView, deployment: App, members: list[SimulatedCvm]) -> Json:
    """An app with its CVMs."""
    cvms = [cvm_info(view, cvm) for cvm in members]
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
    }


def node_ref(teepod: Teepod) -> Json:
    """A teepod, called a node in the newer shapes."""
    return {
        "object_type": "node",
        "id": teepod.id,
        "node_id": None if teepod.id is None else teepod.id + 1000,
        "name": teepod.name,
        "region": teepod.region,
        "device_id": None,
        "ppid": None,
        "status": teepod.status,
        "version": "0.5.4",
    }


def workspace_ref(view: WorldView) -> Json | None:
    """The workspace embedded in a CVM; None if the settings give no workspace id."""
    workspace = view.world.settings.workspace
    if not workspace.id:
        return None
    name = workspace.name
    return {"object_type": "workspace", "id": workspace.id, "name": name, "slug": name, "avatar_url": None}
