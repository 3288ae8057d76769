"""Compare two runs: pairs of values, unified diffs of texts, and their tool calls side by side."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from agentctl.cli.documents import in_unit
from agentctl.cli.runs.comparison.run_facts import CallFacts, RunFacts
from agentctl.core.version import __version__

if TYPE_CHECKING:
    from agentctl.cli.runs.run_documents import (
        AmountPair,
        CallPair,
        ComparedCall,
        ComparedRun,
        RunsDiffDocument,
        TextPair,
        ValuePair,
    )

SCHEMA: Literal["agentctl.runs-diff/1"] = "agentctl.runs-diff/1"
#: Amounts that are never the same twice.
TIMES = ("duration_s",)
_MOST_PAIRS = 1_000_000  # of calls that are compared each with each: a third of a second

Change = Literal["same", "outcome", "arguments", "only_a", "only_b"]


def runs_diff(a: RunFacts, b: RunFacts) -> RunsDiffDocument:
    """Return the document of what two runs differ in; a run and the same run have no difference."""
    values = {
        **_pairs({**a.choices, "labels": a.labels}, {**b.choices, "labels": b.labels}),
        **_pairs({"status": a.status, "error": a.error or None}, {"status": b.status, "error": b.error or None}),
    }
    settings, digests = _pairs(a.settings, b.settings), _pairs(a.digests, b.digests)
    limits = _pairs(
        {one.name: in_unit(one.ceiling, one.unit) for one in a.limits.values()},
        {one.name: in_unit(one.ceiling, one.unit) for one in b.limits.values()},
    )
    texts = {
        "task": _text_pair(a.task, b.task),
        "system_prompt": _text_pair(a.prompt, b.prompt),
        "answer": _text_pair(a.answer, b.answer),
    }
    calls = [*_call_pairs(a.calls, b.calls)]
    amounts = {name: _amount_pair(a.amounts.get(name), b.amounts.get(name)) for name in {**a.amounts, **b.amounts}}
    names = [f"{kind}{name}" for kind, found in _kinds(values, settings, limits, digests) for name in _differing(found)]
    names += [name for name, pair in texts.items() if pair["differs"]]
    names += ["tool_calls"] if any(call["change"] != "same" for call in calls) else []
    names += [f"amounts.{name}" for name, pair in amounts.items() if pair["a"] != pair["b"] and name not in TIMES]
    return {
        "schema": SCHEMA,
        "version": __version__,
        "a": _run(a),
        "b": _run(b),
        "differs": bool(names),
        "differences": names,
        "values": values,
        "settings": settings,
        "limits": limits,
        "digests": digests,
        "texts": texts,
        "tool_calls": calls,
        "amounts": amounts,
        "error": None,
    }


def _kinds(
    values: Mapping[str, ValuePair],
    settings: Mapping[str, ValuePair],
    limits: Mapping[str, ValuePair],
    digests: Mapping[str, ValuePair],
) -> tuple[tuple[str, Mapping[str, ValuePair]], ...]:
    return ("", values), ("settings.", settings), ("limits.", limits), ("digests.", digests)


def _differing(pairs: Mapping[str, ValuePair]) -> list[str]:
    return [name for name, pair in pairs.items() if pair["differs"]]


def _run(facts: RunFacts) -> ComparedRun:
    return {
        "run_id": facts.run_id,
        "started_at": facts.started_at or None,
        "status": facts.status,
        "exit_code": facts.exit_code,
    }


def _pairs(a: Mapping[str, object], b: Mapping[str, object]) -> dict[str, ValuePair]:
    return {
        name: {"a": a.get(name), "b": b.get(name), "differs": a.get(name) != b.get(name)}
        for name in {**a, **b}  # in the order of a
    }


def _amount_pair(a: float | None, b: float | None) -> AmountPair:
    return {"a": a, "b": b, "change": None if a is None or b is None else round(b - a, 3)}


def _text_pair(a: str, b: str) -> TextPair:
    lines = difflib.unified_diff(a.splitlines(), b.splitlines(), "a", "b", lineterm="", n=2)
    return {"a": a, "b": b, "differs": a != b, "diff": [*lines]}


def _call_pairs(a: Sequence[CallFacts], b: Sequence[CallFacts]) -> Iterator[CallPair]:
    """Yield the calls of both runs side by side: equal ones, those of one tool with other arguments, and the rest."""
    for place, other in _align([_key(call) for call in a], [_key(call) for call in b]):
        yield from _pair_block(a[place], b[other])


def _align(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[slice, slice]]:
    """Yield the pieces of two sequences, in order: one pair of equal items, or all between two of them."""
    done_a = done_b = 0
    for at, other in (*_common(a, b), (len(a), len(b))):
        if done_a < at or done_b < other:
            yield slice(done_a, at), slice(done_b, other)
        if at < len(a):
            yield slice(at, at + 1), slice(other, other + 1)
        done_a, done_b = at + 1, other + 1


def _common(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the places of a longest common subsequence; of sequences that are too long, of items at the same place."""
    head = _same_from_start(a, b)
    tail = min(_same_from_start(a[::-1], b[::-1]), min(len(a), len(b)) - head)
    yield from ((at, at) for at in range(head))
    end_a, end_b = len(a) - tail, len(b) - tail
    if (end_a - head) * (end_b - head) > _MOST_PAIRS:
        yield from ((at, at) for at in range(head, min(end_a, end_b)) if a[at] == b[at])
    else:
        lengths = _lengths(a[head:end_a], b[head:end_b])
        at, other = head, head
        while at < end_a and other < end_b:
            if a[at] == b[other]:
                yield at, other
                at, other = at + 1, other + 1
            elif lengths[at - head + 1][other - head] >= lengths[at - head][other - head + 1]:
                at += 1
            else:
                other += 1
    yield from ((len(a) - rest, len(b) - rest) for rest in range(tail, 0, -1))


def _lengths(a: Sequence[str], b: Sequence[str]) -> list[list[int]]:
    """Return, by place in both, how long a common subsequence of what follows can be."""
    rows = [[0] * (len(b) + 1)]
    for item in reversed(a):
        below, row = rows[-1], [0] * (len(b) + 1)
        for at in range(len(b) - 1, -1, -1):
            row[at] = below[at + 1] + 1 if item == b[at] else max(below[at], row[at + 1])
        rows.append(row)
    return rows[::-1]


def _same_from_start(a: Sequence[str], b: Sequence[str]) -> int:
    return next((at for at, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))


def _pair_block(a: Sequence[CallFacts], b: Sequence[CallFacts]) -> Iterator[CallPair]:
    """Yield the calls of a piece: those of the same tool are a pair."""
    for place, other in _align([call.name for call in a], [call.name for call in b]):
        ours, theirs = a[place], b[other]
        if len(ours) == len(theirs) == 1 and ours[0].name == theirs[0].name:
            yield _pair(ours[0], theirs[0])
        else:
            yield from (_pair(call, None) for call in ours)
            yield from (_pair(None, call) for call in theirs)


def _pair(a: CallFacts | None, b: CallFacts | None) -> CallPair:
    change: Change = "same"
    if a is None:
        change = "only_b"
    elif b is None:
        change = "only_a"
    elif _key(a) != _key(b):
        change = "arguments"
    elif a.outcome != b.outcome:
        change = "outcome"
    return {"change": change, "a": _call(a), "b": _call(b)}


def _call(call: CallFacts | None) -> ComparedCall | None:
    if call is None:
        return None
    return {"turn": call.turn, "name": call.name, "arguments": dict(call.arguments), "outcome": call.outcome}


def _key(call: CallFacts) -> str:
    """Return what is the same for two calls that ask for the same."""
    return json.dumps([call.name, call.arguments], sort_keys=True)
