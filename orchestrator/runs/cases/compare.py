"""Compare a plan with the expectations of a case. Pure."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.cvm import Cvm, normal_id
from orchestrator.playbook.firings import Firing, LeftOut
from orchestrator.playbook.plan import Plan
from orchestrator.runs.cases.schema import ONLY_STEP, Expect, ExpectedFirings, ExpectedGuards


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between a plan and the expectations.

    Attributes:
        key: the key of `expect`, such as `targets`.
        detail: the step, the code or the guard; empty for the key as a whole.
        expected: the expected value.
        actual: the value of the plan.
        message: the difference in words; empty if `missing` and `unexpected` have the whole difference.
        missing: expected entries that the plan does not have, each with an explanation.
        unexpected: entries of the plan that were not expected, each with an explanation.
    """

    key: str
    detail: str
    expected: Any
    actual: Any
    message: str = ""
    missing: tuple[tuple[str, str], ...] = ()
    unexpected: tuple[tuple[str, str], ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the form of JSON documents."""
        return {
            "key": self.key,
            "detail": self.detail or None,
            "expected": self.expected,
            "actual": self.actual,
            "message": self.message or None,
            "missing": [{"entry": entry, "explanation": why or None} for entry, why in self.missing],
            "unexpected": [{"entry": entry, "explanation": why or None} for entry, why in self.unexpected],
        }


def compare_plan(plan: Plan, expect: Expect) -> Iterator[Difference]:
    """Yield the differences between a plan and the expected targets, skipped CVMs, guards and warnings.

    Args:
        plan: the plan.
        expect: the expectations; a key that is left out is not checked.
    """
    fleet = _Fleet(plan)
    if expect.targets is not None:
        yield from _compare_targets(plan, expect.targets, fleet)
    if expect.skipped is not None:
        for code, names in expect.skipped.items():
            cvms = [each.cvm for each in plan.skipped if each.why.code is code]
            yield from _compare_cvms("skipped", code.value, names, cvms, fleet)
    if expect.guards is not None:
        yield from _compare_guards(plan, expect.guards)
    if expect.warnings is not None:
        messages: dict[str, str] = {}
        for each in plan.warnings:
            messages.setdefault(each.code.value, each.message)
        expected = [each.value for each in expect.warnings]
        yield from _compare_lists("warnings", expected, list(messages), {}, messages)


def compare_exit(expected: int | None, actual: int, message: str) -> Iterator[Difference]:
    """Yield the difference between two exit codes of `plan`; `message` is the error of the plan."""
    if expected is not None and expected != actual:
        yield Difference(
            "exit_code", "", expected, actual, f"expected {expected}, but {actual}: {message or 'no error'}"
        )


def compare_firings(expected: ExpectedFirings, found: Sequence[Firing | LeftOut]) -> Iterator[Difference]:
    """Yield the difference between expected and computed firings.

    Args:
        expected: the expected firings.
        found: all firings and omitted firings of the time range.
    """
    explanations = {_format_time(each.planned): each.reason for each in found if isinstance(each, LeftOut)}
    local = {_format_time(each.planned): each.local.isoformat(timespec="minutes") for each in found}
    actual = [_format_time(each.planned) for each in found if isinstance(each, Firing)]
    wanted = [_format_time(each) for each in expected.at]
    yield from _compare_lists("firings", wanted, actual, explanations, local)


def _format_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _compare_targets(plan: Plan, expected: Mapping[str, Sequence[str]], fleet: "_Fleet") -> Iterator[Difference]:
    """Compare the targets of every step; a step without an expectation must have no target."""
    steps = [step.name for step in plan.acting_steps]
    if ONLY_STEP in expected and ONLY_STEP not in steps:
        expected = {steps[0]: expected[ONLY_STEP]}
    by_step: dict[str, list[Cvm]] = {}
    for target in plan.targets:
        by_step.setdefault(target.step, []).append(target.cvm)
    for step in steps:
        yield from _compare_cvms("targets", step, expected.get(step, ()), by_step.get(step, []), fleet)


def _compare_guards(plan: Plan, expected: ExpectedGuards) -> Iterator[Difference]:
    for name in type(expected).model_fields:
        wanted = getattr(expected, name)
        checks = [check for check in plan.guards if check.name == name]
        if wanted is None:
            continue
        refused = [check for check in checks if not check.ok]
        actual = ("refused" if refused else "ok") if checks else None
        if actual != wanted:
            reasons = "; ".join(check.message for check in refused or checks) or "the guard has no limit"
            yield Difference("guards", name, wanted, actual, f"expected {wanted}, but {actual or 'unused'}: {reasons}")


def _compare_lists(
    key: str,
    expected: Sequence[str],
    actual: Sequence[str],
    of_missing: Mapping[str, str],
    of_unexpected: Mapping[str, str],
) -> Iterator[Difference]:
    missing = tuple((each, of_missing.get(each, "")) for each in dict.fromkeys(expected) if each not in actual)
    unexpected = tuple((each, of_unexpected.get(each, "")) for each in actual if each not in expected)
    if missing or unexpected:
        yield Difference(key, "", list(expected), list(actual), missing=missing, unexpected=unexpected)


class _Fleet:
    """The CVMs of a plan by name and by identifier, with places: `target of step 'x'`, or the reason to skip."""

    def __init__(self, plan: Plan) -> None:
        places = [(each.cvm, f"target of step {each.step!r}") for each in plan.targets]
        places += [(each.cvm, f"skipped: {each.reason} ({each.why.code})") for each in plan.skipped]
        self.places = {cvm.ref.key: place for cvm, place in places}
        self.by_id = {key: cvm for cvm, _ in places for key in cvm.keys}
        self.by_name: dict[str, list[Cvm]] = {}
        for cvm, _ in places:
            self.by_name.setdefault(cvm.ref.name, []).append(cvm)

    def find(self, entry: str) -> list[Cvm]:
        """Return the CVM with this identifier, or else the CVMs with this name."""
        found = self.by_id.get(normal_id(entry))
        return self.by_name.get(entry, []) if found is None else [found]

    def name(self, cvm: Cvm) -> str:
        """Return the name of a CVM; with the identifier if the name is shared, and the identifier without a name."""
        name = cvm.ref.name
        if not name:
            return cvm.ref.address
        return name if len(self.by_name[name]) == 1 else f"{name} ({cvm.ref.address})"

    def explain_missing(self, entry: str, here: str) -> str:
        """Explain why an expected entry is missing.

        Args:
            entry: the name or the identifier.
            here: the expected place.
        """
        found = self.find(entry)
        if not found:
            close = difflib.get_close_matches(entry, list(self.by_name), n=1)
            return "not in the inventory" + (f"; did you mean {close[0]!r}?" if close else "")
        others = [place for place in dict.fromkeys(self.places[cvm.ref.key] for cvm in found) if place != here]
        return "; ".join(others) if others else f"expected more than once; {len(found)} of this name"


def _compare_cvms(
    key: str, detail: str, expected: Sequence[str], cvms: Sequence[Cvm], fleet: _Fleet
) -> Iterator[Difference]:
    """Compare CVMs with names and identifiers; every entry stands for a single CVM.

    Args:
        key: the key of `expect`.
        detail: the step, or the code.
        expected: the names and identifiers.
        cvms: the CVMs of the plan with this step or code.
        fleet: all CVMs of the plan.
    """
    left = {cvm.ref.key: cvm for cvm in cvms}
    missing = []
    # Identifiers first: a name could use up the CVM of an identifier.
    for place, entry in sorted(enumerate(expected), key=lambda pair: normal_id(pair[1]) not in fleet.by_id):
        found = next((cvm for cvm in fleet.find(entry) if cvm.ref.key in left), None)
        if found is None:
            missing.append((place, entry))
        else:
            del left[found.ref.key]
    if missing or left:
        here = f"target of step {detail!r}"
        yield Difference(
            key,
            detail,
            list(expected),
            [fleet.name(cvm) for cvm in cvms],
            missing=tuple((entry, fleet.explain_missing(entry, here)) for _, entry in sorted(missing)),
            unexpected=tuple(
                (fleet.name(cvm), fleet.places[cvm.ref.key] if key == "skipped" else "") for cvm in left.values()
            ),
        )
