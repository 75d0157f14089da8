"""The CVMs that a step may take over from an earlier step, as far as a plan can tell. Pure."""

from collections.abc import Mapping

from orchestrator.cvm import Cvm
from orchestrator.playbook.plan import Target
from orchestrator.playbook.schema import Playbook
from orchestrator.playbook.select import is_covered


def find_follow_ups(
    playbook: Playbook, targets: tuple[Target, ...]
) -> tuple[dict[str, dict[str, Cvm]], dict[str, frozenset[str] | None]]:
    """Find the possible CVMs of every step with a result selector, by the step's name.

    Returns:
        Those CVMs by their keys; and the same keys as a set, or None if the rest of the select covers all of the
        earlier
        step's CVMs.
    """
    found: dict[str, dict[str, Cvm]] = {}
    among: dict[str, frozenset[str] | None] = {}
    for step in playbook.acting_steps:
        if step.select.result is not None:
            universe = _list_source_cvms(step.select.result.step, targets, found)
            covered = {key: cvm for key, cvm in universe.items() if is_covered(step.select, cvm)}
            found[step.name] = covered
            among[step.name] = None if len(covered) == len(universe) else frozenset(covered)
    return found, among


def _list_source_cvms(
    source: str, targets: tuple[Target, ...], found: Mapping[str, Mapping[str, Cvm]]
) -> Mapping[str, Cvm]:
    """Return the CVMs of the earlier step."""
    if source in found:
        return found[source]
    return {target.cvm.ref.key: target.cvm for target in targets if target.step == source}
