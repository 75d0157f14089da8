"""`orchestrator simulate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from orchestrator.simulator.workspaces import SimulatedWorkspaces


@click.command("simulate", epilog="\b\nExample: orchestrator simulate --port 8765 --cvms 60 --seed 7")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; 0 takes a free port.")
@click.option("--cvms", type=click.IntRange(min=0), help="Number of CVMs in the fleet.")
@click.option("--seed", type=int, help="Random seed: the same seed gives the same fleet and behaviour.")
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML file with fleet, timing, limit and faults."
)
def command(host: str, port: int, cvms: int | None, seed: int | None, config: Path | None) -> None:
    """Serve a simulated Phala Cloud on this machine until Ctrl-C.

    The first line on stdout is {"url": …, "api_key": …, "workspaces": {NAME: API_KEY}}.
    """
    from orchestrator.simulator.serve import serve
    from orchestrator.simulator.settings import SimulatorSettings, SimulatorSettingsError, load_settings

    try:
        settings = load_settings(config) if config is not None else SimulatorSettings()
    except SimulatorSettingsError as error:
        raise SettingsError(str(error)) from error
    try:
        serve(settings.with_fleet(cvms=cvms, seed=seed), host=host, port=port, on_ready=_announce)
    except OSError as error:
        raise UsageError(
            f"can't listen on {host}:{port}: {error.strerror or error}", hint="--port 0 chooses a free port"
        ) from error


def _announce(url: str, workspaces: "SimulatedWorkspaces") -> None:
    keys = {name: simulator.world.api_key for name, simulator in workspaces.by_name.items()}
    click.echo(json.dumps({"url": url, "api_key": workspaces.first.world.api_key, "workspaces": keys}))
