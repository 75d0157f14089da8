"""The settings of the team store and of workers."""

from pathlib import Path

import pytest

from orchestrator.settings.load import load_settings
from tests.settings.test_refusals import _everything, refusal

URL = "postgresql://orchestrator_worker@db/orchestrator"
SECRET = "s3cretw0rd"


def test_by_default_runs_are_files_and_a_lease_is_a_minute() -> None:
    settings = load_settings()
    assert (settings.store.url, settings.store.lease, settings.store.outage) == (None, 60, 600)
    assert (settings.store.listen, settings.worker.runs) == (True, 50)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgres:///orchestrator",
        "postgresql://orchestrator_worker@db1:5432,db2:5432/orchestrator?target_session_attrs=read-write",
        "postgresql:///orchestrator?host=/run/postgresql&sslmode=verify-full",
        "postgresql://[::1]:5432/orchestrator",
    ],
)
def test_every_form_of_a_url_without_a_password_is_accepted(url: str) -> None:
    assert load_settings(None, (f"store.url={url}",)).store.url == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"postgresql://worker:{SECRET}@db/orchestrator", "must have no password; use PGPASSFILE"),
        (f"postgresql://db/orchestrator?user=worker&password={SECRET}", "must have no password; use PGPASSFILE"),
        (f"mysql://worker:{SECRET}@db/orchestrator", "must be a URL such as postgresql://"),
        (f"host=db password={SECRET}", "must be a URL without spaces"),
        ("postgresql://", "must be a URL such as postgresql://"),
        ("", "must be a URL such as postgresql://"),
    ],
)
def test_a_url_with_a_password_or_of_another_kind_is_refused_without_showing_the_url(url: str, says: str) -> None:
    error = refusal(f"store.url={url}")
    assert says in error.message
    assert SECRET not in _everything(error)


def test_a_lease_shorter_than_twice_the_timeout_is_refused_at_its_source() -> None:
    Path("config.toml").write_text(f'[store]\nurl = "{URL}"\nlease = "40s"\n')
    error = refusal()
    assert error.message == "store.lease (40s) is shorter than twice cloud.timeout (30s)"
    assert (error.file, error.line, error.hint) == ("config.toml", 3, "set store.lease to 1m or more")
    assert load_settings(None, ("cloud.timeout=20s",)).store.lease == 40


def test_a_timeout_too_long_for_the_default_lease_is_refused_with_a_store_only() -> None:
    assert load_settings(None, ("cloud.timeout=31",)).store.url is None
    error = refusal("cloud.timeout=31", f"store.url={URL}")
    assert error.message.startswith("--set cloud.timeout: store.lease (1m) is shorter than twice")


@pytest.mark.parametrize(
    ("section", "line", "says"),
    [
        ("[rate]", "requests_per_second = 'auto'", "rate.requests_per_second is `auto`; the machines"),
        ("[workspaces.prod]", "requests_per_second = 'auto'", "workspaces.prod.requests_per_second is `auto`"),
        ("[rate]", "burst = 1", "rate.burst is 1; this leaves no room"),
    ],
)
def test_a_rate_that_machines_cannot_share_is_refused_with_a_store_only(section: str, line: str, says: str) -> None:
    key = "api_key_env = 'KEY'\n" if "prod" in section else ""
    Path("config.toml").write_text(f"{section}\n{key}{line}\n")
    assert load_settings().store.url is None
    error = refusal(f"store.url={URL}")
    assert error.message.startswith(says)
    assert error.file == "config.toml"
    assert error.hint is not None


@pytest.mark.parametrize("assignment", ["store.lease=0", "store.outage=0", "worker.runs=0", "store.listen=maybe"])
def test_a_value_without_a_meaning_is_refused(assignment: str) -> None:
    assert assignment.partition("=")[0] in refusal(assignment).message
