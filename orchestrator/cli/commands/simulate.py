"""`orchestrator simulate`."""

import json
from pathlib import Path

import click

from orchestrator.errors import SettingsError, UsageError


@click.command("simulate", epilog="\b\nExample: orchestrator simulate --port 8765 --cvms 60 --seed 7")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; 0 takes a free one.")
@click.option("--cvms", type=click.IntRange(min=0), help="How many CVMs the fleet has.")
@click.option("--seed", type=int, help="The same seed gives the same fleet and the same behaviour.")
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML with fleet, timing, limit, faults."
)
def command(host: str, port: int, cvms: int | None, seed: int | None, config: Path | None) -> None:
    """Serve a simulated Phala Cloud on this machine, until Ctrl-C.

    The first line on stdout is {"url": …, "api_key": …}.
    """
    from orchestrator.simulator.serve import serve
    from orchestrator.simulator.settings import Settings, load_settings
    from orchestrator.simulator.settings import SettingsError as SimulatorError

    try:
        settings = load_settings(config) if config is not None else Settings()
    except SimulatorError as error:
        raise SettingsError(str(error)) from error
    fleet = {key: value for key, value in (("cvms", cvms), ("seed", seed)) if value is not None}
    settings = settings.model_copy(update={"fleet": settings.fleet.model_copy(update=fleet)})
    try:
        serve(settings, host=host, port=port, on_ready=_announce)
    except OSError as error:
        raise UsageError(
            f"can't listen on {host}:{port}: {error.strerror or error}", hint="--port 0 takes a free one"
        ) from error


def _announce(url: str, api_key: str) -> None:
    click.echo(json.dumps({"url": url, "api_key": api_key}))
