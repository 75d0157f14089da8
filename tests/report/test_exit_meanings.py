"""The phrases of exit codes and endings."""

from orchestrator.outcome import Ending, Exit
from orchestrator.report.exit_meanings import ENDINGS, meaning_of

WITHOUT_A_RUN = {Exit.BUG, Exit.USAGE, Exit.GUARD, Exit.NO_MATCH}


def test_every_ending_has_a_phrase() -> None:
    assert set(ENDINGS) == set(Ending)
    assert all(ENDINGS.values())


def test_every_exit_code_of_a_run_has_a_meaning() -> None:
    assert "ended" not in {meaning_of(code) for code in set(Exit) - WITHOUT_A_RUN}
