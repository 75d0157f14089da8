"""Carry out many commands quickly: the program is loaded once, and every command gets a process of its own."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Output:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - any JSON value
        """The JSON document on stdout."""
        return json.loads(self.out)


def carry_out(commands: Sequence[Sequence[str]], environment: Mapping[str, str], folder: Path) -> list[Output]:
    """Carry out commands one after another in that folder; returns what each of them said."""
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(commands),
        env={**environment, "PYTHONPATH": str(_ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outputs = [Output(**each) for each in json.loads(done.stdout)]
    for output in outputs:
        assert "Traceback" not in output.err, output.err
    return outputs


def _load_everything() -> None:
    package = importlib.import_module("orchestrator.cli")
    for module in pkgutil.walk_packages(package.__path__, "orchestrator.cli."):
        importlib.import_module(module.name)


def _carry_out(args: list[str]) -> dict[str, object]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            from orchestrator.cli.main import main  # noqa: PLC0415 - loaded already

            sys.argv = ["orchestrator", *args]
            main()
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return {"code": code, "out": out.read().decode(), "err": err.read().decode()}


if __name__ == "__main__":
    _load_everything()
    json.dump([_carry_out(args) for args in json.load(sys.stdin)], sys.stdout)
