"""Model calls: each request is held before it is sent, and concluded once whatever happens."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import anyio
import pytest

from agentctl.budget.input_bound import plain_bound
from agentctl.budget.rules import Amounts, Spend
from agentctl.core.errors import AuthFailed, BudgetExceeded, ProviderUnavailable, RateLimited, StateError, UnknownPrice
from agentctl.core.events import (
    CallDoubted,
    CallHeld,
    CallRetried,
    CallSent,
    CallSettled,
    CallVoided,
    Event,
    LimitsMeasured,
    LimitWarned,
)
from agentctl.core.leases import Lease
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Delta, Message, Request, Usage
from agentctl.core.pricing import FREE, ModelFacts, charge_nano
from agentctl.ledger import SqliteLedger
from agentctl.providers.scripted import ScriptedProvider, Step
from agentctl.runner.model_calls import ModelCalls
from tests.support.model_calls import ANSWER, COST, FACTS, HELLO, PRICE, Desk


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    ledger = SqliteLedger(tmp_path / "ledger.db", pause_s=0.01)
    yield Desk(ledger)
    await ledger.aclose()


async def test_a_call_is_held_then_sent_then_settled(desk: Desk) -> None:
    calls = await desk.calls([Delta("h"), Delta("i"), ANSWER])
    assert await calls.ask(HELLO) == ANSWER
    assert desk.names() == [
        *("CallHeld", "CallSent", "AnswerStreamed", "AnswerStreamed"),
        *("AnswerReceived", "CallSettled", "LimitsMeasured"),
    ]
    assert (calls.usage, calls.cost_nano, calls.models) == (Usage(100, 20), COST, ("m",))
    assert (await desk.spend()).run_nano == Amounts(spent=COST)


async def test_the_hold_stands_in_the_ledger_before_the_request_goes_out(desk: Desk) -> None:
    seen: list[Amounts] = []

    async def look(_: Request) -> Completion:
        seen.append((await desk.spend()).run_nano)
        return ANSWER

    await (await desk.calls(look)).ask(HELLO)
    (held,) = [e for e in desk.events if isinstance(e, CallHeld)]
    assert seen == [Amounts(held=held.hold_nano or 0)]
    assert (held.hold_nano or 0) == held.input_bound * 1_000 + held.granted_output * 10_000


async def test_the_grant_goes_out_as_the_clamp(desk: Desk) -> None:
    calls = await desk.calls(ANSWER, limits=CostLimit(max_cost_per_task=Decimal("0.01")))
    await calls.ask(HELLO)
    (held,) = [e for e in desk.events if isinstance(e, CallHeld)]
    assert [r.max_output_tokens for r in desk.provider.heard] == [held.granted_output]
    assert 256 <= held.granted_output < 1_000


async def test_the_breaker_refuses_before_the_money_is_spent(desk: Desk) -> None:
    calls = await desk.calls(ANSWER, limits=CostLimit(max_cost_per_task=Decimal("0.003")))
    with pytest.raises(BudgetExceeded) as caught:
        await calls.ask(HELLO)
    assert desk.provider.heard == []
    assert caught.value.verdict.limit == "max_cost_per_task"
    assert "max_cost_per_task is $0.003; the next call could make it $0.00" in caught.value.message
    assert "--max-cost-per-task" in caught.value.hint


async def test_model_without_a_price_is_refused_only_under_a_dollar_limit(desk: Desk) -> None:
    unknown = ModelFacts("p", "m", None)
    calls = await desk.calls(ANSWER, facts=unknown)
    with pytest.raises(UnknownPrice, match="price of p/m is unknown"):
        await calls.ask(HELLO)
    lifted = CostLimit(max_cost_per_task=None, max_cost_per_hour=None)
    free_hand = await desk.calls(ANSWER, facts=unknown, limits=lifted)
    await free_hand.ask(HELLO)
    assert (free_hand.cost_nano, (await desk.spend()).run_tokens) == (None, Amounts(spent=120))


async def test_model_without_a_bound_is_refused_under_a_dollar_limit(desk: Desk) -> None:
    calls = await desk.calls(ANSWER, facts=ModelFacts("p", "auto", PRICE, unbounded="it chooses the model itself"))
    with pytest.raises(UnknownPrice, match="it chooses the model itself"):
        await calls.ask(HELLO)


async def test_hint_to_lift_dollar_limits_names_only_those_that_are_set(desk: Desk) -> None:
    limits = CostLimit(max_cost_per_hour=None, max_cost_per_day=Decimal(5))
    for facts in (ModelFacts("p", "m", None), ModelFacts("p", "auto", PRICE, unbounded="it chooses the model itself")):
        calls = await desk.calls(ANSWER, facts=facts, limits=limits)
        with pytest.raises(UnknownPrice) as caught:
            await calls.ask(HELLO)
        assert "disable the dollar limits: --max-cost none --max-cost-per-day none" in caught.value.hint


async def test_limit_of_zero_permits_only_free_models(desk: Desk) -> None:
    nothing = CostLimit(max_cost_per_task=Decimal(0))
    paid = await desk.calls(ANSWER, limits=nothing)
    with pytest.raises(BudgetExceeded):
        await paid.ask(HELLO)
    free = await desk.calls(ANSWER, facts=ModelFacts("local", "m", FREE), limits=nothing)
    assert await free.ask(HELLO) == ANSWER


@pytest.mark.parametrize("usage", [None, Usage(0, 20), Usage(100, 0), Usage(-5, 20), Usage(100, 20, 101)])
async def test_an_answer_without_believable_usage_counts_at_the_worst_case(desk: Desk, usage: Usage | None) -> None:
    calls = await desk.calls(Completion("hi", usage=usage))
    assert (await calls.ask(HELLO)).text == "hi"
    (held,) = [e for e in desk.events if isinstance(e, CallHeld)]
    assert (await desk.spend()).run_nano == Amounts(in_doubt=held.hold_nano or 0)
    assert calls.in_doubt_nano == held.hold_nano


@pytest.mark.parametrize("billed", ["no", "unknown"])
async def test_a_retry_is_a_new_attempt_with_a_hold_of_its_own(desk: Desk, billed: str) -> None:
    error = ProviderUnavailable("503", billed=billed)  # type: ignore[arg-type]
    calls = await desk.calls(error, ANSWER)
    await calls.ask(HELLO)
    ended = CallVoided if billed == "no" else CallDoubted
    assert desk.names(LimitsMeasured) == [
        *("CallHeld", "CallSent", ended.__name__, "CallRetried"),
        *("CallHeld", "CallSent", "AnswerReceived", "CallSettled"),
    ]
    assert len({e.attempt_id for e in desk.events if isinstance(e, CallHeld)}) == len(desk.provider.heard) == 2


async def test_an_error_after_a_piece_of_the_answer_is_in_doubt_whatever_it_claims(desk: Desk) -> None:
    calls = await desk.calls([Delta("h"), ProviderUnavailable("reset", billed="no")], retries=0)
    with pytest.raises(ProviderUnavailable):
        await calls.ask(HELLO)
    assert "CallDoubted" in desk.names()


@pytest.mark.parametrize(
    ("facts", "doubt"),
    [(ModelFacts("p", "m", PRICE, known_endpoint=False), "normal"), (FACTS, "strict")],
)
async def test_a_refusal_is_in_doubt_at_an_unknown_endpoint_or_when_strict(
    desk: Desk, facts: ModelFacts, doubt: str
) -> None:
    calls = await desk.calls(RateLimited("429", billed="no"), retries=0, facts=facts, doubt=doubt)
    with pytest.raises(RateLimited):
        await calls.ask(HELLO)
    assert (await desk.spend()).run_nano.in_doubt > 0


async def test_a_stream_without_an_end_is_in_doubt(desk: Desk) -> None:
    calls = await desk.calls([Delta("half an ans")], retries=0)
    with pytest.raises(ProviderUnavailable, match="cut short"):
        await calls.ask(HELLO)
    assert (await desk.spend()).run_nano.in_doubt > 0


async def test_silence_ends_a_call(desk: Desk) -> None:
    calls = await desk.calls([Delta("h"), lambda _: anyio.sleep_forever()], retries=0, silence_s=0.05)
    with pytest.raises(ProviderUnavailable, match=r"nothing for 0\.05 s"):
        await calls.ask(HELLO)
    assert (await desk.spend()).run_nano.in_doubt > 0


async def test_a_stream_past_its_clamp_is_cut_and_counts_at_the_models_ceiling(desk: Desk) -> None:
    calls = await desk.calls([Delta("x" * 70_000), Delta("x" * 70_000), ANSWER], max_output_tokens=300)
    with pytest.raises(ProviderUnavailable, match="exceeded max_tokens=300"):
        await calls.ask(HELLO)
    assert (await desk.spend()).run_nano == Amounts(in_doubt=128_000 * 1_000 + 16_384 * 10_000)
    assert len(desk.provider.heard) == 1


async def test_charge_above_its_hold_is_recorded_in_full_and_stops_the_run_with_its_answer(desk: Desk) -> None:
    dear = Completion("paid for", usage=Usage(100_000, 16_000))
    calls = await desk.calls(dear, ANSWER)
    with pytest.raises(BudgetExceeded, match="provider_overrun") as caught:
        await calls.ask(HELLO)
    assert caught.value.partial == "paid for"
    assert (await desk.spend()).run_nano == Amounts(spent=charge_nano(PRICE, Usage(100_000, 16_000)))


async def test_rejected_key_is_not_retried(desk: Desk) -> None:
    calls = await desk.calls(AuthFailed("wrong key", billed="no"))
    with pytest.raises(AuthFailed):
        await calls.ask(HELLO)
    assert len(desk.provider.heard) == 1
    assert (await desk.spend()).run_nano == Amounts()


async def test_the_providers_own_pause_is_kept_unless_it_is_too_long(desk: Desk) -> None:
    calls = await desk.calls(RateLimited("429", billed="no", retry_after=0.01), ANSWER)
    await calls.ask(HELLO)
    assert [e.seconds for e in desk.events if isinstance(e, CallRetried)] == [0.01]
    late = await desk.calls(RateLimited("429", billed="no", retry_after=3600), ANSWER)
    with pytest.raises(RateLimited):
        await late.ask(HELLO)


async def test_call_cancelled_in_mid_answer_is_in_doubt_and_in_the_ledger(desk: Desk) -> None:
    under_way = anyio.Event()

    async def hang(_: Request) -> None:
        under_way.set()
        await anyio.sleep_forever()

    calls = await desk.calls([Delta("h"), hang])
    async with anyio.create_task_group() as group:
        group.start_soon(calls.ask, HELLO)
        await under_way.wait()
        group.cancel_scope.cancel()
    assert (await desk.spend()).run_nano.in_doubt > 0
    assert "CallDoubted" in desk.names()


async def test_others_holds_are_waited_for_and_then_the_breaker_trips(desk: Desk) -> None:
    go_on, under_way = anyio.Event(), anyio.Event()

    async def slow(_: Request) -> Completion:
        under_way.set()
        await go_on.wait()
        return ANSWER

    tight = CostLimit(max_cost_per_task=Decimal("0.006"))
    calls = await desk.calls(slow, ANSWER, limits=tight, budget_wait_s=30)
    async with anyio.create_task_group() as group:
        group.start_soon(calls.ask, HELLO)
        await under_way.wait()
        impatient = ModelCalls(
            provider=desk.provider,
            ledger=desk.ledger,
            run_id=desk.run,
            limits=tight,
            emit=desk.emit,
            budget_wait_s=0.05,
        )
        with pytest.raises(BudgetExceeded):
            await impatient.ask(HELLO)
        assert len(desk.provider.heard) == 1
        group.start_soon(calls.ask, HELLO)
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    assert len(desk.provider.heard) == 2


async def test_doubt_of_half_the_limit_is_blamed_on_the_provider(desk: Desk) -> None:
    errors = [ProviderUnavailable("503")] * 6
    calls = await desk.calls(*errors, limits=CostLimit(max_cost_per_task=Decimal("0.02")), retries=9)
    with pytest.raises(ProviderUnavailable, match="is in doubt after failed calls"):
        await calls.ask(HELLO)
    assert (await desk.spend()).run_nano.total <= 20_000_000


async def test_eighty_percent_is_warned_of_once(desk: Desk) -> None:
    costly = Completion("x", usage=Usage(100, 4_000))
    calls = await desk.calls(*[costly] * 12, limits=CostLimit(max_tokens_per_task=50_000))
    for _ in range(11):
        await calls.ask(HELLO)
    warnings = [e.use for e in desk.events if isinstance(e, LimitWarned)]
    assert [(w.name, w.used) for w in warnings] == [("max_cost_per_task", 401_000_000), ("max_tokens_per_task", 41_000)]


async def test_eighty_percent_of_a_lease_is_warned_of_once(desk: Desk) -> None:
    lease = Lease("a1b2-3", 200_000_000, 0, 2**33 * 1_000_000, "digest")
    costly = Completion("x", usage=Usage(100, 4_000))
    calls = await desk.calls(*[costly] * 4, limits=CostLimit(max_cost_per_task=Decimal(9)), parent=lease)
    for _ in range(4):
        await calls.ask(HELLO)
    warnings = [e.use for e in desk.events if isinstance(e, LimitWarned)]
    assert [(w.name, w.used, w.ceiling) for w in warnings] == [("max_cost_per_lease", 160_400_000, 200_000_000)]


async def test_an_answer_cut_by_the_clamp_is_asked_for_once_more_with_the_double(desk: Desk) -> None:
    cut = Completion("half", usage=Usage(100, 4_096), stop="length")
    calls = await desk.calls(cut, ANSWER)
    assert await calls.ask(HELLO) == ANSWER
    assert [r.max_output_tokens for r in desk.provider.heard] == [4_096, 8_192]
    own_clamp = await desk.calls(cut, ANSWER, max_output_tokens=4_096)
    assert await own_clamp.ask(HELLO) == cut


async def test_the_second_turn_is_bound_by_what_the_first_was(desk: Desk) -> None:
    calls = await desk.calls(Completion("hi", usage=Usage(2_100, 20)), ANSWER)
    long = (Message("system", "word " * 2_000), *HELLO)
    await calls.ask(long)
    await calls.ask((*long, Message("assistant", "hi"), Message("user", "and?")))
    first, second = [e.input_bound for e in desk.events if isinstance(e, CallHeld)]
    assert second < 2_500 < first


@pytest.mark.parametrize("may_cut", [False, True])
async def test_a_request_that_was_cut_is_bound_by_what_the_one_before_it_was(desk: Desk, may_cut: bool) -> None:
    system, old = Message("system", "word " * 400), (Message("assistant", "ok"), Message("user", "word " * 1_000))
    facts = replace(FACTS, may_cut=may_cut)
    calls = await desk.calls(Completion("hi", usage=Usage(2_100, 20)), ANSWER, facts=facts)
    await calls.ask((system, *HELLO, *old))
    cut = (system, *HELLO, Message("assistant", "hi"), Message("user", "and?"))
    await calls.ask(cut)
    _, held = [e.input_bound for e in desk.events if isinstance(e, CallHeld)]
    plain = plain_bound(Request("m", cut))
    assert held == plain if may_cut else 2_100 < held < 2_500 < plain


async def test_ledger_that_cannot_be_written_sends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    provider, heard = ScriptedProvider([ANSWER], facts=FACTS), list[Event]()

    async def emit(event: Event) -> None:
        heard.append(event)

    broken = SqliteLedger(tmp_path / "file" / "ledger.db")
    calls = ModelCalls(provider=provider, ledger=broken, run_id="r", limits=CostLimit(), emit=emit)
    with pytest.raises(StateError):
        await calls.ask(HELLO)
    assert (provider.heard, heard) == ([], [])


async def test_a_journal_that_fails_before_sending_voids_the_hold(desk: Desk) -> None:
    calls = await desk.calls(ANSWER)

    async def full(event: Event) -> None:
        if isinstance(event, CallHeld):
            raise StateError("disk full")

    calls._emit = full
    with pytest.raises(StateError):
        await calls.ask(HELLO)
    assert desk.provider.heard == []
    assert (await desk.spend()).run_nano == Amounts()


async def test_provider_without_a_model_has_neither_tokens_nor_dollars(desk: Desk) -> None:
    builtin = ModelFacts("builtin", None, FREE, metered=False)
    calls = await desk.calls(
        Completion("facts"), facts=builtin, limits=CostLimit(max_cost_per_task=Decimal(0), max_tokens_per_task=0)
    )
    await calls.ask(HELLO)
    assert [r.max_output_tokens for r in desk.provider.heard] == [None]
    assert (await desk.spend()) == Spend(Amounts(), Amounts(), Amounts())
    assert [type(e) for e in desk.events] == [CallHeld, CallSent, CallSettled]


async def test_every_paid_request_has_its_hold_and_the_sum_stays_below_the_limit(desk: Desk) -> None:
    dice = random.Random(7)
    script: list[Step] = []
    for _ in range(60):
        usage = Usage(dice.randint(60, 1_000), dice.randint(1, 256))
        ends: list[Step] = [Completion("x", usage=usage), Completion("x"), ProviderUnavailable("cut")]
        script.append(dice.choice(ends))
    limit = CostLimit(max_cost_per_task=Decimal("0.10"), max_tokens_per_task=None)
    calls = await desk.calls(*script, limits=limit, max_output_tokens=256, retries=5)
    with suppress(ProviderUnavailable, BudgetExceeded):
        for _ in range(60):
            await calls.ask(HELLO)
    assert len(desk.provider.heard) < 60
    spend = await desk.spend()
    assert 50_000_000 <= spend.run_nano.total <= 100_000_000
    assert len([e for e in desk.events if isinstance(e, CallHeld)]) == len(desk.provider.heard)
    assert (calls.cost_nano, calls.in_doubt_nano) == (spend.run_nano.spent, spend.run_nano.in_doubt)
