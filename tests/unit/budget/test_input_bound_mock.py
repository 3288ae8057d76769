"""The bound against a server with its own tokenizer and template: the true input is never above the bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentctl.budget.input_bound import BoundBasis, bound, plain_bound
from agentctl.core.messages import Completion, Message, Request, ToolCall, Usage
from agentctl.core.pricing import ModelFacts, contradiction
from tests.support.counting_server import TOOLS, CountingServer, servers, texts

FACTS = ModelFacts("p", "m")


Step = Literal["go on", "cut", "tool choice", "no tools", "fails", "fallback"]
turns = st.tuples(
    st.sampled_from(["go on"] * 6 + ["cut", "tool choice", "no tools", "fails", "fallback"]),
    texts,
    texts,
    st.booleans(),
    st.integers(0, 3000),
)


def cached(truth: int, before: int, habit: str) -> int:
    """Return what the report leaves out: what was cached of the request before, in blocks."""
    return before // 128 * 128 if habit == "leaves out what was cached" and before <= truth else 0


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(
    servers,
    servers,
    st.sampled_from(["honest", "leaves out what was cached", "says zero"]),
    st.lists(turns, min_size=2, max_size=6),
)
def test_the_true_input_is_never_above_the_bound(
    server: CountingServer, other: CountingServer, habit: str, story: list[tuple[Step, str, str, bool, int]]
) -> None:
    """Another model in the place of the asked one is unforeseeable until a report names it, and never built on again.

    An omission in a report shows while it is larger than the new part: the system message is longer than that.
    """
    ground, switched = BoundBasis(), False
    caches: dict[int, int] = {}  # of a prompt that begins with such tools, until the conversation is cut
    history: tuple[Message, ...] = (Message("system", "You look after machines. " * 500), Message("user", "Why?"))
    for number, (step, said, told, calls, thought) in enumerate(story):
        if step == "cut":
            history, caches = (*history[:2], *history[2:][-2:]), {}
        request = Request(
            "m",
            history,
            () if step == "no tools" else TOOLS,
            settings={"tool_choice": "required"} if step == "tool choice" else {},
        )
        answers = other if step == "fallback" else server
        truth = answers.count(request)
        surprise = not switched and ground.model not in (None, "other" if step == "fallback" else "m")
        if not surprise:
            assert truth <= bound(request, ground.known)
        assert truth <= plain_bound(request)
        if step == "fails":
            ground = ground.without_report()
            continue
        switched = switched or surprise
        call = (ToolCall(f"c{number}", "plain", {"all": said}),) if calls else ()
        answer = Completion(said, call, model="other" if step == "fallback" else "m")
        reported = 0 if habit == "says zero" else truth - cached(truth, caches.get(len(request.tools), 0), habit)
        usage = Usage(reported, thought + answers.tokens(said) + 20 * len(call) + 1)
        ground = (
            ground.without_report() if contradiction(usage, answered=True) else ground.after(request, answer, usage)
        )
        caches[len(request.tools)] = truth
        new = Message("tool", told, tool_call_id=f"c{number}") if calls else Message("user", told)
        history = (*history, answer.as_message(), new)


LOG = "2026-11-24T10:00:{:02d} web[12]: GET /health 200 in 3 ms, upstream db answered after a retry\n"


@pytest.mark.parametrize("thoughts", [0, 60])
def test_bound_is_at_most_twice_the_true_input_from_the_third_turn_on(thoughts: int) -> None:
    server, ground = CountingServer(rate=4, preamble=346), BoundBasis()
    history: tuple[Message, ...] = (
        Message("system", "You look after machines, and say only what you saw. " * 40),
        Message("user", "Why does the web container restart every night?"),
    )
    for number in range(12):
        request = Request("m", history, TOOLS * 4)
        truth, most = server.count(request), bound(request, ground.known)
        assert truth <= most
        if number >= 2:
            assert most <= 2 * truth
        call = (ToolCall(f"c{number}", "plain", {"all": True}),)
        answer = Completion("Let me look at its log.", call, model="m")
        usage = Usage(truth, thoughts + server.tokens(answer.text) + 15)
        ground = ground.after(request, answer, usage)
        told = "".join(LOG.format(second) for second in range(8))
        history = (*history, answer.as_message(), Message("tool", told, tool_call_id=f"c{number}"))


def turn(ground: BoundBasis, reported: int, *, model: str = "m", more: int = 0) -> BoundBasis:
    """Report a turn of one conversation; ``more`` messages longer each time."""
    said = (Message("user", "x" * 4000), *[Message("assistant", "hi"), Message("user", "on")] * more)
    return ground.after(Request("m", said), Completion("hi", model=model), Usage(reported, 1))


def test_provider_that_once_reported_too_little_is_never_built_on_again() -> None:
    good = turn(BoundBasis(), 1000)
    assert good.known is not None
    less = turn(good, 700, more=1)
    assert (less.known, less.lost) == (None, True)
    assert turn(less, 5000, more=2).known is None


def test_plausibility_is_judged_by_the_last_report_after_an_attempt_without_one() -> None:
    shaken = turn(BoundBasis(), 1000).without_report()
    assert shaken.known is None
    assert turn(shaken, 700, more=1).known is None
    assert turn(shaken, 1003, more=1).known is not None


def test_count_of_another_model_is_never_built_on() -> None:
    good = turn(BoundBasis(), 1000)
    assert turn(good, 1500, model="other", more=1).known is None
    assert turn(turn(good, 1500, model="other", more=1), 2000, model="other", more=2).known is None


def test_alias_of_the_asked_model_is_not_another_model() -> None:
    dated = turn(BoundBasis(), 1000, model="m-2026-11-01")
    assert turn(dated, 1010, model="m-2026-11-01", more=1).known is not None


@pytest.mark.parametrize("rate", [1, 4])
def test_a_log_of_letters_that_grow_when_normalised_is_bound(rate: int) -> None:
    request = Request("m", (Message("user", "\ufdfa" * 5000), Message("tool", "\u3300\ufb03\ufdfa" * 999)), TOOLS)
    truth = CountingServer(rate=rate, frame=12, preamble=530).count(request)
    assert truth <= bound(request)
    assert replace(CountingServer(rate=1), frame=16).count(request) <= bound(request)
