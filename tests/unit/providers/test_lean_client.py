"""The lean client: addresses and keys, signs of life, connections used again, and what is never sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import httpx
import pytest

from agentctl.core.errors import AuthFailed, ParameterRefused, ProviderUnavailable, Rejected, UsageError
from agentctl.core.messages import Completion, Delta, KeepAlive, Message, Request, Tentative, ToolCall, Usage
from agentctl.providers.connections import NetworkTransport
from agentctl.providers.endpoints import HOSTED_URLS
from agentctl.providers.factory import AnthropicProvider, OllamaProvider, OpenAIProvider, create_llm_provider
from agentctl.providers.http_gate import Attempt, Gate, RequestTerms
from agentctl.providers.lean_client import _join
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.routes import ROUTES, Via
from agentctl.providers.sampling import Sampling
from agentctl.providers.stream_readers import OpenAIReader
from agentctl.providers.wires.exchange import Body, write_body
from agentctl.providers.wires.openai_chat import azure_url
from agentctl.settings.provider_names import other_key_name, other_url_name
from tests.support.bill.bodies import event, spoken
from tests.support.formats import FORMATS, KEY, Wire, answer_of, asked, open_provider
from tests.support.wire.server import Answer


class Nowhere(httpx.AsyncBaseTransport):
    """A network that keeps what it is given and answers with these bytes; without any it is down."""

    def __init__(self, *answer: bytes | AsyncIterator[bytes]) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if not self._answer:
            raise httpx.ConnectError("down", request=request)
        return httpx.Response(200, stream=_Pieces(self._answer))


class _Pieces(httpx.AsyncByteStream):
    def __init__(self, pieces: tuple[bytes | AsyncIterator[bytes], ...]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            async for part in piece:
                yield part


def on(provider: RemoteProvider, *answer: bytes | AsyncIterator[bytes]) -> Nowhere:
    """Put a provider on a network that answers so."""
    network = Nowhere(*answer)
    provider._connections = lambda: network  # type: ignore[method-assign]
    return network


async def sent_by(provider: RemoteProvider, request: Request | None = None) -> httpx.Request:
    """Return the request of a provider whose network is down."""
    network = on(provider)
    with pytest.raises(ProviderUnavailable, match="cannot be reached"):
        await answer_of(provider, request or asked())
    (request_sent,) = network.requests
    return request_sent


JOINED = {
    ("http://h/v1", "/chat/completions"): "http://h/v1/chat/completions",
    ("http://h/v1/", "/chat/completions"): "http://h/v1/chat/completions",
    ("http://h/v1/chat/completions", "/chat/completions"): "http://h/v1/chat/completions",
    ("http://h/v1?a=b", "/chat/completions"): "http://h/v1/chat/completions?a=b",
    ("https://api.anthropic.com", "/v1/messages"): "https://api.anthropic.com/v1/messages",
    ("https://api.anthropic.com/v1", "/v1/messages"): "https://api.anthropic.com/v1/messages",
    ("http://h/anthropic", "/v1/messages"): "http://h/anthropic/v1/messages",
    ("http://127.0.0.1:11434", "/api/chat"): "http://127.0.0.1:11434/api/chat",
}


@pytest.mark.parametrize("case", JOINED)
def test_the_path_follows_the_address_once(case: tuple[str, str]) -> None:
    assert _join(*case) == JOINED[case]


AZURE = {
    "https://r.openai.azure.com": "https://r.openai.azure.com/openai/deployments/d%2F1/chat/completions?api-version=V",
    "https://r.openai.azure.com/": "https://r.openai.azure.com/openai/deployments/d%2F1/chat/completions?api-version=V",
    "https://r.openai.azure.com/openai": (
        "https://r.openai.azure.com/openai/deployments/d%2F1/chat/completions?api-version=V"
    ),
    "https://r.openai.azure.com?api-version=W": (
        "https://r.openai.azure.com/openai/deployments/d%2F1/chat/completions?api-version=W"
    ),
    "https://r.openai.azure.com/openai/deployments/e": (
        "https://r.openai.azure.com/openai/deployments/e/chat/completions?api-version=V"
    ),
    "https://r.openai.azure.com/openai/v1": "https://r.openai.azure.com/openai/v1/chat/completions",
}


@pytest.mark.parametrize("base_url", AZURE)
def test_azures_address_names_the_deployment_and_the_version(base_url: str) -> None:
    assert azure_url(base_url, "d/1", "V") == AZURE[base_url]


async def test_azure_gets_its_key_in_its_own_header_and_never_goes_by_litellm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com/")
    monkeypatch.setenv("AZURE_API_KEY", "azure-0123456789")
    monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")
    request = await sent_by(RemoteProvider("azure", "gpt-5-mini"))
    assert str(request.url) == (
        "https://r.openai.azure.com/openai/deployments/gpt-5-mini/chat/completions?api-version=2024-10-21"
    )
    assert request.headers["api-key"] == "azure-0123456789"
    assert "authorization" not in request.headers
    body = json.loads(request.content)
    assert (body["max_completion_tokens"], body["stream_options"]) == (321, {"include_usage": True})
    assert "service_tier" not in body
    with pytest.raises(UsageError, match="cannot enforce limits on what litellm sends to Azure OpenAI"):
        RemoteProvider("azure", "gpt-5-mini", via="litellm")


async def test_headers_are_those_of_each_format() -> None:
    openai = await sent_by(OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://127.0.0.1:9/v1"))
    claude = await sent_by(AnthropicProvider("claude-haiku-4-5", api_key=KEY, base_url="http://127.0.0.1:9"))
    ollama = await sent_by(OllamaProvider("llama3.1", base_url="http://127.0.0.1:9"))
    usual = {"content-type", "content-length", "host", "accept", "accept-encoding", "user-agent"}
    assert {**openai.headers}.keys() - usual == {"authorization"}
    assert openai.headers["authorization"] == f"Bearer {KEY}"
    assert {**claude.headers}.keys() - usual == {"x-api-key", "anthropic-version"}
    assert (claude.headers["x-api-key"], claude.headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert {**ollama.headers}.keys() - usual == set()
    assert {one.headers["user-agent"].partition("/")[0] for one in (openai, claude, ollama)} == {"agentctl"}


async def test_service_tier_goes_only_to_the_provider_itself() -> None:
    sent = {
        provider: json.loads((await sent_by(provider)).content).get("service_tier")
        for provider in (
            OpenAIProvider("gpt-4o", api_key=KEY),
            AnthropicProvider("claude-haiku-4-5", api_key=KEY),
            OpenAIProvider("gpt-4o", api_key=KEY, base_url="https://gateway.example.com/v1"),
            AnthropicProvider("claude-haiku-4-5", api_key=KEY, base_url="https://gateway.example.com"),
        )
    }
    assert list(sent.values()) == ["default", "standard_only", None, None]


async def test_a_password_in_the_address_is_sent_as_basic_authorization() -> None:
    request = await sent_by(OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://me:secret@127.0.0.1:9/v1"))
    assert request.headers["authorization"] == "Basic bWU6c2VjcmV0"
    assert request.headers["host"] == "127.0.0.1:9"


async def test_a_hosted_providers_key_and_address_come_from_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_API_KEY", "xai-0123456789")
    provider = RemoteProvider("xai", "grok-4")
    request = await sent_by(provider)
    assert (provider.client, str(request.url)) == ("lean", "https://api.x.ai/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer xai-0123456789"
    monkeypatch.setenv("XAI_API_BASE", "http://127.0.0.1:9/v2/")
    assert str((await sent_by(RemoteProvider("xai", "grok-4"))).url) == "http://127.0.0.1:9/v2/chat/completions"


def test_without_a_key_or_an_address_the_call_is_litellms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XAI_API_KEY", raising=False)
    monkeypatch.delenv("HOSTED_VLLM_API_BASE", raising=False)
    assert RemoteProvider("xai", "grok-4").client == "litellm"
    assert RemoteProvider("hosted_vllm", "qwen").client == "litellm"
    assert RemoteProvider("hosted_vllm", "qwen", base_url="http://box:8000/v1").client == "lean"
    with pytest.raises(AuthFailed, match="provider xai needs a key, and XAI_API_KEY is not set") as no_key:
        RemoteProvider("xai", "grok-4", via="lean")
    assert no_key.value.hint == "export XAI_API_KEY=KEY"
    with pytest.raises(UsageError, match="address of hosted_vllm is not known: HOSTED_VLLM_API_BASE") as no_address:
        RemoteProvider("hosted_vllm", "qwen", via="lean")
    assert no_address.value.hint == "export HOSTED_VLLM_API_BASE=URL"


def test_azure_without_an_address_or_a_key_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_API_BASE", "AZURE_OPENAI_ENDPOINT", "AZURE_API_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="address of Azure OpenAI is not known: AZURE_API_BASE is not set") as refused:
        RemoteProvider("azure", "gpt-4o")
    assert refused.value.hint == "export AZURE_API_BASE=URL"
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://resource.openai.azure.com")
    with pytest.raises(AuthFailed, match="provider azure needs a key, and AZURE_API_KEY is not set") as no_key:
        RemoteProvider("azure", "gpt-4o")
    assert (no_key.value.hint, no_key.value.billed) == ("export AZURE_API_KEY=KEY", "no")
    assert RemoteProvider("azure", "gpt-4o", api_key="azure-0123456789").client == "lean"


@pytest.mark.parametrize("via", ["", "LEAN", "sdk"])
def test_another_client_than_the_two_is_refused(via: str) -> None:
    with pytest.raises(UsageError, match=f"via cannot be '{via}'; allowed: one of auto, lean, litellm"):
        RemoteProvider("openai", "gpt-4o", via=cast("Via", via))
    with pytest.raises(UsageError, match=f"via cannot be '{via}'"):
        create_llm_provider("openai", model="gpt-4o", api_key=KEY, via=cast("Via", via))


@pytest.mark.parametrize("name", sorted(HOSTED_URLS))
async def test_the_addresses_are_litellms_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ROUTES[name].wire == "openai_chat"
    monkeypatch.delenv(other_url_name(name), raising=False)
    monkeypatch.setenv(other_key_name(name), KEY)
    lean, litellm = (RemoteProvider(name, "some-model", via=via) for via in ("auto", "litellm"))
    assert (lean.client, litellm.client) == ("lean", "litellm")
    one, other = await sent_by(lean), await sent_by(litellm)
    assert str(one.url) == str(other.url) == f"{HOSTED_URLS[name]}/chat/completions"
    assert json.loads(one.content)["model"] == json.loads(other.content)["model"]


async def test_a_key_that_cannot_be_sent_is_named_and_not_shown() -> None:
    for key in ("sk-é-0123456789", "sk-\x7f0123456789"):
        provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://127.0.0.1:9/v1")
        provider._api_key = key
        network = on(provider)
        with pytest.raises(AuthFailed, match="the key of openai contains a character that cannot be sent") as caught:
            await answer_of(provider, asked())
        assert (caught.value.billed, caught.value.unsent, network.requests) == ("no", True, [])
        assert key not in caught.value.message


@pytest.mark.parametrize("via", ["lean", "litellm"])
async def test_a_temperature_that_a_model_refuses_is_not_sent_and_not_tried_again(via: Via) -> None:
    provider = RemoteProvider("openai", "gpt-6", api_key=KEY, base_url="http://127.0.0.1:9/v1", via=via)
    provider.sampling = Sampling(0.5)
    network = on(provider)
    with pytest.raises(ParameterRefused, match="sending no temperature from here on") as caught:
        await answer_of(provider, asked())
    assert (caught.value.billed, caught.value.unsent, network.requests) == ("no", True, [])
    assert "temperature" not in json.loads((await sent_by(provider)).content)


@pytest.mark.parametrize("via", ["lean", "litellm"])
async def test_the_temperature_stands_where_each_format_has_it(via: Via) -> None:
    url = "http://127.0.0.1:9"
    openai = OpenAIProvider("gpt-4o", api_key=KEY, base_url=f"{url}/v1", via=via)
    claude = AnthropicProvider("claude-haiku-4-5", api_key=KEY, base_url=url, via=via)
    ollama = OllamaProvider("llama3.1", base_url=url, via=via)
    bodies = []
    for provider in (openai, claude, ollama):
        provider.sampling = Sampling(0.5)
        bodies.append(json.loads((await sent_by(provider)).content))
    assert [body.get("temperature") for body in bodies] == [0.5, 0.5, None]
    assert bodies[2]["options"]["temperature"] == 0.5


async def test_anthropic_without_a_key_is_not_asked() -> None:
    provider = AnthropicProvider("claude-haiku-4-5")
    network = on(provider)
    with pytest.raises(AuthFailed, match="anthropic needs a key") as caught:
        await answer_of(provider, asked())
    assert (caught.value.billed, caught.value.unsent, network.requests) == ("no", True, [])


async def test_a_request_too_deep_for_json_is_not_sent() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    said = Message("assistant", "", (ToolCall.__new__(ToolCall),))
    call = said.tool_calls[0]
    for name, value in (("id", "a"), ("name", "f"), ("arguments", deep)):
        object.__setattr__(call, name, value)
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://127.0.0.1:9/v1")
    network = on(provider)
    with pytest.raises((Rejected, RecursionError)):
        await answer_of(provider, Request("m", (said,), max_output_tokens=5))
    assert network.requests == []
    while deep:
        deep = deep.pop("a")  # taken apart by hand: to free it at once is as deep


def terms(most_bytes: int = 5000) -> RequestTerms:
    return RequestTerms(50, most_bytes, "http://h/v1", asks_for_usage=False)


async def pass_gate(attempt: Attempt, content: bytes) -> None:
    request = httpx.Request("POST", "http://h/v1/chat/completions", content=content)
    await Gate(Nowhere(b"data: [DONE]\n\n"), attempt).handle_async_request(request)


async def test_the_gate_reads_the_bytes_themselves_if_they_are_not_the_written_ones() -> None:
    written = write_body({"model": "m", "max_tokens": 50})
    attempt = Attempt(terms(), OpenAIReader())
    attempt.written = written
    await pass_gate(attempt, written.data)
    assert attempt.sent
    attempt = Attempt(terms(), OpenAIReader())
    attempt.written = Body(written.content, written.data)
    with pytest.raises(httpx.ConnectError, match="asks for \\[51\\] output tokens"):
        await pass_gate(attempt, written.data.replace(b"50", b"51"))
    assert not attempt.sent
    assert attempt.refusal is not None
    assert "its own request" in attempt.refusal.message


@pytest.mark.parametrize(
    "content",
    [
        {"model": "m", "max_tokens": 51},
        {"model": "m"},
        {"model": "m", "max_tokens": 50, "n": 2},
        {"model": "m", "max_tokens": 50, "messages": ["x" * 6000]},
        {"model": "m", "max_tokens": 50, "messages": ["\ufdfa" * 200]},
    ],
)
async def test_a_written_request_beyond_its_terms_is_not_sent(content: dict[str, object]) -> None:
    attempt = Attempt(terms(), OpenAIReader())
    attempt.written = write_body(content)
    with pytest.raises(httpx.ConnectError):
        await pass_gate(attempt, attempt.written.data)
    assert isinstance(attempt.refusal, Rejected)
    assert not attempt.sent


@pytest.mark.parametrize("format", FORMATS)
async def test_half_of_a_pair_does_not_make_a_request_too_large(wire: Wire, format: str) -> None:
    text = "日本語のログ" * 500 + "\ud83d"
    server = wire(Answer("ok"))
    async with open_provider(server, format) as provider:
        await answer_of(provider, asked(text=text))
    (heard,) = server.books.chat_requests
    assert heard.asked is not None
    assert heard.asked.messages[-1].text == text
    assert len(heard.raw) > 15_000


async def test_signs_of_life_are_no_pieces_of_the_answer() -> None:
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://127.0.0.1:9/v1")
    on(provider, b": processing\n\n", b": processing\n\n", spoken({"content": "Fine."}))
    pieces = [piece async for piece in provider.stream(asked())]
    assert [type(piece) for piece in pieces if isinstance(piece, Delta)][:3] == [KeepAlive, KeepAlive, Tentative]
    assert [piece.text for piece in pieces if type(piece) is Tentative] == ["Fine."]
    whole = pieces[-1]
    assert isinstance(whole, Completion)
    assert (whole.text, whole.usage) == ("Fine.", Usage(1000, 20))


async def test_comments_keep_an_answer_alive_that_is_long_in_coming() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        for piece in (*[b": processing\n"] * 8, spoken({"content": "Fine."})):
            await anyio.sleep(0.05)
            yield piece

    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://127.0.0.1:9/v1")
    provider.silence_s = 0.3
    on(provider, slowly())
    assert (await provider.ainvoke("hello")).text == "Fine."


async def test_an_event_that_cannot_be_read_is_the_end_of_the_answer() -> None:
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://127.0.0.1:9/v1")
    on(provider, event({"content": "One, "}), b"data: {two\n\n", spoken({"content": "three."}))
    with pytest.raises(ProviderUnavailable, match="openai sent an unreadable answer") as caught:
        await answer_of(provider, asked())
    assert (caught.value.billed, caught.value.unsent) == ("unknown", False)


async def test_an_error_is_the_end_of_the_answer_whatever_follows() -> None:
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://127.0.0.1:9/v1")
    error = b'data: {"error": {"message": "the host is gone", "code": 503}, "choices": []}\n\n'
    on(provider, event({"content": "One, "}), error, spoken({"content": "three."}))
    said: list[str] = []

    async def read() -> None:
        async for piece in provider.stream(asked()):
            said.extend([piece.text] if isinstance(piece, Delta) else [])

    with pytest.raises(ProviderUnavailable, match="openai interrupted its answer: the host is gone") as caught:
        await read()
    assert ("".join(said), caught.value.billed) == ("One, ", "unknown")


async def test_a_refusal_behind_words_is_of_unknown_cost_although_the_stream_is_over() -> None:
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://127.0.0.1:9/v1")
    refused, over = b'data: {"error": {"message": "not like this", "code": 400}}\n\n', b"data: [DONE]\n\n"
    on(provider, refused + over)
    with pytest.raises(Rejected, match="not like this") as free:
        await answer_of(provider, asked())
    on(provider, event({"content": "One, "}) + refused + over)
    with pytest.raises(Rejected, match="not like this") as caught:
        await answer_of(provider, asked())
    assert (free.value.billed, caught.value.billed) == ("no", "unknown")


async def test_what_is_not_known_is_counted_by_name() -> None:
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://127.0.0.1:9/v1")
    on(provider, *(event({"content": "a", f"new\x1b_{n}": 1}) for n in range(40)), spoken({}, finish="tired"))
    await answer_of(provider, asked())
    assert len(provider.unknown) == 20
    assert provider.unknown["field delta.new\\x1b_0"] == 1
    assert all(name.isprintable() and len(name) <= 80 for name in provider.unknown)


@pytest.mark.parametrize("flood", [b":\n", event({}), event({"mood": 1}), event({"content": ""}, usage={"cost": 0})])
async def test_lines_without_an_answer_end_at_some_point(flood: bytes) -> None:
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://127.0.0.1:9/v1")
    on(provider, *[flood * 1_000] * 1_000)
    with pytest.raises(ProviderUnavailable, match="lines without end, and no answer") as caught:
        await answer_of(provider, asked())
    assert caught.value.billed == "unknown"


async def test_hidden_thoughts_of_a_long_answer_are_no_flood() -> None:
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://127.0.0.1:9/v1")
    on(provider, *[event({"content": ""}) * 100] * 100, spoken({"content": "Fine."}))
    text, _ = await answer_of(provider, asked(clamp=10_000))
    assert text == "Fine."


@asynccontextmanager
async def server(*answers: bytes, closes: bool = False) -> AsyncIterator[tuple[str, list[int]]]:
    """Answer each request on a connection with the next bytes; give the address and how many each connection took."""
    taken: list[int] = []

    async def talk(stream: anyio.abc.SocketStream) -> None:
        place = len(taken)
        taken.append(0)
        async with stream:
            for answer in answers:
                try:
                    head = await stream.receive()
                except anyio.EndOfStream:
                    return
                if head:
                    taken[place] += 1
                    await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(spoken({"content": "ok"})))
                    await stream.send(spoken({"content": "ok"}) + answer)
                if closes:
                    return
            await anyio.sleep(5)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}/v1"  # noqa: S610 - no Django here
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, talk)
        try:
            yield url, taken
        finally:
            group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("case", "answers", "closes", "taken"),
    [
        ("a connection in order", (b"", b""), False, [2]),
        ("one that the server closed", (b"", b""), True, [1, 1]),
        ("one on which something waits", (b"HTTP/1.1 408 Too Late\r\n\r\n", b""), False, [1, 1]),
    ],
)
async def test_a_connection_is_used_again_only_if_nothing_waits_on_it(
    case: str, answers: tuple[bytes, ...], closes: bool, taken: list[int]
) -> None:
    async with server(*answers, closes=closes) as (url, found):
        provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url=url)
        for _ in range(2):
            text, _whole = await answer_of(provider, asked())
            assert text == "ok"
            await anyio.sleep(0.05)
        await provider.aclose()
    assert found == taken, case


async def test_a_connection_that_was_idle_for_too_long_is_not_used_again(wire: Wire) -> None:
    books = wire(Answer("ok"), repeat=True)
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url=books.openai_url)
    provider._network.set(NetworkTransport(idle_s=0.1))
    for pause in (0.0, 0.3, 0.0):
        await anyio.sleep(pause)
        await answer_of(provider, asked())
    await provider.aclose()
    assert (books.books.connections, len(books.books.chat_requests)) == (2, 3)


def test_a_connection_is_idle_for_less_than_a_server_waits() -> None:
    assert NetworkTransport()._pool._keepalive_expiry == 3.0


@pytest.mark.parametrize("format", FORMATS)
async def test_an_event_is_parsed_once(wire: Wire, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = wire(Answer("One, two, three.", input_tokens=90, output_tokens=20))
    parsed: list[str] = []
    load = json.loads

    def loads(text: Any, **more: Any) -> Any:  # noqa: ANN401
        if isinstance(text, str | bytes) and b"One" in (text.encode() if isinstance(text, str) else text):
            parsed.append("text")
        return load(text, **more)

    async with open_provider(server, format) as provider:
        monkeypatch.setattr(json, "loads", loads)
        _, whole = await answer_of(provider, asked())
        monkeypatch.undo()
    assert whole.usage == Usage(90, 20)
    assert len(parsed) == 1
