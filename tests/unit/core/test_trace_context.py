"""TRACEPARENT as the standard has it: what is valid, and what is handed on."""

from __future__ import annotations

import pytest

from agentctl.core.trace_context import TraceContext, current_trace, parse_trace_context, read_trace_context
from agentctl.core.trace_context import trace_variables as variables

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("parent", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f" 00-{TRACE}-{SPAN}-00\n", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
    ],
)
def test_a_valid_parent_is_read(parent: str, *, is_sampled: bool) -> None:
    assert read_trace_context(parent) == TraceContext(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"cc-{TRACE}-{SPAN}-01x",
    ],
)
def test_an_invalid_parent_is_none(parent: str) -> None:
    assert read_trace_context(parent, "a=b") is None


@pytest.mark.parametrize(("state", "kept"), [("a=b,c=d", "a=b,c=d"), ("a=\x1b[31m", ""), ("é=1", ""), ("a" * 513, "")])
def test_a_state_is_kept_or_dropped_whole(state: str, kept: str) -> None:
    found = read_trace_context(f"00-{TRACE}-{SPAN}-01", state)
    assert found is not None
    assert found.state == kept
    assert parse_trace_context(str(found)) == found


def test_a_process_gets_the_current_span_alone() -> None:
    assert variables() == {}
    token = current_trace.set(TraceContext(TRACE, SPAN, is_sampled=False, state="a=b"))
    try:
        assert variables() == {"TRACEPARENT": f"00-{TRACE}-{SPAN}-00", "TRACESTATE": "a=b"}
    finally:
        current_trace.reset(token)
