"""`abandon FLEET_ID` of a fleet run that crashed before its plan."""

import json
from pathlib import Path

from tests.cli.handlers.fleet.conftest import FLEET_ID, Invoke, write_fleet


def test_without_a_plan_nothing_was_sent_so_no_key_is_needed_and_nothing_is_read(state: Path, invoke: Invoke) -> None:
    for log in write_fleet(state):
        del log.lines[2:]
        log.write(state)
    fleet = state / "fleets" / f"{FLEET_ID}.jsonl"
    fleet.write_bytes(fleet.read_bytes().splitlines(keepends=True)[0])
    keys = "".join(f'[workspaces.prod-{number}]\napi_key_env = "NO_KEY"\n' for number in range(2))
    Path("config.toml").write_text(keys)
    ended = json.loads(invoke("abandon", FLEET_ID, "--reason", "crashed", "--json").stdout)
    assert (ended["exit_code"], ended["totals"]["counts"]) == (8, {"not_sent": 2})
    assert not (state / "rate").exists()
