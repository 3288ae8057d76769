"""Answers of the lean client that stop, drip or break off, and requests with numbers that JSON does not have."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from math import inf, nan

import anyio
import httpx
import pytest

from agentctl.budget.breaker import ClampExceeded
from agentctl.budget.input_bound import plain_bound
from agentctl.core.errors import ProviderUnavailable
from agentctl.core.messages import Completion, Delta, KeepAlive, Message, Reported, Request, ToolCall
from agentctl.providers.factory import AnthropicProvider, OllamaProvider, OpenAIProvider
from agentctl.providers.http_gate import Attempt, Gate, RequestTerms
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.stream_readers import OpenAIReader
from agentctl.providers.wires import anthropic_messages, ollama_chat, openai_chat
from agentctl.providers.wires.exchange import Body, BodyFacts, write_body
from agentctl.providers.wires.server_sent_events import JsonEvents, ServerSentEventDecoder
from tests.support.bill.bodies import event, in_pieces, spoken
from tests.support.formats import KEY, answer_of, asked
from tests.support.parity.cases import said
from tests.support.parity.streams import written

HERE = "http://127.0.0.1:9"
BODIES: dict[str, Callable[[Request, BodyFacts], Body]] = {
    "openai": openai_chat.body,
    "anthropic": anthropic_messages.body,
    "ollama": ollama_chat.body,
}
USAGE = {"prompt_tokens": 999_999, "completion_tokens": 5}
USAGE_EVENT = event(choices=[], usage=USAGE)


def provider_of(format: str) -> RemoteProvider:
    if format == "openai":
        return OpenAIProvider("gpt-4o", api_key=KEY, base_url=f"{HERE}/v1")
    if format == "anthropic":
        return AnthropicProvider("claude-haiku-4-5", api_key=KEY, base_url=HERE)
    return OllamaProvider("llama3.1", base_url=HERE)


class Bytes(httpx.AsyncByteStream):
    """Pieces, then ``then``: an error to raise, seconds of silence, or the end."""

    def __init__(self, pieces: tuple[bytes, ...], then: Exception | float | None) -> None:
        self.pieces, self.then, self.taken = pieces, then, 0
        self.all_taken = anyio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.taken += 1
            yield piece
        self.all_taken.set()
        if isinstance(self.then, Exception):
            raise self.then
        if self.then is not None:
            await anyio.sleep(self.then)


class Line(httpx.AsyncBaseTransport):
    """A network that answers each request with these bytes."""

    def __init__(self, *pieces: bytes, then: Exception | float | None = None) -> None:
        self.stream = Bytes(pieces, then)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=self.stream)


def put(provider: RemoteProvider, *pieces: bytes, then: Exception | float | None = None) -> Line:
    network = Line(*pieces, then=then)
    provider._connections = lambda: network  # type: ignore[method-assign]
    return network


@pytest.mark.parametrize(
    ("format", "quiet"),
    [
        ("anthropic", b'event: ping\ndata: {"type": "ping"}\n\n'),
        ("openai", event({"role": "assistant", "content": ""})),
        ("openai", event(choices=[], usage={"prompt_tokens": 9})),
        ("ollama", b'{"message": {"role": "assistant", "content": ""}, "done": false}\n'),
    ],
)
async def test_events_that_hold_nothing_are_signs_of_life(format: str, quiet: bytes) -> None:
    provider = provider_of(format)
    put(provider, quiet, quiet, in_pieces(format, "Fine."))
    pieces = [piece async for piece in provider.stream(asked()) if isinstance(piece, Delta)]
    assert [type(piece) for piece in pieces][:2] == [KeepAlive, KeepAlive]
    assert "".join(piece.text for piece in pieces) == "Fine."


async def test_a_stream_that_says_it_is_done_is_not_waited_for() -> None:
    provider = provider_of("openai")
    put(provider, event({"content": "One"}), b"data: [DONE]\n\n", then=60.0)
    with anyio.fail_after(20):
        assert (await answer_of(provider, asked()))[1] == Completion("One", model="gpt-4-turbo")


@pytest.mark.parametrize(
    ("format", "missing"),
    [("openai", ""), ("openai", "\n"), ("openai", "\n\n"), ("anthropic", ""), ("anthropic", "\n"), ("ollama", "")],
)
async def test_an_answer_that_is_over_is_not_waited_for(
    format: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``missing`` is left out at the end of the bytes, which are not the end of the stream."""
    monkeypatch.setattr("agentctl.providers.http_gate.LATE_S", 60.0)
    provider = provider_of(format)
    put(provider, in_pieces(format, "Fine.").removesuffix(missing.encode()), then=120.0)
    with anyio.fail_after(20):
        text, whole = await answer_of(provider, asked())
    assert text == "Fine."
    assert whole.usage is not None


@pytest.mark.parametrize("format", ["openai", "anthropic", "ollama"])
async def test_a_stop_after_the_end_of_an_answer_leaves_it_whole(format: str) -> None:
    provider, scope = provider_of(format), anyio.CancelScope()
    line = put(provider, in_pieces(format, "Fine."), then=120.0)
    found: list[Completion] = []

    async def read() -> None:
        with scope:
            stream = provider.stream(asked())
            while not isinstance(piece := await anext(stream), Completion):
                pass
            found.append(piece)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await line.stream.all_taken.wait()
        scope.cancel()
    assert [one.text for one in found] == ["Fine."]
    assert found[0].usage is not None


async def test_nothing_is_waited_for_behind_the_usage_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentctl.providers.http_gate.LATE_S", 60.0)
    provider = provider_of("openai")
    put(provider, event({"content": "One."}, "stop"), USAGE_EVENT, then=120.0)
    with anyio.fail_after(20):
        text, whole = await answer_of(provider, asked())
    assert (text, whole.usage is not None) == ("One.", True)


async def test_text_behind_a_finish_reason_belongs_to_the_answer() -> None:
    provider = provider_of("openai")
    put(provider, event({"content": "One, "}, "stop"), event({"content": "two."}), b"data: nonsense\n\n", USAGE_EVENT)
    text, whole = await answer_of(provider, asked())
    assert (text, whole.text, whole.stop) == ("One, two.", "One, two.", "stop")
    assert whole.usage is not None


async def test_what_breaks_behind_a_finish_reason_loses_no_answer() -> None:
    provider = provider_of("openai")
    put(provider, event({"content": "One."}, "stop"), USAGE_EVENT, then=httpx.ReadError("reset"))
    assert (await answer_of(provider, asked()))[0] == "One."


async def test_an_answer_behind_a_finish_reason_keeps_to_the_clamp() -> None:
    provider = provider_of("openai")
    put(provider, event({}, "stop"), *[event({"content": "x" * 1000})] * 100, USAGE_EVENT)
    with pytest.raises(ClampExceeded):
        await answer_of(provider, asked(clamp=5))


async def test_a_usage_in_the_last_event_counts_even_if_the_connection_breaks_there() -> None:
    provider = provider_of("openai")
    unended = event(choices=[], usage=USAGE).removesuffix(b"\n")
    put(provider, event({"content": "One"}), unended, then=httpx.ReadError("reset"))
    pieces: list[Delta | Reported | Completion] = []

    async def read() -> None:
        async for piece in provider.stream(asked()):
            pieces.append(piece)  # noqa: PERF401 - the error comes in the middle

    with pytest.raises(ProviderUnavailable, match="was cut short") as caught:
        await read()
    assert caught.value.billed == "unknown"
    last = pieces[-1]
    assert isinstance(last, Reported)
    assert last.usage.input_tokens == 999_999


@pytest.mark.parametrize("format", BODIES)
async def test_last_event_counts_although_no_line_end_follows_it(format: str) -> None:
    provider = provider_of(format)
    put(provider, written(format, said("One, ", "two.")(format)).rstrip(b"\n"))
    text, whole = await answer_of(provider, asked())
    assert (text, whole.stop) == ("One, two.", "stop")
    assert whole.usage is not None


async def test_what_comes_after_the_end_of_an_answer_is_not_kept() -> None:
    network = Line(event({"content": "ok"}, "stop"), *[event({"content": "more"})] * 50, b"data: [DONE]\n\n")
    attempt = Attempt(
        RequestTerms(5, 5000, f"{HERE}/v1", asks_for_usage=False),
        OpenAIReader(),
        decoder=JsonEvents(ServerSentEventDecoder()),
    )
    attempt.written = write_body({"max_tokens": 5})
    request = httpx.Request("POST", f"{HERE}/v1/chat/completions", content=attempt.written.data)
    await Gate(network, attempt).handle_async_request(request)
    await attempt.finish()
    assert (network.stream.taken, attempt.ended, len(attempt.events)) == (52, True, 0)


@pytest.mark.parametrize("format", BODIES)
def test_numbers_that_json_does_not_have_are_null_on_the_wire(format: str) -> None:
    call = ToolCall("a", "f", {"x": [inf, -inf, nan, 1.5]})
    said = (Message("user", "q"), Message("assistant", "", (call,)), Message("tool", "\ud83d", tool_call_id="a"))
    body = BODIES[format](Request("m", said), BodyFacts("m", 9))
    assert b"Infinity" not in body.data
    assert b"NaN" not in body.data
    assert b"[null,null,null,1.5]" in body.data
    assert json.loads(body.data)["messages"]


@pytest.mark.parametrize("format", BODIES)
def test_a_call_with_a_long_list_is_no_larger_than_its_bound(format: str) -> None:
    numbers = ToolCall("a", "f", {"rows": list(range(5_000)), **{f"k{n}": n for n in range(500)}})
    said = (Message("user", "q"), Message("assistant", "", (numbers,)), Message("tool", "ok", tool_call_id="a"))
    request = Request("m", said, max_output_tokens=9)
    assert len(BODIES[format](request, BodyFacts("m", 9, asks_for_usage=True)).data) <= plain_bound(request)


@pytest.mark.parametrize("format", ["openai", "anthropic", "ollama"])
async def test_ten_megabytes_in_tiny_events_come_whole(format: str) -> None:
    provider = provider_of(format)
    texts = ["x" * 200] * 5_000 if format == "openai" else ["x" * 100] * 1_000
    answer = spoken(*({"content": text} for text in texts)) if format == "openai" else in_pieces(format, *texts)
    put(provider, *(answer[start : start + 4_096] for start in range(0, len(answer), 4_096)))
    text, whole = await answer_of(provider, asked(clamp=20_000))
    assert text == whole.text == "".join(texts)
