"""`validate` without arguments, and what it warns of."""

from tests.e2e.desk import Desk

PLAYBOOK = "name: {name}\nsteps: [{{action: stop, select: {{all: true}}}}]\n"


def test_without_arguments_the_playbooks_of_the_folder_are_checked(desk: Desk) -> None:
    """Files of other tools are left alone; a file whose name is another one than the playbook's is warned of."""
    folder = desk.folder / "playbooks"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    none = desk.run("validate", "--json")
    (folder / "one.yaml").write_text(PLAYBOOK.format(name="one"))
    (folder / "two.yml").write_text(PLAYBOOK.format(name="another"))
    (folder / "compose.yaml").write_text("services: {web: {image: x}}\n")
    checked, text = desk.run_each(("validate", "--json"), ("validate",))
    assert (none.code, "no playbooks found in ./playbooks" in none.fault["message"]) == (2, True)
    assert (checked.code, [each["playbook"] for each in checked.document]) == (0, ["one", "another"])
    assert [[each["code"] for each in found["warnings"]] for found in checked.document] == [
        [],
        ["name_differs_from_file"],
    ]
    assert "warning: the file is named 'two', but the playbook 'another'" in text.err
    (folder / "three.yaml").write_text("name: three\nsteps: nothing\n")
    assert desk.run("validate").code == 2
