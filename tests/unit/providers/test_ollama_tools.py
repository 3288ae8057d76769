"""An Ollama whose model has no tools, or thinks: what a run sends, and what it makes of the answer."""

from __future__ import annotations

import json

import pytest

from agentctl.core.errors import Rejected
from agentctl.core.messages import Completion, Delta, Message, Request
from agentctl.providers.factory import OllamaProvider
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Answer, WireRequest
from tests.unit.providers.test_format_calls import PS

ASKED = Request("llama3.1", (Message("user", "Which?"),), (PS,), max_output_tokens=200)


def calls_then_answers(asked: WireRequest) -> Answer:
    """Call the tool as JSON, then answer; only where ``format`` asks for it."""
    assert asked.tools == ()
    assert asked.body["format"]["anyOf"][0]["properties"]["tool"] == {"const": "docker_ps"}
    has_result = any(said.text.startswith("Result of docker_ps:") for said in asked.messages)
    said = {"answer": "web, and “db”"} if has_result else {"tool": "docker_ps", "arguments": {"all": True}}
    return Answer(json.dumps(said))


async def test_a_model_without_tools_calls_them_by_format(wire: OpenWire) -> None:
    server = wire(calls_then_answers, capabilities=("completion",), repeat=True)
    provider = OllamaProvider("llama3.1", base_url=server.url)
    await provider.prepare()
    pieces = [piece async for piece in provider.stream(ASKED)]
    answer = pieces[-1]
    assert isinstance(answer, Completion)
    (call,) = answer.tool_calls
    assert (call.name, call.arguments, answer.stop) == ("docker_ps", {"all": True}, "tool_calls")
    assert "".join(piece.text for piece in pieces[:-1] if isinstance(piece, Delta)) == "", "no JSON on the screen"
    again = Request(
        "llama3.1",
        (*ASKED.messages, answer.as_message(), Message("tool", "web db", tool_call_id=call.id)),
        (PS,),
        max_output_tokens=200,
    )
    pieces = [piece async for piece in provider.stream(again)]
    assert isinstance(pieces[-1], Completion)
    assert (pieces[-1].text, pieces[-1].tool_calls) == ("web, and “db”", ())
    assert "".join(piece.text for piece in pieces[:-1] if isinstance(piece, Delta)) == "web, and “db”"
    await provider.aclose()


async def test_an_old_server_says_it_by_its_refusal_and_is_asked_again(wire: OpenWire) -> None:
    server = wire(calls_then_answers, capabilities=("completion",), repeat=True)
    provider = OllamaProvider("llama3.1", base_url=server.url)
    with pytest.raises(Rejected, match="does not support tools; asking for its calls as JSON from here on") as caught:
        [piece async for piece in provider.stream(ASKED)]
    assert caught.value.retryable
    assert caught.value.billed == "no"
    pieces = [piece async for piece in provider.stream(ASKED)]
    assert isinstance(pieces[-1], Completion)
    assert [call.name for call in pieces[-1].tool_calls] == ["docker_ps"]
    await provider.aclose()


async def test_by_litellm_the_refusal_names_the_way_out(wire: OpenWire) -> None:
    server = wire(calls_then_answers, capabilities=("completion",), repeat=True)
    provider = OllamaProvider("llama3.1", base_url=server.url, via="litellm")
    with pytest.raises(Rejected) as caught:
        [piece async for piece in provider.stream(ASKED)]
    assert "--via lean" in caught.value.hint
    await provider.aclose()


async def test_a_model_with_tools_and_a_request_without_any_are_sent_as_before(wire: OpenWire) -> None:
    server = wire(Answer("fine"), repeat=True)
    provider = OllamaProvider("llama3.1", base_url=server.url)
    await provider.prepare()
    pieces = [piece async for piece in provider.stream(ASKED)]
    assert isinstance(pieces[-1], Completion)
    assert pieces[-1].text == "fine"
    (heard,) = server.books.chat_requests
    assert heard.asked is not None
    assert heard.asked.tools == ("docker_ps",)
    assert "format" not in heard.asked.body
    await provider.aclose()


async def test_a_thinking_model_has_room_for_its_thoughts(wire: OpenWire) -> None:
    server = wire(Answer("fine"), capabilities=("completion", "tools", "thinking"), repeat=True)
    provider = OllamaProvider("llama3.1", base_url=server.url)
    assert not provider.facts.reasoning
    await provider.prepare()
    assert provider.facts.reasoning
    await provider.aclose()
