"""The parts of JSON Schema that providers can be held to by their own means, and whether a schema is within them.

What a provider documents is the upper limit here; where it has raised a limit, or others that speak its format have a
lower one, the lower stands: a schema that does not fit costs a turn, a request that is refused costs the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from agentctl.core.json_schema import SchemaTree

SchemaSubset = Literal["openai", "anthropic", "ollama"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COMMON = _words("title description $ref $defs definitions type properties required additionalProperties")
_COMMON |= _words("items enum const anyOf pattern format minItems")
_FORMATS = _words("date-time time date duration email hostname ipv4 ipv6 uuid")
_NOT_PLAIN = re.compile(r"\(\?[^:]|\\[bBAZzGKkgpPX1-9]")  # lookaround, backreferences, boundaries, named classes

# "Structured model outputs", supported schemas: https://platform.openai.com/docs/guides/structured-outputs
_OPENAI = _COMMON | _words("multipleOf minimum maximum exclusiveMinimum exclusiveMaximum maxItems")
_OPENAI_LEVELS = 5  # 10 since 2025; 5 on Azure and in many servers that speak this format
_OPENAI_PROPERTIES = 100  # 5,000 since 2025
_OPENAI_NAMES = 15_000  # characters of names, enums and constants; 120,000 since 2025
_OPENAI_ENUM = 500  # values in all enums; 1,000 since 2025
_OPENAI_LONG_ENUM = 7_500  # characters of one enum of more than 250 values; 15,000 since 2025

# "Structured outputs", limitations: https://platform.claude.com/docs/en/build-with-claude/structured-outputs
_ANTHROPIC = _COMMON | _words("allOf default")
_ANTHROPIC_FORMATS = _FORMATS | {"uri"}
_ANTHROPIC_OPTIONAL = 24  # properties that may be missing
_ANTHROPIC_UNIONS = 16  # anyOf, and types in a list
_LARGE_COUNT = re.compile(r"\{\d{3,}|\{\d*,\d{3,}")

# Ollama hands ``format`` to llama.cpp's json_schema_to_grammar: what the grammar cannot say it leaves out, and some
# schemas it cannot turn into a grammar: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md
_OLLAMA_KINDS = _words("type $ref anyOf oneOf allOf enum const properties items prefixItems")
_OLLAMA_REPEATS = 1_000  # of minItems and the like; llama.cpp refuses a grammar with more than 2,000
_ANCHORED = re.compile(r"\^.*\$", re.DOTALL)


def fits_subset(tree: SchemaTree, subset: SchemaSubset) -> bool:
    """Return whether a checked schema is within what a provider takes.

    ``openai`` (``response_format`` with ``strict``): each object names its properties, requires all, and allows no
    other; only the keywords that are documented, ``$ref`` alone in its schema, a type in each; 5 levels of objects and
    lists, 100 properties. ``anthropic`` (``output_format``): each object allows no other properties, nothing
    recursive, no limits of numbers and lengths, at most 24 properties that may be missing and 16 unions. ``ollama``
    (``format``): what llama.cpp makes a grammar of; keywords that a grammar ignores fit.
    """
    if subset == "ollama":
        return _fits_ollama(tree)
    is_openai = subset == "openai"
    if tree.document.get("type") != "object" or any(isinstance(schema, bool) for schema in _values(tree)):
        return False
    keywords = _OPENAI if is_openai else _ANTHROPIC
    formats = _FORMATS if is_openai else _ANTHROPIC_FORMATS
    for path, schema in tree.objects.items():
        known = schema.keys() - ({"$schema", "$id"} if not path else set())
        if not known <= keywords or not known & {"type", "$ref", "anyOf", "allOf", "enum", "const"}:
            return False
        if _is_object(schema) and (schema.get("additionalProperties") is not False or "properties" not in schema):
            return False
        if schema.get("format", "date") not in formats or not _is_plain(schema.get("pattern", "")):
            return False
    return _fits_openai(tree) if is_openai else _fits_anthropic(tree)


def _fits_openai(tree: SchemaTree) -> bool:
    properties, names, values = 0, 0, 0
    for path, schema in tree.objects.items():
        inside = schema.get("properties", {})
        if _is_object(schema) and set(schema.get("required", ())) != set(inside):
            return False
        if "$ref" in schema and len(schema) > 1 and path:
            return False
        if "array" in _types(schema) and "items" not in schema:
            return False
        if not schema.keys() & {"type", "$ref", "anyOf"}:
            return False
        listed = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
        long = sum(len(str(each)) for each in listed)
        if len(listed) > 250 and long > _OPENAI_LONG_ENUM:
            return False
        properties, values = properties + len(inside), values + len(schema.get("enum", ()))
        names += long + sum(map(len, (*inside, *schema.get("$defs", ()), *schema.get("definitions", ()))))
    return (
        properties <= _OPENAI_PROPERTIES
        and names <= _OPENAI_NAMES
        and values <= _OPENAI_ENUM
        and max(map(_level, tree.objects)) <= _OPENAI_LEVELS
    )


def _fits_anthropic(tree: SchemaTree) -> bool:
    optional, unions = 0, 0
    for schema in tree.objects.values():
        optional += len(set(schema.get("properties", ())) - set(schema.get("required", ())))
        unions += ("anyOf" in schema) + isinstance(schema.get("type"), list)
        if any(isinstance(each, (dict, list)) for each in (*schema.get("enum", ()), schema.get("const"))):
            return False
        if schema.get("minItems", 0) > 1:
            return False
        if any("$ref" in each for each in schema.get("allOf", ())):
            return False
        if _LARGE_COUNT.search(schema.get("pattern", "")):
            return False
    return optional <= _ANTHROPIC_OPTIONAL and unions <= _ANTHROPIC_UNIONS and not tree.is_recursive()


def _fits_ollama(tree: SchemaTree) -> bool:
    if any(isinstance(schema, bool) for schema in _values(tree)):
        return False
    for schema in tree.objects.values():
        if schema and not schema.keys() & _OLLAMA_KINDS:
            return False
        counts = (schema.get(key, 0) for key in ("minItems", "maxItems", "minLength", "maxLength"))
        if max(counts) > _OLLAMA_REPEATS:
            return False
        pattern = schema.get("pattern")
        if pattern is not None and not (_ANCHORED.fullmatch(pattern) and _is_plain(pattern)):
            return False
    return True


def _values(tree: SchemaTree) -> Iterator[Mapping[str, Any] | bool]:
    """Yield the schemas, except what ``additionalProperties`` says with a word."""
    for path, schema in tree.schemas.items():
        if not (isinstance(schema, bool) and path[-1:] == ("additionalProperties",)):
            yield schema


def _types(schema: Mapping[str, Any]) -> tuple[str, ...]:
    kind = schema.get("type", ())
    return (kind,) if isinstance(kind, str) else tuple(kind)


def _is_object(schema: Mapping[str, Any]) -> bool:
    return "object" in _types(schema) or "properties" in schema


def _is_plain(pattern: str) -> bool:
    return not _NOT_PLAIN.search(pattern)


def _level(path: tuple[str, ...]) -> int:
    """Return how many objects and lists are around a schema, those of its own definition only."""
    level, keys = 0, iter(path)
    for key in keys:
        if key in ("properties", "$defs", "definitions"):
            next(keys, None)
            level = level + 1 if key == "properties" else 0
        elif key == "items":
            level += 1
        elif key in ("anyOf", "allOf"):
            next(keys, None)
    return level
