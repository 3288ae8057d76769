"""Hold a value against a checked JSON Schema, by jsonschema, with a bound on the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from typing import Any

from agentctl.core.json_schema import SchemaTree
from agentctl.core.json_values import JSON, join_pointer, read_object, write_json

MOST_PROBLEMS = 20  # that are told of one value
_LONGEST_MESSAGE = 300
Check = Callable[[Any, Any, Any, Mapping[str, Any]], Iterator[Any]]  # one keyword, as jsonschema calls it


def find_problems(schema: str, value: JSON, *, steps: int = 300_000, pattern_s: float = 1.0) -> list[tuple[str, str]]:
    """Return the JSON pointer and the message of at most 20 things that are wrong with a value; none: it is valid.

    ``schema`` is a document in which ``find_fault`` finds nothing. The work has a bound, whatever the schema and the
    value are: ``steps`` (a keyword held against a value; more for a long one), and ``pattern_s`` seconds for a match of
    a regular expression, by the ``regex`` library, which can be stopped. A value that needs more is not valid. Unlike
    jsonschema's own, ``multipleOf`` is exact for decimal fractions. ``format`` is not checked: what jsonschema checks
    depends on the packages that happen to be installed.
    """
    validator, alternatives = _validator(schema)
    before = _work.set(_Work(steps, pattern_s, alternatives))
    try:
        return [_describe(error) for error in islice(validator.iter_errors(value), MOST_PROBLEMS)]
    except (_TooMuch, TimeoutError):
        return [("", "validating it takes too long")]
    except RecursionError:
        return [("", "it is nested too deeply to be validated")]
    finally:
        _work.reset(before)


def _describe(error: Any) -> tuple[str, str]:  # noqa: ANN401 - jsonschema's ValidationError, which has no types
    """Return the pointer and the message of an error: of alternatives that all fail, of the nearest one."""
    from jsonschema.exceptions import best_match

    nearest = best_match([error]) or error
    message = nearest.message
    if len(message) > _LONGEST_MESSAGE:  # it begins with the value, and ends with the fact
        message = f"{message[:100]} … {message[-(_LONGEST_MESSAGE - 103) :]}"
    return join_pointer(nearest.absolute_path), message


class _TooMuch(Exception):
    pass


class _Work:
    """What a validation may still take, and the most schemas that one value is held against."""

    def __init__(self, steps: int, pattern_s: float, alternatives: int) -> None:
        self.steps, self.pattern_s, self.alternatives = steps, pattern_s, alternatives

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise _TooMuch


_work: ContextVar[_Work] = ContextVar("_work")


@lru_cache(maxsize=8)
def _validator(schema: str) -> tuple[Any, int]:
    """Return a validator that fetches nothing, whose work ``_work`` bounds, and the most alternatives for one value."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend
    from referencing import Registry

    checks = {**Draft202012Validator.VALIDATORS, **_OWN}
    bounded = {keyword: _bound(keyword, check) for keyword, check in checks.items()}
    document = read_object(schema)
    validator = extend(Draft202012Validator, bounded)(document, registry=Registry())
    return validator, SchemaTree(document).most_alternatives


def _bound(keyword: str, check: Check) -> Check:
    """Return a keyword's check that spends steps: for the lengths of what it compares, and of what it says."""

    def bounded(validator: Any, wanted: Any, value: Any, schema: Mapping[str, Any]) -> Iterator[Any]:  # noqa: ANN401
        work = _work.get()
        work.spend(1 + _size(value) + (_weight(wanted) if keyword in ("enum", "const") else _size(wanted)))
        if keyword.startswith("unevaluated"):
            work.spend(work.alternatives)
        for error in check(validator, wanted, value, schema):
            if not error.relative_path:
                work.spend(len(error.message) // 16)
            yield error

    return bounded


def _size(value: JSON) -> int:
    return len(value) if isinstance(value, (list, dict)) else len(value) // 64 if isinstance(value, str) else 0


def _weight(value: JSON) -> int:
    return len(repr(value)) // 16


def _check_pattern(validator: Any, pattern: str, value: Any, schema: Mapping[str, Any]) -> Iterator[Any]:  # noqa: ANN401
    if isinstance(value, str) and not _matches(pattern, value):
        yield _error(f"{value!r} does not match {pattern!r}")


def _check_pattern_properties(
    validator: Any,  # noqa: ANN401
    patterns: Mapping[str, Any],
    value: Any,  # noqa: ANN401
    schema: Mapping[str, Any],
) -> Iterator[Any]:
    for pattern, below in patterns.items() if isinstance(value, dict) else ():
        for key, each in value.items():
            if _matches(pattern, key):
                yield from validator.descend(each, below, path=key, schema_path=pattern)


def _check_additional(validator: Any, below: Any, value: Any, schema: Mapping[str, Any]) -> Iterator[Any]:  # noqa: ANN401
    if not isinstance(value, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    more = [key for key in value if key not in known and not any(_matches(pattern, key) for pattern in patterns)]
    if below is False and more:
        yield _error(f"additional properties are not allowed: {', '.join(map(repr, more))}")
    elif isinstance(below, dict):
        for key in more:
            yield from validator.descend(value[key], below, path=key)


def _check_unique(validator: Any, wanted: bool, value: Any, schema: Mapping[str, Any]) -> Iterator[Any]:  # noqa: ANN401
    if wanted and isinstance(value, list) and len({write_json(_comparable(each)) for each in value}) < len(value):
        yield _error(f"{value!r} has non-unique elements")


def _check_multiple(validator: Any, step: float, value: Any, schema: Mapping[str, Any]) -> Iterator[Any]:  # noqa: ANN401
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and (Fraction(repr(value)) / Fraction(repr(step))).denominator != 1:
        yield _error(f"{value!r} is not a multiple of {step!r}")


_OWN: dict[str, Check] = {
    "pattern": _check_pattern,
    "patternProperties": _check_pattern_properties,
    "additionalProperties": _check_additional,
    "uniqueItems": _check_unique,
    "multipleOf": _check_multiple,
}


def _matches(pattern: str, text: str) -> bool:
    """Return whether a regular expression is found in a text.

    Raises:
        TimeoutError: it takes too long to tell.
    """
    import regex

    work = _work.get()
    work.spend(1 + len(text) // 64)
    return regex.search(pattern, text, timeout=work.pattern_s) is not None


def _error(message: str) -> Any:  # noqa: ANN401
    from jsonschema.exceptions import ValidationError

    return ValidationError(message)


def _comparable(value: JSON) -> JSON:
    """Return a value that is written as each value is that JSON Schema takes for equal: 1.0 as 1, keys in order."""
    if isinstance(value, dict):
        return {key: _comparable(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_comparable(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
