"""The bound of the input: never below the count of any byte-level tokenizer."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.budget import input_bound
from agentctl.budget.input_bound import (
    FIXED,
    SettledRequest,
    accept_report,
    bound,
    message_bytes,
    plain_bound,
    tool_bytes,
)
from agentctl.core.messages import Completion, Message, Request, Thought, ToolCall, ToolSpec, Usage

texts = st.text(max_size=200)
messages = st.lists(st.builds(Message, st.sampled_from(["user", "assistant", "tool"]), texts), max_size=6).map(tuple)


def harsh_count(request: Request) -> int:
    """Count as the worst honest tokenizer: one token a byte after NFKC, and a template of 20 tokens a message."""
    total = 500 if request.tools else 0
    for message in request.messages:
        total += 10 + len(unicodedata.normalize("NFKC", message.text).encode("utf-8", "surrogatepass"))
        total += sum(10 + len(json.dumps(dict(c.arguments), ensure_ascii=False).encode()) for c in message.tool_calls)
    return total


@given(messages)
def test_the_plain_bound_is_never_below_one_token_a_byte(sent: tuple[Message, ...]) -> None:
    request = Request("m", sent)
    assert harsh_count(request) <= plain_bound(request)


def test_a_letter_that_grows_when_normalised_is_bound_at_its_grown_size() -> None:
    log = "\ufdfa" * 1000
    assert plain_bound(Request("m", (Message("user", log),))) >= len(unicodedata.normalize("NFKC", log).encode())


@given(texts, texts, texts)
def test_thoughts_that_are_given_back_are_bounded(text: str, signature: str, data: str) -> None:
    said = Message("assistant", "hi", thoughts=(Thought(text, signature), Thought(data=data)))
    added = plain_bound(Request("m", (said,))) - plain_bound(Request("m", (Message("assistant", "hi"),)))
    assert added >= sum(len(one.encode("utf-8", "surrogatepass")) for one in (text, signature, data))


@pytest.mark.parametrize(
    ("defs", "ref"),
    [(lambda big: {"Big": big}, "Big"), (lambda big: {"a/b~c d": big}, "a~1b~0c%20d"), (lambda big: [{}, big], "1")],
    ids=["plain", "escaped", "by number"],
)
def test_references_in_a_schema_count_as_if_written_out(defs: Callable[[object], object], ref: str) -> None:
    big = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(50)}}
    schema = {"$defs": defs(big), "properties": {f"a{i}": {"$ref": f"#/$defs/{ref}"} for i in range(10)}}
    weight = plain_bound(Request("m", (), (ToolSpec("t", "does", schema),)))
    assert weight > 10 * len(json.dumps(big, separators=(",", ":")))


def test_schema_that_refers_to_itself_is_bound() -> None:
    schema = {"$defs": {"N": {"properties": {"next": {"$ref": "#/$defs/N"}}}}, "$ref": "#/$defs/N"}
    assert plain_bound(Request("m", (), (ToolSpec("t", "does", schema),))) > FIXED


def known_turn() -> tuple[SettledRequest, Request]:
    asked = Request("m", (Message("system", "be brief " * 100), Message("user", "list " * 2000)))
    call = ToolCall("1", "docker_ps", {"all": True})
    answer = Completion("", (call,), Usage(2_500, 12))
    known = accept_report(None, asked, answer, Usage(2_500, 12))
    assert known is not None
    told = Message("tool", "web up 3 days", tool_call_id="1")
    return known, Request("m", (*asked.messages, answer.as_message(), told))


def test_reported_usage_makes_the_next_bound_tight() -> None:
    known, request = known_turn()
    assert 2_500 < bound(request, known) < 3_000 < plain_bound(request)


def test_changed_model_tools_or_prefix_fall_back_to_the_plain_bound() -> None:
    known, request = known_turn()
    others = (
        Request("other", request.messages),
        Request("m", request.messages, (ToolSpec("t", "", {}),)),
        Request("m", (Message("system", "changed"), *request.messages[1:])),
        Request("m", request.messages, settings={"temperature": 1}),
    )
    assert [bound(other, known) for other in others] == [plain_bound(other) for other in others]


def test_implausible_report_is_not_built_on() -> None:
    asked = Request("m", (Message("user", "x" * 16_000),))
    assert accept_report(None, asked, Completion("hi"), Usage(900, 1)) is None
    known = accept_report(None, asked, Completion("hi"), Usage(4_000, 1))
    longer = Request("m", (*asked.messages, Message("assistant", "hi"), Message("user", "and?")))
    assert known is not None
    assert accept_report(known, longer, Completion("so"), Usage(3_999, 1)) is None


@given(st.lists(texts, min_size=1, max_size=5), st.integers(1, 4))
def test_the_tight_bound_holds_for_a_tokenizer_of_any_steady_rate(parts: list[str], rate: int) -> None:
    """True input is counted by one steady tokenizer with hidden reasoning left out of the next prompt."""

    def true_input(request: Request) -> int:
        size = sum(
            len(unicodedata.normalize("NFKC", m.text).encode("utf-8", "surrogatepass")) for m in request.messages
        )
        return 40 + -(-size // rate) + 4 * len(request.messages)

    known: SettledRequest | None = None
    history: tuple[Message, ...] = (Message("system", "you are brief"),)
    for text in parts:
        request = Request("m", (*history, Message("user", text)))
        assert true_input(request) <= bound(request, known)
        answer = Completion(text[::-1])
        usage = Usage(true_input(request), -(-len(text.encode("utf-8", "surrogatepass")) // rate) + 7)
        known = accept_report(known, request, answer, usage)
        history = (*request.messages, answer.as_message())


@pytest.mark.parametrize("text", ["日本" * 200, "é" * 300, "\U0001f600" * 100, "plain", "\ud800"])
def test_arguments_and_schemas_count_with_their_escapes(text: str) -> None:
    """A template's ``tojson`` may write every character that is not ASCII as ``\\uXXXX``."""
    said = Message("assistant", "", (ToolCall("1", "look", {"at": text}),))
    assert message_bytes(said) >= len(json.dumps({"at": text}).encode())
    tool = ToolSpec("look", text, {"type": "object", "description": text})
    assert tool_bytes(tool) >= len(json.dumps({"description": text, "parameters": dict(tool.parameters)}).encode())


calls = st.builds(ToolCall, texts, texts, st.dictionaries(texts, st.sampled_from([1, True, 1.0, "1", None])))
conversations = st.lists(st.builds(Message, st.sampled_from(["user", "assistant", "tool"]), texts, st.tuples(calls)))


@given(conversations.map(tuple), st.data())
def test_bounds_of_parts_of_a_conversation_do_not_depend_on_the_order(
    said: tuple[Message, ...], data: st.DataObject
) -> None:
    """What is added up is kept, and only for the same objects: 1 and true are equal, and differ in length."""
    copies = tuple(
        Message(m.role, m.text, tuple(ToolCall(c.id, c.name, dict.fromkeys(c.arguments, "true")) for c in m.tool_calls))
        for m in said
    )
    for _ in range(6):
        start, end = sorted(data.draw(st.tuples(st.integers(0, len(said)), st.integers(0, len(said)))))
        part = data.draw(st.sampled_from([said, copies]))[start:end]
        calls = sum(len(message.tool_calls) for message in part)
        assert plain_bound(Request("m", part)) == sum(map(message_bytes, part)) + FIXED + 16 * (len(part) + calls)


def test_equal_messages_of_other_lengths_have_bounds_of_their_own() -> None:
    bounds = [
        plain_bound(Request("m", (Message("assistant", "", (ToolCall("1", "look", {"at": at}),)),)))
        for at in (1, True, 1.0)
    ]
    assert bounds == [bounds[0], bounds[0] + 3, bounds[0] + 2]


@given(conversations.map(tuple), conversations.map(tuple), st.integers(0, 500))
def test_bound_of_a_continuation_is_that_of_its_new_messages(
    said: tuple[Message, ...], more: tuple[Message, ...], output: int
) -> None:
    first, answer = Message("system", "You help."), Message("assistant", "It is done.")
    known = SettledRequest(Request("m", (first, *said)), answer, Usage(1, output))
    new = (answer, *more)
    calls = sum(len(message.tool_calls) for message in new)
    tight = 1 + max(0, output - message_bytes(answer)) + sum(map(message_bytes, new)) + 64 + 16 * (len(new) + calls)
    now = Request("m", (first, *said, *new))
    assert bound(now, known) == min(plain_bound(now), tight)


def test_bytes_of_a_tool_are_counted_once_and_the_oldest_ones_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []

    def count(tool: ToolSpec) -> int:
        counted.append(tool.name)
        return len(tool.name)

    monkeypatch.setattr(input_bound, "_count_tool", count)
    monkeypatch.setattr(input_bound, "_tool_bytes", {})
    tools = [ToolSpec("x" * size, "", {}) for size in range(1, 100)]
    assert [tool_bytes(tool) for tool in tools] == [tool_bytes(tool) for tool in reversed(tools)][::-1]
    assert len(counted) < 2 * len(tools)
    assert len(input_bound._tool_bytes) <= 64
