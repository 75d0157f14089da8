"""Read the inventory for people and files: every replica, with its facts at one moment."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from orchestrator.billing.rates import needs_price_list
from orchestrator.billing.stopped_period import SeenUp
from orchestrator.cvm import UP, Cvm
from orchestrator.engine.read.inventory import InventoryReader
from orchestrator.playbook.facts import derive_facts
from orchestrator.playbook.limits import Limits
from orchestrator.playbook.select import (
    describe_unmatched,
    find_apps_to_read,
    find_unknown_fact,
    is_covered,
    needs_uptime,
)
from orchestrator.playbook.steps import Select
from orchestrator.runs.session import Endpoint, RunObserver, Session, limits_of, open_session, read_workspace
from orchestrator.runs.uptimes import read_uptimes, try_read_uptimes
from orchestrator.settings.load import Settings


@dataclass(frozen=True, slots=True)
class InventoryReading:
    """The chosen CVMs of a workspace.

    Attributes:
        cvms: the chosen CVMs, in the order of the list.
        read_at: the begin of the read.
        workspace: the id of the workspace; None if unknown.
        unknown_facts: the number of CVMs not chosen because a fact is unknown, by key.
        is_stable: whether the list did not change during the read.
        unmatched: a sentence for every selector value without a match, with the nearest known values.
    """

    cvms: tuple[Cvm, ...]
    read_at: datetime
    workspace: str | None
    unknown_facts: dict[str, int]
    is_stable: bool
    unmatched: tuple[str, ...] = ()


async def read_inventory(session: Session, select: Select) -> InventoryReading:
    """Read the inventory, and choose CVMs.

    Uptimes for display are read for a moderate number of CVMs only, see `try_read_uptimes`.

    Raises:
        CloudError: when the inventory can't be read, or no uptime needed by the select.
    """
    reader = InventoryReader(session.cloud, session.gate, session.rng)
    apps = find_apps_to_read([select], whole_workspace=False)
    read_at = session.clock.wall()
    inventory = await (reader.read_all() if apps is None else reader.read_apps(apps))
    prices = await reader.price_list() if needs_price_list(inventory.cvms) else {}
    cvms = tuple(derive_facts(cvm, moment=read_at, price_list=prices) for cvm in inventory.cvms)
    lacking = [cvm for cvm in cvms if needs_uptime(select, cvm)]
    if lacking:
        cvms = await read_uptimes(session, cvms, lacking)
    chosen = tuple(cvm for cvm in cvms if is_covered(select, cvm))
    facts = (find_unknown_fact(select, cvm) for cvm in cvms)
    workspace = await read_workspace(session, inventory.cvms)
    return InventoryReading(
        await try_read_uptimes(session, chosen),
        read_at,
        workspace.id,
        dict(Counter(fact for fact in facts if fact is not None)),
        inventory.stable,
        tuple(describe_unmatched([select], cvms)),
    )


async def read_running(settings: Settings, where: Endpoint, observer: RunObserver) -> list[SeenUp]:
    """List the running CVMs by the current inventory, for `savings --live`.

    Raises:
        CloudError: when the inventory can't be read.
    """
    async with open_session(settings, where, limits_of(Limits(), settings), observer, few=True) as session:
        begun = session.clock.wall()
        inventory = await InventoryReader(session.cloud, session.gate, session.rng).read_all()
        now = session.clock.wall()
    return [SeenUp(where.base_url, cvm.ref, now, begun) for cvm in inventory.cvms if cvm.status == UP]
