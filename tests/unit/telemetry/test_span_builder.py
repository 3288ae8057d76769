"""Spans made of the records of a journal: which there are, whose children, with what, and what is never in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.semconv._incubating.attributes import error_attributes, gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

from agentctl.core import events
from agentctl.core.messages import Message, ToolCall, Usage
from agentctl.core.results import BreakerInfo, ErrorInfo, LimitUse, RunResult
from agentctl.core.trace_context import TraceContext
from agentctl.journal.writer import encode_record, event_name
from agentctl.telemetry import conventions as names
from agentctl.telemetry.message_content import MOST_ATTRIBUTE, MOST_TEXT
from agentctl.telemetry.span_builder import SpanBuilder, spans_of
from agentctl.telemetry.spans import FinishedSpan, Measurement, time_of, trace_id_of

ROOT = Path(__file__).parents[3]
AT = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
USE = LimitUse("max_cost_per_task", "nano_usd", 50, 13)
STARTED = events.RunStarted(
    "the task", "system", "flag", "mistral", "flag", "m1", True, "/w", (), {"team": "web", "workdir": "/w"}
)
LOOK = ToolCall("c1", "read_file", {"path": "secret-path"})
CONTENTS = "what the file says"


def result(**changes: Any) -> RunResult:  # noqa: ANN401 - its fields
    fields: dict[str, Any] = {
        **{"run_id": "r1", "status": "done", "answer": "the answer", "complete": True, "task": "the task"},
        **{"agent": "system", "provider": "mistral", "provider_chosen_by": "flag", "model": "m1", "models": ()},
        **{"turns": 1, "started_at": AT, "finished_at": AT, "duration_s": 1.0, "usage": Usage(10, 2)},
        **{"cost_nano": 13, "in_doubt_nano": 0, "price_source": "x", "limits": (USE,)},
    }
    return RunResult(**{**fields, **changes})


def records(*happened: events.Event, run_id: str = "r1", first: int = 1) -> list[dict[str, Any]]:
    """Return the records of events, one a second, as a journal has them."""
    return [
        json.loads(json.dumps(encode_record(events.Record(run_id, seq, AT + timedelta(seconds=seq), event))))
        for seq, event in enumerate(happened, first)
    ]


def asked(attempt: str = "a1", *, calls: tuple[ToolCall, ...] = (), text: str = "said") -> Iterator[events.Event]:
    """Yield the events of a model call that is charged."""
    yield events.CallHeld(attempt, "mistral", "m1", 100, 50, 99, 150)
    yield events.CallSent(attempt, "lean")
    yield events.AnswerReceived(attempt, text, calls, "tool_calls" if calls else "stop", "m1-2026")
    yield events.CallSettled(attempt, Usage(10, 2, cached_input_tokens=4), 13)


WHOLE: tuple[events.Event, ...] = (
    STARTED,
    events.TurnStarted(1),
    events.MessageAdded(Message("system", "be brief")),
    events.MessageAdded(Message("user", "the task")),
    *asked(calls=(LOOK,)),
    events.ToolAllowed(LOOK, "write", "--yes"),
    events.ToolStarted(LOOK),
    events.ToolFinished(LOOK, CONTENTS, 0.5),
    events.RunFinished(result()),
)


def by_name(spans: list[FinishedSpan]) -> dict[str, FinishedSpan]:
    return {span.name: span for span in spans}


def test_an_agent_has_its_calls_and_its_tools_as_children() -> None:
    spans = spans_of("r1", records(*WHOLE))
    chat, tool, agent = spans
    assert [span.name for span in spans] == ["chat m1", "execute_tool read_file", "invoke_agent system"]
    assert (agent.kind, agent.parent, agent.links) == ("internal", None, ())
    assert (chat.kind, chat.parent, tool.kind, tool.parent) == ("client", agent.context, "internal", agent.context)
    assert tool.links == (chat.context,)
    assert {span.context.trace_id for span in spans} == {trace_id_of("r1")}
    assert len({span.context.span_id for span in spans}) == 3
    seconds = [
        (span.start_ns // 10**9 - int(AT.timestamp()), span.end_ns // 10**9 - int(AT.timestamp())) for span in spans
    ]
    assert seconds == [(6, 7), (10, 11), (1, 12)], "a call ends with its answer"


def test_attributes_say_what_was_held_charged_and_limited() -> None:
    chat, tool, agent = spans_of("r1", records(*WHOLE))
    assert chat.attributes == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "mistral_ai", "gen_ai.conversation.id": "r1",
        "gen_ai.request.model": "m1", "gen_ai.request.max_tokens": 50, "gen_ai.response.model": "m1-2026",
        "gen_ai.response.finish_reasons": ("tool_calls",), "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cache_read.input_tokens": 4, "agentctl.attempt.id": "a1",
        "agentctl.attempt.purpose": "turn", "agentctl.turn": 1, "agentctl.client": "lean",
        "agentctl.hold.nano_usd": 99, "agentctl.hold.tokens": 150, "agentctl.conclusion": "charged",
        "agentctl.charge.nano_usd": 13,
    }  # fmt: skip
    assert tool.attributes == {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "read_file", "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "c1", "agentctl.turn": 1, "agentctl.tool.effect": "write",
        "agentctl.tool.duration_s": 0.5,
    }  # fmt: skip
    assert agent.attributes == {
        "gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "mistral_ai", "gen_ai.conversation.id": "r1",
        "gen_ai.agent.name": "system", "gen_ai.request.model": "m1", "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 2, "agentctl.run.id": "r1", "agentctl.run.status": "done",
        "agentctl.run.turns": 1, "agentctl.cost.nano_usd": 13, "agentctl.in_doubt.nano_usd": 0,
        "agentctl.limit.max_cost_per_task.used": 13, "agentctl.limit.max_cost_per_task.ceiling": 50,
        "agentctl.label.team": "web",
    }  # fmt: skip


def test_no_text_of_a_run_is_in_its_spans_without_the_switch() -> None:
    told = str(spans_of("r1", records(*WHOLE)))
    assert not [
        text for text in ("the task", "be brief", "said", "secret-path", CONTENTS, "answer", "/w") if text in told
    ]


def test_the_switch_adds_messages_arguments_and_results() -> None:
    chat, tool, agent = spans_of("r1", records(*WHOLE), with_content=True)
    assert json.loads(str(chat.attributes["gen_ai.system_instructions"])) == [{"type": "text", "content": "be brief"}]
    said = [{"role": "user", "parts": [{"type": "text", "content": "the task"}]}]
    assert json.loads(str(chat.attributes["gen_ai.input.messages"])) == said
    call = {"type": "tool_call", "id": "c1", "name": "read_file", "arguments": {"path": "secret-path"}}
    answer = {"role": "assistant", "parts": [{"type": "text", "content": "said"}, call], "finish_reason": "tool_calls"}
    assert json.loads(str(chat.attributes["gen_ai.output.messages"])) == [answer]
    assert json.loads(str(tool.attributes["gen_ai.tool.call.arguments"])) == {"path": "secret-path"}
    assert json.loads(str(tool.attributes["gen_ai.tool.call.result"])) == CONTENTS
    assert not set(names.CONTENT) & set(agent.attributes)


def test_content_is_cut_and_the_last_messages_stay() -> None:
    many = (events.MessageAdded(Message("user", f"{number} " + "x" * 9_000)) for number in range(40))
    chat = by_name(spans_of("r1", records(STARTED, *many, *asked()), with_content=True))["chat m1"]
    text = str(chat.attributes["gen_ai.input.messages"])
    messages = json.loads(text)
    assert len(text) <= MOST_ATTRIBUTE
    assert messages[-1]["parts"][0]["content"].startswith("39 x")
    assert "characters cut]" in messages[-1]["parts"][0]["content"]
    assert len(messages[-1]["parts"][0]["content"]) < MOST_TEXT + 40
    assert 1 < len(messages) < 40


@pytest.mark.parametrize(
    ("ended", "conclusion", "error", "more"),
    [
        (events.CallVoided("a1", "refused: the prompt", "auth"), "not billed", "auth", {}),
        (
            events.CallDoubted("a1", 99, 150, "cut"),
            "in doubt",
            "_OTHER",
            {names.IN_DOUBT: 99, names.IN_DOUBT_TOKENS: 150},
        ),
        (events.CallDoubted("a1", None, 150, "cut", "timeout"), "in doubt", "timeout", {names.IN_DOUBT_TOKENS: 150}),
    ],
)
def test_an_attempt_without_an_answer_is_an_error(
    ended: events.Event, conclusion: str, error: str, more: dict[str, object]
) -> None:
    happened = (STARTED, events.CallHeld("a1", "mistral", "m1", 100, 50, 99, 150), events.CallSent("a1"), ended)
    chat, _ = spans_of("r1", records(*happened))
    assert chat.is_error
    assert {name: chat.attributes[name] for name in (names.CONCLUSION, names.ERROR, *more)} == {
        names.CONCLUSION: conclusion, names.ERROR: error, **more,
    }  # fmt: skip
    assert "prompt" not in str(chat)


def test_each_attempt_is_a_span_and_one_that_was_never_sent_is_none() -> None:
    held = events.CallHeld("a0", "mistral", "m1", 100, 50, 99, 150)
    tried = (
        held,
        events.CallSent("a0"),
        events.CallVoided("a0", "busy", "rate_limited"),
        events.CallRetried("a0", "busy", 0.5),
    )
    unsent = (held._replace(attempt_id="a2"), events.CallVoided("a2", "not sent"))
    spans = spans_of("r1", records(STARTED, *tried, *unsent, *asked(), events.RunFinished(result())))
    assert [span.name for span in spans] == ["chat m1", "chat m1", "invoke_agent system"]
    assert [span.is_error for span in spans] == [True, False, False]
    assert len({span.context.span_id for span in spans}) == 3
    event = spans[-1].events[0]
    assert (event.name, event.attributes) == (
        "agentctl.call_retried",
        {names.ATTEMPT: "a0", "agentctl.wait.seconds": 0.5},
    )


def test_a_tripped_breaker_and_a_denied_call_are_events_of_the_agent() -> None:
    info = BreakerInfo("max_cost_per_task", "nano_usd", 50, 13, 0, 112, None, "the hint")
    happened = (
        STARTED,
        events.ToolDenied(LOOK, "the reason", hook=""),
        events.BreakerTripped(info),
        events.RunFinished(result(status="budget", breaker=info, error=ErrorInfo("budget", "the message"))),
    )
    (agent,) = spans_of("r1", records(*happened))
    assert [(event.name, dict(event.attributes)) for event in agent.events] == [
        ("agentctl.tool_denied", {names.TOOL: "read_file", names.TOOL_CALL: "c1"}),
        (
            "agentctl.breaker_tripped",
            {
                "agentctl.breaker.limit": "max_cost_per_task",
                "agentctl.breaker.ceiling": 50,
                "agentctl.breaker.spent": 13,
                "agentctl.breaker.would_be": 112,
            },
        ),
    ]
    assert (agent.is_error, agent.attributes[names.ERROR]) == (True, "budget")
    assert agent.attributes[names.BREAKER] == "max_cost_per_task"
    assert "the " not in str(agent)


def test_a_run_without_a_model_has_no_model_calls() -> None:
    builder = SpanBuilder("r1")
    happened = (STARTED._replace(provider="builtin", metered=False), *WHOLE[1:])
    built = [one for record in records(*happened) for one in builder.add(record)]
    assert [one.name for one in built if isinstance(one, FinishedSpan)] == [
        "execute_tool read_file",
        "invoke_agent system",
    ]
    assert len(built) == 2, "and nothing is measured"


def test_a_run_that_failed_before_it_began_is_one_span() -> None:
    failed = result(status="usage", error=ErrorInfo("usage", "no such agent"), agent="")
    (agent,) = spans_of("r1", records(events.Noted("x"), events.RunFinished(failed)))
    assert (agent.name, agent.attributes[names.ERROR], agent.start_ns) == (
        "invoke_agent",
        "usage",
        time_of("2026-11-30T12:00:00Z"),
    )


def test_a_run_whose_process_died_ends_with_its_last_record() -> None:
    spans = spans_of("r1", records(*WHOLE[:-2], events.CallHeld("a2", "p", "m1", 1, 1, 1, 1), events.CallSent("a2")))
    assert [(span.name, span.is_error) for span in spans] == [
        ("chat m1", False),
        ("chat m1", True),
        ("execute_tool read_file", True),
        ("invoke_agent system", True),
    ]
    assert spans[-1].attributes[names.STATUS] == "unfinished"


def test_a_resumed_run_goes_on_in_the_same_trace_and_links_to_its_last_part() -> None:
    again = events.RunResumed("r1", 12, 0, 0, "", ())
    spans = spans_of("r1", records(*WHOLE, again, *asked("a2"), events.RunFinished(result())))
    first, second = (span for span in spans if span.name.startswith("invoke_agent"))
    assert first.context.trace_id == second.context.trace_id
    assert second.links == (first.context,)
    assert second.parent is None
    assert spans[-2].parent == second.context


def test_the_parent_of_a_run_is_the_span_that_its_record_names() -> None:
    parent = TraceContext("ab" * 16, "cd" * 8, state="a=b")
    spans = spans_of("r1", records(STARTED._replace(trace_parent=str(parent)), *WHOLE[1:]))
    assert spans[-1].parent == parent
    assert {(span.context.trace_id, span.context.state) for span in spans} == {(parent.trace_id, "a=b")}
    quiet = str(parent._replace(is_sampled=False))
    assert not any(
        one.context.is_sampled for one in spans_of("r1", records(STARTED._replace(trace_parent=quiet), *WHOLE[1:]))
    )


def test_records_of_the_run_that_a_fork_goes_on_from_make_no_spans() -> None:
    origin = records(*WHOLE[:-1], run_id="r0")
    own = records(
        STARTED._replace(forked_from="r0"),
        events.RunResumed("r0", 9, 2, 0, "", ()),
        *asked(),
        events.RunFinished(result()),
    )
    chat, agent = spans_of("r1", [*origin, *own], with_content=True)
    assert agent.attributes[names.FORKED_FROM] == "r0"
    assert "the task" in str(chat.attributes["gen_ai.input.messages"])


def test_a_call_whose_id_recurs_has_a_span_each_time() -> None:
    builder = SpanBuilder("r1")
    for record in records(STARTED, events.ToolStarted(LOOK)):
        builder.add(record)
    first = builder.tool_context("c1")
    for record in records(events.ToolFinished(LOOK, "", 0.1), events.ToolStarted(LOOK), first=3):
        builder.add(record)
    second = builder.tool_context("c1")
    assert None not in (first, second)
    assert first != second
    assert builder.current is not None


def test_measurements_are_tokens_duration_and_cost() -> None:
    builder = SpanBuilder("r1")
    built = [one for record in records(*WHOLE) for one in builder.add(record) if isinstance(one, Measurement)]
    about = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "mistral_ai", "gen_ai.request.model": "m1",
             "gen_ai.response.model": "m1-2026"}  # fmt: skip
    assert built == [
        Measurement("gen_ai.client.operation.duration", 1.0, about),
        Measurement("gen_ai.client.token.usage", 10, {**about, "gen_ai.token.type": "input"}),
        Measurement("gen_ai.client.token.usage", 2, {**about, "gen_ai.token.type": "output"}),
        Measurement("agentctl.cost", 13e-9, {**about, "gen_ai.agent.name": "system", "agentctl.conclusion": "charged"}),
    ]


def test_names_outside_our_own_are_those_of_the_conventions() -> None:
    modules = (gen_ai_attributes, error_attributes, gen_ai_metrics)
    known = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    used = [value for value in vars(names).values() if isinstance(value, str)]
    foreign = [value for value in used if "." in value and value.startswith(("gen_ai.", "error."))]
    assert len(foreign) > 20
    assert [name for name in foreign if name not in known] == []


def test_every_event_of_a_span_is_one_that_a_run_emits() -> None:
    kinds = {event_name(kind): kind for kind in events.Event.__args__}
    for name, wanted in names.EVENTS.items():
        assert {path.partition(".")[0] for path in wanted} <= set(kinds[name]._fields), name


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"event": "run_started"},
        {"event": "call_settled", "run_id": "r1", "at": "2026-11-30T12:00:00Z", "usage": 7},
        {"event": "tool_finished", "run_id": "r1", "at": "2026-11-30T12:00:00Z", "call": [1]},
        {"event": "run_finished", "run_id": "r1", "at": "2026-11-30T12:00:00Z", "result": []},
        {"event": "run_started", "run_id": "r1", "at": 7},
        {"event": ["x"], "run_id": "r1", "at": "2026-11-30T12:00:00Z"},
    ],
)
def test_a_record_that_no_version_writes_does_no_harm(odd: dict[str, object]) -> None:
    builder = SpanBuilder("r1", with_content=True)
    for record in (odd, *records(*WHOLE[:-1]), odd):
        builder.add(record)
    assert builder.close() or odd.get("event") == "run_finished"


def test_the_page_names_every_attribute_and_no_other() -> None:
    page = (ROOT / "docs/telemetry.md").read_text()
    named = set(re.findall(r"`((?:gen_ai|agentctl|error)\.[\w.]+)`", page))
    events_only = {name for wanted in names.EVENTS.values() for name in wanted.values()}
    own = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str) and "." in value}
    ours = {value.rstrip(".") for value in own if value.startswith(("gen_ai.", "agentctl.", "error."))}
    known = {name.split(".NAME")[0].removesuffix(".") for name in named}
    assert ours - known == set()
    assert known - ours - events_only == set()
    assert names.CONVENTIONS_VERSION in page
