"""The assumed behaviour of the cloud: settle times and rate limit, as given, as learnt by runs, or as usual."""

from orchestrator.action import Action
from orchestrator.errors import UsageError
from orchestrator.rehearsal.rehearse import Assumptions
from orchestrator.runs.api_profile import ApiProfile
from orchestrator.simulator.settings import LimitSettings, TimingSettings
from orchestrator.times import format_duration, parse_duration

_FIELDS = {Action.STOP: "stop_seconds", Action.SHUTDOWN: "shutdown_seconds", Action.START: "start_seconds"}
_LONGEST_LATENCY = 5.0


def parse_settle(text: str) -> tuple[float, float]:
    """Parse `MIN..MAX`, or a single duration; return seconds.

    Raises:
        UsageError: when the text has another form, or MIN is above MAX.
    """
    first, dots, last = text.partition("..")
    try:
        low = parse_duration(first)
        high = parse_duration(last) if dots else low
    except ValueError as error:
        raise UsageError(f"--settle {text!r}: {error}", hint="write a range, such as 3s..20s") from error
    if low > high:
        raise UsageError(
            f"--settle {text!r}: the first time is above the second", hint="write a range, such as 3s..20s"
        )
    return low, high


def assume(profile: ApiProfile, settle: str | None, latency: float) -> Assumptions:
    """Collect the assumptions of a rehearsal.

    Args:
        profile: the profile of the API learnt by runs.
        settle: the value of `--settle`; None without the option.
        latency: seconds of a request.

    Raises:
        UsageError: when the value of `--settle` is invalid.
    """
    timing: dict[str, tuple[float, float]] = {}
    basis = "assumed"
    if settle is not None:
        timing, basis = dict.fromkeys(_FIELDS.values(), parse_settle(settle)), "by --settle"
    elif learnt := {action: profile.settle[action] for action in _FIELDS if action in profile.settle}:
        timing = {_FIELDS[action]: _spread(seconds) for action, seconds in learnt.items()}
        basis = "learnt by runs"
    short = min(latency, _LONGEST_LATENCY)
    found = TimingSettings.model_validate({**timing, "latency": (short, short)})
    rate = profile.requests_per_second if profile.is_limit else None
    limit = LimitSettings(requests_per_second=rate)
    words = {
        "settle": f"{_describe_timing(found)} ({basis})",
        "API limit": "none (assumed)" if rate is None else f"{rate:g} requests a second (learnt by runs)",
    }
    return Assumptions(found, limit, profile, words)


def _spread(learnt: float) -> tuple[float, float]:
    """Return an even spread of settle times up to a learnt time.

    Nine in ten CVMs were seen settled within the learnt time, at the next poll. The wait for polls makes up for the
    last CVMs, because the rehearsed run polls too.
    """
    return learnt / 3, learnt


def _describe_timing(timing: TimingSettings) -> str:
    return ", ".join(
        f"{action} {format_duration(low)}..{format_duration(high)}"
        for action, (low, high) in ((action.value, getattr(timing, name)) for action, name in _FIELDS.items())
    )
