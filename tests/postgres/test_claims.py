"""Claims in PostgreSQL: the contract of claims, renewal, long outages, rights."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from orchestrator.errors import StoreDownError
from orchestrator.postgres.claims import StoreClaims
from orchestrator.postgres.link import Link
from tests.claim_contract import CLOUD, ONE, TWO, A, B, C, ClaimContract, is_refused
from tests.postgres.cluster import Cluster

LEASE = 60.0
OpenStore = Callable[..., StoreClaims]


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """The event loop of the store, in a thread."""
    with start_blocking_portal("asyncio") as running:
        yield running


@pytest.fixture
def open_store(cluster: Cluster, database: str, portal: BlockingPortal) -> Iterator[OpenStore]:
    """Open stores of several processes."""
    links = []

    def open_claims(user: str = "wes_worker", **options: object) -> StoreClaims:
        link = Link(f"postgresql://{user}@/{database}?host={cluster.folder}&port={cluster.port}")
        links.append(link)
        return StoreClaims(link.query, portal.call, LEASE, **options)  # type: ignore[arg-type] # as given

    yield open_claims
    for link in links:
        portal.call(link.close)


@pytest.fixture
def claims(open_store: OpenStore) -> StoreClaims:
    return open_store()


class TestStoreClaims(ClaimContract):
    """The contract over PostgreSQL."""


def age_claims(cluster: Cluster, database: str, seconds: float) -> None:
    """Move the end of all claims into the past, as time does."""
    age = f"UPDATE orchestrator.claims SET live_until = live_until - interval '{seconds} s'"  # noqa: S608 - a number
    cluster.execute(age, database)


def test_a_claim_ends_a_lease_after_the_death_of_its_process(
    open_store: OpenStore, cluster: Cluster, database: str
) -> None:
    dead, living = open_store(), open_store()
    dead.create_claim(ONE, CLOUD, [A])
    age_claims(cluster, database, LEASE - 1)
    assert is_refused(living, A)
    age_claims(cluster, database, 2)
    assert not is_refused(living, A)


def test_a_renewed_claim_lasts(open_store: OpenStore, cluster: Cluster, database: str, portal: BlockingPortal) -> None:
    first, second = open_store(), open_store()
    with first.create_claim(ONE, CLOUD, [A]):
        for _ in range(2):
            age_claims(cluster, database, LEASE - 1)
            portal.call(first.renew)
        assert is_refused(second, A)


def test_after_a_long_outage_a_claim_is_made_again(
    open_store: OpenStore, cluster: Cluster, database: str, portal: BlockingPortal
) -> None:
    lost: list[str] = []
    first, second = open_store(on_lost=lost.append), open_store()
    with first.create_claim(ONE, CLOUD, [A, B]) as claim:
        claim.keep_only([A])
        age_claims(cluster, database, LEASE + 1)
        portal.call(first.renew)
        assert is_refused(second, A)
        assert not is_refused(second, B), "only the CVMs of the narrowed claim"
    assert lost == []


def test_a_run_ends_if_another_run_claimed_its_cvms_during_an_outage(
    open_store: OpenStore, cluster: Cluster, database: str, portal: BlockingPortal
) -> None:
    lost: list[str] = []
    first, second = open_store(on_lost=lost.append), open_store()
    first.create_claim(ONE, CLOUD, [A])
    age_claims(cluster, database, LEASE + 1)
    with second.create_claim(TWO, CLOUD, [A, C]):
        portal.call(first.renew)
    assert lost == [ONE]


def test_a_viewer_claims_nothing(open_store: OpenStore) -> None:
    with pytest.raises(Exception, match="permission denied"):
        open_store("vic_viewer").create_claim(ONE, CLOUD, [A])


def test_a_viewer_with_locks_of_its_own_delays_no_claim(claims: StoreClaims, cluster: Cluster, database: str) -> None:
    url = f"postgresql://vic_viewer@/{database}?host={cluster.folder}&port={cluster.port}"
    with psycopg.connect(url) as viewer:
        viewer.execute("SELECT pg_advisory_lock(hashtextextended('orchestrator.claims', 0))")
        viewer.execute("LOCK TABLE orchestrator.claims, orchestrator.meta IN ACCESS SHARE MODE")
        for lock in ("SELECT FROM orchestrator.meta FOR SHARE", "LOCK TABLE orchestrator.claims IN SHARE MODE"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), viewer.transaction():
                viewer.execute(lock)
        with claims.create_claim(ONE, CLOUD, [A]):
            pass


def test_without_the_database_a_claim_is_refused_and_a_release_is_quiet(
    open_store: OpenStore, portal: BlockingPortal
) -> None:
    async def fail(statement: str, arguments: object) -> list[tuple[object, ...]]:
        del statement, arguments
        raise StoreDownError("the store can't be reached")

    held = open_store().create_claim(ONE, CLOUD, [A])
    held._claims.query = fail
    held.release(has_ended=True)
    down = StoreClaims(fail, portal.call, LEASE)
    with pytest.raises(StoreDownError):
        down.create_claim(TWO, CLOUD, [B])


def test_two_claims_at_the_same_time_are_one_claim(open_store: OpenStore, portal: BlockingPortal) -> None:
    stores = [open_store() for _ in range(4)]
    futures = [
        portal.start_task_soon(try_claim, store, f"20261123T080000Z-000{number}") for number, store in enumerate(stores)
    ]
    assert sorted(future.result() for future in futures) == [False, False, False, True]


async def try_claim(store: StoreClaims, run_id: str) -> bool:
    """Claim a CVM from within the event loop; False after a refusal."""
    rows = await store.query(
        "SELECT is_live FROM orchestrator.claim_cvms(%s, gen_random_uuid(), 'c', '{k}', '[]', %s, false)",
        [run_id, timedelta(seconds=60)],
    )
    return not rows
