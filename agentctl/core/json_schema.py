"""Check a JSON Schema (2020-12) before it is used: sound, local, finite, and cheap enough to validate by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

from agentctl.core.json_values import JSON, join_pointer, split_pointer

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MOST_SCHEMA_LEVELS = 48  # of nesting of the document: some 20 objects in each other
MOST_IN_PLACE = 32  # schemas for one and the same value, each within the last
MOST_ALTERNATIVES = 5_000  # schemas that one value may have to be held against
MOST_WRITTEN_OUT = 20_000  # values in a schema whose references are written out
MOST_LEVELS_WRITTEN_OUT = 200
MOST_REPEATS = 10_000  # what the counts of a regular expression, {n} within {m}, multiply to

_ONE = frozenset(
    (
        *("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else"),
        *("unevaluatedItems", "unevaluatedProperties", "contentSchema"),
    )
)
_LIST = frozenset(("prefixItems", "allOf", "anyOf", "oneOf"))
_MAP = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
_IN_PLACE = frozenset(("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"))
_NOT_TAKEN = frozenset(("$dynamicRef", "$dynamicAnchor", "$anchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary"))
Path = tuple[str, ...]


class SchemaFault(NamedTuple):
    """Why a JSON Schema is refused: the JSON pointer of the place, the fact, and what to do."""

    pointer: str
    fact: str
    hint: str = ""


class SchemaTree:
    """A JSON Schema as the schemas in it, by their place; what stands in ``enum``, ``const`` or ``default`` is none.

    ``schemas`` maps a path (keys from the root) to a schema: an object, or true or false.
    """

    def __init__(self, document: Mapping[str, JSON]) -> None:
        self.document = document
        self.schemas: dict[Path, Mapping[str, Any] | bool] = dict(_walk(document))

    @cached_property
    def objects(self) -> dict[Path, Mapping[str, Any]]:
        """The schemas that are objects."""
        return {path: schema for path, schema in self.schemas.items() if isinstance(schema, Mapping)}

    def target(self, ref: str) -> Path | None:
        """Return the path that a local ``$ref`` leads to, None if no schema is there."""
        path = split_pointer(unquote(ref[1:]))
        return path if path in self.schemas else None

    def in_place(self, path: Path) -> list[Path]:
        """Return the schemas that hold for the same value as the schema at ``path``, directly."""
        schema = self.objects.get(path, {})
        found = [each for each in self._below(path, schema) if each[len(path)] in _IN_PLACE]
        ref = schema.get("$ref")
        target = self.target(ref) if isinstance(ref, str) else None
        return found if target is None else [*found, target]

    def _below(self, path: Path, schema: Mapping[str, Any]) -> Iterator[Path]:
        for _, below in _children(path, schema):
            yield below

    def root_type(self) -> JSON:
        """Return the ``type`` of the root, or of the schema that its ``$ref`` leads to; None if there is none."""
        path: Path | None = ()
        for _ in range(MOST_IN_PLACE):
            schema = self.objects.get(path, {}) if path is not None else {}
            if "type" in schema or "$ref" not in schema:
                return schema.get("type")
            path = self.target(schema["$ref"])
        return None

    def is_recursive(self) -> bool:
        """Return whether a schema contains itself, by way of a ``$ref``."""
        found = {path: self.target(schema["$ref"]) for path, schema in self.objects.items() if "$ref" in schema}
        targets = {path: target for path, target in found.items() if target is not None}
        reached = {
            start: {end for path, end in targets.items() if path[: len(start)] == start} for start in targets.values()
        }
        for start in reached:
            seen: set[Path] = set()
            ahead = list(reached[start])
            while ahead:
                here = ahead.pop()
                if here == start:
                    return True
                if here not in seen:
                    seen.add(here)
                    ahead.extend(reached[here])
        return False

    @cached_property
    def most_alternatives(self) -> int:
        """The most schemas that one value may have to be held against; only for a document without a fault."""
        return max(size for size, _ in self.extents().values())

    def extents(self) -> dict[Path, tuple[int, int]]:
        """Return for each schema how many schemas hold for its value, counted by way, and the longest such way.

        Raises:
            _Endless: a schema leads back to itself for the same value.
        """
        extents: dict[Path, tuple[int, int]] = {}
        for start in self.schemas:
            open_paths: dict[Path, Iterator[Path]] = {} if start in extents else {start: iter(self.in_place(start))}
            while open_paths:
                path = next(reversed(open_paths))
                below = next((each for each in open_paths[path] if each not in extents), None)
                if below is None:
                    of_below = [extents[each] for each in self.in_place(path)]
                    extents[path] = (
                        1 + sum(size for size, _ in of_below),
                        1 + max((way for _, way in of_below), default=0),
                    )
                    del open_paths[path]
                elif below in open_paths:
                    raise _Endless(below)
                else:
                    open_paths[below] = iter(self.in_place(below))
        return extents


class _Endless(Exception):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


def find_fault(document: Mapping[str, JSON]) -> SchemaFault | None:
    """Return the first reason to refuse a JSON Schema, None if there is none.

    A schema is taken if it is valid by the metaschema of 2020-12; its ``$schema`` is missing or names 2020-12; its
    root describes an object, by its ``type`` or that of the schema its ``$ref`` leads to; each ``$ref`` is local
    (``#`` or ``#/…``), leads to a schema, and not back to itself for the same value (a schema that contains itself
    further down is fine); only the root has an ``$id``, and nothing has an anchor; it is not nested deeper than 48
    levels; with its references written out, as some providers send it to a model, it has no more than 20,000 values
    and 200 levels; one value is never held against more than 5,000 schemas, nor 32 within each other;
    ``unevaluatedProperties`` and ``patternProperties`` are not both used; each regular expression compiles, and its
    counts do not multiply to more than 10,000. ``format`` is taken, and not checked in answers.
    """
    if _depth(document) > MOST_SCHEMA_LEVELS:
        return SchemaFault("", f"the schema is nested more than {MOST_SCHEMA_LEVELS} levels deep", "make it flatter")
    if (dialect := document.get("$schema", DIALECT)) not in (DIALECT, f"{DIALECT}#"):
        hint = f'write the schema for "{DIALECT}"'
        return SchemaFault("/$schema", f"{str(dialect)[:80]} is not the JSON Schema of 2020-12", hint)
    tree = SchemaTree(document)
    return (
        _find_unsound(document)
        or _find_bad_ref(tree)
        or _find_bad_root(tree)
        or _find_too_much(tree)
        or _find_long_written_out(tree)
    )


def _find_unsound(document: Mapping[str, JSON]) -> SchemaFault | None:
    """Return where the document is not valid by the metaschema."""
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.exceptions import SchemaError

    try:  # without formats: regular expressions are compiled by the library that searches with them
        Draft202012Validator.check_schema(document, format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        message = error.message if len(error.message) <= 300 else f"{error.message[:100]} … {error.message[-190:]}"
        return SchemaFault(join_pointer(error.absolute_path), message)
    except RecursionError:
        return SchemaFault("", "the schema is nested too deeply to be checked", "make it flatter")
    return None


def _find_bad_ref(tree: SchemaTree) -> SchemaFault | None:
    """Return a reference that is not local, leads nowhere, or is of a kind that is not taken."""
    for path, schema in tree.objects.items():
        for keyword in sorted(_NOT_TAKEN & schema.keys()):
            hint = "use $ref with a local pointer, as in #/$defs/name"
            return SchemaFault(join_pointer((*path, keyword)), f"{keyword} is not supported", hint)
        if path and "$id" in schema:
            hint = "remove it, and refer to the schema by its pointer"
            return SchemaFault(join_pointer((*path, "$id")), "only the root may have an $id", hint)
        ref = schema.get("$ref")
        if ref is None:
            continue
        place = join_pointer((*path, "$ref"))
        if not (ref == "#" or ref.startswith("#/")):
            hint = "copy the schema into $defs, and refer to it as #/$defs/name"
            return SchemaFault(place, f"{ref[:80]} is not a pointer into this schema; no other one is fetched", hint)
        if tree.target(ref) is None:
            return SchemaFault(place, f"no schema is at {ref[:80]}")
    return None


def _find_bad_root(tree: SchemaTree) -> SchemaFault | None:
    found = tree.root_type()
    if found == "object":
        return None
    fact = "the root has no type" if found is None else f"the root is of type {str(found)[:80]}"
    return SchemaFault("/type", f"{fact}; an answer is an object", 'give the root "type": "object"')


def _find_long_written_out(tree: SchemaTree) -> SchemaFault | None:
    """Return whether the schema is too long or deep with its references written out; in a cycle they stay."""
    count, ahead = 0, [(cast("JSON", tree.document), frozenset[str](), 0)]
    while ahead:
        value, seen, level = ahead.pop()
        count += 1
        if count > MOST_WRITTEN_OUT or level > MOST_LEVELS_WRITTEN_OUT:
            most = f"{MOST_WRITTEN_OUT:,} values" if count > MOST_WRITTEN_OUT else f"{MOST_LEVELS_WRITTEN_OUT} levels"
            return SchemaFault("", f"with its $refs written out the schema has more than {most}", "use fewer $refs")
        if isinstance(value, Mapping):
            ref = value.get("$ref")
            target = tree.target(ref) if isinstance(ref, str) and ref not in seen else None
            if isinstance(ref, str) and target is not None:
                ahead.append((tree.schemas[target], seen | {ref}, level + 1))
            ahead.extend((each, seen, level + 1) for each in value.values())
        elif isinstance(value, Sequence) and not isinstance(value, str):
            ahead.extend((each, seen, level + 1) for each in value)
    return None


def _find_too_much(tree: SchemaTree) -> SchemaFault | None:
    """Return what would make validation endless or very long."""
    try:
        extents = tree.extents()
    except _Endless as endless:
        return SchemaFault(join_pointer(endless.path), "the schema refers to itself without end")
    for path, (size, way) in extents.items():
        if size > MOST_ALTERNATIVES:
            fact = f"one value would be held against more than {MOST_ALTERNATIVES} schemas"
            return SchemaFault(join_pointer(path), fact, "use fewer allOf, anyOf and $ref within each other")
        if way > MOST_IN_PLACE:
            fact = f"more than {MOST_IN_PLACE} schemas for one value are within each other"
            return SchemaFault(join_pointer(path), fact, "use fewer allOf, anyOf and $ref within each other")
    if clash := _find_keywords(tree, "unevaluatedProperties", "patternProperties"):
        return SchemaFault(join_pointer(clash), "unevaluatedProperties with patternProperties is not supported")
    for path, pattern in _patterns(tree):
        if fact := _pattern_fault(pattern):
            return SchemaFault(join_pointer(path), f"the regular expression {pattern[:80]!r} {fact}")
    return None


def _find_keywords(tree: SchemaTree, keyword: str, other: str) -> Path | None:
    """Return where ``keyword`` is used, if ``other`` is used anywhere too."""
    if not any(other in schema for schema in tree.objects.values()):
        return None
    return next(((*path, keyword) for path, schema in tree.objects.items() if keyword in schema), None)


def _patterns(tree: SchemaTree) -> Iterator[tuple[Path, str]]:
    for path, schema in tree.objects.items():
        if "pattern" in schema:
            yield (*path, "pattern"), schema["pattern"]
        for pattern in schema.get("patternProperties", ()):
            yield (*path, "patternProperties", pattern), pattern


def _pattern_fault(pattern: str) -> str:
    """Return why a regular expression is refused, "" if it is fine."""
    import regex

    if _repeats(pattern) > MOST_REPEATS:
        return f"repeats more than {MOST_REPEATS} times"
    try:
        regex.compile(pattern)
    except RecursionError:
        return "is nested too deeply"
    except (regex.error, ValueError, OverflowError) as error:
        return f"does not compile: {error}"
    return ""


_PIECE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d*)(?:,(\d*))?\}|.", re.DOTALL)


def _repeats(pattern: str) -> int:
    """Return the largest product of counts, each in or around the last, in a regular expression."""
    levels = [[1, 1]]  # for each open group: the largest product in it, and that of its last piece
    for piece in _PIECE.finditer(pattern):
        here = levels[-1]
        if piece[0] == "(":
            levels.append([1, 1])
        elif piece[0] == ")" and len(levels) > 1:
            inner = max(levels.pop())
            levels[-1] = [max(max(levels[-1]), inner), inner]
        elif piece[1] is not None or piece[2] is not None:
            counts = [int(digits[:9]) for digits in (piece[1], piece[2]) if digits]
            here[1] *= max((*counts, 1))
            here[0] = max(here)
        else:
            here[1] = 1 if piece[0] not in "*+?" else here[1]
    return max(max(level) for level in levels)


def _walk(document: Mapping[str, JSON]) -> Iterator[tuple[Path, Mapping[str, Any] | bool]]:
    ahead: list[tuple[Path, Any]] = [((), document)]
    while ahead:
        path, schema = ahead.pop()
        if isinstance(schema, bool):
            yield path, schema
        elif isinstance(schema, Mapping):
            yield path, schema
            ahead.extend((below, child) for child, below in _children(path, schema))


def _children(path: Path, schema: Mapping[str, Any]) -> Iterator[tuple[Any, Path]]:
    """Yield the schemas directly in a schema, with their paths."""
    for keyword, value in schema.items():
        if keyword in _ONE:
            yield value, (*path, keyword)
        elif keyword in _LIST and isinstance(value, Sequence) and not isinstance(value, str):
            yield from ((each, (*path, keyword, str(index))) for index, each in enumerate(value))
        elif keyword in _MAP and isinstance(value, Mapping):
            yield from ((each, (*path, keyword, key)) for key, each in value.items())


def _depth(document: JSON) -> int:
    depth, level = 0, [document]
    while level:
        depth += 1
        below: list[JSON] = []
        for each in level:
            if isinstance(each, Mapping):
                below.extend(each.values())
            elif isinstance(each, Sequence) and not isinstance(each, str):
                below.extend(each)
        level = below
    return depth - 1
