"""Models without tools: calls and answers as JSON that ``format`` constrains, in both directions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.budget.input_bound import json_bytes, plain_bound
from agentctl.core.messages import Completion, Message, Request, ToolCall, ToolSpec
from agentctl.providers.format_calls import AnswerDecoder, as_text, format_of, read_completion

PS = ToolSpec(
    "docker_ps",
    "List containers.",
    {
        "type": "object",
        "title": "Ps",
        "properties": {
            "all": {"type": "boolean", "description": "Stopped ones, too.", "default": False},
            "title": {"anyOf": [{"type": "string", "maxLength": 5}, {"type": "null"}]},
        },
        "required": ["all"],
        "additionalProperties": False,
    },
)


def test_the_format_is_a_call_of_one_of_the_tools_or_an_answer() -> None:
    found: Any = format_of((PS,))
    call, answer = found["anyOf"]
    assert call["properties"]["tool"] == {"const": "docker_ps"}
    assert call["required"] == ["tool", "arguments"]
    assert call["properties"]["arguments"] == {
        "type": "object",
        "properties": {"all": {"type": "boolean"}, "title": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        "required": ["all"],
        "additionalProperties": False,
    }
    assert answer == {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


def test_the_conversation_becomes_text_that_holds_the_tools() -> None:
    call = ToolCall("c1", "docker_ps", {"all": True})
    request = Request(
        "m",
        (
            Message("system", "You help."),
            Message("user", "Which?"),
            Message("assistant", "I look.", (call,)),
            Message("tool", "web up", tool_call_id="c1"),
            Message("assistant", "web"),
        ),
        (PS,),
    )
    system, user, said, result, answer = as_text(request).messages
    assert system.text.startswith("You help.\n\nReply with one JSON object")
    assert '- docker_ps: List containers. {"type":"object"' in system.text
    assert user.text == "Which?"
    assert said == Message("assistant", 'I look.\n{"tool":"docker_ps","arguments":{"all":true}}')
    assert result == Message("user", "Result of docker_ps:\nweb up")
    assert answer == Message("assistant", '{"answer":"web"}')
    assert as_text(Request("m", (Message("user", "x"),), (PS,))).messages[0].role == "system"


@pytest.mark.parametrize(
    ("text", "stop", "found", "called"),
    [
        ('{"tool": "docker_ps", "arguments": {"all": true}}', "stop", "", {"all": True}),
        ('{"tool": "docker_ps"}', "stop", "", {}),
        ('{"answer": "two\\nlines"}', "stop", "two\nlines", None),
        ('{"answer": "raw\nline"}', "stop", "raw\nline", None),
        ('{"answer": "half of i', "length", "half of i", None),
        ('{"tool": "docker_p', "length", '{"tool": "docker_p', None),
        ('{"tool": "rm", "arguments": {}}', "stop", '{"tool": "rm", "arguments": {}}', None),
        ("plain words", "stop", "plain words", None),
    ],
)
def test_an_answer_is_read_as_the_call_or_the_text_that_it_is(
    text: str, stop: str, found: str, called: dict[str, object] | None
) -> None:
    completion = read_completion(Completion(text, stop=stop), (PS,))  # type: ignore[arg-type]
    assert completion.text == found
    assert [call.arguments for call in completion.tool_calls] == ([] if called is None else [called])
    assert completion.stop == ("tool_calls" if called is not None else stop)


@given(st.text(), st.integers(1, 7), st.booleans())
def test_a_streamed_answer_is_decoded_as_it_comes(text: str, step: int, is_ascii: bool) -> None:
    written = json.dumps({"answer": text}, ensure_ascii=is_ascii)
    decoder = AnswerDecoder()
    assert "".join(decoder.add(written[at : at + step]) for at in range(0, len(written), step)) == text


def test_format_and_instructions_weigh_no_more_than_the_bound_of_their_request() -> None:
    """The gate checks the bytes that are sent; the hold is for the request with its tools."""
    for size in (1, 3, 8, 20):
        tools = _specs(size)
        asked = Request("m", (Message("system", "You help."), Message("user", "Which?")), tools)
        written = as_text(asked)
        body = {"messages": [(one.role, one.text) for one in written.messages], "format": format_of(tools)}
        assert json_bytes(body) <= plain_bound(written)
        prompt = sum(len(one.text.encode()) for one in written.messages)
        assert prompt <= plain_bound(asked), "what the model reads is held for"


def _specs(size: int) -> tuple[ToolSpec, ...]:
    return tuple(PS._replace(name=f"docker_ps_{number}") for number in range(size))
