"""The token counter of a run: rough while that is enough, then by a vocabulary, calibrated by reports."""

from __future__ import annotations

import threading

import pytest

from agentctl.context.counter import Calibration, CalibrationPrior, Count, CountingMethod, Load, TokenCounter
from agentctl.context.tokens import Measure, estimate_tokens
from agentctl.core.errors import ContextOverflow
from agentctl.core.events import Event
from agentctl.core.messages import Message, ToolSpec, Usage
from agentctl.runner.conversation import Conversation
from tests.support.counting import TOOLS

ROUGH = CountingMethod(
    "rough", CalibrationPrior(Calibration(1.0, 0.0), 0.3, 300.0, least=1.0, least_fixed=0.0), 0.6, 0.6
)
EXACT = CountingMethod("exact", CalibrationPrior(Calibration(1.0, 0.0), 0.2, 300.0), 0.3, 0.2)
LIMIT = 1000


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Vocabulary:
    """Counts as many tokens as bytes by three; ``loads`` says how often it was asked for."""

    def __init__(self) -> None:
        self.loads = 0
        self.may_go_on = threading.Event()

    def load(self) -> Count:
        self.loads += 1
        self.may_go_on.wait(60)
        return self.count

    def count(self, text: str) -> int:
        return -(-len(text) // 3)


def counter(load: Load, **more: Calibration) -> TokenCounter:
    return TokenCounter(ROUGH, estimate_tokens, exact=EXACT, load=load, known=more)


async def unheard(event: Event) -> None:
    """Take an event and keep nothing."""


def said(tokens: int) -> tuple[Message, ...]:
    """A conversation of about so many tokens, roughly counted."""
    return (Message("user", "x" * (4 * tokens - 16)),)


async def test_request_surely_below_three_fifths_is_counted_without_a_vocabulary() -> None:
    vocabulary = Vocabulary()
    one = counter(vocabulary.load)
    for tokens in (10, 100, 312, 370):
        assert (await one.choose_measure(said(tokens), (), LIMIT)).way == "rough"
    assert vocabulary.loads == 0


async def test_only_what_a_provider_has_not_counted_yet_is_doubtful() -> None:
    vocabulary = Vocabulary()
    one, before = counter(vocabulary.load), said(350)
    await one.choose_measure(before, (), LIMIT)
    one.learn(before, (), Usage(350, 1))
    longer = (*before, Message("user", "x" * 600))  # 150 tokens more, 240 at most: 590 in all, and not 800
    assert (await one.choose_measure(longer, (), LIMIT)).way == "rough, calibrated"
    assert vocabulary.loads == 0
    other = (Message("user", "y" * 2000),)  # the same length, and none of it counted
    vocabulary.may_go_on.set()
    assert (await one.choose_measure(other, (), LIMIT)).way == "exact, calibrated"
    assert vocabulary.loads == 1


async def test_vocabulary_loads_while_a_model_answers_and_delays_nothing() -> None:
    vocabulary = Vocabulary()
    one = counter(vocabulary.load)
    assert (await one.choose_measure(said(410), (), LIMIT)).way == "rough", "it is still loading, and there is room"
    vocabulary.may_go_on.set()
    for thread in threading.enumerate():
        if thread.name == "vocabulary":
            thread.join(60)
    assert (await one.choose_measure(said(420), (), LIMIT)).way == "exact"
    assert vocabulary.loads == 1


async def test_vocabulary_is_waited_for_where_the_request_may_not_fit() -> None:
    vocabulary = Vocabulary()
    one = counter(vocabulary.load)
    threading.Timer(0.05, vocabulary.may_go_on.set).start()
    assert (await one.choose_measure(said(600), (), LIMIT)).way == "exact"


@pytest.mark.parametrize("broken", [None, OSError("gone")], ids=["missing", "failing"])
async def test_run_without_a_vocabulary_goes_on_and_says_so(broken: Exception | None) -> None:
    def load() -> Count | None:
        if broken is not None:
            raise broken
        return None

    one = counter(load)
    measure = await one.choose_measure(said(600), (), LIMIT)
    assert (measure.way, measure.margin) == ("rough (its vocabulary is not installed)", 0.6)
    one.learn(said(600), (), Usage(750, 1))
    assert one.measure.way == "rough, calibrated (its vocabulary is not installed)"
    assert set(one.new_calibrations) == {"rough"}


async def test_vocabulary_that_comes_late_learns_from_every_report_before_it() -> None:
    exact, sizes = Measure(count=Vocabulary().count), (100, 400, 800, 1500, 2500)
    vocabulary = Vocabulary()
    vocabulary.may_go_on.set()
    one = counter(vocabulary.load)
    for tokens in sizes:
        await one.choose_measure(said(tokens), (), 100 * LIMIT)
        one.learn(said(tokens), (), Usage(100 + exact.request(said(tokens)) * 14 // 10, 1))
    await one.choose_measure(said(2500), (), LIMIT)
    factor, fixed = one.new_calibrations["exact"]
    assert (round(factor, 1), vocabulary.loads) == (1.4, 1)
    assert abs(fixed - 100) < 60, "the last report alone would be taken for a factor of 1.43"


async def test_reports_calibrate_the_rough_count_and_then_the_vocabulary_again() -> None:
    vocabulary = Vocabulary()
    vocabulary.may_go_on.set()
    one, small = counter(vocabulary.load), said(200)
    await one.choose_measure(small, TOOLS, 10 * LIMIT)
    one.learn(small, TOOLS, Usage(700, 1, cached_input_tokens=600))
    assert one.measure.request(small, TOOLS) >= 700
    assert one.measure.way == "rough, calibrated"
    measure = await one.choose_measure(said(600), TOOLS, LIMIT)
    assert measure.way == "exact, calibrated"
    assert measure.request(small, TOOLS) >= 700, "the report was counted again"
    assert set(one.new_calibrations) == {"rough", "exact"}


async def test_implausible_report_teaches_nothing() -> None:
    one = counter(Vocabulary().load)
    before = await one.choose_measure(said(200), TOOLS, LIMIT)
    for usage in (None, Usage(0, 5), Usage(30, 5), Usage(10**9, 5)):
        one.learn(said(200), TOOLS, usage)
    assert one.measure == before
    assert one.new_calibrations == {}


async def test_factor_of_an_earlier_run_counts_from_the_first_request_without_a_notice() -> None:
    one = counter(Vocabulary().load, rough=Calibration(1.5, 100.0))
    measure = await one.choose_measure(said(100), TOOLS, LIMIT)
    assert (measure.factor, measure.fixed, measure.way) == (1.5, 100, "rough, calibrated")
    own = ROUGH.measure(estimate_tokens).request(said(100), TOOLS)
    one.learn(said(100), TOOLS, Usage(round(1.5 * own + 100), 1))
    assert one.new_calibrations == {}


async def test_request_refused_as_too_long_is_counted_by_the_vocabulary_before_its_cut() -> None:
    """Otherwise the limit learned from the refusal and the next request would be counted in different ways."""
    vocabulary, counted = Vocabulary(), list[tuple[str, int | None]]()
    vocabulary.may_go_on.set()

    def prune(
        messages: tuple[Message, ...],
        tools: tuple[ToolSpec, ...],
        *,
        measure: Measure,
        most: int | None = None,
        trial: bool = False,
    ) -> tuple[Message, ...]:
        counted.append((measure.way, most))
        return messages[1:] if most else messages

    talk = Conversation(prune=prune, emit=unheard, limit=100_000, counter=counter(vocabulary.load))
    for message in (*said(150), *said(150)):
        await talk.add(message)
    await talk.prepare(())
    await talk.shorten(ContextOverflow("too long", billed="no", window=300 + 256, prompt=400), ())
    exact = EXACT.measure(vocabulary.load()).conversation((*said(150), *said(150)))
    assert counted == [("rough", None), ("exact", exact * 300 // 400 * 19 // 20)]
