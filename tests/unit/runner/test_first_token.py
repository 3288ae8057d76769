"""The first token: a server that may have to load its model has until the deadline; comments are life."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from agentctl.core.errors import ProviderUnavailable, Silent, StateError
from agentctl.core.events import CallRetried, Event, Noted
from agentctl.core.messages import Completion, Delta, Message, Request
from agentctl.core.pricing import FREE, ModelFacts
from agentctl.ledger import SqliteLedger
from agentctl.providers.factory import AnthropicProvider, OllamaProvider, OpenAIProvider
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.routes import Via
from agentctl.runner.streaming import AttemptProgress, StreamTimeouts, read_stream
from agentctl.settings import PriceLine
from tests.support.bill.bodies import spoken
from tests.support.formats import KEY
from tests.support.model_calls import ANSWER, FACTS, HELLO, Desk

HERE = replace(FACTS, own_host=True)
GRATIS = replace(FACTS, price=FREE)
NOTHING = PriceLine(Decimal(0), Decimal(0))
SHORT: dict[str, Any] = {"silence_s": 0.05, "deadline_s": 5.0}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    ledger = SqliteLedger(tmp_path / "ledger.db", pause_s=0.01)
    yield Desk(ledger)
    await ledger.aclose()


def late(seconds: float = 0.2) -> Callable[[Request], object]:
    return lambda _: anyio.sleep(seconds)


@pytest.mark.parametrize("facts", [HERE, GRATIS], ids=["this host", "free"])
async def test_a_server_that_loads_its_model_may_be_silent_before_the_first_token(
    desk: Desk, facts: ModelFacts
) -> None:
    calls = await desk.calls([late(), *ANSWERED], facts=facts, waits_for_load=True, **SHORT)
    assert await calls.ask(HELLO) == ANSWER
    said = [event.text for event in desk.events if isinstance(event, Noted)]
    assert said == ["waiting for the first token, 0.05 s so far, 5 s at most"]
    assert desk.names(Noted) == [
        "CallHeld",
        "CallSent",
        "AnswerStreamed",
        "AnswerReceived",
        "CallSettled",
        "LimitsMeasured",
    ]


ANSWERED = (Delta("hi"), ANSWER)


async def test_a_paid_server_elsewhere_has_the_usual_silence_and_is_asked_again(desk: Desk) -> None:
    calls = await desk.calls([late(9)], ANSWER, waits_for_load=True, **SHORT)
    assert await calls.ask(HELLO) == ANSWER
    assert [event.reason for event in desk.events if isinstance(event, CallRetried)] == ["p sent nothing for 0.05 s"]


async def test_the_user_s_own_timeout_holds_on_this_host_and_nothing_is_sent_twice(desk: Desk) -> None:
    calls = await desk.calls([late(9)], ANSWER, facts=HERE, **SHORT)
    with pytest.raises(Silent, match=r"p sent nothing for 0\.05 s") as caught:
        await calls.ask(HELLO)
    assert caught.value.hint == "raise --llm-timeout, or check what the server is doing"
    assert len(desk.provider.heard) == 1
    assert "CallRetried" not in desk.names()


async def test_silence_in_an_answer_of_this_host_ends_it_without_a_retry(desk: Desk) -> None:
    calls = await desk.calls([Delta("h"), late(9)], ANSWER, facts=HERE, waits_for_load=True, **SHORT)
    with pytest.raises(Silent, match=r"sent nothing for 0\.05 s"):
        await calls.ask(HELLO)
    assert len(desk.provider.heard) == 1


async def test_a_first_token_after_the_deadline_is_told_as_that(desk: Desk) -> None:
    more: dict[str, Any] = {"silence_s": 0.05, "deadline_s": 0.3}
    calls = await desk.calls([late(9)], ANSWER, facts=HERE, waits_for_load=True, **more)
    with pytest.raises(Silent, match=r"p did not finish its answer in 0\.3 s") as caught:
        await calls.ask(HELLO)
    assert "--llm-timeout" not in caught.value.hint, "it would not help"
    assert len(desk.provider.heard) == 1


async def test_a_quick_first_token_says_nothing_of_a_wait(desk: Desk) -> None:
    calls = await desk.calls([*ANSWERED], facts=HERE, waits_for_load=True, silence_s=30.0)
    assert await calls.ask(HELLO) == ANSWER
    assert "Noted" not in desk.names()


async def test_an_error_before_the_first_token_is_raised_as_it_is(desk: Desk) -> None:
    failed = ProviderUnavailable("the server is down")
    calls = await desk.calls([late(0.1), failed], facts=HERE, waits_for_load=True, retries=0, **SHORT)
    with pytest.raises(ProviderUnavailable, match="the server is down"):
        await calls.ask(HELLO)


async def test_a_screen_that_fails_while_the_token_is_awaited_ends_the_call(desk: Desk) -> None:
    async def emit(event: Event) -> None:
        if isinstance(event, Noted):
            raise StateError("the journal is full")

    calls = await desk.calls([late(9)], facts=HERE, waits_for_load=True, **SHORT)
    calls._emit = emit
    with pytest.raises(StateError, match="the journal is full"):
        await calls.ask(HELLO)


async def test_a_stop_while_the_token_is_awaited_leaves_the_call_in_doubt(desk: Desk) -> None:
    calls = await desk.calls([late(9)], facts=HERE, waits_for_load=True, **SHORT)
    with anyio.move_on_after(0.2):
        await calls.ask(HELLO)
    assert desk.names(Noted)[2:] == ["CallDoubted", "LimitsMeasured"]


def of_format(format: str, via: Via) -> RemoteProvider:
    url = "http://127.0.0.1:9"
    match format:
        case "openai":
            return OpenAIProvider("gpt-4o", api_key=KEY, base_url=f"{url}/v1", via=via)
        case "anthropic":
            return AnthropicProvider("claude-haiku-4-5", api_key=KEY, base_url=url, via=via)
        case _:
            return OllamaProvider("llama3.1", base_url=url, via=via)


class Dripping(httpx.AsyncByteStream):
    """Comments for twice as long as a silence may last, then an answer."""

    def __init__(self, drop: bytes, answer: bytes) -> None:
        self.drop, self.answer = drop, answer
        self.silence_s = 0.4

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(8):
            await anyio.sleep(self.silence_s / 4)
            yield self.drop
        yield self.answer


CHAT = spoken({"content": "ok"})


@pytest.mark.parametrize("via", ["lean", "litellm"])
@pytest.mark.parametrize("drop", [b": still at work\n\n", b"\n"], ids=["comment", "empty line"])
async def test_lines_that_are_no_piece_of_an_answer_are_a_sign_of_life(via: Via, drop: bytes) -> None:
    provider = of_format("openai", via)
    body = Dripping(drop, CHAT)

    class Network(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=body)

    provider._connections = lambda: Network()  # type: ignore[method-assign]
    await provider.prepare()
    heard: list[Event] = []

    async def emit(event: Event) -> None:
        heard.append(event)

    asked = Request("gpt-4o", (Message("user", "hello"),), max_output_tokens=50)

    async def answer(silence_s: float) -> str:
        sent = AttemptProgress()
        await read_stream(provider, asked, sent, StreamTimeouts(silence_s, 60.0, anyio.current_time() + 60.0), emit)
        assert isinstance(sent.completion, Completion)
        return sent.completion.text

    assert await answer(30.0) == "ok"  # what the client loads at its first request takes time, too
    for body.silence_s in (0.4, 4.0):  # on a machine under load, a short silence may be over between two lines
        with suppress(Silent):
            assert await answer(body.silence_s) == "ok"
            return
    pytest.fail("the lines were no sign of life")


@pytest.mark.parametrize(
    ("provider", "may_load"),
    [
        (OpenAIProvider("gpt-4o", api_key=KEY), False),
        (OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://127.0.0.1:9/v1"), True),
        (OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://10.0.0.9/v1"), False),
        (OpenAIProvider("lab", api_key=KEY, base_url="http://10.0.0.9/v1", prices={"openai/lab": NOTHING}), True),
        (OllamaProvider("llama3.1"), True),
    ],
    ids=["official", "this host", "elsewhere", "free elsewhere", "Ollama"],
)
def test_facts_say_whether_a_model_may_have_to_be_loaded(provider: RemoteProvider, may_load: bool) -> None:
    assert provider.facts.may_load is may_load


async def test_a_call_by_hand_waits_for_a_model_to_load() -> None:
    provider = of_format("openai", "lean")
    assert provider.facts.may_load
    provider.deadline_s = 0.3
    body = Dripping(b": x\n\n", b"")

    class Network(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await anyio.sleep(60)
            return httpx.Response(200, stream=body)

    provider._connections = lambda: Network()  # type: ignore[method-assign]
    with pytest.raises(ProviderUnavailable, match=r"sent nothing for 0\.3 s"):
        await provider.ainvoke("hello")
