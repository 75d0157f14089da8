"""Survivors: the CVMs left running by a plan."""

from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cvm import Cvm, is_up
from orchestrator.outcome import Reason, SkipReason
from orchestrator.playbook.guards import spare_survivors
from orchestrator.playbook.value_types import Share
from tests.playbook.fleet import INVENTORIES, cvm


@dataclass(frozen=True)
class Rule:
    """A rule without a playbook."""

    per: Literal["app_id", "teepod"]
    min: Share


def rule(least: str, per: Literal["app_id", "teepod"] = "app_id") -> Rule:
    return Rule(per, Share.parse(least))


def fleet(*statuses: str, app: str | None = "a1", first: int = 1) -> list[Cvm]:
    return [cvm(n, f"web-{n}", status, app=app) for n, status in enumerate(statuses, start=first)]


def reasons(least: str, inventory: list[Cvm], going: list[Cvm] | None = None) -> dict[str, str]:
    (found,) = spare_survivors([rule(least)], inventory, inventory if going is None else going)
    names = {each.ref.key: each.ref.name for each in inventory}
    return {names[key]: reason.text for key, reason in found.reasons.items()}


def test_survivors_come_from_the_end_of_the_order_with_reasons() -> None:
    up = fleet("running", "running", "running")
    assert reasons("1", up) == {"web-3": "kept running: 1 of 3 of app a1 stays up"}
    assert reasons("1", up, up[::-1]) == {"web-1": "kept running: 1 of 3 of app a1 stays up"}
    assert list(reasons("2", up)) == ["web-3", "web-2"]


def test_a_cvm_without_an_action_is_a_survivor_already() -> None:
    up = fleet("running", "running", "running")
    assert reasons("1", up, up[1:]) == {}
    assert list(reasons("2", up, up[1:])) == ["web-3"]


def test_a_percentage_of_cvms_up_is_rounded_up() -> None:
    up = fleet("running", "running", "running", "stopped", "exited")
    assert list(reasons("50%", up)) == ["web-3", "web-2"]


def test_with_too_few_up_all_are_spared() -> None:
    up = fleet("running", "running", "stopped")
    assert reasons("3", up) == dict.fromkeys(("web-1", "web-2"), "kept running: only 2 of app a1 up, 3 must stay up")
    (found,) = spare_survivors([rule("3")], up, up)
    assert (found.short, found.message) == (
        1,
        "2 left up so that at least 3 of each app stay up; 1 app with fewer up, all kept",
    )


def test_a_running_cvm_is_kept_first() -> None:
    assert list(reasons("1", fleet("running", "error", "starting"))) == ["web-1"]
    assert list(reasons("2", fleet("running", "error", "starting"))) == ["web-1", "web-3"]


def test_a_cvm_in_error_never_replaces_the_last_running_cvm() -> None:
    up = fleet("running", "error")
    assert list(reasons("1", up, up[:1])) == ["web-1"]


def test_a_cvm_on_the_way_down_is_no_survivor() -> None:
    up = fleet("running", "stopping", "shutting_down", "stopped")
    assert list(reasons("1", up, up[:1])) == ["web-1"]


def test_a_cvm_of_an_unknown_app_can_not_be_replaced() -> None:
    up = fleet("running", "running", app=None)
    assert reasons("1", up) == dict.fromkeys(("web-1", "web-2"), "kept running: its app is not known")


def test_all_of_several_rules_apply() -> None:
    inventory = [cvm(n, f"web-{n}", app=f"a{n % 2}", pod=n // 2) for n in range(4)]
    apps, teepods = spare_survivors([rule("1"), rule("50%", "teepod")], inventory, inventory)
    assert len(apps.reasons) == 2
    assert teepods.reasons == {
        inventory[1].ref.key: Reason(SkipReason.KEPT_RUNNING, "1 of 2 of teepod prod-0 stays up")
    }


RULES = st.lists(
    st.builds(rule, st.sampled_from(["1", "2", "3", "1%", "50%", "100%"]), st.sampled_from(["app_id", "teepod"])),
    min_size=1,
    max_size=3,
)


@given(RULES, INVENTORIES, st.randoms(use_true_random=False))
def test_each_group_keeps_its_minimum_and_a_rule_spares_no_more(
    rules: list[Rule],
    inventory: list[Cvm],
    random: Any,  # noqa: ANN401 - hypothesis' own
) -> None:
    going = [each for each in inventory if not each.down and random.random() < 0.7]
    random.shuffle(going)
    found = spare_survivors(rules, inventory, going)
    protected = [key for each in found for key in each.reasons]
    assert set(protected) <= {each.ref.key for each in going}
    assert len(protected) == len(set(protected))
    down = {each.ref.key for each in going} - set(protected)
    for each in rules:
        groups: dict[str, list[Cvm]] = {}
        for member in inventory:
            if member.status not in {"stopped", "exited", "stopping", "shutting_down"}:
                group = member.ref.app_id if each.per == "app_id" else member.ref.teepod
                groups.setdefault(group or member.ref.key, []).append(member)
        for members in groups.values():
            wanted = -(-len(members) * int(each.min.amount) // 100) if each.min.percent else int(each.min.amount)
            staying = [member for member in members if member.ref.key not in down]
            running, running_still = (
                sum(is_up(member.status, in_progress=member.in_progress) for member in some)
                for some in (members, staying)
            )
            assert len(staying) >= min(wanted, len(members))
            assert running_still >= min(wanted, running)
            if len(rules) == 1 and protected:
                here = [member for member in members if member.ref.key in protected]
                assert len(here) <= wanted
