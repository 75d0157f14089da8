"""Plans for the tests, with simple limits and prices."""

from decimal import Decimal
from typing import Any

from orchestrator.cvm import Cvm
from orchestrator.playbook.guards import merge_guards
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.plan_warning import WarningCode
from orchestrator.playbook.planning import make_plan
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.playbook.schema import Guards, Playbook

LIMITS = RunLimits(5, 5, 10, 10)


def plan_of(book: Playbook, inventory: list[Cvm], **more: Any) -> Plan:  # noqa: ANN401 - any argument of make_plan
    return make_plan(
        book,
        inventory,
        **{
            "guards": merge_guards(book.guards, Guards()),
            "limits": LIMITS,
            "settle_timeout": 600,
            "price_list": {},
            "storage_usd_per_gb_hour": Decimal("0.0001"),
            "batch_size": 100,
            **more,
        },
    )


def is_allowed(plan: Plan) -> bool:
    return all(check.ok for check in plan.guards)


def messages_of(plan: Plan) -> list[str]:
    """List the warnings of a plan, except the warning about missing guards."""
    return [each.message for each in plan.warnings if each.code is not WarningCode.NO_GUARDS]
