"""The destination of requests: the cloud of the settings, or a simulated cloud for the length of a command."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.errors import UsageError
from orchestrator.settings.load import Settings


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The destination of requests, and the API key."""

    base_url: str
    api_key: str = field(repr=False)
    simulated: bool = False

    def require_url(self, cloud_url: str) -> None:
        """Refuse to continue a run on another cloud.

        Raises:
            UsageError: when this is another cloud.
        """
        if self.base_url != cloud_url:
            raise UsageError(
                f"the run is for {cloud_url}, the settings are for {self.base_url}",
                hint="use the cloud.base_url (PHALA_CLOUD_API_PREFIX) of the run",
            )


_NAMES = ("dev-api-1", "dev-api-2", "dev-web-1", "staging-api-1", "staging-web-1", "batch-report-1", "batch-report-2")
"""Names in a `--simulate` fleet, so that every shipped playbook matches some CVMs."""


@contextmanager
def open_endpoint(settings: Settings, *, simulate: bool) -> Iterator[Endpoint]:
    """Provide the cloud of the settings, or a simulated cloud for the length of the block."""
    if not simulate:
        found = settings.credentials()
        yield Endpoint(found.base_url, found.api_key)
        return
    from orchestrator.simulator.serve import BackgroundSimulator  # noqa: PLC0415 - only when asked for
    from orchestrator.simulator.settings import SimulatorSettings  # noqa: PLC0415 - the same

    fleet = {"names": _NAMES}
    with BackgroundSimulator(SimulatorSettings.model_validate({"fleet": fleet})) as simulator:
        yield Endpoint(simulator.url, simulator.api_key, simulated=True)
