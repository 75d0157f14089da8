"""Read the operation histories of CVMs, through the gate, with retries. Read-only."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from random import Random

import anyio

from orchestrator.cvm import CvmRef
from orchestrator.engine.protocols import Cloud
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.read.retry import read_with_retry
from orchestrator.reply import OperationsPage, Reply


@dataclass(frozen=True, slots=True)
class Histories:
    """The operation histories of CVMs.

    Attributes:
        pages: the newest operations, by the CVM's key.
        problems: why the history of a CVM can't be read, by the CVM's key.
        is_missing: whether the API has no operation history: every read was answered by 404.
    """

    pages: dict[str, OperationsPage] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    is_missing: bool = False


async def read_histories(cloud: Cloud, gate: Gate, rng: Random, refs: Iterable[CvmRef]) -> Histories:
    """Read the newest operations of CVMs concurrently; a failed read is a problem of its CVM alone.

    Args:
        cloud: the cloud client.
        gate: rate limit and concurrency limit for every request.
        rng: source of jitter.
        refs: the CVMs.
    """
    wanted = list(refs)
    left = iter(wanted)
    replies: dict[str, Reply[OperationsPage]] = {}

    async def read_in_turn() -> None:
        """Read the remaining histories in turn."""
        for ref in left:
            replies[ref.key] = await read_with_retry(partial(cloud.read_operations, ref), gate, rng)

    async with anyio.create_task_group() as group:
        for _ in range(min(gate.max_in_flight, len(wanted))):
            group.start_soon(read_in_turn)
    return Histories(
        {key: reply.value for key, reply in replies.items() if reply.value is not None},
        {key: reply.problem or "no answer" for key, reply in replies.items() if reply.value is None},
        is_missing=bool(replies) and all(each.http_status == HTTPStatus.NOT_FOUND for each in replies.values()),
    )
