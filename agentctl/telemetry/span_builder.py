"""Make spans and measurements of the records of a run, as its journal has them: a fold without any clock of its own.

The span of the agent (one for each part of a resumed run) is the parent of its model calls and of its tool calls: a
call has ended when its tools run, so it is no parent of theirs; the span of a tool links to the call that asked for it.
What a tool starts, such as a delegated run, has the tool's span as its parent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from agentctl.core.trace_context import TraceContext, parse_trace_context
from agentctl.telemetry import conventions as names
from agentctl.telemetry.message_content import (
    Fields,
    encode_answer,
    encode_messages,
    encode_system,
    encode_value,
)
from agentctl.telemetry.spans import (
    AttributeValue,
    FinishedSpan,
    Measurement,
    OpenSpan,
    SpanEvent,
    measurements_of,
    span_id_of,
    time_of,
    trace_id_of,
    usage_attributes,
)

Sampler = Callable[[str, TraceContext | None], bool]
"""Decides, by the trace's id and the parent, whether the spans of a run are recorded."""

Built = FinishedSpan | Measurement
_CONCLUSIONS = {"call_settled": "charged", "call_doubted": "in doubt", "call_voided": "not billed"}
_UNFINISHED = "unfinished"


def follow_parent(trace_id: str, parent: TraceContext | None) -> bool:
    """Return whether the parent is recorded, True without one."""
    return parent is None or parent.is_sampled


class SpanBuilder:
    """Reads the records of one run in order; those of a run that it was forked from make no spans.

    ``with_content``: also what the standard switch allows. A record that is not as a journal has it changes nothing.
    """

    def __init__(self, run_id: str, *, with_content: bool = False, sample: Sampler = follow_parent) -> None:
        self._run_id, self._with_content, self._sample = run_id, with_content, sample
        self._root: OpenSpan | None = None
        self._last_root: TraceContext | None = None
        self._started: Fields = {}
        self._holds: dict[str, Fields] = {}
        self._calls: dict[str, OpenSpan] = {}
        self._asked_by: TraceContext | None = None
        self._tools: dict[str, list[OpenSpan]] = {}
        self._times: dict[str, int] = {}
        self._effects: dict[str, str] = {}
        self._messages: list[Fields] = []
        self._turn = 0
        self._last_ns = 0

    @property
    def current(self) -> TraceContext | None:
        """The span of the agent, None before the run has begun and after its end."""
        return None if self._root is None else self._root.context

    def tool_context(self, call_id: str) -> TraceContext | None:
        """The span of a call that has started, None if it has none."""
        opened = self._tools.get(call_id)
        return opened[-1].context if opened else None

    def add(self, record: Fields) -> tuple[Built, ...]:
        """Read one record; return what has ended with it."""
        at = time_of(record.get("at"))
        if record.get("run_id") != self._run_id:
            self._follow(record)
            return ()
        if at is None:
            return ()
        self._last_ns, event = at, _text(record, "event")
        if event in _CONCLUSIONS:
            return tuple(self._conclude(record, at))
        match event:
            case "run_started":
                self._started = record
                self._open_root(record, at)
            case "run_resumed":
                return self._resume(record, at)
            case "run_finished":
                return self._end(record, at)
            case "turn_started":
                self._turn = _whole(record, "turn")
            case "call_held":
                self._holds[_text(record, "attempt_id")] = record
            case "call_sent":
                self._send(record, at)
            case "answer_received":
                self._receive(record, at)
            case "tool_allowed":
                self._effects[_text(_inner(record, "call"), "id")] = _text(record, "effect")
            case "tool_started":
                self._start_tool(record, at)
            case "tool_finished":
                return self._finish_tool(record, at)
            case _:
                self._follow(record)
        self._note(record, at)
        return ()

    def close(self) -> tuple[Built, ...]:
        """Return what is still open after the last record: the process of the run has died, or still runs."""
        return self._close_root(self._last_ns, _UNFINISHED)

    def _open_root(self, record: Fields, at: int, links: tuple[TraceContext, ...] = ()) -> None:
        parent = parse_trace_context(_text(record, "trace_parent"))
        trace_id = trace_id_of(self._run_id) if parent is None else parent.trace_id
        recorded = self._sample(trace_id, parent)
        state = "" if parent is None else parent.state
        context = TraceContext(trace_id, span_id_of(self._run_id, "run", record.get("seq")), recorded, state)
        agent = _text(record, "agent") or _text(self._started, "agent")
        found: dict[str, AttributeValue] = {
            names.OPERATION: names.INVOKE_AGENT,
            names.PROVIDER: _provider(record, self._started),
            names.CONVERSATION: self._run_id,
            names.RUN: self._run_id,
        }
        for name, value in (
            (names.AGENT, agent),
            (names.REQUEST_MODEL, _text(record, "model") or _text(self._started, "model")),
            (names.SANDBOX, _text(self._started, "sandbox")),
            (names.FORKED_FROM, _text(self._started, "forked_from")),
        ):
            found |= {name: value} if value else {}
        labels = _inner(self._started, "labels")
        found |= {f"{names.LABEL}{name}": str(value) for name, value in labels.items() if name != "workdir"}
        self._root = OpenSpan(f"{names.INVOKE_AGENT} {agent}".rstrip(), context, at, found, parent, links)
        self._turn, self._asked_by, self._times = 0, None, {}

    def _resume(self, record: Fields, at: int) -> tuple[Built, ...]:
        if self._with_content:
            del self._messages[_whole(record, "kept") :]
        if record.get("source") != self._run_id:  # a fork, which has just been started
            return ()
        ended = self._close_root(at, _UNFINISHED)
        self._open_root(record, at, () if self._last_root is None else (self._last_root,))
        return ended

    def _end(self, record: Fields, at: int) -> tuple[Built, ...]:
        result = _inner(record, "result")
        if self._root is None:  # it has failed before it began
            began = time_of(result.get("started_at"))
            self._open_root({**result, "seq": record.get("seq")}, at if began is None else began)
        assert self._root is not None  # noqa: S101 - for mypy
        found = self._root.attributes
        found |= {names.STATUS: _text(result, "status") or _UNFINISHED, names.TURNS: _whole(result, "turns")}
        found |= usage_attributes(_inner(result, "usage"))
        for name, key in ((names.RUN_COST, "cost_nano"), (names.RUN_IN_DOUBT, "in_doubt_nano")):
            found |= {name: value} if isinstance(value := result.get(key), int) else {}
        if result.get("structured") is not None:
            found[names.OUTPUT_TYPE] = "json"
        limits = result.get("limits")
        for use in (one for one in (limits if isinstance(limits, list) else ()) if isinstance(one, Mapping)):
            prefix = f"{names.LIMIT}{use.get('name')}"
            found |= {f"{prefix}.{key}": value for key in ("used", "ceiling") if isinstance(value := use.get(key), int)}
        if limit := _text(_inner(result, "breaker"), "limit"):
            found[names.BREAKER] = limit
        status, kind = _text(result, "status"), _text(_inner(result, "error"), "kind")
        return self._close_root(at, kind or ("" if status == "done" else status or _UNFINISHED))

    def _close_root(self, at: int, error: str) -> tuple[Built, ...]:
        """End the span of the agent and, before it, what is open within it."""
        if self._root is None:
            return ()
        self._root.attributes.setdefault(names.STATUS, _UNFINISHED)
        calls = [call.finish(at, error=_UNFINISHED, kind="client") for call in self._calls.values()]
        tools = [tool.finish(at, error=error or _UNFINISHED) for opened in self._tools.values() for tool in opened]
        root = self._root.finish(at, error=error)
        self._last_root, self._root = root.context, None
        self._calls, self._tools = {}, {}
        return (*calls, *tools, root)

    def _child(self, name: str, at: int, attributes: dict[str, AttributeValue], *key: object) -> OpenSpan | None:
        root = self._root
        if root is None:
            return None
        context = root.context._replace(span_id=span_id_of(self._run_id, root.context.span_id, *key))
        return OpenSpan(name, context, at, attributes, root.context)

    def _send(self, record: Fields, at: int) -> None:
        attempt = _text(record, "attempt_id")
        hold = self._holds.pop(attempt, {})
        if self._started.get("metered") is False:  # builtin looks things up without a model
            return
        model = _text(hold, "model")
        found: dict[str, AttributeValue] = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: _provider(hold, self._started),
            names.CONVERSATION: self._run_id,
            names.ATTEMPT: attempt,
            names.PURPOSE: _text(hold, "purpose") or "turn",
            names.TURN: self._turn,
        }
        for name, word in ((names.REQUEST_MODEL, model), (names.CLIENT, _text(record, "client"))):
            found |= {name: word} if word else {}
        for name, key in (
            (names.MAX_TOKENS, "granted_output"),
            (names.HOLD, "hold_nano"),
            (names.HOLD_TOKENS, "hold_tokens"),
        ):
            found |= {name: value} if isinstance(value := hold.get(key), int) else {}
        if hold.get("probe") is True:
            found[names.PROBE] = True
        if self._with_content and self._messages:
            spoken = [one for one in self._messages if one.get("role") != "system"]
            found[names.INPUT_MESSAGES] = encode_messages(spoken)
            if system := encode_system(self._messages):
                found[names.SYSTEM_INSTRUCTIONS] = system
        if call := self._child(f"{names.CHAT} {model}".rstrip(), at, found, "chat", attempt):
            self._calls[attempt] = call

    def _receive(self, record: Fields, at: int) -> None:
        call = self._calls.get(_text(record, "attempt_id"))
        if call is None:
            return
        call.end_ns = at
        if model := _text(record, "model"):
            call.attributes[names.RESPONSE_MODEL] = model
        if stop := _text(record, "stop"):
            call.attributes[names.FINISH_REASONS] = (stop,)
        if self._with_content:
            call.attributes[names.OUTPUT_MESSAGES] = encode_answer(record)
        if call.attributes[names.PURPOSE] != "summary":
            self._asked_by = call.context

    def _conclude(self, record: Fields, at: int) -> Iterable[Built]:
        call = self._calls.pop(_text(record, "attempt_id"), None)
        if call is None:
            return
        event, found = record.get("event"), call.attributes
        found[names.CONCLUSION] = conclusion = _CONCLUSIONS[str(event)]
        nano = record.get("cost_nano" if event == "call_settled" else "nano")
        usage = usage_attributes(_inner(record, "usage"))
        found |= usage
        if event == "call_settled" and record.get("overrun") is True:
            found[names.OVERRUN] = True
        if event == "call_doubted":
            found[names.IN_DOUBT_TOKENS] = _whole(record, "tokens")
        if isinstance(nano, int):
            found[names.CHARGE if event == "call_settled" else names.IN_DOUBT] = nano
        error = (
            "" if call.end_ns is not None else _text(record, "error") or ("" if conclusion == "charged" else "_OTHER")
        )
        span = call.finish(at, error=error, kind="client")
        yield span
        agent = self._root.attributes.get(names.AGENT) if self._root else None
        yield from measurements_of(span, agent=agent, nano=nano if isinstance(nano, int) else None)

    def _start_tool(self, record: Fields, at: int) -> None:
        call = _inner(record, "call")
        call_id, name = _text(call, "id"), _text(call, "name")
        self._times[call_id] = time = self._times.get(call_id, 0) + 1
        found: dict[str, AttributeValue] = {
            names.OPERATION: names.EXECUTE_TOOL,
            names.TOOL: name,
            names.TOOL_TYPE: "function",
            names.TOOL_CALL: call_id,
            names.TURN: self._turn,
        }
        if effect := self._effects.pop(call_id, ""):
            found[names.EFFECT] = effect
        if self._with_content:
            found[names.TOOL_ARGUMENTS] = encode_value(call.get("arguments"))
        if tool := self._child(f"{names.EXECUTE_TOOL} {name}".rstrip(), at, found, "tool", call_id, time):
            tool.links = () if self._asked_by is None else (self._asked_by,)
            self._tools.setdefault(call_id, []).append(tool)

    def _finish_tool(self, record: Fields, at: int) -> tuple[Built, ...]:
        call_id = _text(_inner(record, "call"), "id")
        opened = self._tools.get(call_id)
        if not opened:
            return ()
        tool = opened.pop(0)
        if not opened:
            del self._tools[call_id]
        took = record.get("duration_s")
        if isinstance(took, (int, float)):
            tool.attributes[names.TOOL_SECONDS] = float(took)
        if self._with_content:
            tool.attributes[names.TOOL_RESULT] = encode_value(record.get("text"))
        return (tool.finish(at, error=_text(_inner(record, "error"), "kind")),)

    def _note(self, record: Fields, at: int) -> None:
        """Add an event to the agent's span."""
        wanted = names.EVENTS.get(str(record.get("event")))
        if wanted is None or self._root is None:
            return
        found: dict[str, AttributeValue] = {}
        for path, name in wanted.items():
            outer, _, key = path.partition(".")
            value = _inner(record, outer).get(key) if key else record.get(outer)
            if isinstance(value, (str, int, float)) and value != "":
                found[name] = value
        self._root.events.append(SpanEvent(f"agentctl.{record['event']}", at, found))

    def _follow(self, record: Fields) -> None:
        """Keep the conversation, as the next request has it."""
        event = record.get("event")
        if not self._with_content or event not in ("message_added", "context_pruned"):
            return
        if event == "message_added":
            self._messages.append(_inner(record, "message"))
            return
        left, before, kept = record.get("left"), self._messages, list[Fields]()
        if not isinstance(left, (list, tuple)) or not left:
            return
        for item in left:
            if isinstance(item, Mapping):
                kept.append(item)
            elif isinstance(item, int) and 0 <= item < len(before):
                kept.append(before[item])
        self._messages = kept


def spans_of(run_id: str, records: Iterable[Fields], *, with_content: bool = False) -> list[FinishedSpan]:
    """Return the spans of a run by its journal, also if it has not ended."""
    builder = SpanBuilder(run_id, with_content=with_content)
    built = [one for record in records for one in builder.add(record)]
    return [one for one in (*built, *builder.close()) if isinstance(one, FinishedSpan)]


def _provider(*records: Fields) -> str:
    """Return the provider that the first of the records names, as the conventions call it."""
    found = next((name for record in records if (name := _text(record, "provider"))), "unknown")
    return names.PROVIDERS.get(found, found)


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _whole(fields: Fields, name: str) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) else 0


def _inner(fields: Fields, name: str) -> Fields:
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}
