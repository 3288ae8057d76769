"""Which traces a live run records, and that a fault of telemetry stays one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from agentctl.core.events import Event, Record, RunFinished, RunStarted, ToolStarted
from agentctl.core.messages import ToolCall
from agentctl.core.trace_context import TraceContext, current_trace
from agentctl.settings.telemetry import TelemetrySettings, TraceShare
from agentctl.telemetry.sender import Sender
from agentctl.telemetry.span_builder import SpanBuilder
from agentctl.telemetry.span_observer import SpanObserver, is_recorded
from agentctl.telemetry.spans import trace_id_of

STARTED = RunStarted("task", "system", "flag", "p", "flag", "m1", True, "/w", ())
QUIET = TraceContext("ab" * 16, "cd" * 8, is_sampled=False)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_share_of_traces_is_the_one_that_every_sdk_chooses(share: float) -> None:
    sdk = TraceIdRatioBased(share)
    for number in range(200):
        trace = trace_id_of(f"run-{number}")
        chosen = sdk.should_sample(None, int(trace, 16), "x").decision is Decision.RECORD_AND_SAMPLE
        assert is_recorded(TraceShare(share), trace, None) is chosen


@pytest.mark.parametrize(("follows", "recorded"), [(True, False), (False, True)])
def test_a_parent_decides_if_it_is_followed(*, follows: bool, recorded: bool) -> None:
    assert is_recorded(TraceShare(1.0, follows_parent=follows), QUIET.trace_id, QUIET) is recorded


async def test_what_is_current_is_the_tool_then_the_agent_then_what_was_before() -> None:
    builder = SpanBuilder("r1")
    observer = SpanObserver(builder, Sender(TelemetrySettings(), {}, instance="r1"), Path("r1.jsonl"), ())
    token = current_trace.set(QUIET)
    found = []
    finished = RunFinished(None)  # type: ignore[arg-type]
    happened: tuple[Event, ...] = (STARTED, ToolStarted(ToolCall("1", "t", {})), finished)
    for seq, event in enumerate(happened, 1):
        await observer.observe(Record("r1", seq, datetime.now(UTC), event))
        found.append((current_trace.get(), builder.current))
    current_trace.reset(token)
    (agent, root), (tool, _), (last, _) = found
    assert agent == root
    assert tool not in (None, agent)
    assert last == QUIET


async def test_a_fault_of_the_spans_is_none_of_the_run(tmp_path: Path) -> None:
    class Broken(SpanBuilder):
        def add(self, record: object) -> tuple[()]:
            raise RuntimeError("a bug of ours")

    observer = SpanObserver(Broken("r1"), Sender(TelemetrySettings(), {}, instance="r1"), tmp_path / "r1.jsonl", ())
    await observer.observe(Record("r1", 1, datetime.now(UTC), STARTED))
