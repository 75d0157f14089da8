"""Carry out many commands that only read, one after another in one process of their own, which is quick."""

import json
import os
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
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outputs = [Output(**each) for each in json.loads(done.stdout)]
    for output in outputs:
        assert "Traceback" not in output.err, output.err
    return outputs


def _carry_out(args: list[str]) -> dict[str, object]:
    """Carry one command out in this process, with its output in files."""
    from orchestrator.cli.main import main  # noqa: PLC0415 - the tests themselves do without

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.argv, code = ["orchestrator", *args], 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        out.seek(0)
        err.seek(0)
        return {"code": code, "out": out.read().decode(), "err": err.read().decode()}


if __name__ == "__main__":
    answer = os.dup(1)
    done = [_carry_out(args) for args in json.load(sys.stdin)]
    with os.fdopen(answer, "w") as stream:
        json.dump(done, stream)
