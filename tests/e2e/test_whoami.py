"""`whoami` by the installed command."""

from tests.e2e.site import Site


def test_whoami_names_workspace_user_address_and_source_but_neither_key_nor_mail(site: Site) -> None:
    as_text, as_json, refused, no_key = site.run_each(
        ("whoami",),
        ("whoami", "--json"),
        ("whoami", "--json"),
        ("whoami",),
        envs=[None, None, {"PHALA_CLOUD_API_KEY": "phak_wrong"}, {"PHALA_CLOUD_API_KEY": None}],
    )
    assert as_text.code == 0, as_text.err
    assert [line.split()[0] for line in as_text.out.splitlines()] == ["workspace", "user", "address", "key"]
    assert "@" not in as_text.out + as_json.out
    assert all(len(line) <= 80 for line in as_text.out.splitlines())
    assert set(as_json.document) == {"user", "workspace", "base_url", "key_source"}
    assert (as_json.document["base_url"], as_json.document["key_source"]) == (site.sim.url, "environment")
    assert (refused.code, no_key.code) == (5, 2)
