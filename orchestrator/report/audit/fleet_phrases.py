"""The events of a fleet log as sentences."""

from orchestrator.audit.events import LogEvent
from orchestrator.audit.fleet_log import FleetFinished, FleetInterrupted, FleetPlanned, FleetResumed, FleetStarted
from orchestrator.report.audit.terms import ID, REASON
from orchestrator.report.audit.tolerance import as_list, as_mapping
from orchestrator.report.phrases import ENDINGS, meaning_of
from orchestrator.text import plural, safe_text


def describe_fleet_event(event: LogEvent) -> str:
    """Describe an event of a fleet log; an unknown event by its name."""
    match event:
        case FleetStarted():
            return _describe_start(event)
        case FleetPlanned():
            runs = as_list(event.record.get("runs"))
            return f"planned: {plural(len(runs), 'run')} with {plural(event.targets, 'target')}"
        case FleetInterrupted():
            return f"not finished: {ENDINGS.get(event.reason, safe_text(event.reason, ID))}"
        case FleetResumed():
            return "resumed"
        case FleetFinished():
            counts = ", ".join(f"{safe_text(n, ID)} {safe_text(outcome, ID)}" for outcome, n in event.counts.items())
            end = f"{meaning_of(event.exit_code)} (exit {event.exit_code})"
            return f"{end}; {counts}" if counts else end
        case _:
            return safe_text(event.name, ID)


def _describe_start(event: FleetStarted) -> str:
    trigger = as_mapping(event.trigger)
    by = f"schedule {safe_text(trigger.get('schedule'), ID)}" if trigger else safe_text(event.actor, ID)
    parts = [f"started by {by}: playbook {safe_text(event.playbook.get('name'), ID)}"]
    parts.append(f"in {plural(len(event.workspaces), 'workspace')}")
    if event.restores:
        parts.append(f"undoes fleet run {safe_text(event.restores, ID)}")
    if event.first:
        parts.append(f"workspace {safe_text(event.first, ID)} first")
    for each in map(as_mapping, event.left_out):
        reason = safe_text(each.get("reason"), REASON)
        parts.append(f"workspace {safe_text(each.get('workspace'), ID)} left out ({reason})")
    return ", ".join(parts)
