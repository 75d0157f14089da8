"""`doctor` by the installed command."""

from tests.e2e.site import Site


def test_doctor_has_a_line_for_each_check_and_the_exit_code_of_the_failed_ones(site: Site) -> None:
    unreachable = {"PHALA_CLOUD_API_PREFIX": "http://127.0.0.1:9/api/v1"}
    (site.folder / "playbooks").mkdir()
    as_text, as_json, down = site.run_each(
        ("doctor",), ("doctor", "--json"), ("doctor", "--json"), envs=[None, None, unreachable]
    )
    names = ["settings", "key", "API", "clock", "rate limit", "state folder", "notifications", "playbooks", "calendars"]
    assert (as_text.code, as_json.code, down.code) == (0, 0, 5), as_text.out
    assert all(len(line) <= 80 for line in as_text.out.splitlines())
    assert [check["name"] for check in as_json.document["checks"]] == names
    assert as_json.document["exit_code"] == 0
    assert [check["name"] for check in down.document["checks"] if not check["ok"]] == ["API"]
    assert all(set(check) == {"name", "ok", "message"} for check in down.document["checks"])
    site.assert_nothing_happened()
