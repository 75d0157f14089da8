"""What exit codes and outcomes mean, in words for people."""

from orchestrator.outcome import Exit, Outcome

AS_WANTED = frozenset({Outcome.SETTLED, Outcome.GONE, Outcome.SKIPPED})
"""The outcomes of targets that are as their step wanted them."""

TROUBLE = frozenset(Outcome) - AS_WANTED - {Outcome.NOT_SENT}
"""The outcomes of targets that something went wrong with."""

_MEANING: dict[int, str] = {
    Exit.OK: "all as wanted",
    Exit.FAILED: "finished; some failed or were refused",
    Exit.UNSETTLED: "finished; some did not settle in time",
    Exit.ENDED_EARLY: "ended early",
    Exit.CLOUD: "the cloud refused; nothing was changed",
    Exit.SIGINT: "interrupted",
    Exit.SIGTERM: "terminated",
}


def meaning_of(code: int) -> str:
    """What an exit code says of a run."""
    return _MEANING.get(code, "ended")
