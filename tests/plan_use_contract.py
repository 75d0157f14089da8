"""The contract of the stores of used plans: a plan is used by one run."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from secrets import token_hex

from orchestrator.audit.plan_uses import PlanUse, PlanUseStore

NOW = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)


def new_digest() -> str:
    """A digest of a new plan: the tests of a database share its tables."""
    return token_hex(32)


class PlanUseContract:
    """Tests over any store; the fixture `store` gives an empty store."""

    def test_a_plan_is_used_by_one_run(self, store: PlanUseStore) -> None:
        digest = new_digest()
        assert store.use_plan(digest, "run-1", NOW) is None
        used = store.use_plan(digest, "run-2", NOW)
        assert isinstance(used, PlanUse)
        assert used.run_id == "run-1"
        assert store.use_plan(new_digest(), "run-2", NOW) is None

    def test_the_same_run_may_ask_again_after_a_lost_answer(self, store: PlanUseStore) -> None:
        digest = new_digest()
        assert store.use_plan(digest, "run-1", NOW) is None
        assert store.use_plan(digest, "run-1", NOW) is None

    def test_of_many_runs_at_once_one_uses_the_plan(self, store: PlanUseStore) -> None:
        digest = new_digest()
        with ThreadPoolExecutor(4) as pool:
            uses = list(pool.map(lambda number: store.use_plan(digest, f"run-{number}", NOW), range(8)))
        assert uses.count(None) == 1
