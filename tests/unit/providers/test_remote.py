"""One stream is one request, its clamp is in the bytes, its usage is what the server billed, its errors are ours."""

from __future__ import annotations

import socket
import threading

import anyio
import pytest

from agentctl.core.errors import (
    AgentctlError,
    AuthFailed,
    ContextOverflow,
    ModelGone,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
    Rejected,
)
from agentctl.core.messages import Message, Request, ToolCall, Usage
from agentctl.core.pricing import FREE, contradiction
from agentctl.providers.factory import AnthropicProvider, OllamaProvider, OpenAIProvider
from agentctl.providers.llm_provider import FixedPriceProvider
from agentctl.providers.remote import RemoteProvider
from tests.support.formats import (
    FORMATS,
    IMAGES,
    KEY,
    MODELS,
    MODELS_AND_RESPONSES,
    PS,
    Wire,
    answer_of,
    asked,
    open_provider,
    provider_at,
)
from tests.support.wire.server import Answer, Call, Fault

formats = pytest.mark.parametrize("format", tuple(MODELS_AND_RESPONSES))


@formats
async def test_answer_comes_in_pieces_and_complete_with_the_billed_usage(wire: Wire, format: str) -> None:
    server = wire(Answer("There are three, naïve 日本.", input_tokens=90, output_tokens=20), keys=[KEY])
    async with open_provider(server, format) as provider:
        text, whole = await answer_of(provider, asked())
    assert text == whole.text == "There are three, naïve 日本."
    assert (whole.usage, whole.stop, whole.tool_calls) == (Usage(90, 20), "stop", ())
    (entry,) = server.books.entries
    assert (entry.tokens.input, entry.tokens.output) == (90, 20)


@formats
async def test_parallel_tool_calls_come_with_their_arguments(wire: Wire, format: str) -> None:
    calls = (Call("docker_ps", {"all": True, "name": "wéb"}), Call("docker_images", {}))
    server = wire(Answer("Looking.", calls=calls))
    async with open_provider(server, format) as provider:
        _, whole = await answer_of(provider, asked(PS, IMAGES))
    assert [(call.name, call.arguments) for call in whole.tool_calls] == [(c.name, c.arguments) for c in calls]
    assert len({call.id for call in whole.tool_calls}) == 2
    assert whole.stop == "tool_calls"


@formats
async def test_a_conversation_with_tool_results_arrives_in_the_providers_own_format(wire: Wire, format: str) -> None:
    server = wire(Answer("ok"))
    calls = (ToolCall("call_1", "docker_ps", {"all": True}), ToolCall("call_2", "docker_images", {}))
    said = (
        Message("system", "You help."),
        Message("user", "List"),
        Message("assistant", "", calls),
        Message("tool", "web", tool_call_id="call_1"),
        Message("tool", "nginx", tool_call_id="call_2"),
        Message("user", "And?"),
    )
    async with open_provider(server, format) as provider:
        await answer_of(provider, Request("m", said, (PS, IMAGES), max_output_tokens=50))
    (heard,) = server.books.chat_requests
    assert heard.asked is not None
    assert heard.asked.tools == ("docker_ps", "docker_images")
    found = [(m.role, m.text, tuple(c.name for c in m.calls)) for m in heard.asked.messages]
    assert found == [
        ("system", "You help.", ()),
        ("user", "List", ()),
        ("assistant", "", ("docker_ps", "docker_images")),
        ("tool", "web", ()),
        ("tool", "nginx", ()),
        ("user", "And?", ()),
    ]


@formats
async def test_usage_is_reported_by_class(wire: Wire, format: str) -> None:
    cached, written, reasoning = {"anthropic": (40, 30, 0), "ollama": (0, 0, 0)}.get(format, (40, 0, 7))
    answer = Answer("hi", input_tokens=100, output_tokens=20, cached=cached, cache_write=written, reasoning=reasoning)
    async with open_provider(wire(answer), format) as provider:
        _, whole = await answer_of(provider, asked())
    assert whole.usage == Usage(100, 20, cached, written, reasoning)


@formats
async def test_the_clamp_is_in_the_bytes_and_cuts_the_answer(wire: Wire, format: str) -> None:
    server = wire(Answer("long " * 400, output_tokens=5000))
    async with open_provider(server, format) as provider:
        _, whole = await answer_of(provider, asked(clamp=77))
    assert (whole.stop, whole.usage and whole.usage.output_tokens) == ("length", 77)
    (heard,) = server.books.chat_requests
    assert heard.asked is not None
    assert heard.asked.clamp == 77
    assert heard.asked.stream


async def test_fields_of_each_format_are_sent(wire: Wire) -> None:
    server = wire(Answer("ok"))
    for format in FORMATS:
        async with open_provider(server, format) as provider:
            await answer_of(provider, asked())
    openai, anthropic, ollama = (heard.body for heard in server.books.chat_requests)
    assert openai is not None
    assert anthropic is not None
    assert ollama is not None
    assert openai["stream_options"] == {"include_usage": True}
    assert "service_tier" not in openai.keys() | anthropic.keys(), "only the provider itself is known to take it"
    assert ollama["options"] == {"num_predict": 321, "num_ctx": 12288, "temperature": 0.0}
    assert "authorization" not in server.books.chat_requests[2].headers


FAULTS = {
    "500": Fault(500),
    "503": Fault(503),
    "429": Fault(429),
    "reset": Fault(reset=True),
    "hang up": Fault(hang_up=True),
    "redirect": Fault(307, location="/v1/elsewhere"),
    "cut": Answer("some words " * 30, cut_at="middle"),
    "cut in the head": Answer("some words", cut_at="headers"),
    "clean cut": Answer("some words " * 30, clean_cut=True),
    "error in the stream": Fault(529, in_stream=True),
    "garbage": Answer(garbage=b"<html>not an answer</html>"),
}


@formats
@pytest.mark.parametrize("fault", FAULTS)
async def test_stream_is_one_request_whatever_happens(wire: Wire, format: str, fault: str) -> None:
    server = wire(FAULTS[fault])
    async with open_provider(server, format) as provider:
        with pytest.raises(ProviderError):
            await answer_of(provider, asked())
    assert len(server.books.chat_requests) == 1
    assert [heard.path for heard in server.books.requests if "elsewhere" in heard.path] == []


TOLD: dict[str, tuple[Answer | Fault, type[ProviderError], str, str]] = {
    "wrong key": (Fault(401, code="invalid_api_key"), AuthFailed, "no", "set-key"),
    "forbidden": (Fault(403), AuthFailed, "no", ""),
    "no such model": (Fault(404, code="model_not_found"), ModelGone, "no", ""),
    "rate limit": (Fault(429, headers=(("retry-after", "7"),)), RateLimited, "no", "7 s"),
    "quota": (Fault(429, code="insufficient_quota"), QuotaExceeded, "no", "credit"),
    "too long": (Fault(400, code="context_length_exceeded"), ContextOverflow, "no", "larger window"),
    "bad request": (Fault(400), Rejected, "no", ""),
    "unprocessable": (Fault(422), Rejected, "no", ""),
    "server error": (Fault(500), ProviderUnavailable, "unknown", "try again"),
    "overloaded": (Fault(529), ProviderUnavailable, "unknown", "try again"),
    "overloaded in the stream": (Fault(529, in_stream=True), ProviderUnavailable, "unknown", "try again"),
    "rate limit after words": (Fault(429, in_stream=True), RateLimited, "unknown", "try again"),
    "redirect": (Fault(307, location="/v1/elsewhere"), Rejected, "no", "redirect"),
    "garbage": (Answer(garbage=b"<html>"), ProviderUnavailable, "unknown", "address"),
    "reset": (Fault(reset=True), ProviderUnavailable, "unknown", "try again"),
    "cut": (Answer("some words " * 30, cut_at="middle"), ProviderUnavailable, "unknown", "try again"),
}


NOT_OF_OLLAMA = {"wrong key", "forbidden", "quota", "rate limit after words"}  # no keys, no status in a stream


@pytest.mark.parametrize(
    ("format", "case"), [(f, case) for f in FORMATS for case in TOLD if f != "ollama" or case not in NOT_OF_OLLAMA]
)
async def test_error_is_raised_once_with_its_hint_and_whether_it_was_billed(
    wire: Wire, format: str, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    fault, kind, billed, cure = TOLD[case]
    async with open_provider(wire(fault), format) as provider:
        with pytest.raises(AgentctlError) as caught:
            await answer_of(provider, asked())
    error = caught.value
    assert type(error) is kind
    assert (error.billed, error.unsent) == (billed, False)
    assert cure in error.hint
    assert error.hint
    assert "\n" not in error.message
    assert "litellm" not in error.message.lower()
    assert KEY not in error.message
    assert capfd.readouterr() == ("", "")


@formats
@pytest.mark.parametrize(("header", "value"), [("retry-after", "7"), ("retry-after-ms", "7000")])
async def test_retry_after_is_read_from_the_headers(wire: Wire, format: str, header: str, value: str) -> None:
    server = wire(Fault(429, headers=((header, value),)))
    async with open_provider(server, format) as provider:
        with pytest.raises(RateLimited) as caught:
            await answer_of(provider, asked())
    assert caught.value.retry_after == 7


@formats
async def test_answer_with_incomplete_usage_is_an_answer_without_usage(wire: Wire, format: str) -> None:
    for usage in ("omit", "zero") if format == "anthropic" else ("omit", "garbage"):
        async with open_provider(wire(Answer("hello", usage=usage)), format) as provider:
            _, whole = await answer_of(provider, asked())
        assert whole.text == "hello"
        assert whole.usage is None or contradiction(whole.usage, answered=True)


async def test_an_answer_that_breaks_off_before_its_usage_is_not_thrown_away(wire: Wire) -> None:
    async with open_provider(wire(Answer("hello", cut_at="before_usage")), "openai") as provider:
        _, whole = await answer_of(provider, asked())
    assert (whole.text, whole.stop, whole.usage) == ("hello", "stop", None)


@pytest.mark.slow
async def test_usage_that_comes_late_is_waited_for(wire: Wire) -> None:
    answer = Answer("hi", gap_s=0.5, input_tokens=50, output_tokens=9)
    async with open_provider(wire(answer), "openai") as provider:
        _, whole = await answer_of(provider, asked())
    assert whole.usage == Usage(50, 9)


BODIES = {
    "whole": (b'{"error": {"message": "no"}}', 0),
    "cut short": (b'{"error": {"message": "no"}}', 100),
    "a page": (b"<html>go away</html>", 0),
    "nothing": (b"", 0),
}


@pytest.mark.slow
@formats
@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 429, 422])
async def test_a_status_or_a_complete_error_document_says_that_nothing_was_billed(
    format: str, status: int, case: str
) -> None:
    body, missing = BODIES[case]
    billed = "no" if case in ("whole", "a page") or status <= 405 else "unknown"

    async def refuse(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            head = f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\n"
            await stream.send(f"{head}Content-Length: {len(body) + missing}\r\n\r\n".encode() + body)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"  # noqa: S610 - no Django here
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, refuse)
        provider = {
            "openai": OpenAIProvider("gpt-4o", api_key=KEY, base_url=f"{url}/v1"),
            "anthropic": AnthropicProvider("claude-haiku-4-5", api_key=KEY, base_url=url),
            "ollama": OllamaProvider("llama3.1", base_url=url),
            "responses": OpenAIProvider("gpt-5-codex", api_key=KEY, base_url=f"{url}/v1"),
        }[format]
        with pytest.raises(ProviderError) as caught:
            await answer_of(provider, asked())
        await provider.aclose()
        group.cancel_scope.cancel()
    await listener.aclose()
    assert (caught.value.billed, caught.value.unsent) == (billed, False)


@pytest.mark.parametrize("format", ["openai", "anthropic"])
async def test_last_of_two_cumulative_reports_is_used(wire: Wire, format: str) -> None:
    answer = Answer("hello there", usage="twice", input_tokens=50, output_tokens=9)
    async with open_provider(wire(answer), format) as provider:
        _, whole = await answer_of(provider, asked())
    assert whole.usage == Usage(50, 9)


@pytest.mark.slow
@formats
async def test_cancelling_closes_the_connection(wire: Wire, format: str) -> None:
    server = wire(Answer("a long story " * 200, stall=True))
    async with open_provider(server, format) as provider:
        pieces = 0
        with anyio.move_on_after(0.5) as scope:
            async for _ in provider.stream(asked(clamp=4096)):
                pieces += 1
        assert scope.cancelled_caught
        assert pieces > 0
        await anyio.to_thread.run_sync(server.books.wait, lambda books: books.hung_up)
    assert len(server.books.chat_requests) == 1


@formats
async def test_connections_are_kept_for_the_next_turn(wire: Wire, format: str) -> None:
    server = wire(Answer("ok"))
    async with open_provider(server, format) as provider:
        for _ in range(4):
            await answer_of(provider, asked())
    assert (server.books.connections, len(server.books.chat_requests)) == (1, 4)


async def test_unsent_request_is_not_billed() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    for provider in (
        OpenAIProvider("gpt-4o", api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1"),
        AnthropicProvider("claude-haiku-4-5", api_key=KEY, base_url=f"http://127.0.0.1:{port}"),
        OllamaProvider("llama3.1", base_url=f"http://127.0.0.1:{port}"),
    ):
        with pytest.raises(ProviderUnavailable, match="cannot be reached") as caught:
            await answer_of(provider, asked())
        assert (caught.value.billed, caught.value.unsent) == ("no", True)
        await provider.aclose()


async def test_credentials_in_an_address_are_neither_in_the_facts_nor_in_an_error() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{closed.getsockname()[1]}/v1"
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url=f"HTTP://me:secret@{place}/")
    assert provider.facts.base_url == f"http://{place}"
    assert FixedPriceProvider(provider, FREE).facts.name_and_address == f"openai/gpt-4o at http://{place}"
    with pytest.raises(ProviderUnavailable, match=f"cannot be reached at http://{place}: ") as caught:
        await answer_of(provider, asked())
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"
    await provider.aclose()


async def test_an_address_that_only_litellm_finds_is_known_before_the_first_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = OpenAIProvider("gpt-4o", api_key=KEY)
    provider = RemoteProvider("hosted_vllm", "qwen", api_key=KEY)
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", "http://me:secret@box:8000/v1/")
    assert provider.facts.base_url == ""
    for one in (own, provider):
        await one.prepare()
    assert (own.facts.base_url, provider.facts.base_url) == ("", "http://box:8000/v1")


async def test_a_server_without_tls_is_not_spoken_to_in_clear(wire: Wire) -> None:
    server = wire(Answer("ok"))
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url=server.openai_url.replace("http://", "https://"))
    with pytest.raises(ProviderUnavailable) as caught:
        await answer_of(provider, asked())
    assert (caught.value.billed, caught.value.unsent, len(server.books.chat_requests)) == ("no", True, 0)
    await provider.aclose()


async def test_addresses_in_litellms_own_variables_are_not_used(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    thief, server = wire(Answer("stolen")), wire(Answer("ok"))
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL", "ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL", "OLLAMA_API_BASE"):
        monkeypatch.setenv(name, thief.url)
    monkeypatch.setenv("HTTP_PROXY", thief.url)
    monkeypatch.setenv("http_proxy", thief.url)
    for format in FORMATS:
        async with open_provider(server, format) as provider:
            await answer_of(provider, asked())
    assert (thief.books.connections, len(server.books.chat_requests)) == (0, 3)


async def test_a_proxy_of_the_environment_is_used_for_other_hosts_only(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = wire(Answer("through the proxy"))
    monkeypatch.setenv("http_proxy", proxy.url)
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://gateway.invalid/v1")
    _, whole = await answer_of(provider, asked())
    await provider.aclose()
    assert whole.text == "through the proxy"
    assert proxy.books.chat_requests[0].headers["host"] == "gateway.invalid"


def test_invoke_works_with_and_without_a_running_loop(wire: Wire) -> None:
    server = wire(Answer("ok", input_tokens=1000, output_tokens=100))
    provider = provider_at(server, "openai")
    answer = provider.invoke("hello")
    assert answer.text == "ok"
    assert answer.usage is not None
    assert str(provider.cost(answer.usage)) == "0.0035"

    async def inside() -> str:
        return provider.invoke([Message("user", "again")]).text

    assert anyio.run(inside) == "ok"
    assert [thread for thread in threading.enumerate() if thread.name == "agentctl invoke"] == []


async def test_a_call_by_hand_does_not_wait_for_ever(wire: Wire) -> None:
    server = wire(Answer("a long story " * 200, stall=True))
    async with open_provider(server, "openai") as provider:
        provider.silence_s = 0.3
        with pytest.raises(ProviderUnavailable, match=r"sent nothing for 0\.3 s"):
            await provider.ainvoke("tell me")
    await anyio.to_thread.run_sync(server.books.wait, lambda books: books.hung_up)


def test_text_is_estimated_without_a_request() -> None:
    provider = OpenAIProvider(MODELS["openai"], api_key=KEY)
    assert provider.estimate_tokens("12345678") == 3, "three digits are a token"
    assert provider.estimate_tokens([Message("user", "12345678")]) > 2
