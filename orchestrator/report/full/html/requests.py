"""The section of requests: their number, their rate beside the limit, and their answers."""

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from orchestrator.report.formatting import after
from orchestrator.report.full.charts import Series, over_time
from orchestrator.report.full.phrases import ANSWERS, READS_ARE_NOT_IN_THE_LOG
from orchestrator.report.html.elements import e, figure, section, table


def requests(document: Mapping[str, Any]) -> Element:
    """Make the section of requests."""
    found = document["requests"]
    if not found["sent"]:
        return section("requests", "Requests", e("p", "No request that changes something was sent."))
    answers = [[name, ANSWERS.get(name, ""), f"{number:,}"] for name, number in found["answers"].items()]
    head = [("answer", "nowrap"), ("what it means", "words"), ("requests", "num")]
    unsent = found["announced_and_not_sent"]
    return section(
        "requests",
        "Requests",
        e("p", READS_ARE_NOT_IN_THE_LOG),
        _rate(found, (document["run"]["limits"] or {}).get("burst"), document["times"]["length_s"]),
        table("How requests were answered", head, answers, ["all", "", f"{found['sent']:,}"]),
        e("p", f"{unsent:,} more were announced in the log and then not sent.") if unsent else None,
    )


def _rate(found: Mapping[str, Any], burst: object, length: float) -> Element:
    width, limit = found["seconds_a_bin"], found["limit_per_second"]
    every = [count / width for count in found["bins"]]
    vain = [count / width for count in found["bins_without_effect"]]
    series = [Series("requests a second", "settling", every), Series("of them without effect", "otherwise", vain)]
    keys = [
        ("settling", "requests a second"),
        ("otherwise", "of them not accepted: put off, refused, failed or unknown"),
    ]
    if isinstance(limit, int | float):
        series.append(Series("limit", "limit", [float(limit)] * len(every), filled=False))
        keys.append(("limit", f"the limit, {limit:g} a second after a burst of {burst}"))
        beside = f"beside the limit of {limit:g}"
    else:
        beside = "under a limit that was found out while it ran"
    says = f"{found['sent']:,} requests, {found['busiest_second']:,} in the busiest second, {beside}."
    caption = f"Requests a second, each point the mean of {after(width)}"
    return figure(caption, keys, over_time(says, width, series, length=max(length, width)))
