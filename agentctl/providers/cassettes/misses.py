"""Explain a request that was not recorded: the nearest recording, the first place that differs, and both values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from agentctl.core.text import safe_text
from agentctl.providers.cassettes.cassette_file import CassetteError

_MOST_SHOWN = 120  # characters of a value
_BEFORE = 40  # of them before the first difference
_MISSING = "nothing"


class JsonDifference(NamedTuple):
    """The first place where two JSON values differ, as a JSON pointer, and what each has there, in short."""

    pointer: str
    recorded: str
    given: str


def first_difference(recorded: object, given: object) -> JsonDifference | None:
    """Return the first difference of two JSON values, in the order of ``recorded``; None if they are equal.

    >>> first_difference({"messages": [{"content": "a b"}]}, {"messages": [{"content": "a c"}]})
    JsonDifference(pointer='/messages/0/content', recorded='"a b"', given='"a c"')
    """
    found = next(_differences(recorded, given, ""), None)
    return None if found is None else JsonDifference(found[0], *_shown(found[1], found[2]))


class _Nothing:
    """No member, or no element."""


def _differences(recorded: object, given: object, pointer: str) -> Iterator[tuple[str, object, object]]:
    if isinstance(recorded, dict) and isinstance(given, dict):
        for name in dict.fromkeys((*recorded, *given)):
            place = f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"
            yield from _differences(recorded.get(name, _Nothing()), given.get(name, _Nothing()), place)
    elif isinstance(recorded, list) and isinstance(given, list):
        for number in range(max(len(recorded), len(given))):
            old = recorded[number] if number < len(recorded) else _Nothing()
            new = given[number] if number < len(given) else _Nothing()
            yield from _differences(old, new, f"{pointer}/{number}")
    elif type(recorded) is not type(given) or recorded != given:
        yield pointer, recorded, given


def _shown(recorded: object, given: object) -> tuple[str, str]:
    """Return two values in short; of two texts the part where they begin to differ."""
    if isinstance(recorded, str) and isinstance(given, str):
        at = next(
            (place for place, (old, new) in enumerate(zip(recorded, given, strict=False)) if old != new),
            min(len(recorded), len(given)),
        )
        start = max(0, at - _BEFORE)
        return _cut(recorded, start), _cut(given, start)
    return _short(recorded), _short(given)


def _cut(text: str, start: int) -> str:
    shown = json.dumps(text[start : start + _MOST_SHOWN], ensure_ascii=False)
    head, tail = "…" if start else "", "…" if start + _MOST_SHOWN < len(text) else ""
    return safe_text(f"{shown[0]}{head}{shown[1:-1]}{tail}{shown[-1]}")


def _short(value: object) -> str:
    if isinstance(value, _Nothing):
        return _MISSING
    text = json.dumps(value, ensure_ascii=False)
    return safe_text(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…")


def explain_miss(
    given: Mapping[str, object], recorded: Sequence[Mapping[str, object]], numbers: Sequence[int], *, what: str
) -> CassetteError:
    """Return the error for a request that differs from each of those ``recorded``, which have these ``numbers``.

    The nearest is the one that has the most values in common with it.
    """
    again = "record it again, if the change is meant"
    if not recorded:
        return CassetteError(f"{what} was not recorded: the cassette has no more of this run", hint=again)
    mine = set(_leaves(given))
    scores = [len(mine & set(_leaves(one))) for one in recorded]
    best = scores.index(max(scores))
    found = first_difference(recorded[best], given)
    if found is None:
        said = f"{what} was not recorded so often: it is the same as recording {numbers[best]}, which was used already"
        return CassetteError(said, hint=again)
    pointer, old, new = found
    said = f"{what} was not recorded: it differs from recording {numbers[best]} at {pointer}: recorded {old}, now {new}"
    return CassetteError(said, hint=again)


def _leaves(value: object, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{place}/{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{place}/{number}")
    else:
        yield place, json.dumps(value)
