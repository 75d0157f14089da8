"""The configuration file."""

from pathlib import Path

import pytest

from orchestrator.simulator.faults import FAULTS
from orchestrator.simulator.operations.table import OPERATIONS
from orchestrator.simulator.settings import Behaviour, SimulatorSettings, SimulatorSettingsError, load_settings

WHOLE = """
behaviour = [{kind = "stuck", count = 2}, {kind = "refuses", names = ["train-*"]}]
[fleet]
cvms = 40
teepod_names = ["left", "right"]
[timing]
stop_seconds = [1, 2]
[limit]
requests_per_second = 5
[faults]
reset_after = 0.25
error_after = {probability = 1, operations = ["stop_cvm"], limit = 3}
"""


def test_a_file_is_read_and_missing_keys_have_defaults(tmp_path: Path) -> None:
    file = tmp_path / "simulator.toml"
    file.write_text(WHOLE)
    settings = load_settings(file)
    assert settings.fleet.cvms == 40
    assert settings.fleet.stopped_share == SimulatorSettings().fleet.stopped_share
    assert settings.faults.reset_after.probability == 0.25
    assert settings.faults.error_after.limit == 3
    assert [behaviour.kind for behaviour in settings.behaviour] == ["stuck", "refuses"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[flet]", "flet: unknown key"),
        ("[fleet]\ncvm = 3", "fleet.cvm: unknown key"),
        ("[fleet]\ncvms = -1", "fleet.cvms: Input should be greater than or equal to 0"),
        ("[timing]\nstop_seconds = [3, 1]", "timing.stop_seconds: Value error, a range is"),
        ("[faults]\nhuge = 2", "faults.huge.probability: Input should be less than or equal to 1"),
        ("[[behaviour]]\nkind = 'stuck'", "behaviour 'stuck' needs `count`, `names` or both"),
        ("[[behaviour]]\nkind = 'sulks'\ncount = 1", "behaviour.0.kind: Input should be 'stuck'"),
        ("not toml", "Expected '='"),
    ],
)
def test_an_error_in_a_file_names_the_file_and_the_key(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "simulator.toml"
    file.write_text(text)
    with pytest.raises(SimulatorSettingsError) as refused:
        load_settings(file)
    assert str(refused.value).startswith(str(file))
    assert complaint in str(refused.value)


def test_a_missing_file_is_an_error_with_its_name() -> None:
    with pytest.raises(SimulatorSettingsError, match=r"nowhere\.toml"):
        load_settings("nowhere.toml")


def test_with_fleet_replaces_size_and_seed() -> None:
    settings = SimulatorSettings().with_fleet(cvms=7, seed=9)
    assert (settings.fleet.cvms, settings.fleet.seed) == (7, 9)
    assert SimulatorSettings().with_fleet() == SimulatorSettings()


DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "reference" / "simulator.md"


def test_every_key_fault_behaviour_and_operation_is_in_the_reference() -> None:
    text = DOCS.read_text(encoding="utf-8")
    words = [*FAULTS, *(operation.name for operation in OPERATIONS), *Behaviour.model_fields]
    for name, field in SimulatorSettings.model_fields.items():
        words += [name, *getattr(type(field.default), "model_fields", {})] if field.default else [name]
    words += ["stuck", "returns", "resurrects", "errors", "vanishes", "refuses", "busy", "conflict", "weird_status"]
    assert [word for word in words if f"`{word}`" not in text and f"`[{word}]`" not in text] == []


def test_the_example_in_the_reference_is_a_valid_file(tmp_path: Path) -> None:
    example = DOCS.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    file = tmp_path / "example.toml"
    file.write_text(example)
    assert load_settings(file).fleet.cvms == 200
