"""Carry out the shell blocks of a page, one after another, as a reader would."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.pages import Block
from tests.warm import CLIENT, WarmServer

COMMAND = Path(sys.executable).with_name("orchestrator")
_SHIM = """\
#!/bin/sh
# The reader: answers questions with the number that is asked for, and ends what goes on for ever with Ctrl-C.
case "$1" in
  run|restore|resume|stop|shutdown|start|restart)
    case " $* " in *" --yes "*|*" --expect "*|*" --help "*) ;; *)
      [ /proc/self/fd/0 -ef /dev/null ] || set -- "$@" --yes ;;
    esac ;;
  approve) case " $* " in *" --yes "*) ;; *) set -- "$@" --yes ;; esac ;;
  serve) timeout --signal=INT 2 {command} "$@" --listen none; code=$?
         case $code in 0|124|130) exit 0 ;; esac; exit $code ;;
esac
exec {command} "$@"
"""
_EDITOR = '#!/bin/sh\nprintf %s "$TYPED" > "$1"\n'
_RUN_ID = re.compile(r"RUN_ID|\b2026\d{4}T\d{6}Z-[0-9a-f]{4}\b")
_VOLATILE = (
    (r"\b20\d{6}T\d{6}Z-[0-9a-f]{4}\b", "RUN"),
    (r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?Z| UTC)?", "TIME"),
    (r"\b[0-9a-f]{64}\b", "HASH"),
    (r"\b[0-9a-f]{8,16}…", "HASH"),
    (r"\b\d+(\.\d+)?s\b", "SECONDS"),
    (r"\b\S+@\S+\b", "WHO"),
    (r"\b\d+ records\b", "COUNT records"),
    (r"\bline \d+\b", "line COUNT"),
    (r"unfinished, .*", "unfinished"),
    (r"[ \t]+", " "),
    (r" +$", ""),
)


@dataclass(eq=False)
class Reader:
    """Somebody who follows a page: a folder, an environment that stays from block to block, and what to type.

    Attributes:
        folder: where the reader is; a block may change it.
        environment: what has been exported.
        run_ids: the real ids for those on the page, by what stands there; other ids mean the last run.
        replace: other texts of the page that a reader replaces.
        said: the output of the last command.
    """

    folder: Path
    environment: dict[str, str]
    run_ids: dict[str, str] = field(default_factory=dict)
    replace: dict[str, str] = field(default_factory=dict)
    said: str = ""

    @classmethod
    @contextmanager
    def at(cls, folder: Path, environment: Mapping[str, str]) -> Iterator["Reader"]:
        """Start a reader with nothing but the program, in an empty folder.

        The program is a client of a server for warm processes, so that a start takes a tenth of the time.
        """
        bin_folder, home = folder / "bin", folder / "home"
        bin_folder.mkdir()
        home.mkdir()
        (folder / "client.py").write_text(CLIENT)
        command = f"{sys.executable} -I -S {folder / 'client.py'} {folder / 'warm.socket'}"
        for name, text in (("orchestrator", _SHIM.format(command=command)), ("editor", _EDITOR)):
            (bin_folder / name).write_text(text)
            (bin_folder / name).chmod(0o755)
        start = folder / "work"
        start.mkdir()
        path = f"{bin_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        base = {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "COLUMNS": "160", "EDITOR": "editor"}
        with WarmServer(folder / "warm.socket").serving():
            yield cls(start, {**base, **environment})

    @property
    def logs(self) -> Path:
        """Where the audit logs are."""
        state = Path(
            self.environment.get("ORCHESTRATOR_STATE_DIR", f"{self.environment['HOME']}/.local/state/orchestrator")
        )
        return state / "runs"

    @property
    def last_run(self) -> str:
        """The id of the newest run."""
        return max(self.logs.glob("*.jsonl"), key=_started_at, default=Path("no-run")).stem

    def typed(self, text: str) -> str:
        """The text as the reader types it."""
        for old, new in self.replace.items():
            text = text.replace(old, new)
        return _RUN_ID.sub(lambda found: self.run_ids.get(found.group(), self.last_run), text)

    def do(self, script: str, *, codes: Sequence[int] = (0,)) -> str:
        """Carry a script out, with all that it exports; returns its output."""
        after = self.folder.parent / "after"
        if script.startswith("#!"):
            script = f"sh -c {shlex.quote(script)}"
        text = f"{self.typed(script)}\ncode=$?\n{{ pwd; env -0; }} > '{after}'\nexit $code\n"
        with (self.folder.parent / "stdin").open("w+") as stdin:
            process = subprocess.Popen(
                ["/bin/bash", "-c", text],
                cwd=self.folder,
                env=self.environment,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            try:
                out, _ = process.communicate(timeout=150)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        assert process.returncode in codes, f"{text}\n{process.returncode}\n{out}"
        assert "Traceback" not in out, out
        where, _, exported = after.read_text().partition("\n")
        self.folder = Path(where)
        kept = dict(line.split("=", 1) for line in exported.split("\0") if "=" in line)
        self.environment = {key: value for key, value in kept.items() if key not in {"_", "SHLVL", "OLDPWD"}}
        return out

    def follow(self, block: Block, *, codes: Mapping[str, tuple[int, ...]] | None = None) -> None:
        """Carry a block out command by command, and compare what it shows of their output."""
        if block.language == "console" and not block.text.startswith("$ "):
            compare(block, self.typed(block.text), self.said)
        for command, safe_text in commands_of(block):
            expected = next((code for words, code in (codes or {}).items() if words in command), (0,))
            out = self.said = self.do(command, codes=expected)
            if safe_text:
                compare(block, self.typed(safe_text), out)


def _started_at(log: Path) -> str:
    """The moment of the first record, since run ids of one second are in no order; empty while it is being written."""
    with log.open("rb") as file:
        line = file.readline()
    return str(json.loads(line)["ts"]) if line.endswith(b"\n") else ""


def commands_of(block: Block) -> list[tuple[str, str]]:
    """The commands of a block, each with the output that is shown below it."""
    if block.language != "console":
        return [(block.text, "")] if "case $code" in block.text else [(each, "") for each in statements(block.text)]
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found:
            found[-1] = found[-1][0], found[-1][1] + line
    return found


def statements(text: str) -> list[str]:
    """The lines of a script, those that are continued put together."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def compare(block: Block, safe_text: str, out: str) -> None:
    """What the page shows is what came out: `…` stands for anything, and moments, ids and digests are any."""
    pattern = ".*".join(re.escape(part) for part in plain(safe_text.strip()).split("…"))
    assert re.search(pattern, plain(out), re.DOTALL), (
        f"{block}\n--- shown\n{plain(safe_text)}\n--- came out\n{plain(out)}"
    )


def plain(text: str) -> str:
    """A text without what differs from run to run."""
    for found, word in _VOLATILE:
        text = re.sub(found, word, text, flags=re.MULTILINE)
    return text
