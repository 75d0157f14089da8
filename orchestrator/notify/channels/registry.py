"""The list of all channels, and the reading of the configured channels with their secrets."""

from collections.abc import Callable

from orchestrator.errors import SettingsError
from orchestrator.notify.channels.channel import Channel
from orchestrator.notify.channels.slack import read_slack
from orchestrator.notify.channels.webhook import read_webhook
from orchestrator.settings.model import NotifySection

READERS: tuple[Callable[[NotifySection], Channel | None], ...] = (read_webhook, read_slack)


def read_channels(settings: NotifySection) -> tuple[list[Channel], list[SettingsError]]:
    """Read the configured channels, and collect the errors of unusable channels.

    Errors are returned, not raised: a broken channel must not prevent a stop.
    """
    channels: list[Channel] = []
    errors: list[SettingsError] = []
    for read in READERS:
        try:
            channel = read(settings)
        except SettingsError as error:
            errors.append(error)
        else:
            channels += [] if channel is None else [channel]
    return channels, errors
