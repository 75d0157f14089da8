"""The CVMs running at present, for `savings --live`."""

from orchestrator.billing.stopped_period import SeenUp
from orchestrator.cvm import UP
from orchestrator.engine.read.inventory import InventoryReader
from orchestrator.playbook.limits import Limits
from orchestrator.runs.session import Endpoint, RunObserver, limits_of, open_session
from orchestrator.settings.load import Settings


async def read_running(settings: Settings, where: Endpoint, observer: RunObserver) -> list[SeenUp]:
    """List the running CVMs by the current inventory.

    Raises:
        CloudError: when the inventory can't be read.
    """
    async with open_session(settings, where, limits_of(Limits(), settings), observer, few=True) as session:
        begun = session.clock.wall()
        inventory = await InventoryReader(session.cloud, session.gate, session.rng).read_all()
        now = session.clock.wall()
    return [SeenUp(where.base_url, cvm.ref, now, begun) for cvm in inventory.cvms if cvm.status == UP]
