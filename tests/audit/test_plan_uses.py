"""Used plans: one run for each plan, over files."""

from pathlib import Path

import pytest

from orchestrator.audit.plan_uses import FilePlanUseStore, PlanUse
from orchestrator.errors import SettingsError
from orchestrator.times import timestamp
from tests.plan_use_contract import NOW, PlanUseContract


class TestFilePlanUseStore(PlanUseContract):
    """The contract over files."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> FilePlanUseStore:
        return FilePlanUseStore(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"[" * 4000, b'{"run_id": "r-1", "at": "' + b"x" * 4096 + b'"}', None]
)
def test_a_use_cut_off_by_a_crash_still_counts(tmp_path: Path, content: bytes | None) -> None:
    store = FilePlanUseStore(tmp_path)
    file = store.folder / "ab.json"
    file.parent.mkdir()
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    assert store.use_plan("ab", "r-1", NOW) == PlanUse("unknown", "unknown")


def test_the_use_of_a_plan_is_in_a_file_named_by_its_digest(tmp_path: Path) -> None:
    store = FilePlanUseStore(tmp_path)
    assert store.use_plan("ab", "r-1", NOW) is None
    text = (tmp_path / "used-plans" / "ab.json").read_text(encoding="ascii")
    assert text == f'{{"v": 1, "run_id": "r-1", "at": "{timestamp(NOW)}"}}\n'
    assert store.use_plan("ab", "r-2", NOW) == PlanUse("r-1", timestamp(NOW))


def test_a_use_that_cannot_be_recorded_is_an_error_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "used-plans").write_text("")
    with pytest.raises(SettingsError) as caught:
        FilePlanUseStore(tmp_path).use_plan("ab", "r-1", NOW)
    assert caught.value.message == "the use of the plan can't be recorded: File exists"
    assert caught.value.file == str(tmp_path / "used-plans" / "ab.json")
    assert caught.value.hint == "nothing was sent; make a new plan after the repair"
