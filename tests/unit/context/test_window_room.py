"""A window holds the prompt and the answer: the clamp fits in it, by what was reported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agentctl.budget.input_bound import SettledRequest, estimate_input
from agentctl.budget.output_range import OutputRange, fit_window
from agentctl.context.tokens import PLAIN
from agentctl.core.errors import ContextOverflow
from agentctl.core.events import Event, Noted
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Message, Request, ToolSpec, Usage
from agentctl.core.pricing import FREE, ModelFacts
from agentctl.ledger import SqliteLedger
from agentctl.providers.scripted import ScriptedProvider, Step
from agentctl.runner.conversation import Conversation
from agentctl.runner.model_calls import ModelCalls
from agentctl.runner.plan import Plan

FACTS = ModelFacts("p", "m", FREE, context_window=8_192, output_ceiling=8_192)
LONG = (Message("system", "You help."), Message("user", "What is it? " * 1_000))  # 3,000 tokens by our count
CUT = Completion("half an", usage=Usage(3_100, 3_675), model="m", stop="length")
WHOLE = Completion("a whole answer", usage=Usage(3_100, 900), model="m")

Asking = Callable[..., tuple[ModelCalls, ScriptedProvider]]


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    await ledger.open_run("run", CostLimit(), task="t", agent="a", labels={})

    async def emit(_: Event) -> None:
        pass

    def make(*script: Step, facts: ModelFacts = FACTS, **more: int) -> tuple[ModelCalls, ScriptedProvider]:
        provider = ScriptedProvider(script, facts=facts)
        made = ModelCalls(
            provider=provider,
            ledger=ledger,
            run_id="run",
            limits=CostLimit(),
            emit=emit,
            retries=0,
            **more,  # type: ignore[arg-type]
        )
        return made, provider

    yield make
    await ledger.aclose()


def clamps(provider: ScriptedProvider) -> list[int | None]:
    return [request.max_output_tokens for request in provider.heard]


async def test_clamp_is_the_rest_of_the_window_beside_the_prompt(asking: Asking) -> None:
    calls, provider = asking(WHOLE)
    await calls.ask(LONG)
    assert clamps(provider) == [8_192 - estimate_input(Request("m", LONG))] == [3_675]


async def test_unknown_window_takes_nothing_off_the_clamp(asking: Asking) -> None:
    calls, provider = asking(WHOLE, facts=ModelFacts("p", "m", FREE))
    await calls.ask(LONG)
    assert clamps(provider) == [4_096]


async def test_the_least_answer_is_asked_for_though_the_prompt_may_fill_the_window(asking: Asking) -> None:
    calls, provider = asking(
        replace(WHOLE, usage=Usage(3_000, 200)), facts=ModelFacts("p", "m", FREE, context_window=3_200)
    )
    await calls.ask(LONG)
    assert clamps(provider) == [256]


async def test_an_answer_that_was_cut_is_asked_for_again_as_far_as_the_report_leaves_room(asking: Asking) -> None:
    calls, provider = asking(CUT, WHOLE)
    assert await calls.ask(LONG) == WHOLE
    assert clamps(provider) == [3_675, 4_096]


async def test_an_answer_is_not_asked_for_again_where_the_window_has_no_room_for_more(asking: Asking) -> None:
    full = Completion("half an", usage=Usage(4_600, 3_592), model="m", stop="length")
    calls, provider = asking(full, WHOLE)
    assert await calls.ask(LONG) == full
    assert len(provider.heard) == 1


async def test_report_shows_how_much_room_is_left(asking: Asking) -> None:
    calls, provider = asking(WHOLE, WHOLE, WHOLE)
    await calls.ask(LONG)
    longer = (*LONG, WHOLE.as_message(), Message("user", "And?"))
    await calls.ask(longer)
    other = (LONG[0], Message("user", "Is it " * 2_000))
    await calls.ask(other)
    assert clamps(provider)[1] == 4_096  # 3,100 and little more
    assert 8_192 - 3_000 * 1.5 < (clamps(provider)[2] or 0) < 4_900


async def test_a_window_that_a_refusal_named_bounds_what_comes_after(asking: Asking) -> None:
    refusal = ContextOverflow("too long", billed="no", window=4_096, prompt=3_100)
    calls, provider = asking(refusal, WHOLE, facts=ModelFacts("p", "m", FREE))
    with pytest.raises(ContextOverflow):
        await calls.ask(LONG)
    await calls.ask((LONG[0], Message("user", "What is it? " * 500)))
    assert clamps(provider) == [
        4_096,
        4_096 - estimate_input(Request("m", (LONG[0], Message("user", "What is it? " * 500)))),
    ]


def test_estimate_builds_on_a_report_only_where_the_request_continues_it() -> None:
    known = SettledRequest(Request("m", LONG), WHOLE.as_message(), Usage(6_000, 9))
    assert estimate_input(Request("m", (*LONG, known.answer, Message("user", "x" * 400))), known) == 6_000 + 168
    assert estimate_input(Request("m", LONG[:1]), known) < 30
    assert estimate_input(Request("m", LONG[:1])) < 30


def test_an_output_range_is_never_below_its_least() -> None:
    assert fit_window(OutputRange(256, 4_096), None) == OutputRange(256, 4_096)
    assert fit_window(OutputRange(256, 4_096), 1_000) == OutputRange(256, 1_000)
    assert fit_window(OutputRange(256, 4_096), -5_000) == OutputRange(256, 256)


class TestRefused:
    """A conversation whose request was refused as too long."""

    @staticmethod
    async def conversation(*, limit: int = 8_000) -> tuple[Conversation, list[Event]]:
        events: list[Event] = []

        async def emit(event: Event) -> None:
            events.append(event)

        plan, facts = Plan(max_context_tokens=limit, keep_user=1, keep_assistant=1), ModelFacts("p", "m", FREE)

        def fit(messages: tuple[Message, ...], tools: tuple[ToolSpec, ...], **more: object) -> tuple[Message, ...]:
            return plan.fit(facts, messages, tools, **more)  # type: ignore[arg-type]

        found = Conversation(prune=fit, emit=emit, limit=limit)
        for message in (LONG[0], Message("user", "What is it?")):
            await found.add(message)
        for turn in range(12):
            await found.add(Message("assistant", f"Turn {turn}. " + "I look at it. " * 60))
            await found.add(Message("user", f"And {turn}?"))
        return found, events

    async def test_refused_request_is_cut_by_the_reported_sizes_and_stays_short(self) -> None:
        found, events = await self.conversation()
        before = await found.prepare(())
        after = await found.shorten(ContextOverflow("no", billed="no", window=2_048, prompt=3_000), ())
        assert 0 < len(after) < len(before)
        assert found.messages == after
        assert PLAIN.conversation(after) <= 2_680 * (2_048 - 256) // 3_000 * 19 // 20
        for _ in range(8):
            await found.add(Message("assistant", "I look at it. " * 60))
            await found.add(Message("user", "And?"))
            assert PLAIN.conversation(await found.prepare(())) <= 1_600
        assert [event.text for event in events if isinstance(event, Noted)] == [
            "too long for the model's window (about 2,680 tokens): asking again with fewer"
        ]

    async def test_request_that_should_have_fitted_is_sent_again_unchanged(self) -> None:
        found, _ = await self.conversation()
        before = await found.prepare(())
        assert await found.shorten(ContextOverflow("no", billed="no", window=4_096, prompt=3_000), ()) == before

    @pytest.mark.parametrize(
        "error",
        [
            ContextOverflow("it may have been billed", window=2_048, prompt=3_000),
            ContextOverflow("nothing fits", billed="no", window=300, prompt=10**9),
        ],
    )
    async def test_refusal_without_usable_sizes_ends_the_run(self, error: ContextOverflow) -> None:
        found, events = await self.conversation()
        with pytest.raises(ContextOverflow) as caught:
            await found.shorten(error, ())
        assert caught.value is error
        assert [event for event in events if isinstance(event, Noted)] == [], "nothing is asked again"
