"""ScriptedProvider: it plays its steps and records the requests."""

from __future__ import annotations

import anyio
import pytest

from agentctl.core.errors import RateLimited
from agentctl.core.messages import Completion, Delta, Message, Reported, Request
from agentctl.core.pricing import FREE, ModelFacts
from agentctl.providers.scripted import ScriptedProvider, ScriptEnded

ASK = Request("scripted", (Message("user", "hello"),))


async def hear(provider: ScriptedProvider, request: Request = ASK) -> list[Delta | Reported | Completion]:
    return [piece async for piece in provider.stream(request)]


async def test_the_steps_are_played_one_a_request_and_the_requests_kept() -> None:
    pieces = (Delta("he"), Delta("llo"), Completion(text="hello"))
    provider = ScriptedProvider([Completion(text="one"), pieces])
    assert await hear(provider) == [Completion(text="one")]
    assert await hear(provider) == list(pieces)
    assert provider.heard == [ASK, ASK]


async def test_an_error_is_raised_alone_or_between_pieces() -> None:
    late = RateLimited("later", billed="no")
    provider = ScriptedProvider([late, (Delta("he"), late)])
    with pytest.raises(RateLimited):
        await hear(provider)
    heard: list[object] = []
    with pytest.raises(RateLimited):
        heard.extend([piece async for piece in provider.stream(ASK)])


async def test_a_stream_without_its_last_piece_just_ends() -> None:
    assert await hear(ScriptedProvider([(Delta("he"),)])) == [Delta("he")]


async def test_a_function_reads_the_request_and_may_be_async() -> None:
    async def later(request: Request) -> Completion:
        await anyio.lowlevel.checkpoint()
        return Completion(text=request.messages[-1].text.upper())

    provider = ScriptedProvider([lambda request: Completion(text=request.messages[-1].text), later])
    assert await hear(provider) == [Completion(text="hello")]
    assert await hear(provider) == [Completion(text="HELLO")]


async def test_a_test_can_wait_between_two_pieces() -> None:
    reached, go_on = anyio.Event(), anyio.Event()

    async def pause(request: Request) -> None:
        reached.set()
        await go_on.wait()

    provider = ScriptedProvider([(Delta("he"), pause, Completion(text="hello"))])
    heard: list[Delta | Reported | Completion] = []

    async def listen() -> None:
        async for piece in provider.stream(ASK):
            heard.append(piece)  # noqa: PERF401 - what came before the pause is looked at during it

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await reached.wait()
            assert heard == [Delta("he")]
            go_on.set()
    assert heard == [Delta("he"), Completion(text="hello")]


async def test_scripted_provider_raises_after_its_last_step() -> None:
    provider = ScriptedProvider([Completion(text="one")])
    await hear(provider)
    with pytest.raises(ScriptEnded, match="the script has 1 answers, and none for request 2") as caught:
        await hear(provider)
    assert (caught.value.billed, caught.value.retryable, caught.value.status) == ("no", False, "unavailable")


def test_facts_are_those_of_a_free_metered_model_unless_given() -> None:
    facts = ScriptedProvider([]).facts
    assert facts == ModelFacts("scripted", "scripted", FREE, context_window=128_000, output_ceiling=16_384)
    assert facts.metered
    other = ModelFacts("p", "m")
    assert ScriptedProvider([], facts=other).facts is other
