"""Models with descriptions in their JSON Schema, from the sentence below each field.

pydantic can read these sentences too, but reads and parses the source of every class at every start of a command. This
module reads the sentences only for a schema.
"""

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class DocumentedModel(BaseModel):
    """A frozen model with a sentence below every field; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the JSON Schema with the sentences as descriptions."""
        made = handler(schema)
        properties: dict[str, Any] = handler.resolve_ref_schema(made).get("properties", {})
        for model in reversed(cls.__mro__):
            if issubclass(model, DocumentedModel) and model is not DocumentedModel:
                for name, sentence in _sentences(model):
                    properties[model.model_fields[name].alias or name]["description"] = sentence
        return made


def _sentences(model: type) -> Iterator[tuple[str, str]]:
    """Yield the fields with a sentence in this class's own body, and the sentence; nothing without the source."""
    try:
        source = inspect.getsource(model)
    except OSError:
        return
    (body,) = ast.parse(inspect.cleandoc("\n" + source)).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - it is the source of a class
    for field, sentence in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match sentence:
                case ast.Expr(ast.Constant(str(text))):
                    yield field.target.id, inspect.cleandoc(text)
