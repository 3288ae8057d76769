"""The trace context of W3C: what a run, and each of its tool calls, hands to the processes that it starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple

TRACE_PARENT, TRACE_STATE = "TRACEPARENT", "TRACESTATE"

_PARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_MOST_STATE = 512  # characters; longer ones may be dropped
_STATE = re.compile(r"[ -~]+")
_SAMPLED = 1


class TraceContext(NamedTuple):
    """A span as its children name it: ids in hexadecimal digits, whether it is recorded, and the tracers' ``state``."""

    trace_id: str
    span_id: str
    is_sampled: bool = True
    state: str = ""

    @property
    def traceparent(self) -> str:
        """The value of ``TRACEPARENT``."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"

    @property
    def variables(self) -> Mapping[str, str]:
        """The variables that hand it to a process."""
        return {TRACE_PARENT: self.traceparent, **({TRACE_STATE: self.state} if self.state else {})}

    def __str__(self) -> str:
        return f"{self.traceparent} {self.state}".rstrip()


def read_trace_context(parent: str, state: str = "") -> TraceContext | None:
    """Return the context that ``TRACEPARENT`` and ``TRACESTATE`` name, None if the first one is not valid.

    A version that is not known yet is read as far as this one goes, as the standard says. An invalid state is dropped.
    """
    found = _PARENT.fullmatch(parent.strip())
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["more"]):
        return None
    if not found["trace"].strip("0") or not found["span"].strip("0"):
        return None
    state = state.strip()
    valid = len(state) <= _MOST_STATE and _STATE.fullmatch(state)
    return TraceContext(found["trace"], found["span"], bool(int(found["flags"], 16) & _SAMPLED), state if valid else "")


def parse_trace_context(text: str) -> TraceContext | None:
    """Return a context from its text, as ``str`` gives it; None for any other text."""
    parent, _, state = text.partition(" ")
    return read_trace_context(parent, state)


#: The span that the current task works in; None: no spans are recorded.
current_trace: ContextVar[TraceContext | None] = ContextVar("current_trace", default=None)


def trace_variables() -> Mapping[str, str]:
    """Return the variables for a process that the current task starts, none if no spans are recorded."""
    current = current_trace.get()
    return {} if current is None else current.variables
