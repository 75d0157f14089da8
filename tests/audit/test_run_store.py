"""Runs in files: the contract of the stores of runs."""

from pathlib import Path

import pytest

from orchestrator.audit.store import FileRunStore
from tests.run_store_contract import OpenStore, RunStoreContract

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough here."""
    return "asyncio"


@pytest.fixture
def open_store(tmp_path: Path) -> OpenStore:
    """Open the same folder."""

    def open_folder() -> FileRunStore:
        store = FileRunStore(tmp_path)
        store.prepare()
        return store

    return open_folder


class TestFileRunStore(RunStoreContract):
    """The contract over files."""
