"""Spans and measurements as values: what a model call adds to the metrics, and the ids of a run's spans.

The ids follow from the run's journal alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from agentctl.core.trace_context import TraceContext
from agentctl.telemetry import conventions as names

AttributeValue = str | int | float | bool | tuple[str, ...]
Attributes = Mapping[str, AttributeValue]
_ABOUT = (names.OPERATION, names.PROVIDER, names.REQUEST_MODEL, names.RESPONSE_MODEL)
_ALWAYS = (names.INPUT_TOKENS, names.OUTPUT_TOKENS)
_USAGE = {
    "input_tokens": names.INPUT_TOKENS,
    "output_tokens": names.OUTPUT_TOKENS,
    "cached_input_tokens": names.CACHE_READ_TOKENS,
    "cache_write_tokens": names.CACHE_WRITE_TOKENS,
    "reasoning_tokens": names.REASONING_TOKENS,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SpanEvent(NamedTuple):
    """Something that happened at one time within a span, in nanoseconds since 1970."""

    name: str
    at_ns: int
    attributes: Attributes


class FinishedSpan(NamedTuple):
    """A span that has ended; times are in nanoseconds since 1970."""

    name: str
    kind: Literal["internal", "client"]
    context: TraceContext
    parent: TraceContext | None
    start_ns: int
    end_ns: int
    attributes: Attributes
    events: tuple[SpanEvent, ...] = ()
    links: tuple[TraceContext, ...] = ()
    is_error: bool = False


@dataclass(slots=True)
class OpenSpan:
    """A span that has not ended; ``end_ns`` is when what it stands for was over, if that is known already."""

    name: str
    context: TraceContext
    start_ns: int
    attributes: dict[str, AttributeValue]
    parent: TraceContext | None = None
    links: tuple[TraceContext, ...] = ()
    events: list[SpanEvent] = field(default_factory=list)
    end_ns: int | None = None

    def finish(self, at_ns: int, *, error: str = "", kind: Literal["internal", "client"] = "internal") -> FinishedSpan:
        """Return the span as it has ended, with the kind of its error, at ``at_ns`` unless it was over before."""
        found = {**self.attributes, names.ERROR: error} if error else dict(self.attributes)
        end_ns = max(self.start_ns, at_ns if self.end_ns is None else self.end_ns)
        events = tuple(self.events)
        return FinishedSpan(
            self.name, kind, self.context, self.parent, self.start_ns, end_ns, found, events, self.links, bool(error)
        )


class Measurement(NamedTuple):
    """One value for a metric."""

    metric: str
    value: float
    attributes: Attributes


def trace_id_of(run_id: str) -> str:
    """Return the trace of a run that is part of no other: 32 hexadecimal digits, the same for each of its parts."""
    return _digest(run_id, "trace")[:32]


def span_id_of(run_id: str, *what: object) -> str:
    """Return the id of a span of a run: 16 hexadecimal digits."""
    return _digest(run_id, *what)[:16]


def _digest(*words: object) -> str:
    from hashlib import sha256  # noqa: PLC0415 - it loads OpenSSL

    return sha256("\0".join(map(str, words)).encode("utf-8", "replace")).hexdigest()


def time_of(value: object) -> int | None:
    """Return a time of a record in nanoseconds since 1970, None if it is none."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if at is None:
        return None
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1) * 1000


def usage_attributes(usage: Mapping[str, object]) -> dict[str, AttributeValue]:
    """Return the attributes of a usage; a zero is kept for input and output only."""
    found = {name: usage.get(key) for key, name in _USAGE.items()}
    return {name: value for name, value in found.items() if isinstance(value, int) and (value or name in _ALWAYS)}


def measurements_of(call: FinishedSpan, *, agent: AttributeValue | None, nano: int | None) -> Iterator[Measurement]:
    """Yield the measurements of a model call; ``nano`` is what it is charged, or in doubt, None if that is unknown.

    An attribute marks amounts in doubt. Tokens are those that the provider reported.
    """
    about = {name: call.attributes[name] for name in _ABOUT if name in call.attributes}
    error = {names.ERROR: call.attributes[names.ERROR]} if names.ERROR in call.attributes else {}
    yield Measurement(names.DURATION, (call.end_ns - call.start_ns) / 1e9, {**about, **error})
    for kind, name in (("input", names.INPUT_TOKENS), ("output", names.OUTPUT_TOKENS)):
        if isinstance(value := call.attributes.get(name), int):
            yield Measurement(names.USED_TOKENS, value, {**about, names.COUNTED_AS: kind})
    if nano is not None:
        by = {} if agent is None else {names.AGENT: agent}
        yield Measurement(names.COST, nano / 1e9, {**about, **by, names.CONCLUSION: call.attributes[names.CONCLUSION]})
