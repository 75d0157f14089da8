"""The CVMs running at present, for `savings --live`."""

import anyio

from orchestrator.billing.stopped_period import SeenUp
from orchestrator.cli.log_observer import LogObserver
from orchestrator.cvm import UP
from orchestrator.engine.read.inventory import InventoryReader
from orchestrator.playbook.limits import Limits
from orchestrator.runs.endpoint import Endpoint, open_endpoint
from orchestrator.runs.session import limits_of, open_session
from orchestrator.settings.load import Settings


def running_now(settings: Settings) -> list[SeenUp]:
    """List the running CVMs by the current inventory.

    Raises:
        CloudError: when the inventory can't be read.
    """
    with open_endpoint(settings, simulate=False) as where:
        return anyio.run(_read_running, settings, where)


async def _read_running(settings: Settings, where: Endpoint) -> list[SeenUp]:
    limits = limits_of(Limits(), settings)
    async with open_session(settings, where, limits, LogObserver(settings.log), few=True) as session:
        begun = session.clock.wall()
        inventory = await InventoryReader(session.cloud, session.gate, session.rng).read_all()
        now = session.clock.wall()
    return [SeenUp(where.base_url, cvm.ref, now, begun) for cvm in inventory.cvms if cvm.status == UP]
