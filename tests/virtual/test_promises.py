"""Faults and deaths on virtual time: no request is lost, none is repeated, and the log stays whole."""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from orchestrator.action import Action
from orchestrator.playbook.value_types import Dispatch
from tests.virtual.play import Script, play

FAULTS = (
    "error_before",
    "error_after",
    "reset_before",
    "reset_after",
    "hang_before",
    "hang_after",
    "truncated",
    "not_json",
    "throttle",
    "unavailable",
    "wrong_shape",
    "missing_uuids",
    "duplicates",
)

MOST_FAULTS = 0.4
"""The largest share of requests that meet a fault."""


def script_of(seed: int, *, cvms: int = 300) -> Script:
    """A script in which the seed chooses the action, the faults and their share, and how often the process dies."""
    rng = Random(seed)
    action = rng.choice([Action.STOP, Action.STOP, Action.SHUTDOWN, Action.START])
    dispatch: Dispatch = "batch" if action is Action.STOP and rng.random() < 0.3 else "single"
    faults = {name: rng.choice([0.01, 0.03, 0.1, 0.2]) for name in rng.sample(FAULTS, rng.randint(0, len(FAULTS)))}
    # With more faults than this, a CVM is rightly given up after four requests in ten minutes.
    share = min(1.0, MOST_FAULTS / max(sum(faults.values()), MOST_FAULTS))
    return Script(
        seed=seed,
        cvms=cvms,
        action=action,
        dispatch=dispatch,
        escalate_after=rng.choice([None, 4.0]) if action is Action.SHUTDOWN else None,
        faults={name: share * probability for name, probability in faults.items()},
        deaths=rng.choice([0, 1, 2, 3, 5]),
        steps=(3 if dispatch == "batch" else 14) * cvms,
    )


@pytest.mark.parametrize("seed", range(12))
def test_faults_and_deaths_lose_no_request_and_repeat_none(tmp_path: Path, seed: int) -> None:
    play(script_of(seed, cvms=60), tmp_path).check_promises()


def test_the_deaths_come_in_the_middle_of_runs(tmp_path: Path) -> None:
    deaths = [play(script_of(seed, cvms=30), tmp_path / str(seed)).deaths for seed in range(3)]
    assert sum(deaths) >= 5


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 2000))
def test_faults_and_deaths_over_a_thousand_seeds_of_three_hundred_cvms(tmp_path: Path, seed: int) -> None:
    play(script_of(seed), tmp_path).check_promises()


def test_a_seed_gives_the_same_log_in_every_process(tmp_path: Path) -> None:
    logs = []
    for hash_seed in ("1", "2"):
        code = (
            "import sys; from pathlib import Path; from tests.virtual.test_promises import script_of; "
            "from tests.virtual.play import play; play(script_of(7, cvms=30), Path(sys.argv[1]))"
        )
        folder = tmp_path / hash_seed
        folder.mkdir()
        environment = {"PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=environment, timeout=100)
        logs.append(next(folder.iterdir()).read_bytes())
    assert logs[0] == logs[1]
