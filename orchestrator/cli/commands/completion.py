"""`orchestrator completion`."""

import click
from click.shell_completion import get_completion_class

from orchestrator.cli.completion import register_shells
from orchestrator.cli.main import COMPLETING, group


@click.command("completion", epilog="\b\nExample: echo 'eval \"$(orchestrator completion bash)\"' >> ~/.bashrc")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash: echo 'eval "$(orchestrator completion bash)"' >> ~/.bashrc
    zsh:  echo 'eval "$(orchestrator completion zsh)"' >> ~/.zshrc
    fish: orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish
    """  # noqa: D301 - the escape is one: click keeps the lines that follow it
    register_shells()
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click has a class for each of the choices
    click.echo(kind(group, {}, "orchestrator", COMPLETING).source())
