"""What a plan is warned of that only the settings tell."""

from orchestrator.playbook.schema import Playbook
from orchestrator.runs.prepare import list_settings_warnings
from orchestrator.settings.load import Settings


def test_a_plan_is_warned_of_questions_that_may_wait_for_longer_than_a_run_may_take() -> None:
    ask = {"action": "pause", "question": "Go on?", "timeout": "13h"}
    stop = {"action": "stop", "select": {"all": "true"}}
    once, twice = (Playbook.model_validate({"name": "p", "steps": [stop, *[ask] * number]}) for number in (1, 2))
    assert list(list_settings_warnings(once, Settings())) == []
    (warning,) = list_settings_warnings(twice, Settings())
    assert "may wait for 1d2h, but a run ends after 1d (settle.whole_run)" in warning.message
