"""Operations beside CVMs: instance types, nodes, and the current user."""

from orchestrator.simulator.operations.call import ApiReply, Call
from orchestrator.simulator.refusals import without_code
from orchestrator.simulator.wire import current, shared
from orchestrator.simulator.wire.view import format_dollars


def instance_types(call: Call) -> ApiReply:
    """The instance types by family; public."""
    return ApiReply(shared.list_families(call.world.instance_types))


def family_instance_types(call: Call) -> ApiReply:
    """The instance types of a family; public."""
    wanted = call.path["family"]
    for family in shared.list_families(call.world.instance_types)["result"]:
        if family["name"] == wanted:
            return ApiReply({"items": family["items"], "total": family["total"], "family": wanted})
    raise without_code(404, f"Family {wanted} not found")


def list_nodes(call: Call) -> ApiReply:
    """The teepods; public."""
    return ApiReply([current.node_ref(teepod) for teepod in call.world.teepods])


def current_user(call: Call) -> ApiReply:
    """The user, the workspace and its balance."""
    workspace = call.settings.workspace
    email = f"{workspace.username}@example.com"
    if call.lagged_view.is_legacy:
        flat = {
            "username": workspace.username,
            "email": email,
            "credits": float(workspace.balance),
            "granted_credits": 0.0,
            "avatar": "",
            "team_name": workspace.name,
            "team_tier": "pro",
        }
        return ApiReply(flat)
    body = {
        "user": {
            "username": workspace.username,
            "email": email,
            "role": "user",
            "avatar": "",
            "email_verified": True,
            "totp_enabled": False,
            "has_backup_codes": False,
            "flag_has_password": True,
        },
        "workspace": {
            **({"id": workspace.id} if workspace.id else {}),
            "name": workspace.name,
            "slug": workspace.name,
            "tier": "pro",
            "role": "owner",
            "avatar": None,
        },
        "credits": {
            "balance": format_dollars(workspace.balance),
            "granted_balance": "0.00",
            "is_post_paid": False,
            "outstanding_amount": None,
        },
    }
    return ApiReply(body)
