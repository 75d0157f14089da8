"""Several simulated workspaces at one address."""

import httpx
import pytest

from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import SimulatorSettings, SimulatorSettingsError, parse_settings

TABLES = [
    {"workspace": {"name": "eu"}, "fleet": {"cvms": 3}},
    {"workspace": {"name": "us"}, "fleet": {"cvms": 4}, "limit": {"requests_per_second": 0.001, "burst": 1}},
]


def test_a_key_chooses_the_fleet_and_the_rate_limit() -> None:
    with BackgroundSimulator(parse_settings({"workspaces": TABLES})) as sim:
        eu, us = sim.workspaces.by_name["eu"], sim.workspaces.by_name["us"]
        with httpx.Client(base_url=sim.url) as client:

            def count(key: str) -> object:
                answer = client.get("/cvms/paginated", headers={"X-API-Key": key})
                return answer.json()["total"] if answer.is_success else answer.status_code

            assert [count(eu.world.api_key), count(eu.world.api_key)] == [3, 3]
            assert [count(us.world.api_key), count(us.world.api_key)] == [4, 429]
            assert count("phak_unknown") == 401
        assert (len(eu.requests), len(us.requests)) == (3, 2)


def test_the_control_paths_take_the_name_of_a_workspace() -> None:
    with BackgroundSimulator(parse_settings({"workspaces": TABLES})) as sim:
        url = sim.url.removesuffix("/api/v1") + "/__simulator__/cvms"
        assert [len(httpx.get(url, params=each).json()) for each in ({}, {"workspace": "us"})] == [3, 4]


def test_a_number_of_workspaces_makes_workspaces_with_their_own_names_ids_and_seeds() -> None:
    settings = parse_settings({"workspaces": 3, "fleet": {"cvms": 5, "seed": 7}})
    split = settings.split_workspaces()
    assert [each.workspace.name for each in split] == ["simulated-1", "simulated-2", "simulated-3"]
    assert [each.fleet.seed for each in split] == [7, 8, 9]
    assert len({each.workspace.id for each in split}) == 3


def test_a_single_workspace_has_the_settings_of_the_file() -> None:
    settings = SimulatorSettings()
    assert settings.split_workspaces() == (settings,)


@pytest.mark.parametrize(
    ("workspaces", "complaint"),
    [
        (0, "greater than or equal to 1"),
        ([{"fleet": {"seed": 3}}, {"fleet": {"seed": 3}}], "the same seed"),
        ([{"workspace": {"name": "a"}}, {"workspace": {"name": "a"}}], "the same name"),
        ([{"fleet": {"cvm": 3}}], "cvm"),
        ([{"usage": {}}], "unknown key"),
    ],
)
def test_wrong_workspaces_are_refused(workspaces: object, complaint: str) -> None:
    with pytest.raises(SimulatorSettingsError, match=complaint):
        parse_settings({"workspaces": workspaces})
