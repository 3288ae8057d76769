"""The answer by a schema of a run without a language model: the rows that its tool has shown, as they are.

The rows of a table belong under the schema's only property that is a list; a single row is the answer itself. Where the
schema allows no other properties, the columns that it does not name are left out. Nothing is converted or made up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from agentctl.core.answer_schema import AnswerProblems, AnswerSchema, SchemaMismatch
from agentctl.core.json_values import JSON
from agentctl.core.text import list_names
from agentctl.tools.tables import Row

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]+")


def answer_of_rows(
    schema: AnswerSchema, tables: Sequence[Sequence[Row]], redact: Callable[[str], str]
) -> Mapping[str, object]:
    """Return the answer by ``schema`` that the collected rows are; ``redact`` takes secrets out of their texts.

    Raises:
        SchemaMismatch: they are none.
    """
    if not tables:
        raise SchemaMismatch(
            "the tool's result has no rows, so it is not valid by the schema", hint="leave out the schema"
        )
    rows = [[_as_json(row, redact) for row in table] for table in tables]
    first: AnswerProblems | None = None
    for value in _candidates(schema.document, rows):
        try:
            found = schema.validate_value(value)
        except AnswerProblems as error:
            first = first or error
        else:
            if isinstance(found, Mapping):
                return found
    columns = list_names(list(dict.fromkeys(name for table in rows for row in table for name in row)), most=20)
    said = "no property of the schema can take them" if first is None else str(first.problems[0])
    hint = f"its columns are {columns}" if columns else "leave out the schema"
    raise SchemaMismatch(f"the tool's rows are not valid by the schema: {said}", hint=hint)


def _candidates(document: Mapping[str, JSON], tables: Sequence[Sequence[Mapping[str, JSON]]]) -> Iterator[JSON]:
    """Yield the answers that the rows may be, the whole table first."""
    properties = document.get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    lists = {name: part for name, part in known.items() if isinstance(part, Mapping) and part.get("type") == "array"}
    for table in tables:
        for name, part in lists.items() if len(lists) == 1 else ():
            yield {name: [_named_only(part.get("items"), row) for row in table]}
        if len(table) == 1:
            yield _named_only(document, table[0])


def _named_only(schema: JSON, row: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """Return a row without the columns that its schema does not allow."""
    if not isinstance(schema, Mapping) or schema.get("additionalProperties") is not False:
        return row
    properties = schema.get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    return {name: value for name, value in row.items() if name in known}


def _as_json(row: Row, redact: Callable[[str], str]) -> Mapping[str, JSON]:
    """Return a row as JSON; its columns are named as fields are: ``used %`` is ``used_percent``."""
    return {_field(name): _value(value, redact) for name, value in row.items()}


def _field(column: str) -> str:
    return _NOT_IN_A_NAME.sub("_", column.lower().replace("%", " percent")).strip("_")


def _value(value: object, redact: Callable[[str], str]) -> JSON:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return redact(str(value))
