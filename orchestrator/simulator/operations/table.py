"""Every operation that is answered, and the way from a path to its operation."""

from orchestrator.simulator.operations import account, apps, listing, power, status
from orchestrator.simulator.operations.call import Operation

PREFIX = "/api/v1"

OPERATIONS = (
    Operation("list_cvms", "GET", "/cvms", listing.list_cvms, query=listing.Filter),
    Operation("list_cvms_paginated", "GET", "/cvms/paginated", listing.list_cvms_paginated, query=listing.Page),
    Operation("batch_stop", "POST", "/cvms/batch-stop", power.batch_stop, body=power.BatchStop),
    Operation("get_cvm", "GET", "/cvms/{cvm_id}", listing.get_cvm),
    Operation("stop_cvm", "POST", "/cvms/{cvm_id}/stop", power.stop_cvm),
    Operation("shutdown_cvm", "POST", "/cvms/{cvm_id}/shutdown", power.shutdown_cvm),
    Operation("start_cvm", "POST", "/cvms/{cvm_id}/start", power.start_cvm),
    Operation(
        "restart_cvm",
        "POST",
        "/cvms/{cvm_id}/restart",
        power.restart_cvm,
        body=power.Restart,
        body_required=False,
    ),
    Operation("cvm_state", "GET", "/cvms/{cvm_id}/state", status.cvm_state, query=status.StateQuery),
    Operation(
        "cvm_operations", "GET", "/cvms/{cvm_id}/operations", status.cvm_operations, query=status.OperationsQuery
    ),
    Operation("operation_status", "GET", "/cvms/{cvm_id}/operation-status", status.operation_status),
    Operation("status_batch", "POST", "/status/batch", status.status_batch, body=status.BatchStatus),
    Operation("list_apps", "GET", "/apps", apps.list_apps, query=apps.AppPage),
    Operation("get_app", "GET", "/apps/{app_id}", apps.get_app),
    Operation("app_cvms", "GET", "/apps/{app_id}/cvms", apps.app_cvms),
    Operation("app_usage", "GET", "/apps/{app_id}/usage", apps.app_usage, query=apps.UsageQuery),
    Operation("instance_types", "GET", "/instance-types", account.instance_types, public=True),
    Operation("family_instance_types", "GET", "/instance-types/{family}", account.family_instance_types, public=True),
    Operation("list_nodes", "GET", "/attestations/nodes", account.list_nodes, public=True),
    Operation("current_user", "GET", "/auth/me", account.current_user),
)

OPERATION_NAMES = frozenset(operation.name for operation in OPERATIONS)


class Routes:
    """Finds the operation for a method and a path."""

    def __init__(self) -> None:
        self._by_shape: dict[tuple[str, ...], dict[str, Operation]] = {}
        for operation in OPERATIONS:
            shape = tuple("*" if part.startswith("{") else part for part in operation.path.split("/")[1:])
            self._by_shape.setdefault(shape, {})[operation.method] = operation

    def find_operation(self, method: str, path: str) -> tuple[Operation | None, dict[str, str], bool]:
        """The operation, the values in its path, and whether the path exists at all, with whatever method."""
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


def _path_values(operation: Operation, parts: tuple[str, ...]) -> dict[str, str]:
    names = operation.path.split("/")[1:]
    return {name[1:-1]: part for name, part in zip(names, parts, strict=True) if name.startswith("{")}
