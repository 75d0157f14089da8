"""The journal of the schedules, snoozes and pushed playbooks over PostgreSQL."""

from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from orchestrator.errors import SettingsError, StoreDownError
from orchestrator.playbook.load import LoadedPlaybook, load_playbook
from orchestrator.postgres.duty import StoreDuty
from orchestrator.postgres.firing_run import FiringRun, Verdict
from orchestrator.postgres.link import Link
from orchestrator.postgres.playbooks import PushedFolder, StoredPlaybook, push_playbooks, read_changed, read_pushed
from orchestrator.runs.firing import FiringClaim
from orchestrator.service import duty_journal
from orchestrator.service.duty import Term
from orchestrator.service.protocols import Journal
from orchestrator.service.team_stores import TeamJournal, TeamSnoozes, write_folder
from tests.journal_contract import ABOUT, JournalContract, OpenJournal, claim_of
from tests.postgres.cluster import Cluster
from tests.postgres.conftest import Connect
from tests.snooze_contract import SnoozeContract

pytestmark = pytest.mark.anyio
OpenDuty = Callable[..., StoreDuty]


@pytest.fixture
def anyio_backend() -> str:
    """The driver is for asyncio."""
    return "asyncio"


def build_run(claim: FiringClaim, _loaded: LoadedPlaybook) -> FiringRun:
    return FiringRun(claim.run_id, "prod", claim.playbook, claim.planned, {"v": 1}, None, "serve@w1", 5.0, 2)


@pytest.fixture
def url(cluster: Cluster, database: str) -> str:
    return f"postgresql://wes_worker@/{database}?host={cluster.folder}&port={cluster.port}"


@pytest.fixture
async def open_duty(url: str) -> AsyncIterator[OpenDuty]:
    """Open the duty for a process."""
    links = []

    def open_one(holder: str, *, lease: float = 60.0, timeout: float = 10.0) -> StoreDuty:
        links.append(Link(url, timeout=timeout))
        return StoreDuty(links[-1].query, holder=holder, lease=lease)

    yield open_one
    for link in links:
        await link.close()


async def lead(duty: StoreDuty) -> Term:
    found = await duty.take()
    assert found.epoch is not None
    return Term(duty, found.epoch)


class TestDutyJournal(JournalContract):
    """The contract over PostgreSQL."""

    @pytest.fixture
    def few_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(duty_journal, "LINES", 10)

    @pytest.fixture
    def open_journal(self, open_duty: OpenDuty, cluster: Cluster, database: str) -> OpenJournal:
        async def open_one() -> Journal:
            cluster.execute("UPDATE orchestrator.leases SET lease_until = clock_timestamp()", database)
            return await duty_journal.open_journal(await lead(open_duty("w")), build_run)

        return open_one


class TestTeamSnoozes(SnoozeContract):
    """The contract over PostgreSQL."""

    @pytest.fixture
    def snoozes(self, connect: Connect) -> TeamSnoozes:
        return TeamSnoozes(lambda: connect("oli_operator"))


def test_a_worker_may_not_snooze(connect: Connect) -> None:
    snoozes = TeamSnoozes(lambda: connect("wes_worker"))
    assert snoozes.read_snoozes() == {}
    with pytest.raises(SettingsError, match="no rights") as refused:
        snoozes.clear_snooze("a", datetime.now(UTC))
    assert "orchestrator_operator" in str(refused.value.hint)


async def test_one_process_has_the_duty_and_the_others_know_the_holder(open_duty: OpenDuty) -> None:
    one, two = open_duty("one"), open_duty("two")
    assert await one.take() == await one.take()
    standby = await two.take()
    assert (standby.epoch, standby.holder) == (None, "one")
    await one.let_go(1)
    found = await two.take()
    assert (found.epoch, found.holder) == (2, "two")


async def test_the_time_of_the_schedules_is_the_database_s(
    open_duty: OpenDuty,
) -> None:
    duty = open_duty("one")
    await duty.take()
    assert abs(duty.wall() - datetime.now(UTC)) < timedelta(seconds=2)
    clock = StoreDuty(_answer, holder="a", lease=9, clock=lambda: 50.0)
    await clock.take()
    assert clock.wall() == datetime(2027, 1, 1, tzinfo=UTC), "whatever this machine's clock says"


async def _answer(statement: str, _arguments: object) -> list[tuple[object, ...]]:
    if "read_version" in statement:
        return [(99, 1)]
    return [(1, "a", datetime(2027, 1, 1, tzinfo=UTC).timestamp())]


async def test_a_claim_submits_its_run_in_the_same_transaction(
    open_duty: OpenDuty, tmp_path: Path, connect: Connect
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: a\nsteps:\n  - {action: stop, select: {name: ['dev-*']}}\n")
    term = await lead(open_duty("one"))
    journal = await duty_journal.open_journal(term, build_run)
    await journal.write("schedule.enabled", **ABOUT)
    await journal.write_claim(claim_of(1), load_playbook(file, {}))
    found = await term.store.read_run(claim_of(1).run_id)
    assert found is not None
    assert (found.is_late, found.finished_at) == (False, None)
    assert await term.store.submit(term.epoch, build_run(claim_of(1), load_playbook(file, {}))) is Verdict.EXISTS
    assert await term.store.submit(term.epoch + 1, build_run(claim_of(2), load_playbook(file, {}))) is Verdict.FENCED
    rows = connect("vic_viewer").execute("SELECT playbook, planned, workspace, submitted_by FROM orchestrator.runs")
    assert rows.fetchall() == [("a", claim_of(1).planned, "prod", "serve@w1")]
    assert TeamJournal(lambda: connect("vic_viewer")).read_state().claims == journal.state.claims


async def test_a_line_with_a_number_in_use_ends_the_term(open_duty: OpenDuty, cluster: Cluster, database: str) -> None:
    term = await lead(open_duty("one"))
    journal = await duty_journal.open_journal(term, build_run)
    cluster.execute("INSERT INTO orchestrator.journal (seq, epoch, line) VALUES (1, 1, '{}')", database)
    with pytest.raises(OSError, match="unknown"):
        await journal.write("schedule.enabled", **ABOUT)
    assert "duplicate key" in str(term.reason)


async def test_a_store_without_an_answer_ends_the_term_within_the_time_limit(
    open_duty: OpenDuty, cluster: Cluster, database: str
) -> None:
    term = await lead(open_duty("one", timeout=0.2))
    journal = await duty_journal.open_journal(term, build_run)
    with closing(psycopg.connect(cluster.admin_url(database))) as other:
        other.execute("LOCK TABLE orchestrator.journal")
        with pytest.raises(OSError, match="no answer"):
            await journal.write("schedule.enabled", **ABOUT)
    assert term.lost.is_set()
    assert (await term.store.take()).epoch == term.epoch, "the same process goes on, and reads the journal anew"
    assert (await duty_journal.open_journal(Term(term.store, term.epoch), build_run)).state.playbooks == {}


async def test_without_a_schema_the_error_names_the_remedy(cluster: Cluster, empty_database: str) -> None:
    link = Link(cluster.admin_url(empty_database))
    with pytest.raises(SettingsError):
        await StoreDuty(link.query, holder="one", lease=9).take()
    await link.close()


async def test_an_unreachable_database_is_reported(tmp_path: Path) -> None:
    link = Link(f"postgresql://x@/x?host={tmp_path}")
    with pytest.raises(StoreDownError):
        await StoreDuty(link.query, holder="one", lease=9).take()


def playbook(name: str, source: str = "x") -> StoredPlaybook:
    return StoredPlaybook(name, f"{name}.yaml", source.encode(), source)


async def test_a_service_reads_a_push_once_and_follows_changes(connect: Connect, url: str, tmp_path: Path) -> None:
    operator, link = connect("oli_operator"), Link(url)
    folder = tmp_path / "pushed"
    push_playbooks(operator, PushedFolder(0, [playbook("a"), playbook("b")], {"c/d.ics": b"1"}), prune=False, by="me")
    found = await read_changed(link.query, 0)
    assert found is not None
    write_folder(found, folder)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.*")} == {"a.yaml", "b.yaml", "c/d.ics"}
    assert await read_changed(link.query, found.push) is None
    push_playbooks(operator, PushedFolder(0, [playbook("a", "y")]), prune=True, by="me")
    found = await read_changed(link.query, found.push)
    assert found == read_pushed(operator)
    assert found is not None
    write_folder(found, folder)
    assert [(path.name, path.read_text()) for path in folder.rglob("*.*")] == [("a.yaml", "y")]
    assert [(each.name, each.pushed_by) for each in found.playbooks] == [("a", "me")]
    await link.close()


@pytest.mark.parametrize("path", ["../x.ics", "/x.ics", "a/../../x.ics"])
def test_a_row_of_the_database_chooses_no_place_outside_of_the_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(OSError, match="outside"):
        write_folder(PushedFolder(1, (), {path: b"1"}), tmp_path / "pushed")
