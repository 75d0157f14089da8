"""Fleet runs through faults, deaths and interruptions on virtual time: nothing is lost, nothing is sent twice."""

from pathlib import Path
from random import Random

import pytest

from tests.virtual.fleet_play import FleetScript, play_fleet
from tests.virtual.test_promises import script_of


def fleet_script_of(seed: int, *, cvms: int) -> FleetScript:
    """A script in which the seed chooses the action, the faults, the deaths, the interruptions and the canary."""
    alone, rng = script_of(seed, cvms=cvms), Random(seed)
    return FleetScript(
        seed=seed,
        cvms=cvms,
        action=alone.action,
        dispatch=alone.dispatch,
        faults=alone.faults,
        deaths=rng.choice([1, 2, 3, 5]),
        steps=alone.steps * 3,
        first=rng.choice([None, None, "a", "c"]),
        interruptions=rng.choice([0, 0, 1, 2]),
    )


@pytest.mark.parametrize("seed", range(8))
def test_deaths_between_and_within_workspaces_lose_no_request_and_repeat_none(tmp_path: Path, seed: int) -> None:
    play_fleet(fleet_script_of(seed, cvms=8), tmp_path).check_promises()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1500))
def test_five_hundred_fleet_runs_of_three_workspaces(tmp_path: Path, seed: int) -> None:
    play_fleet(fleet_script_of(seed, cvms=40), tmp_path).check_promises()
