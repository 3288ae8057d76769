"""The schema that an answer must have (``--schema``): how it is given, and the answers held against it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from agentctl.core.bounded_read import read_to_end
from agentctl.core.errors import TaskFailed, UsageError
from agentctl.core.json_schema import SchemaTree, find_fault
from agentctl.core.json_values import JSON, read_json, write_json
from agentctl.core.schema_subsets import SchemaSubset, fits_subset
from agentctl.core.schema_validation import find_problems
from agentctl.core.text import did_you_mean, list_names

MOST_BYTES = 64 * 1024  # of a schema as it is given
_JSON_STARTS = ("{", "[", '"')
_FILE_S = 10.0  # that a pipe has to give its schema

_TYPES: dict[str, str] = {
    "string": "string", "str": "string", "int": "integer", "integer": "integer", "number": "number",
    "float": "number", "bool": "boolean", "boolean": "boolean",
}  # fmt: skip
_FIELD = re.compile(r"\s*([A-Za-z_][\w-]*)(\??)\s*:\s*([^\s\[\]]*)\s*(\[\])?\s*", re.ASCII)
_FENCE = re.compile(r"\s*```[\w-]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\s*", re.DOTALL)
_HOW = "give a file, a JSON Schema as {…}, or fields as in name:string,count:int,tags:string[],note?:string"


class AnswerProblem(NamedTuple):
    """One thing that is wrong with an answer, and the JSON pointer of the place; "" is the whole answer."""

    pointer: str
    message: str

    def __str__(self) -> str:
        return f"{self.pointer}: {self.message}" if self.pointer else self.message


class AnswerProblems(ValueError):
    """An answer is not as its schema says; ``problems`` has the first 20 things that are wrong, at least one."""

    def __init__(self, problems: tuple[AnswerProblem, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class SchemaMismatch(TaskFailed):
    """A run's answer is not valid by its schema, after the retries."""

    kind = "schema"


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """A JSON Schema (2020-12) that was checked by ``read_answer_schema``.

    ``text`` is the document on one line, keys in the order given: what is sent to a model, and counted in its bound.
    ``check`` is asked for the pointers and messages of what else is wrong with a value that is valid by the document.
    """

    document: Mapping[str, JSON]
    text: str
    check: Callable[[JSON], Sequence[tuple[str, str]]] | None = None

    def validate(self, text: str) -> JSON:
        """Return the JSON value that an answer is, which may stand alone in one Markdown fence.

        Raises:
            AnswerProblems: the answer is not one JSON value (a key twice, NaN, a number beyond a double, half a
                surrogate pair and more than 100 levels are refused too), or not valid.
        """
        inside = _FENCE.fullmatch(text)
        try:
            value = read_json(text if inside is None else inside[1])
        except ValueError as error:
            raise AnswerProblems((AnswerProblem("", f"not one JSON value: {error}"),)) from None
        return self._valid(value)

    def validate_value(self, value: JSON) -> JSON:
        """Return a value as it is if it is valid, as ``validate`` does for a text.

        Raises:
            AnswerProblems: the value is not JSON, or not valid.
        """
        try:
            text = write_json(value)
        except (ValueError, TypeError, RecursionError) as error:
            raise AnswerProblems((AnswerProblem("", f"not one JSON value: {error}"),)) from None
        return self.validate(text)

    def fits(self, subset: SchemaSubset) -> bool:
        """Return whether a provider that takes ``subset`` of JSON Schema can be held to this schema by its own means.

        What does not fit is asked for in words. Either way the answer is validated here.
        """
        return fits_subset(SchemaTree(self.document), subset)

    def _valid(self, value: JSON) -> JSON:
        """Return a value if it is valid.

        Raises:
            AnswerProblems: it is not valid, or to tell would be too much work.
        """
        found: Sequence[tuple[str, str]] = find_problems(self.text, value)
        if not found and self.check is not None:
            found = self.check(value)
        if problems := tuple(AnswerProblem(*problem) for problem in found):
            raise AnswerProblems(problems)
        return value


def read_answer_schema(
    given: str | Path | Mapping[str, Any], *, name: str = "--schema", folder: Path | None = None
) -> AnswerSchema:
    """Return the schema that is given as a mapping, a file, JSON, or as fields.

    A text that begins with ``{`` is JSON. A text like ``name:string,count:int`` has the fields of an object: each is
    ``NAME:TYPE`` or, if it may be missing, ``NAME?:TYPE``; TYPE is string, int (integer), number (float) or bool
    (boolean), or a list of such, as in ``string[]``; other fields are not allowed. Any other text, and a path, is the
    name of a file, in ``folder`` if it is relative. ``name`` is what errors call the schema.

    Raises:
        UsageError: the file cannot be read, the JSON or a field is malformed, the schema is above 64 kB, or it is not
            taken for a reason that ``find_fault`` lists; the message has the JSON pointer.
    """
    if isinstance(given, str) and not given.strip():
        raise UsageError(f"{name} is empty", hint=_HOW)
    if isinstance(given, Mapping):
        document = _read_document(_write_mapping(given, name), name)
    elif isinstance(given, Path) or is_schema_file(given):
        name = f"{name} {given}"
        document = _read_document(_read_file(Path(given), name, folder), name)
    else:
        text = given if given.lstrip().startswith(_JSON_STARTS) else write_json(_read_fields(given, name))
        document = _read_document(text.encode(errors="surrogateescape"), name)
    if fault := find_fault(document):
        place = fault.pointer or "(the root)"
        raise UsageError(f"{name} {place}: {fault.fact}", hint=fault.hint or "correct the schema")
    return AnswerSchema(document, write_json(document))


def is_schema_file(given: str) -> bool:
    """Return whether a text names a file, and is not a schema itself: JSON, or fields."""
    first, colon, _ = given.partition(":")
    return not given.lstrip().startswith(_JSON_STARTS) and (not colon or "/" in first or "." in first)


def _write_mapping(given: Mapping[str, Any], name: str) -> bytes:
    try:
        return write_json(given).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON: {error}", hint="give a JSON Schema as a dict of plain values") from None


def _read_file(path: Path, name: str, folder: Path | None) -> bytes:
    """Return the bytes of a file, at most one more than a schema may have; a pipe has ten seconds to give them."""
    try:
        file = os.open(path if folder is None else folder / path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return read_to_end(file, most=MOST_BYTES, until=time.monotonic() + _FILE_S)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        reason = (
            getattr(error, "strerror", None) or "nothing came in time" if isinstance(error, OSError) else str(error)
        )
        raise UsageError(f"{name} cannot be read: {reason}", hint=_HOW) from None


def _read_document(data: bytes, name: str) -> dict[str, JSON]:
    if len(data) > MOST_BYTES:
        raise UsageError(f"{name} is above 64 kB", hint="make the schema shorter: it is in the bill of each request")
    try:
        document = read_json(data.decode("utf-8-sig"))
    except ValueError as error:
        raise UsageError(f"{name} is not JSON: {error}", hint=_HOW) from None
    if not isinstance(document, dict):
        raise UsageError(f"{name} (the root): it is not a JSON object", hint=_HOW)
    return document


def _read_fields(given: str, name: str) -> dict[str, JSON]:
    """Return the schema of an object with the fields of a text like ``name:string,note?:int[]``."""
    properties: dict[str, JSON] = {}
    required: list[str] = []
    for part in given.split(","):
        if not (field := _FIELD.fullmatch(part)):
            raise UsageError(f"{name} has {part.strip()[:80]!r}, which is not a field NAME:TYPE", hint=_HOW)
        key, optional, word, is_list = field.groups()
        if key in properties:
            raise UsageError(f"{name} has the field {key} twice", hint="name each field once")
        if word not in _TYPES:
            near = did_you_mean(word, _TYPES) or f"use one of {list_names(tuple(_TYPES), len(_TYPES))}"
            raise UsageError(f"{name} /properties/{key}: {word or 'nothing'} is not a type", hint=near)
        kind: JSON = {"type": _TYPES[word]}
        properties[key] = {"type": "array", "items": kind} if is_list else kind
        required += [] if optional else [key]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
