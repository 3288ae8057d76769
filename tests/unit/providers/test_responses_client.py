"""Models that speak only the Responses format: litellm posts through the gate, and the answer is read here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import httpx
import pytest

from agentctl import create_llm_provider
from agentctl.core.errors import ProviderError, Rejected, UsageError
from agentctl.core.messages import Completion, Message, Request, Usage
from agentctl.providers.factory import OpenAIProvider
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.routes import Via, choose_client
from agentctl.runner.streaming import client_of
from tests.support.formats import IMAGES, KEY, PS, Wire, answer_of, asked, open_provider, provider_at
from tests.support.wire.server import Answer, Call, Fault, WireRequest

MODEL = "gpt-5-codex"


async def talk(provider: RemoteProvider, turns: int, *said: Message) -> Sequence[Message]:
    """Ask until a turn has no calls, and answer each call with its name."""
    for _ in range(turns):
        _, whole = await answer_of(provider, Request(MODEL, said, (PS, IMAGES), max_output_tokens=4096))
        results = (Message("tool", call.name, tool_call_id=call.id) for call in whole.tool_calls)
        said = (*said, whole.as_message(), *results)
    return said


async def test_turns_of_calls_and_thoughts_are_accepted_by_a_server_that_keeps_nothing(
    wire: Wire,
) -> None:
    """The server refuses a call without its result, a result without its call, and a thought that it did not seal."""
    calls = (Call("docker_ps", {"all": True}), Call("docker_images"))

    def mind(asked: WireRequest) -> Answer:
        done = sum(said.role == "tool" for said in asked.messages)
        usual: dict[str, Any] = {"reasoning": 40, "output_tokens": 90}
        return Answer("Looking.", calls, **usual) if done < 4 else Answer("Done.", **usual)

    server = wire(mind)
    async with open_provider(server, "responses") as provider:
        said = await talk(provider, 3, Message("system", "You help."), Message("user", "List"))
    assert said[-1].text == "Done."
    posted = [heard.body or {} for heard in server.books.requests]
    assert [heard.path for heard in server.books.requests] == ["/v1/responses"] * 3
    kinds = [item.get("type", item.get("role")) for item in posted[-1]["input"]]
    turn = ["reasoning", "assistant", "function_call", "function_call", *["function_call_output"] * 2]
    assert kinds == ["user", *turn, *turn]
    for first, second in pairwise(posted):
        assert second["input"][: len(first["input"])] == first["input"], "a prefix of the next one, for caches"


async def test_a_request_holds_what_was_granted_and_names_nobody_else(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_ORGANIZATION", "OPENAI_ORG_ID", "OPENAI_PROJECT"):
        monkeypatch.setenv(name, "stranger")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    server = wire(Answer("ok"))
    async with open_provider(server, "responses") as provider:
        await answer_of(provider, asked(PS))
    (heard,) = server.books.requests
    body = heard.body or {}
    assert (body["model"], body["max_output_tokens"], body["stream"], body["store"]) == (MODEL, 321, True, False)
    assert body.keys() <= {
        *("model", "input", "instructions", "include", "max_output_tokens", "store", "stream", "tools"),
    }
    assert heard.headers["authorization"] == f"Bearer {KEY}"
    assert "stranger" not in str(heard.headers)
    assert "sk-of-the-environment" not in str(heard.headers)


async def test_without_a_key_none_is_sent(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    server = wire(Answer("ok"))
    async with open_provider(server, "responses", key=None) as provider:  # type: ignore[arg-type]
        await answer_of(provider, asked())
    assert "authorization" not in server.books.requests[0].headers


@pytest.mark.parametrize(
    "step", [Fault(hang_up=True), Fault(reset=True), Fault(307, location="/v1/responses"), Fault(503)]
)
async def test_an_attempt_is_one_request_whatever_litellm_would_send_after_it(wire: Wire, step: Fault) -> None:
    server = wire([step, Answer("a second one")])
    async with open_provider(server, "responses") as provider:
        with pytest.raises(ProviderError):
            await answer_of(provider, asked())
    assert [heard.method for heard in server.books.requests] == ["POST"]


async def test_a_clamp_that_litellm_would_raise_is_not_sent(wire: Wire) -> None:
    """OpenAI takes no less than 16, and litellm sends 16 for less: that was not granted."""
    server = wire(Answer("ok"), repeat=True)
    async with open_provider(server, "responses") as provider:
        with pytest.raises(Rejected, match=r"asks for \[16\] output tokens, 15 were granted") as caught:
            await answer_of(provider, asked(clamp=15))
        assert caught.value.unsent
        assert server.books.requests == ()
        await answer_of(provider, asked(clamp=16))


async def test_litellm_invents_no_usage_and_says_nothing(wire: Wire, capfd: pytest.CaptureFixture[str]) -> None:
    server = wire([Answer("Half.", usage="omit"), Answer("Half.", input_tokens=90, output_tokens=20)])
    async with open_provider(server, "responses") as provider:
        found = [(await answer_of(provider, asked()))[1] for _ in range(2)]
    assert [one.usage for one in found] == [None, Usage(90, 20)]
    assert capfd.readouterr() == ("", "")


async def test_a_server_that_does_not_stream_is_read_all_the_same(wire: Wire) -> None:
    document = {
        "object": "response",
        "status": "completed",
        "model": MODEL,
        "output": [
            {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "Looking.\u2028[DONE]"}]},
            {"type": "function_call", "id": "f", "call_id": "c", "name": "docker_ps", "arguments": "{}"},
        ],
        "usage": {"input_tokens": 90, "output_tokens": 20, "total_tokens": 110},
    }
    server = wire(Answer(garbage=json.dumps(document, ensure_ascii=False).encode()))
    async with open_provider(server, "responses") as provider:
        text, whole = await answer_of(provider, asked(PS))
    assert (text, [call.name for call in whole.tool_calls]) == ("Looking.\u2028[DONE]", ["docker_ps"])
    assert (whole.stop, whole.usage, whole.model) == ("tool_calls", Usage(90, 20), MODEL)


async def test_an_error_in_the_stream_is_told_in_its_own_words(wire: Wire) -> None:
    error = {"code": "rate_limit_exceeded", "message": "Wait a while."}
    body = f"event: response.failed\ndata: {json.dumps({'response': {'status': 'failed', 'error': error}})}\n\n"
    async with open_provider(wire(Answer(garbage=body.encode())), "responses") as provider:
        with pytest.raises(ProviderError, match="Wait a while") as caught:
            await answer_of(provider, asked())
    assert (type(caught.value).__name__, caught.value.billed) == ("RateLimited", "no")


async def test_what_is_not_known_is_counted(wire: Wire) -> None:
    events = (
        {"type": "response.sung", "note": "a"},
        {"type": "response.output_text.delta", "item_id": "m", "delta": "La."},
        {"type": "response.completed", "response": {"usage": {"input_tokens": 9, "output_tokens": 2}}},
    )
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    async with open_provider(wire(Answer(garbage=body.encode())), "responses") as provider:
        _, whole = await answer_of(provider, asked())
        assert dict(provider.unknown) == {"event response.sung": 1}
    assert whole == Completion("La.", usage=Usage(9, 2))


def test_such_a_model_is_called_by_litellm_alone(wire: Wire) -> None:
    server = wire()
    for via in ("auto", "litellm"):
        provider = create_llm_provider("openai", MODEL, api_key=KEY, base_url=server.openai_url, via=via)
        assert (provider.facts.responses, client_of(provider)) == ("only", "litellm")
    assert client_of(provider_at(server, "openai")) == "lean"
    assert not provider_at(server, "openai").facts.responses
    lean = OpenAIProvider(MODEL, api_key=KEY, via="lean")
    with pytest.raises(UsageError) as caught:
        _ = lean.facts
    said = f"openai/{MODEL} speaks only the Responses format, which the lean client does not speak"
    assert (caught.value.message, "--via auto" in caught.value.hint) == (said, True)
    assert choose_client("openai", "auto", provider.facts) == "litellm"


THINKING = ("gpt-5.5", "gpt-5.6", "gpt-5.6-terra", "gpt-6-sol", "gpt-6.1-sol")


class Heard(httpx.AsyncBaseTransport):
    """A network that keeps the request and answers nothing."""

    request: httpx.Request

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.request = request
        raise httpx.ConnectError("nowhere", request=request)


async def request_of(provider: RemoteProvider) -> httpx.Request:
    network = Heard()
    provider._connections = lambda: network  # type: ignore[method-assign]
    with pytest.raises(ProviderError):
        await answer_of(provider, asked(PS))
    return network.request


async def address_of(provider: RemoteProvider) -> str:
    return str((await request_of(provider)).url)


async def test_the_service_tier_is_sent_at_openai_and_left_out_once_it_is_refused() -> None:
    provider = OpenAIProvider("o3-pro", api_key=KEY)
    assert json.loads((await request_of(provider)).content)["service_tier"] == "default"
    provider._refused = provider._refused._replace(left_out=frozenset({"service_tier", "include"}))
    found = json.loads((await request_of(provider)).content)
    assert found.keys() == {"model", "input", "instructions", "max_output_tokens", "store", "stream", "tools"}


@pytest.mark.parametrize("via", ["auto", "litellm"])
@pytest.mark.parametrize("model", THINKING)
async def test_model_that_thinks_is_given_tools_in_responses_at_openai_only(model: str, via: Via) -> None:
    """OpenAI refuses tools for a model that thinks in the chat format; other servers know no other format."""
    own = OpenAIProvider(model, api_key=KEY, via=via)
    assert (own.facts.responses, own.facts.reasoning, own.client) == ("tools", True, "litellm")
    assert await address_of(own) == "https://api.openai.com/v1/responses"
    elsewhere = OpenAIProvider(model, api_key=KEY, base_url="https://gateway.invalid/v1", via=via)
    assert (elsewhere.facts.responses, elsewhere.client) == ("", "lean" if via == "auto" else "litellm")
    assert await address_of(elsewhere) == "https://gateway.invalid/v1/chat/completions"


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-5", "gpt-5.1", "gpt-5.2", "gpt-5.4-mini", "o3"])
async def test_model_that_takes_tools_in_the_chat_format_is_called_in_it(model: str) -> None:
    provider = OpenAIProvider(model, api_key=KEY)
    assert (provider.facts.responses, provider.client) == ("", "lean")
    assert await address_of(provider) == "https://api.openai.com/v1/chat/completions"


def test_lean_names_why_it_cannot_give_a_model_tools() -> None:
    with pytest.raises(UsageError) as caught:
        _ = OpenAIProvider("gpt-6-sol", api_key=KEY, via="lean").facts
    said = "openai/gpt-6-sol takes tools only in the Responses format, which the lean client does not speak"
    assert caught.value.message == said


@pytest.mark.parametrize("model", ["o3-pro", "o1-pro", "gpt-5-pro", "gpt-5.1-codex-mini", "gpt-5.2-codex"])
def test_such_models_have_prices_and_windows(model: str) -> None:
    facts = OpenAIProvider(model, api_key=KEY).facts
    assert facts.price is not None
    assert facts.price.source.startswith("litellm ")
    assert (facts.responses, facts.reasoning, facts.unbounded) == ("only", True, None)
    assert (facts.context_window or 0) >= 200_000
    assert (facts.output_ceiling or 0) >= 100_000


async def test_litellm_is_told_not_to_change_the_format_of_a_model_that_chats(wire: Wire) -> None:
    """Its own bridge would post by a client of its own: it takes it for these names."""
    server = wire(Answer("ok"))
    provider = create_llm_provider(
        "custom_openai", "responses/gpt-5", api_key=KEY, base_url=server.openai_url, via="litellm"
    )
    await provider.ainvoke("hello")
    await provider.aclose()
    assert [heard.path for heard in server.books.requests] == ["/v1/chat/completions"]
    assert "_skip_responses_api_bridge" not in (server.books.requests[0].body or {})
