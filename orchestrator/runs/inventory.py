"""Read the inventory for people and files: every replica, with its facts at one moment."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Self, TypeVar

import anyio

from orchestrator.billing.rates import needs_price_list
from orchestrator.billing.stopped_period import SeenUp
from orchestrator.cvm import UP, Cvm
from orchestrator.engine.read.inventory import InventoryReader
from orchestrator.errors import OrchestratorError
from orchestrator.playbook.limits import Limits
from orchestrator.playbook.select import (
    derive_facts,
    find_apps_to_read,
    find_unknown_fact,
    is_covered,
    needs_uptime,
)
from orchestrator.playbook.steps import Select
from orchestrator.runs.fleet.members import Member
from orchestrator.runs.session import Endpoint, RunObserver, Session, limits_of, open_session, read_workspace
from orchestrator.runs.uptimes import read_uptimes, try_read_uptimes
from orchestrator.runs.workspaces import name_workspace
from orchestrator.settings.load import Settings

_T = TypeVar("_T")
_MOST_AT_ONCE = 8
"""Workspaces read at the same time."""


@dataclass(frozen=True, slots=True)
class InventoryReading:
    """The chosen CVMs of a workspace.

    Attributes:
        cvms: the chosen CVMs, in the order of the list.
        read_at: the begin of the read.
        workspace: the id of the workspace; None if unknown.
        unknown_facts: the number of CVMs not chosen because a fact is unknown, by key.
        is_stable: whether the list did not change during the read.
        every: all CVMs of the list.
    """

    cvms: tuple[Cvm, ...]
    read_at: datetime
    workspace: str | None
    unknown_facts: dict[str, int]
    is_stable: bool
    every: tuple[Cvm, ...] = ()

    @classmethod
    def join(cls, readings: Sequence[Self]) -> Self:
        """Join the readings of several workspaces, in order."""
        if len(readings) == 1:
            return readings[0]
        unknown = Counter[str]()
        for reading in readings:
            unknown.update(reading.unknown_facts)
        return cls(
            tuple(cvm for reading in readings for cvm in reading.cvms),
            min(reading.read_at for reading in readings),
            None,
            dict(unknown),
            all(reading.is_stable for reading in readings),
            tuple(cvm for reading in readings for cvm in reading.every),
        )


async def read_inventories(
    members: Sequence[Member], select: Select, observe: Callable[[Settings], RunObserver]
) -> list[InventoryReading]:
    """Read the inventories of several workspaces side by side.

    Args:
        members: the workspaces.
        select: the CVMs to choose.
        observe: returns the observer of a workspace.

    Raises:
        CloudError: when an inventory can't be read; the error names the workspace.
    """
    return await _read_each(members, partial(read_inventory, select=select), observe)


async def _read_each(
    members: Sequence[Member], read: Callable[[Session], Awaitable[_T]], observe: Callable[[Settings], RunObserver]
) -> list[_T]:
    """Read something of every workspace, a few workspaces at a time; the first error ends all."""
    found: dict[int, _T] = {}
    failures: dict[int, OrchestratorError] = {}
    limiter = anyio.CapacityLimiter(_MOST_AT_ONCE)

    async def read_member(number: int, member: Member) -> None:
        """Read a workspace, or keep the error."""
        settings, limits = member.settings, limits_of(Limits(), member.settings)
        try:
            async with limiter, open_session(settings, member.endpoint, limits, observe(settings), few=True) as session:
                found[number] = await read(session)
        except OrchestratorError as error:  # else the task group would wrap the error in an exception group
            failures[number] = name_workspace(error, member.name)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for number, member in enumerate(members):
            group.start_soon(read_member, number, member)
    if failures:
        raise failures[min(failures)]
    return [found[number] for number in range(len(members))]


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
        cvms,
    )


async def read_running(settings: Settings, where: Endpoint, observer: RunObserver) -> list[SeenUp]:
    """List the running CVMs by the current inventory, for `savings --live`.

    Raises:
        CloudError: when the inventory can't be read.
    """
    async with open_session(settings, where, limits_of(Limits(), settings), observer, few=True) as session:
        return await _list_running(session)


async def read_running_of_each(members: Sequence[Member], observe: Callable[[Settings], RunObserver]) -> list[SeenUp]:
    """List the running CVMs of several workspaces; arguments and errors as in `read_inventories`."""
    return [each for found in await _read_each(members, _list_running, observe) for each in found]


async def _list_running(session: Session) -> list[SeenUp]:
    begun = session.clock.wall()
    inventory = await InventoryReader(session.cloud, session.gate, session.rng).read_all()
    now = session.clock.wall()
    url = session.endpoint.base_url
    return [SeenUp(url, cvm.ref, now, begun) for cvm in inventory.cvms if cvm.status == UP]
