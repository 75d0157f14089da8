"""`validate` without arguments, and what it warns of."""

from tests.e2e.site import Site

PLAYBOOK = "name: {name}\nsteps: [{{action: stop, select: {{all: true}}}}]\n"


def test_without_arguments_the_playbooks_of_the_folder_are_checked(site: Site) -> None:
    """Files of other tools are left alone; a file whose name is another one than the playbook's is warned of."""
    folder = site.folder / "playbooks"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    none = site.run("validate", "--json")
    (folder / "one.yaml").write_text(PLAYBOOK.format(name="one"))
    (folder / "two.yml").write_text(PLAYBOOK.format(name="another"))
    (folder / "one.cases.yaml").write_text(
        "version: 1\ncases: [{name: a, inventory: [{name: b}], expect: {exit_code: 0}}]\n"
    )
    (folder / "compose.yaml").write_text("services: {web: {image: x}}\n")
    frozen = "guards: {only_during: {timezone: UTC, on: 2020-01-01}}\nschedule: {cron: 0 2 * * *, timezone: UTC}\n"
    (folder / "zero.yaml").write_text(frozen + PLAYBOOK.format(name="zero"))
    checked, text = site.run_each(("validate", "--json"), ("validate",))
    assert (none.code, "no playbooks found in ./playbooks" in none.fault["message"]) == (2, True)
    assert (checked.code, [each["playbook"] for each in checked.document]) == (0, ["one", "another", "zero"])
    assert [[each["code"] for each in found["warnings"]] for found in checked.document] == [
        [],
        ["name_differs_from_file"],
        ["freeze_always"],
    ]
    due = checked.document[2]["schedule"]
    assert (due["next"], [each["code"] for each in due["warnings"]]) == (None, ["schedule_frozen"])
    assert "warning: the file is named 'two', but the playbook 'another'" in text.err
    cases = site.run("validate", "playbooks/one.yaml", "playbooks/one.cases.yaml")
    assert (cases.code, "playbooks/one.cases.yaml: ok, 1 case\n" in cases.out) == (0, True)
    (folder / "three.yaml").write_text("name: three\nsteps: nothing\n")
    assert site.run("validate").code == 2


OF_OTHERS = {
    "ansible": "- hosts: all\n  tasks: []\n",
    "kubernetes": "apiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: Pod\n",
    "formation": "Resources:\n  Bucket: !Ref Name\n",
    "compose": "name: web\nx-base: &base {image: a}\nservices:\n  web: *base\nvolumes: {}\n",
    "workflow": "name: ci\non: push\njobs: {}\n",
    "empty": "",
}


def test_without_arguments_misspelt_playbooks_are_checked_and_files_of_other_tools_are_not(site: Site) -> None:
    folder = site.folder / "playbooks"
    folder.mkdir()
    for name, text in OF_OTHERS.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "good.yaml").write_text("name: good\nsteps: [{action: stop, select: {name: a}}]\n")
    assert [each["playbook"] for each in site.run("validate", "--json").document] == ["good"]
    (folder / "typo.yaml").write_text("name: typo\nstep: [{action: stop, select: {name: a}}]\n")
    ended = site.run("validate", "--json")
    assert (ended.code, "did you mean 'steps'?" in ended.err) == (2, True)
