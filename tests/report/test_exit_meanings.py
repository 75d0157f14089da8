"""The phrases of exit codes and endings."""

from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.report.exit_meanings import ENDINGS, describe_end, meaning_of
from tests.report.runs import about, cvm, run

WITHOUT_A_RUN = {Exit.BUG, Exit.USAGE, Exit.NO_MATCH}


def test_every_ending_has_a_phrase() -> None:
    assert set(ENDINGS) == set(Ending)
    assert all(ENDINGS.values())


def test_every_exit_code_of_a_run_has_a_meaning() -> None:
    assert "ended" not in {meaning_of(code) for code in set(Exit) - WITHOUT_A_RUN}


def test_the_end_of_a_run_has_the_number_of_cvms_with_the_wanted_outcome() -> None:
    stopped = ("target.settled", about(0, outcome="settled", status="stopped", seconds=4.5))
    deleted = ("target.settled", about(1, outcome="gone", seconds=4.5))
    assert describe_end(run(stopped, deleted), Exit.ENDED_EARLY) == "ended early: 2 of 3 CVMs stopped"
    assert describe_end(run(stopped), Exit.SIGINT) == "interrupted (Ctrl-C)"
    assert describe_end(run(), Exit.CLOUD).endswith("no request was sent")


def test_the_end_of_a_run_of_several_actions_counts_targets() -> None:
    ref = cvm(1, "web-1").ref
    made = [TargetState(action, action, ref, "running", outcome=Outcome.SETTLED) for action in ("stop", "restart")]
    state = RunState(targets={(target.step, ref.key): target for target in made})
    assert describe_end(state, Exit.OK) == "succeeded: 2 of 2 targets as planned"
