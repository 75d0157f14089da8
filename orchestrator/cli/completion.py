"""Shell completion of run ids, playbooks, variables and workspaces.

Completion has to be as quick as the help. So this module finds names by light scans, without the modules of the store,
of the settings and of YAML. A wrong guess offers a wrong name; the command itself still checks the name.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from orchestrator.playbook.shipped import SHIPPED, is_cases_file, list_playbooks, locate_playbook
from orchestrator.state_files import read_regular

_MAX_BYTES = 1_000_000
_VARIABLES = re.compile(r"^vars[ \t]*:[ \t]*(?:#.*)?\n((?:[ \t]+.*\n|[ \t]*\n|#.*\n)*)", re.MULTILINE)
_KEY = re.compile(r"""^([ ]+)["']?([^\s"'#:{}\[\],-][^\s"'#:]*)["']?[ \t]*:""", re.MULTILINE)


class _BashComplete(BashComplete):
    """Completion for bash. Bash takes `=` for the end of a word, and adds a space after a complete word."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace"
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor and the incomplete word, with the parts around each `=` in one word."""
        args, incomplete = super().get_completion_args()
        words: list[str] = []
        for word in (*args, incomplete):
            if words and (word == "=" or words[-1].endswith("=")):
                words[-1] += word
            else:
                words.append(word)
        return words[:-1], words[-1]


def register_shells() -> None:
    """Register the completion classes of this program with click."""
    add_completion_class(_BashComplete)


def complete_playbook(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """Offer the names of playbooks in `./playbooks` and of shipped playbooks, otherwise files."""
    del ctx, param
    return _offer([*list_playbooks(Path("playbooks")), *list_playbooks(SHIPPED)], incomplete)


def complete_cases(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """Offer the names of playbooks with cases, otherwise files."""
    del ctx, param
    folders = (Path("playbooks"), SHIPPED)
    found = [path for folder in folders for path in sorted(folder.glob("*.y*ml")) if is_cases_file(path)]
    return _offer([path.name.partition(".cases.")[0] for path in found], incomplete)


def complete_run_id(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """Offer the ids of runs and fleet runs of the state folder, newest first, and `last`; otherwise files."""
    del param
    folder = _find_state_folder(ctx.params.get("config"), ctx.params.get("assignments") or ())
    names: list[str] = []
    for kind in ("runs", "fleets"):
        with suppress(OSError, ValueError):
            names += os.listdir(folder / kind)  # noqa: PTH208 - names alone, without an object for each
    ids = (name.removesuffix(".jsonl") for name in names if name.endswith(".jsonl") and not name.startswith("."))
    found = sorted(ids, key=lambda name: name.removeprefix("fleet-"), reverse=True)
    return _offer([*found, "last"] if found else [], incomplete)


def complete_variable(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """Offer `NAME=` for every variable of the chosen playbook without a value so far."""
    given = {pair.partition("=")[0] for pair in ctx.params.get(str(param.name)) or ()}
    # At an option without its value, click stops before the arguments, and leaves them in `args`.
    chosen = ctx.params.get("playbook") or ctx.params.get("playbooks") or ctx.args
    playbooks = [chosen] if isinstance(chosen, str) else chosen
    names = [name for playbook in playbooks for name in _list_variables(playbook)]
    return [
        CompletionItem(f"{name}=") for name in dict.fromkeys(names) if name not in given and name.startswith(incomplete)
    ]


def complete_workspace(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """Offer the workspaces of the settings file without the workspaces given already."""
    given = ctx.params.get(str(param.name)) or ()
    workspaces = _read_settings(ctx.params.get("config")).get("workspaces")
    names = workspaces if isinstance(workspaces, dict) else {}
    return [CompletionItem(name) for name in names if name not in given and name.startswith(incomplete)]


def _offer(names: Iterable[str], incomplete: str) -> list[CompletionItem[Any]]:
    found = [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def _list_variables(playbook: str) -> Iterator[str]:
    """List the keys of the block `vars` in a playbook; nothing for an unreadable playbook."""
    text, file = "", locate_playbook(playbook)
    with suppress(OSError, ValueError):
        text = read_regular(file, _MAX_BYTES).decode("utf-8", "replace") + "\n" if file else ""
    block = _VARIABLES.search(text.replace("\r\n", "\n"))
    keys = _KEY.findall(block.group(1)) if block else []
    return (name for indent, name in keys if indent == keys[0][0])


def _find_state_folder(config: Path | None, assignments: Iterable[str]) -> Path:
    """Find the state folder by the order of the settings: command line, environment, file, default."""
    chosen = [value for name, _, value in (each.partition("=") for each in assignments) if name == "audit.state_dir"]
    names = ("ORCHESTRATOR_AUDIT__STATE_DIR", "ORCHESTRATOR_STATE_DIR")
    chosen = chosen[-1:] or [value for name in names if (value := os.environ.get(name))]
    found = chosen[0] if chosen else None
    if found is None:
        with suppress(LookupError, TypeError):
            found = str(_read_settings(config)["audit"]["state_dir"])
    if found is None:
        import platformdirs  # noqa: PLC0415 - takes time, and is only for the default

        found = str(platformdirs.user_state_path("orchestrator"))
    return Path(os.path.expanduser(found))  # noqa: PTH111 - keeps an unknown home folder


def _read_settings(config: Path | None) -> dict[str, Any]:
    """Read the settings file; empty without a readable file."""
    import tomllib  # noqa: PLC0415 - takes time, and is only for a settings file

    file = config or Path("config.toml")
    if config is None and not file.exists():
        import platformdirs  # noqa: PLC0415 - the same

        file = platformdirs.user_config_path("orchestrator") / "config.toml"
    with suppress(OSError, ValueError, RecursionError):
        return tomllib.loads(read_regular(file, _MAX_BYTES).decode())
    return {}
