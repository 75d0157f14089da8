"""The table of simulated operations, and the search for the operation of a path."""

from orchestrator.simulator.operations import account, apps, listing, power, status
from orchestrator.simulator.operations.call import ApiOperation

PREFIX = "/api/v1"

OPERATIONS = (
    ApiOperation("list_cvms", "GET", "/cvms", listing.list_cvms, query=listing.AdminFilter),
    ApiOperation("list_cvms_paginated", "GET", "/cvms/paginated", listing.list_cvms_paginated, query=listing.PageQuery),
    ApiOperation("batch_stop", "POST", "/cvms/batch-stop", power.batch_stop, body=power.BatchStop),
    ApiOperation("get_cvm", "GET", "/cvms/{cvm_id}", listing.get_cvm),
    ApiOperation("stop_cvm", "POST", "/cvms/{cvm_id}/stop", power.stop_cvm),
    ApiOperation("shutdown_cvm", "POST", "/cvms/{cvm_id}/shutdown", power.shutdown_cvm),
    ApiOperation("start_cvm", "POST", "/cvms/{cvm_id}/start", power.start_cvm),
    ApiOperation(
        "restart_cvm",
        "POST",
        "/cvms/{cvm_id}/restart",
        power.restart_cvm,
        body=power.Restart,
        body_required=False,
    ),
    ApiOperation("cvm_state", "GET", "/cvms/{cvm_id}/state", status.cvm_state, query=status.StateQuery),
    ApiOperation(
        "cvm_operations", "GET", "/cvms/{cvm_id}/operations", status.cvm_operations, query=status.OperationsQuery
    ),
    ApiOperation("operation_status", "GET", "/cvms/{cvm_id}/operation-status", status.operation_status),
    ApiOperation("status_batch", "POST", "/status/batch", status.status_batch, body=status.BatchStatus),
    ApiOperation("list_apps", "GET", "/apps", apps.list_apps, query=apps.AppPage),
    ApiOperation("get_app", "GET", "/apps/{app_id}", apps.get_app),
    ApiOperation("app_cvms", "GET", "/apps/{app_id}/cvms", apps.app_cvms),
    ApiOperation("app_usage", "GET", "/apps/{app_id}/usage", apps.app_usage, query=apps.UsageQuery),
    ApiOperation("instance_types", "GET", "/instance-types", account.instance_types, public=True),
    ApiOperation(
        "family_instance_types", "GET", "/instance-types/{family}", account.family_instance_types, public=True
    ),
    ApiOperation("list_nodes", "GET", "/attestations/nodes", account.list_nodes, public=True),
    ApiOperation("current_user", "GET", "/auth/me", account.current_user),
)

OPERATION_NAMES = frozenset(operation.name for operation in OPERATIONS)


class Routes:
    """Finds the operation for a method and a path."""

    def __init__(self) -> None:
        self._by_shape: dict[tuple[str, ...], dict[str, ApiOperation]] = {}
        for operation in OPERATIONS:
            shape = tuple("*" if part.startswith("{") else part for part in operation.path.split("/")[1:])
            self._by_shape.setdefault(shape, {})[operation.method] = operation

    def find_operation(self, method: str, path: str) -> tuple[ApiOperation | None, dict[str, str], bool]:
        """Find the operation and the values in its path, and check for the path with any method."""
        parts = tuple(path.removeprefix(PREFIX).split("/")[1:]) if path.startswith(f"{PREFIX}/") else ()
        known = False
        for shape in (parts, _replace_value(parts)):
            methods = self._by_shape.get(shape)
            if methods is None:
                continue
            known = True
            operation = methods.get(method)
            if operation is not None:
                return operation, _path_values(operation, parts), True
        return None, {}, known


def _replace_value(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("*" if index == 1 else part for index, part in enumerate(parts))


def _path_values(operation: ApiOperation, parts: tuple[str, ...]) -> dict[str, str]:
    names = operation.path.split("/")[1:]
    return {name[1:-1]: part for name, part in zip(names, parts, strict=True) if name.startswith("{")}
