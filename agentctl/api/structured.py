"""The schema of an answer as Python gives it: a pydantic model, whose object the answer becomes, or a JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agentctl.core.answer_schema import AnswerSchema, read_answer_schema
from agentctl.core.errors import UsageError
from agentctl.core.json_values import JSON, join_pointer, write_json
from agentctl.core.results import RunResult

if TYPE_CHECKING:
    from pydantic import BaseModel


class StructuredForm(NamedTuple):
    """What an answer must be valid by, and the pydantic model that it becomes, if any."""

    schema: AnswerSchema
    model: type[BaseModel] | None = None

    def convert(self, result: RunResult) -> RunResult:
        """Return a result whose ``structured`` is an object of the model, if there is a model and a valid answer."""
        if self.model is None or result.structured is None:
            return result
        return replace(result, structured=self.model.model_validate_json(write_json(result.structured)))


def read_form(given: type[BaseModel] | Mapping[str, Any] | str | Path | None) -> StructuredForm | None:
    """Return the form that ``schema=`` asks for, None without one.

    What a model's validators refuse is told to the language model, as what its JSON Schema refuses is.

    Raises:
        UsageError: it is no model, or no schema that is taken.
    """
    if given is None:
        return None
    if isinstance(given, (str, Path, Mapping)):
        return StructuredForm(read_answer_schema(given, name="schema"))
    describe = getattr(given, "model_json_schema", None)
    if describe is None or not isinstance(given, type):
        said = f"schema cannot be {given!r}"
        raise UsageError(said, hint="pass a pydantic model (a class), a JSON Schema as a dict, or the name of a file")
    from pydantic.errors import PydanticUserError  # noqa: PLC0415 - it is loaded: the model comes from it

    try:
        document = describe()
    except PydanticUserError as error:
        raise UsageError(f"{given.__name__} has no JSON Schema: {error.message}", hint="change that field") from error
    schema = read_answer_schema(document, name=given.__name__)
    return StructuredForm(replace(schema, check=lambda value: _problems(given, value)), given)


def _problems(model: type[BaseModel], value: JSON) -> list[tuple[str, str]]:
    """Return what a model's validators refuse in a value."""
    from pydantic import ValidationError  # noqa: PLC0415 - it is loaded: the model comes from it

    try:
        model.model_validate_json(write_json(value))
    except ValidationError as error:
        return [(join_pointer(problem["loc"]), problem["msg"]) for problem in error.errors(include_url=False)]
    return []
