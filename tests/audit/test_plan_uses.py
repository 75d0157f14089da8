"""Used plans: one run for each plan, over files."""

from pathlib import Path

import pytest

from orchestrator.audit.plan_uses import FilePlanUseStore, PlanUse
from tests.plan_use_contract import NOW, PlanUseContract


class TestFilePlanUseStore(PlanUseContract):
    """The contract over files."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> FilePlanUseStore:
        return FilePlanUseStore(tmp_path)


def test_a_use_cut_off_by_a_crash_still_counts(tmp_path: Path) -> None:
    store = FilePlanUseStore(tmp_path)
    store.folder.mkdir()
    (store.folder / "ab.json").touch()
    assert store.use_plan("ab", "r-1", NOW) == PlanUse("unknown", "unknown")
