"""The JSON documents of plans and runs over several workspaces."""

import json

from orchestrator.report.fleet.document import fleet_plan_document, fleet_run_document
from orchestrator.report.fleet.totals import WorkspaceRun
from orchestrator.runs.documents import plan_document, run_document
from tests.logs import START, LogBuilder, replay
from tests.report.fleet.fleets import FLEET_ID, GUARDS, LEFT_OUT, fleet, plans, workspace_run


def test_a_plan_has_the_document_of_every_workspace_and_totals() -> None:
    made = plans(2, 3)
    document = fleet_plan_document(made, GUARDS, LEFT_OUT)
    first, second = document["workspaces"]
    assert first == {"workspace": "prod-0", **plan_document(made[0][1])}
    assert second["workspace"] == "prod-1"
    assert document["totals"]["targets"] == 5
    assert document["totals"]["skipped"] == 2
    assert document["guards"][0]["message"] == "6 targets in all workspaces, at most 50 allowed"
    assert document["left_out"] == LEFT_OUT
    json.dumps(document)


def test_a_run_has_the_document_of_every_run_and_totals() -> None:
    runs = workspace_run(0, "settled", "refused"), workspace_run(1, "settled")
    document = fleet_run_document(fleet(*runs))
    assert document["workspaces"][1] == {
        "workspace": "prod-1",
        **run_document(runs[1].state, 0, runs[1].audit_log),
    }
    assert document["totals"]["counts"] == {"settled": 2, "refused": 1}
    assert document["totals"]["targets"] == 3
    assert document["totals"]["billing"]["triggered"] == 3
    assert document["exit_code"] == 6
    json.dumps(document)


def test_the_totals_of_an_unfinished_run_count_outcomes_as_the_documents_of_the_runs_do() -> None:
    log = LogBuilder.start(START, workspace_name="prod-0", fleet=FLEET_ID)
    log.plan((1, "stop", "running"), (2, "stop", "running")).accept(1)
    run = WorkspaceRun("prod-0", replay(log.records), 130, "/state/runs/a.jsonl", is_unfinished=True)
    document = fleet_run_document(fleet(run, code=130))
    assert document["totals"]["counts"] == document["workspaces"][0]["counts"] == {"unsettled": 1, "not_sent": 1}
