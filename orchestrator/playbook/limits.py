"""Limits and settle timeouts: every field's type, bounds and description, for playbooks and settings alike.

The settings' sections `rate` and `settle` inherit these fields and add defaults only.
"""

from orchestrator.documented_model import DocumentedModel
from orchestrator.playbook.value_types import Count, Dispatch, PositiveDuration, Rate, RateOrAuto, ShareValue


class _SharedLimits(DocumentedModel):
    requests_per_second: RateOrAuto | None = None
    """Requests of the whole run per second. `auto` finds the API's limit, which is not published."""
    max_in_flight: Count | None = None
    """Requests sent but not answered yet; also the number of connections."""
    per_teepod: Count | None = None
    """Requests in flight for the CVMs of one teepod; status reads and settling CVMs do not count."""
    dispatch: Dispatch | None = None
    """`single`: one request per stop. `batch`: up to 50 stops per request, at most `per_teepod` on one teepod."""


class RateLimits(_SharedLimits):
    """The limits of playbooks and settings."""

    burst: Count | None = None
    """Requests sent at once after a pause."""


class Limits(RateLimits):
    """Limits of the run's rate and width. Limits of the playbook win over the settings' `rate`."""

    max_failures: ShareValue | None = None
    """End the run after more failed or refused targets than this (as %: of the planned targets). 0: after the first."""


class StepLimits(_SharedLimits):
    """Limits of a single step. While the step runs, these limits win over the playbook's `limits`."""

    requests_per_second: Rate | None = None
    """Requests of the step per second; with `auto` for the run, the highest rate during the step."""
    max_failures: ShareValue | None = None
    """End the run after more failed or refused targets of the step than this (as %: of its targets)."""


class Settle(DocumentedModel):
    """Time for a CVM to reach its new state. The default is the settings' `settle.timeout`."""

    timeout: PositiveDuration | None = None
    """Time for a CVM to settle, from the acceptance of the CVM's own request."""
