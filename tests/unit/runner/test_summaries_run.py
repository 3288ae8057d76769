"""When a summary is asked for and when not: a conversation with a scripted model."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from agentctl.budget.last_answer import last_request, summarize_findings
from agentctl.budget.rules import AnswerReserve, Ask, Hold
from agentctl.context.digest import read_notes, split_digest
from agentctl.context.economics import CacheEconomics
from agentctl.context.manager import ContextManager
from agentctl.context.tokens import PLAIN, Measure
from agentctl.core.errors import BudgetExceeded, ContextOverflow, ProviderUnavailable, StateError, Verdict
from agentctl.core.events import CallWaited, ContextPruned, Noted
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Delta, Message, Request, Usage
from agentctl.core.pricing import FREE, ModelFacts, Price
from agentctl.ledger import SqliteLedger
from agentctl.providers.scripted import ScriptedProvider, Step
from agentctl.runner.conversation import Conversation, open_conversation
from agentctl.runner.model_calls import ModelCalls
from agentctl.runner.plan import Plan
from agentctl.runner.summaries import PendingCut, Summarizer, summarizer_for
from tests.support.context.parts import CUT_NOTES, SYSTEM, TASK, turn
from tests.support.loop import Diary

FACTS = ModelFacts("p", "m", Price(Decimal(1), Decimal(10)), context_window=128_000, output_ceiling=16_384)
PLAN = Plan(limits=CostLimit(max_tokens_per_task=None), max_context_tokens=4_000, summaries="always")
AUTO = PLAN._replace(summaries="auto")
WORDS = "The table is missing; the owner is open."
RESULT = "x" * 1_600


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    book = SqliteLedger(tmp_path / "ledger.db", pause_s=0.01)
    yield book
    with suppress(StateError):  # a test breaks it
        await book.aclose()


def is_for_a_summary(request: Request) -> bool:
    return "its older part will be removed" in request.messages[-1].text


class Talk:
    """A conversation, its model, and what was told of it."""

    def __init__(self, ledger: SqliteLedger, plan: Plan, said: Callable[[int], Step], facts: ModelFacts) -> None:
        self.diary, self.plan, self._said, self._asked = Diary(), plan, said, 0
        self.provider = ScriptedProvider([self._step] * 400, facts=facts)
        self.ledger = ledger
        self.summaries: Summarizer | None = None

    async def begin(self, economy: CacheEconomics | None = None, *, run_id: str = "run") -> None:
        await self.ledger.open_run(run_id, self.plan.limits, task="t", agent="a", labels={})
        self.calls = ModelCalls(
            provider=self.provider, ledger=self.ledger, run_id=run_id, limits=self.plan.limits, emit=self.diary.emit
        )
        self.summaries = summarizer_for(self.plan, self.calls, self.diary.emit)
        fit = partial(self.plan.fit, self.provider.facts)
        self.conversation = Conversation(prune=fit, emit=self.diary.emit, summaries=self.summaries, economics=economy)
        for message in (SYSTEM, TASK):
            await self.conversation.add(message)

    async def turns(self, count: int, result: str = RESULT, first: int = 0) -> None:
        """Send, and take in a call and its result, so often."""
        for number in range(first, first + count):
            messages = await self.conversation.prepare(())
            await self.conversation.learn(await self.calls.ask(messages, ()), ())
            for message in turn(number, result):
                await self.conversation.add(message)

    def _step(self, request: Request) -> object:
        size = sum(len(one.text) // 4 + 30 for one in request.messages)
        if not is_for_a_summary(request):
            return Completion("looked", usage=Usage(size, 20), model="m")
        self._asked += 1
        said = self._said(self._asked)
        return replace(said, usage=Usage(size, 20), model="m") if isinstance(said, Completion) else said

    @property
    def asked(self) -> list[Request]:
        """The requests for a summary."""
        return [request for request in self.provider.heard if is_for_a_summary(request)]

    @property
    def cuts(self) -> list[str]:
        return [cut.summary for cut in self.diary.of(ContextPruned)]


def talk(
    ledger: SqliteLedger,
    *,
    plan: Plan = PLAN,
    said: Callable[[int], Step] = lambda _: Completion(WORDS),
    facts: ModelFacts = FACTS,
) -> Talk:
    return Talk(ledger, plan, said, facts)


async def test_cuts_that_gain_little_get_summaries_only_if_they_are_always_wanted(ledger: SqliteLedger) -> None:
    """The kept part fills the context, so every other turn is a cut: another tool made 463 summaries in one night."""
    cheap = Price(Decimal(1), Decimal("0.01"))
    told = talk(ledger, plan=AUTO._replace(summary_tokens=100), facts=replace(FACTS, price=cheap))
    await told.begin(CacheEconomics(cheap))
    await told.conversation.add(Message("user", "word " * 2_000))
    await told.turns(40)
    assert len(told.cuts) >= 10
    assert len(told.asked) <= 1


async def test_summaries_that_are_always_wanted_are_asked_for_at_each_cut(ledger: SqliteLedger) -> None:
    told = talk(ledger)
    await told.begin()
    await told.conversation.add(Message("user", "word " * 2_000))
    await told.turns(40, "y" * 800)
    assert len(told.cuts) >= 10
    assert told.cuts == ["model"] * len(told.cuts)
    assert len(told.asked) == len(told.cuts)
    assert told.diary.of(Noted) == []


async def test_a_summary_of_blanks_makes_the_next_hold_no_dearer_than_was_foreseen(ledger: SqliteLedger) -> None:
    """A model that runs wild writes 100 blanks a token, and what is held for them is a token each."""
    blanks_are_free = Measure(count=lambda text: len(text.replace(" ", "")) // 4, way="without blanks")
    told = talk(ledger, said=lambda _: Completion(f"web{' ' * 60_000}owner"))
    await told.begin()
    told.conversation = Conversation(
        prune=partial(PLAN.fit, FACTS), emit=told.diary.emit, summaries=told.summaries, measure=blanks_are_free
    )
    for message in (SYSTEM, TASK):
        await told.conversation.add(message)
    await told.turns(12)
    assert "model" in told.cuts
    assert told.summaries is not None
    most = 8 * told.summaries.most + 400
    assert max(len(request.messages[1].text) for request in told.provider.heard) < most


@pytest.mark.parametrize("plan", [PLAN, AUTO], ids=["always", "auto"])
async def test_a_cut_right_behind_a_cut_gets_a_summary_only_if_always(ledger: SqliteLedger, plan: Plan) -> None:
    told = talk(ledger, plan=plan)
    await told.begin()
    assert told.summaries is not None
    before = (SYSTEM, TASK, *(one for number in range(9) for one in turn(number, RESULT)))
    fitted = PLAN.fit(FACTS, before, (), most=told.summaries.room(PLAIN))
    cutting = PendingCut(before[:-4], (), before, fitted, grown=3_000)
    assert told.summaries.refusal(cutting, PLAIN) == ""
    for again in (cutting._replace(again=True), cutting._replace(grown=100)):
        why = told.summaries.refusal(again, PLAIN)
        assert why == ("" if plan is PLAN else "little is new since the last cut")


@pytest.mark.parametrize(("output", "pays"), [("0.1", True), ("100", False)])
async def test_a_summary_is_asked_for_where_it_pays(ledger: SqliteLedger, output: str, pays: bool) -> None:
    price = Price(Decimal(1), Decimal(output))
    told = talk(ledger, plan=AUTO, facts=replace(FACTS, price=price))
    await told.begin(CacheEconomics(price))
    await told.turns(30, result="x" * 800)
    assert bool(told.asked) is pays
    assert set(told.cuts) == ({"model"} if pays else {"lines"})


@pytest.mark.parametrize(
    ("plan", "facts"),
    [
        (PLAN._replace(summaries="never"), FACTS),
        (AUTO, replace(FACTS, price=None)),
        (AUTO, replace(FACTS, price=FREE)),
        (PLAN, replace(FACTS, price=FREE, metered=False)),
        (PLAN._replace(max_context_tokens=1_100), FACTS),
        (PLAN._replace(summary_tokens=50), FACTS),
    ],
    ids=["never", "no price", "free", "no model", "a small context", "no words"],
)
async def test_run_that_cannot_use_summaries_asks_for_none_and_keeps_no_room(
    ledger: SqliteLedger, plan: Plan, facts: ModelFacts
) -> None:
    limits = CostLimit(max_cost_per_task=None, max_cost_per_hour=None, max_tokens_per_task=None)
    told = talk(ledger, plan=plan._replace(limits=limits), facts=facts)
    await told.begin()
    assert told.summaries is None
    await told.turns(16)
    assert (told.asked, "model" in told.cuts) == ([], False)


async def test_small_cut_has_no_summary_and_one_line_says_so_once(ledger: SqliteLedger) -> None:
    told = talk(ledger)
    await told.begin()
    await told.turns(2, "short " * 20)
    await told.turns(1, "y" * 40_000, first=2)
    await told.conversation.prepare(())
    assert (told.cuts, told.asked) == (["lines"], [])
    assert told.summaries is not None
    await told.summaries.explain("another reason")
    (said,) = [note.text for note in told.diary.of(Noted)]
    assert said.startswith("no summary was requested, and short notes replace the removed messages: the cut removes ")


@pytest.mark.parametrize(("plan", "notes"), [(PLAN, 1), (AUTO, 0)], ids=["always", "auto"])
async def test_a_context_too_small_for_summaries_says_so_at_its_first_cut(
    ledger: SqliteLedger, plan: Plan, notes: int
) -> None:
    told = talk(ledger, plan=plan._replace(max_context_tokens=1_100))
    await told.begin()
    told.conversation = open_conversation(told.plan, told.calls, told.diary.emit, None, most_turns=30)
    for message in (SYSTEM, TASK):
        await told.conversation.add(message)
    assert told.diary.of(Noted) == []
    await told.turns(14, "y" * 800)
    assert len(told.cuts) > 1
    said = [note.text for note in told.diary.of(Noted) if "summary" in note.text]
    assert len(said) == notes
    assert all(one.endswith(": one needs a context of at least 1,200 tokens") for one in said)


async def test_the_room_for_a_summary_is_given_back_where_none_is_asked_for(ledger: SqliteLedger) -> None:
    told = talk(ledger)
    await told.begin()
    await told.turns(2, "short " * 20)
    await told.turns(1, "y" * 14_000, first=2)
    sent = await told.conversation.prepare(())
    assert told.summaries is not None
    room = told.summaries.room(PLAIN)
    assert room is not None
    assert room < PLAIN.conversation(sent) <= 4_000
    assert (told.cuts, told.asked, told.diary.of(Noted)) == ([], [], [])


async def test_limits_without_room_for_a_summary_are_named_once_and_cost_no_cut(ledger: SqliteLedger) -> None:
    plan = PLAN._replace(limits=CostLimit(max_tokens_per_task=36_000))
    told, plain = talk(ledger, plan=plan), talk(ledger, plan=PLAN._replace(summaries="never"))
    for one, run_id in ((told, "run"), (plain, "plain")):
        await one.begin(run_id=run_id)
        await one.turns(12)
    assert set(told.cuts) == {"lines"}
    said = [note.text for note in told.diary.of(Noted)]
    assert len(said) == 1
    assert said[0].endswith(": the limits leave no room for one")
    assert told.diary.of(ContextPruned) == plain.diary.of(ContextPruned), "the room for a summary is given back"


async def test_summary_longer_than_half_of_what_it_replaces_is_not_used(ledger: SqliteLedger) -> None:
    told = talk(ledger, said=lambda _: Completion("word " * 1_500))
    await told.begin()
    await told.turns(10)
    assert (told.cuts, len(told.asked)) == (["lines"], 1)
    assert "is longer than half of what it replaces" in told.diary.of(Noted)[0].text


async def test_a_request_that_fills_the_limit_is_not_made_longer(ledger: SqliteLedger) -> None:
    """This happens after a model's reports have raised the count of texts."""
    told = talk(ledger)
    await told.begin()
    assert told.summaries is not None
    before = (SYSTEM, TASK, *(one for number in range(9) for one in turn(number, RESULT)))
    fitted = PLAN.fit(FACTS, before, (), most=told.summaries.room(PLAIN))
    cutting = PendingCut(before[:-2], (), before, fitted)
    for measure, asked in ((PLAIN.scaled(1.1), 0), (PLAIN, 1)):
        told.summaries = summarizer_for(PLAN, told.calls, told.diary.emit)
        assert told.summaries is not None
        why = told.summaries.refusal(cutting, measure)
        assert why == ("" if asked else "the last request leaves no room for one in the context")
        await told.summaries.summarize(cutting, measure)
        assert len(told.asked) == asked


async def test_request_refused_as_too_long_gets_no_summary(ledger: SqliteLedger) -> None:
    told = talk(ledger)
    await told.begin()
    await told.turns(7)
    await told.conversation.prepare(())
    short = await told.conversation.shorten(ContextOverflow("too long", billed="no"), ())
    assert (told.cuts, told.asked) == (["lines"], [])
    await told.calls.ask(short, ())
    limit = PLAIN.conversation(short)
    await told.turns(30, RESULT[:500], first=50)
    assert told.asked, "what comes after keeps to what was taught, and leaves room for one again"
    assert all(PLAIN.conversation(one.messages) < 3_200 for one in told.asked)
    assert limit < 3_200


async def test_summary_without_room_in_the_reported_window_is_not_asked_for(ledger: SqliteLedger) -> None:
    told = talk(ledger, facts=replace(FACTS, context_window=4_300))
    await told.begin()
    await told.turns(4)
    before = told.calls.usage.input_tokens
    await told.turns(1, first=4)
    reported = told.calls.usage.input_tokens - before
    asked = (*told.provider.heard[-1].messages, Message("user", "sum up"))
    heard = len(told.provider.heard)
    assert await told.calls.summary(asked, (), most=4_300 - reported, then=1_000) is None
    assert len(told.provider.heard) == heard
    assert await told.calls.summary(asked, (), most=4_300 - reported - 20, then=1_000) is not None


async def test_a_provider_in_doubt_is_neither_waited_for_nor_probed_with_a_summary(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.db", pause_s=0)
    told = talk(ledger)
    await told.begin()
    await told.turns(3)
    fails = ProviderUnavailable("p: overloaded", billed="unknown")
    other = ModelCalls(
        provider=ScriptedProvider([fails, fails], facts=FACTS),
        ledger=ledger,
        run_id="run",
        limits=PLAN.limits,
        emit=told.diary.emit,
        retries=1,
        first_pause_s=0.001,
    )
    with pytest.raises(ProviderUnavailable):
        await other.ask((TASK,))
    heard = len(told.provider.heard)
    messages = (*told.conversation.messages, Message("user", "sum up"))
    assert await told.calls.summary(messages, (), most=300, then=1_000) is None
    assert (len(told.provider.heard), told.diary.of(CallWaited)) == (heard, [])
    await told.calls.ask(messages)  # it is the probe
    assert await told.calls.summary(messages, (), most=300, then=1_000) is not None
    await ledger.aclose()


async def test_summary_does_not_evict_the_reserve_of_another_run(ledger: SqliteLedger, tmp_path: Path) -> None:
    await ledger.open_run("other", CostLimit(), task="t", agent="a", labels={})
    await ledger.open_run("run", CostLimit(), task="t", agent="a", labels={})
    hour = 100_000_000
    ask = Ask(
        "a",
        "other",
        FACTS,
        input_bound=1_000,
        least=256,
        most=256,
        hour_limit_nano=hour,
        keep=AnswerReserve(70_000, 256),
    )
    assert isinstance(await ledger.reserve(ask), Hold)
    wanted = ask._replace(attempt_id="s", run_id="run", input_bound=10_000, keep=None, purpose="summary")
    assert isinstance(await ledger.reserve(wanted), Verdict)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        assert db.execute("SELECT count(*) FROM attempts WHERE phase = 'kept'").fetchone() == (1,)
    assert isinstance(await ledger.reserve(wanted._replace(purpose="turn", attempt_id="t", most=2_000)), Hold)


@pytest.mark.slow
async def test_ledger_that_cannot_be_written_ends_the_run_during_a_summary(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    def breaks(_: int) -> Step:
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
            db.execute("DROP TABLE entries")
            db.commit()
        return Completion(WORDS)

    told = talk(ledger, said=breaks)
    await told.begin()
    with pytest.raises(StateError):
        await told.turns(16)
    assert len(told.asked) == 1
    assert told.cuts == []


async def test_interrupted_summary_is_never_the_runs_partial_answer(ledger: SqliteLedger) -> None:
    broken: Step = (Delta("SECRET words"), ProviderUnavailable("p: cut short", billed="unknown"))
    told = talk(ledger, said=lambda _: broken)
    await told.begin()
    await told.turns(10)
    assert len(told.asked) == 1
    asked = (*told.conversation.messages, told.asked[0].messages[-1])
    with pytest.raises(ProviderUnavailable):
        await told.calls.summary(asked, (), most=300, then=1_000)
    assert told.calls.unfinished == ""
    (said,) = told.diary.of(Noted)
    assert said.text == ("the model's summary of the removed messages failed (p: cut short): a few lines replace them")


async def test_summary_has_a_shorter_timeout_than_an_answer(ledger: SqliteLedger, tmp_path: Path) -> None:
    told = talk(ledger)
    await told.begin()
    await told.turns(10)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        times = db.execute("SELECT DISTINCT purpose, (deadline_us - held_us) / 1000000 FROM attempts").fetchall()
    assert sorted(times) == [("summary", 120), ("turn", 600)]


async def test_a_task_that_ends_like_our_notes_is_kept_to_its_last_word(ledger: SqliteLedger) -> None:
    told = talk(ledger)
    await told.begin()
    mine = f"What does this mean?{CUT_NOTES}"
    own = Conversation(
        prune=partial(PLAN.fit, FACTS),
        emit=told.diary.emit,
        summaries=summarizer_for(PLAN, told.calls, told.diary.emit),
    )
    told.conversation = own
    await own.add(Message("user", mine))
    await told.turns(30)
    assert "model" in told.cuts
    assert all(request.messages[0].text.startswith(mine) for request in told.provider.heard)
    assert split_digest(own.messages[0].text)[0].rstrip("\n") == mine


async def test_request_that_fits_the_limit_but_not_the_spare_room_is_sent_unchanged(ledger: SqliteLedger) -> None:
    told = talk(ledger)
    await told.begin()
    long = Message("user", "why? " * 3_000)
    own = Conversation(prune=partial(PLAN.fit, FACTS), emit=told.diary.emit, summaries=told.summaries)
    await own.add(long)
    assert await own.prepare(()) == (long,)
    assert told.summaries is not None


async def test_a_context_manager_counts_a_cut_with_a_summary_once(ledger: SqliteLedger) -> None:
    manager = ContextManager(4_000, 3, 3, warn=lambda _: None)
    told = talk(ledger, plan=PLAN._replace(context=manager))
    await told.begin()
    await told.turns(24)
    assert "model" in told.cuts
    assert manager.get_context_stats([])["cuts"] == len(told.cuts)


async def test_notes_of_a_stopped_run_include_the_models_summary(ledger: SqliteLedger) -> None:
    told = talk(ledger)
    await told.begin()
    await told.turns(10)
    assert read_notes(told.conversation.messages)[1].summary == WORDS
    assert summarize_findings(told.conversation.messages).startswith(f"{WORDS}\n\n- system_load(")
    few = (*told.conversation.messages[:2], *turn(99, "ok"))
    for most in (60_000, 3_000):
        request = last_request(few, most=most)
        assert request is not None
        assert WORDS in request[-1].text
    assert summarize_findings(told.conversation.messages[:2]) == WORDS


async def test_last_answer_keeps_its_reserve(ledger: SqliteLedger, tmp_path: Path) -> None:
    told = talk(ledger)
    await told.begin()
    await told.turns(2)
    messages = await told.conversation.prepare(())
    await told.calls.ask(messages, (), with_reserve=True)

    def kept() -> list[tuple[str, int]]:
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
            return db.execute("SELECT id, tokens FROM attempts WHERE phase = 'kept'").fetchall()

    before = kept()
    assert before
    assert await told.calls.summary((*messages, Message("user", "sum up")), (), most=300, then=1_000) is not None
    assert kept() == before


async def test_summary_without_room_in_a_limit_is_skipped_without_an_error(ledger: SqliteLedger) -> None:
    told = talk(ledger, plan=PLAN._replace(limits=CostLimit(max_tokens_per_task=9_000)))
    await told.begin()
    await told.turns(1)
    heard = len(told.provider.heard)
    assert await told.calls.summary((TASK, Message("user", "sum up")), (), most=300, then=8_000) is None
    assert len(told.provider.heard) == heard
    with pytest.raises(BudgetExceeded):
        await told.calls.ask((Message("user", "x" * 9_000),))
