"""Profile of the API in the row of a workspace: limits and settle times as learnt by the runs of all machines."""

from orchestrator.errors import OrchestratorError
from orchestrator.postgres.approvals import StartQuery

_WAIT = 2.0
"""Longest wait for the database, in seconds: the profile is a cache, and no run waits long for a cache."""


class StoreProfileRow:
    """The document of one workspace; without a row of the workspace there is no document.

    Attributes:
        location: the place, for people.
    """

    def __init__(self, workspace: str, start: StartQuery) -> None:
        """Set up.

        Args:
            workspace: the workspace.
            start: starts a query.
        """
        self.location = f"team store, workspace {workspace}"
        self._workspace, self._start = workspace, start

    def read(self) -> bytes | None:
        """Read the document; None without a document.

        Raises:
            OSError: without an answer of the database.
        """
        content = self._query("SELECT orchestrator.read_api_profile(%s)::text", [self._workspace])
        return None if content in {None, "{}"} else str(content).encode()

    def write(self, content: bytes) -> None:
        """Replace the document.

        Raises:
            OSError: without an answer of the database.
        """
        self._query("SELECT orchestrator.write_api_profile(%s, %s::jsonb)", [self._workspace, content.decode()])

    def _query(self, statement: str, arguments: list[str]) -> object:
        try:
            ((value,),) = self._start(statement, arguments).result(_WAIT)
        except TimeoutError:
            raise TimeoutError(f"the store gave no answer in {_WAIT:g} s") from None
        except OrchestratorError as error:
            raise ConnectionError(str(error)) from error
        return value
