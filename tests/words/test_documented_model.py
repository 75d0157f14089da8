"""Fields are described in the JSON Schema by the sentence below them."""

from typing import Any

from pydantic import create_model

from orchestrator.documented_model import DocumentedModel


class Lamp(DocumentedModel):
    """A lamp."""

    watts: int = 5
    """How bright it is,
    more or less."""
    shade: str = ""

    def words(self) -> str:
        """Not of a field."""
        return self.shade


class Lantern(Lamp):
    """A lamp to carry."""

    shade: str = "glass"
    """What keeps the wind off."""
    spare: Lamp = Lamp()
    """The one for later."""


def described(model: type[DocumentedModel]) -> dict[str, Any]:
    """Each field with its description."""
    return {name: node.get("description") for name, node in model.model_json_schema()["properties"].items()}


def test_the_sentence_below_a_field_describes_it() -> None:
    assert described(Lamp) == {"watts": "How bright it is,\nmore or less.", "shade": None}


def test_a_subclass_keeps_the_sentences_of_its_parents_and_adds_its_own() -> None:
    assert described(Lantern) == {
        "watts": "How bright it is,\nmore or less.",
        "shade": "What keeps the wind off.",
        "spare": "The one for later.",
    }


def test_a_model_inside_another_is_described_too() -> None:
    inner = Lantern.model_json_schema()["$defs"]["Lamp"]
    assert inner["properties"]["watts"]["description"] == "How bright it is,\nmore or less."


def test_a_model_without_source_has_a_schema_without_sentences() -> None:
    made = create_model("Made", __base__=Lamp, weight=(int, 1))
    assert described(made)["weight"] is None
