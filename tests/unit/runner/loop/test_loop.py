"""The loop: requests to the model, permitted calls, and the ways it ends."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import anyio
import pytest

from agentctl.context.tokens import PLAIN
from agentctl.core.errors import AgentctlError, EngineUnavailable, ProviderUnavailable, StateError, ToolError
from agentctl.core.events import (
    AnswerReceived,
    CallHeld,
    CallSent,
    CallSettled,
    ContextPruned,
    Event,
    LimitsMeasured,
    MessageAdded,
    ModelAnswered,
    Noted,
    ToolDenied,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from agentctl.core.messages import Completion, Delta, Message, Request, ToolCall
from agentctl.core.pricing import FREE, ModelFacts
from agentctl.core.results import ErrorInfo, ToolCount
from agentctl.permissions.admission import Admission
from agentctl.permissions.decision import Permissions
from agentctl.permissions.guards import LoopLimits
from agentctl.runner.conversation import Conversation
from agentctl.runner.plan import Plan
from agentctl.runner.tool_calls import ToolDispatcher
from agentctl.runner.troubles import LoopOutcome
from tests.support.loop import USED, Act, Box, Deed, Diary, asks, call, fails, says
from tests.unit.runner.loop.conftest import Stage


async def test_a_task_is_asked_acted_on_and_answered(stage: Stage, diary: Diary) -> None:
    loop, provider = stage([asks(call("load")), says("It is idle.")], Deed("load", lambda _: "0.1"))
    outcome = await loop.run("Be brief.", "Is it busy?")
    assert outcome == LoopOutcome("done", "It is idle.", True, 2, None, (ToolCount("load", 1, 0),), ())
    conversation = (
        Message("system", "Be brief."),
        Message("user", "Is it busy?"),
        Message("assistant", "", (call("load"),)),
        Message("tool", "0.1", tool_call_id="load"),
    )
    assert [request.messages for request in provider.heard] == [conversation[:2], conversation]
    assert [tool.name for tool in provider.heard[0].tools] == ["load"]
    turn = [TurnStarted, CallHeld, CallSent, AnswerReceived, CallSettled, LimitsMeasured, ModelAnswered, MessageAdded]
    assert [type(event) for event in diary.events] == [
        MessageAdded, MessageAdded, *turn, ToolStarted, ToolFinished, MessageAdded, *turn,
    ]  # fmt: skip
    assert tuple(event.message for event in diary.of(MessageAdded)) == (
        *conversation,
        Message("assistant", "It is idle."),
    )


async def test_reads_of_one_turn_run_at_the_same_time_and_answer_in_order(stage: Stage, diary: Diary) -> None:
    here, there = anyio.Event(), anyio.Event()

    async def first(_: Mapping[str, object]) -> str:
        here.set()
        await there.wait()
        return "one"

    async def second(_: Mapping[str, object]) -> str:
        await here.wait()
        there.set()
        return "two"

    loop, provider = stage([asks(call("a"), call("b")), says("ok")], Deed("a", first), Deed("b", second))
    with anyio.fail_after(10):
        await loop.run("s", "t")
    assert [m.text for m in provider.heard[1].messages[-2:]] == ["one", "two"]
    assert [event.call.name for event in diary.of(ToolFinished)] == ["b", "a"]


async def test_no_more_reads_run_at_once_than_allowed(stage: Stage) -> None:
    running, most, full = 0, 0, anyio.Event()

    async def read(_: Mapping[str, object]) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await full.wait()
        await anyio.lowlevel.checkpoint()
        running -= 1
        return "x"

    calls = [call("read", f"c{n}", n=n) for n in range(10)]
    loop, _ = stage([asks(*calls), says("ok")], Deed("read", read), reads_at_once=3)
    with anyio.fail_after(10):
        outcome = await loop.run("s", "t")
    assert most == 3
    assert outcome.tools == (ToolCount("read", 10, 0),)


async def test_failing_tool_is_reported_with_its_hint_and_the_run_goes_on(stage: Stage, diary: Diary) -> None:
    broken = Deed("logs", fails(ToolError("no file app.log", hint="there is app.log.1")))
    loop, provider = stage([asks(call("logs")), says("There is no such file.")], broken)
    outcome = await loop.run("s", "t")
    assert outcome.status == "done"
    assert outcome.tools == (ToolCount("logs", 1, 1),)
    assert provider.heard[1].messages[-1].text == "error: no file app.log\nhint: there is app.log.1"
    assert diary.of(ToolFinished)[0].error == ErrorInfo("tool", "no file app.log", "there is app.log.1")


async def test_tools_own_bug_is_reported_and_recorded_without_a_crash(stage: Stage, diary: Diary) -> None:
    loop, provider = stage([asks(call("bug")), says("ok")], Deed("bug", fails(KeyError("x"))))
    assert (await loop.run("s", "t")).status == "done"
    assert provider.heard[1].messages[-1].text.startswith("error: bug failed with an internal error: KeyError: 'x'")
    error = diary.of(ToolFinished)[0].error
    assert error is not None
    assert error.kind == "internal"


def open_door() -> Admission:
    return Admission(permissions=Permissions(), emit=Diary().emit, approve="all")


async def test_call_not_permitted_is_denied_reported_and_never_made(stage: Stage, diary: Diary) -> None:
    restart = Deed("restart", lambda _: "done", effect="write")
    loop, provider = stage([asks(call("restart")), says("I may not.")], restart)
    outcome = await loop.run("s", "t")
    assert restart.given == []
    assert outcome.status == "denied"
    assert outcome.denied == ("restart",)
    assert outcome.tools == ()
    assert [tool.name for tool in provider.heard[0].tools] == ["restart"], "a rule or a person could allow it"
    assert provider.heard[1].messages[-1].text.startswith("denied: restart needs approval")
    assert [event.call.name for event in diary.of(ToolDenied)] == ["restart"]
    assert diary.of(ToolStarted) == []


GONE = EngineUnavailable("the engine is not running", hint="start it")
OK, DENIED, DOWN, WRONG = call("ok"), call("denied"), call("down"), call("wrong")


@pytest.mark.parametrize(
    ("turns", "status"),
    [
        ([], "done"),
        ([[OK]], "done"),
        ([[WRONG]], "done"),
        ([[DENIED]], "denied"),
        ([[OK], [DENIED]], "denied"),
        ([[OK, DENIED]], "denied"),
        ([[DENIED, OK]], "done"),
        ([[DENIED], [OK]], "done"),
        ([[DENIED], [WRONG]], "done"),
        ([[DENIED, WRONG]], "denied"),
        ([[DOWN]], "unavailable"),
        ([[DOWN], [OK]], "done"),
        ([[OK, DOWN]], "unavailable"),
        ([[DOWN, OK]], "done"),
        ([[DOWN], [DENIED]], "denied"),
        ([[DENIED], [DOWN]], "unavailable"),
    ],
    ids=lambda value: str([[c.name for c in t] for t in value]) if isinstance(value, list) else value,
)
async def test_run_ends_as_its_last_tool_calls_say(stage: Stage, turns: list[list[ToolCall]], status: str) -> None:
    deeds = (
        Deed("ok", lambda _: "fine"),
        Deed("denied", lambda _: "never"),
        Deed("down", fails(GONE)),
        Deed("wrong", fails(ToolError("wrong arguments"))),
    )
    loop, _ = stage([*(asks(*calls) for calls in turns), says("my answer")], *deeds, denied=("denied",))
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, outcome.complete) == (status, "my answer", status == "done")
    if status == "unavailable":
        assert outcome.error is GONE


@pytest.mark.parametrize(
    ("last", "says_why"),
    [
        (Completion(text="I will not.", stop="refusal", usage=USED), "the model refused the task"),
        (Completion(tool_calls=(call("ok"),), stop="refusal", usage=USED), "the model refused the task"),
    ],
)
async def test_a_refusal_is_a_failure(stage: Stage, last: Completion, says_why: str) -> None:
    loop, _ = stage([asks(call("ok"), text="Looking."), last], Deed("ok", lambda _: "fine"))
    outcome = await loop.run("s", "t")
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.message == says_why
    assert outcome.answer == (last.text.strip() or "Looking.")
    assert not outcome.complete


async def test_an_empty_answer_before_any_result_is_a_failure(stage: Stage) -> None:
    loop, provider = stage([Completion(text="  \n", usage=USED)], Deed("ok", lambda _: "fine"))
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, len(provider.heard)) == ("failed", "", 1)
    assert str(outcome.error) == "the model gave an empty answer"


async def test_the_turn_limit_before_any_result_ends_the_run_with_the_last_words(stage: Stage) -> None:
    loop, provider = stage([asks(call("ok"), text="Step 1.")], max_turns=0)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.complete, outcome.turns, len(provider.heard)) == ("failed", False, 0, 0)
    assert str(outcome.error) == "no answer after 0 turns"


async def test_a_provider_that_fails_ends_the_run_with_its_error(stage: Stage) -> None:
    error = ProviderUnavailable("no route", billed="no")
    loop, _ = stage([asks(call("ok"), text="Looking."), error], Deed("ok", lambda _: "fine"))
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.error) == ("unavailable", error)
    assert outcome.answer == "Looking.\n\nFound so far:\n- ok() -> fine"


async def test_third_identical_call_is_warned_about_and_the_fourth_ends_the_run(stage: Stage) -> None:
    same = asks(call("ok", a=1, b=2))
    ok = Deed("ok", lambda _: "fine", effect="write", contained=True)
    loop, provider = stage([same] * 9, ok)
    outcome = await loop.run("s", "t")
    assert len(ok.given) == 2
    assert "3 times in a row" in provider.heard[3].messages[-1].text
    assert len(provider.heard) == 4
    assert (outcome.status, outcome.turns) == ("failed", 4)


async def test_model_that_changes_its_call_after_the_warning_may_go_on(stage: Stage) -> None:
    same, other = asks(call("ok", a=1)), asks(call("ok", a=2))
    ok = Deed("ok", lambda _: "fine", effect="write", contained=True)
    loop, _ = stage([same, same, same, other, same, same, says("done")], ok)
    assert (await loop.run("s", "t")).status == "done"
    assert len(ok.given) == 5


async def test_the_order_of_arguments_does_not_hide_a_repeated_call(stage: Stage) -> None:
    ok = Deed("ok", lambda _: "fine", effect="write", contained=True)
    calls = [ToolCall("c", "ok", {"a": 1, "b": 2}), ToolCall("c", "ok", {"b": 2, "a": 1})]
    loop, _ = stage([asks(calls[n % 2]) for n in range(6)], ok)
    assert (await loop.run("s", "t")).status == "failed"
    assert len(ok.given) == 2


async def test_identical_calls_in_one_turn_get_a_warning_before_a_failure(stage: Stage) -> None:
    ok = Deed("ok", lambda _: "fine")
    loop, provider = stage([asks(*(call("ok", f"c{n}") for n in range(6))), says("done")], ok)
    assert (await loop.run("s", "t")).status == "done"
    assert len(ok.given) == 2
    assert len(provider.heard[1].messages) == 3 + 6


async def test_an_old_turn_is_pruned_and_the_cut_stays(stage: Stage, diary: Diary) -> None:
    script = [asks(call("ok", f"c{n}", n=n)) for n in range(12)]
    loop, provider = stage([*script, says("done")], Deed("ok", lambda _: "x" * 2_000), max_tokens=4_000)
    assert (await loop.run("s", "t")).status == "done"
    cuts = diary.of(ContextPruned)
    assert 1 <= len(cuts) <= 3
    assert all(cut.tokens_after <= 2_000 < cut.tokens_before and cut.messages_cut > 0 for cut in cuts)
    grown = [
        later.messages[: len(earlier.messages)] == earlier.messages
        for earlier, later in zip(provider.heard, provider.heard[1:], strict=False)
    ]
    assert grown.count(False) == len(cuts), "between cuts each request is a prefix of the next"


async def test_cut_reports_removed_and_shortened_messages(stage: Stage, diary: Diary) -> None:
    sizes = iter([400, 400, 400, 400, 12_000])
    script = [asks(call("ok", f"c{n}", n=n)) for n in range(5)]
    loop, provider = stage([*script, says("done")], Deed("ok", lambda _: "x" * next(sizes)), max_tokens=3_000)
    assert (await loop.run("s", "t")).status == "done"
    sent = provider.heard[-1].messages
    (cut,) = diary.of(ContextPruned)
    tokens = PLAIN.request(sent, provider.heard[-1].tools)
    assert cut._replace(left=()) == ContextPruned(cut.tokens_before, tokens, 12 - len(sent), 1, turns=5)
    assert sent[1].text.startswith("t\n\n[Cut here to save room: 4 earlier messages.")


async def test_a_small_context_is_called_small_once_and_a_usual_one_never() -> None:
    for limit, notes in ((1_000, 1), (8_000, 0)):
        diary = Diary()
        fit = partial(Plan(max_context_tokens=limit).fit, ModelFacts("p", "m", FREE))
        talk = Conversation(prune=fit, emit=diary.emit, limit=limit)
        for message in (Message("system", "s" * 2_000), Message("user", "t")):
            await talk.add(message)
        await talk.prepare(())
        await talk.add(Message("assistant", "ok"))
        await talk.prepare(())
        said = [one.text for one in diary.of(Noted)]
        assert len(said) == notes
        assert all("leave 496 of it, so cuts will come often; MAX_CONTEXT_TOKENS=2000 would do" in one for one in said)


async def test_request_that_cannot_fit_ends_with_the_setting_to_raise(stage: Stage) -> None:
    loop, provider = stage([says("never")], max_tokens=50)
    outcome = await loop.run("s", "x" * 400)
    assert outcome.status == "context"
    assert outcome.error is not None
    assert "MAX_CONTEXT_TOKENS=1000" in outcome.error.hint
    assert provider.heard == []


async def test_giant_result_is_bounded_before_it_is_kept(stage: Stage, diary: Diary) -> None:
    loop, _ = stage([asks(call("ok")), says("done")], Deed("ok", lambda _: "x" * 1_000_000))
    await loop.run("s", "t")
    assert len(diary.of(ToolFinished)[0].text) <= 100_000


async def test_changes_of_one_turn_happen_one_by_one_in_order(stage: Stage) -> None:
    done: list[str] = []

    async def slow(_: Mapping[str, object]) -> str:
        await anyio.lowlevel.checkpoint()
        done.append("write")
        return "w"

    def quick(_: Mapping[str, object]) -> str:
        done.append("read")
        return "r"

    box = Box(Deed("write", slow, effect="write"), Deed("read", quick))
    dispatch = ToolDispatcher(toolbox=box, admission=open_door(), emit=Diary().emit, limits=LoopLimits())
    assert await dispatch.run([call("write"), call("read"), call("write", "again")], {}) == ["w", "r", "w"]
    assert done == ["write", "read", "write"]


async def test_an_observer_that_cannot_go_on_stops_the_tools_with_its_own_error(stage: Stage, diary: Diary) -> None:
    full = StateError("the disk is full")
    plain = diary.emit

    async def emit(event: Event) -> None:
        if isinstance(event, ToolFinished):
            raise full
        await plain(event)

    async def forever(_: Mapping[str, object]) -> str:
        await anyio.sleep_forever()
        return "never"

    box = Box(Deed("ok", lambda _: "fine"), Deed("hang", forever))
    dispatch = ToolDispatcher(toolbox=box, admission=open_door(), emit=emit, limits=LoopLimits())
    with anyio.fail_after(10), pytest.raises(StateError) as caught:
        await dispatch.run([call("hang"), call("ok")], {})
    assert caught.value is full


async def test_a_cancelled_call_stops_the_loop_and_leaves_what_was_known(stage: Stage) -> None:
    asked = anyio.Event()

    async def hang(request: Request) -> Completion:
        asked.set()
        await anyio.sleep_forever()
        return says("never")

    loop, _ = stage([asks(call("ok"), text="Looking."), hang], Deed("ok", lambda _: "fine"))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(loop.run, "s", "t")
            await asked.wait()
            group.cancel_scope.cancel()
    outcome = loop.outcome(AgentctlError("stopped"))
    assert (outcome.answer, outcome.complete, outcome.turns) == ("Looking.", False, 2)
    assert outcome.tools == (ToolCount("ok", 1, 0),)


async def test_provider_without_a_model_reads_no_schemas_and_returns_the_result_unchanged(stage: Stage) -> None:
    def repeat(request: Request) -> Completion:
        return says(request.messages[-1].text)

    note = "builtin matched your words to a read-only lookup."
    loop, provider = stage([asks(call("ps"), text=note), repeat], Deed("ps", lambda _: "web  up"), metered=False)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer) == ("done", "web  up")
    assert [request.tools for request in provider.heard] == [()]


@pytest.mark.parametrize(
    ("act", "status"),
    [
        (fails(GONE), "unavailable"),
        (fails(ToolError("no such file")), "failed"),
        (fails(ValueError("bug")), "internal"),
    ],
)
async def test_provider_without_a_model_does_not_retry_when_its_only_call_fails(
    stage: Stage, act: Act, status: str
) -> None:
    loop, provider = stage([asks(call("ps"), text="A lookup.")], Deed("ps", act), metered=False)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, len(provider.heard)) == (status, "", 1)


async def test_provider_without_a_model_returns_the_results_of_its_calls_in_their_order(stage: Stage) -> None:
    asked = Completion("Two lookups.", (call("state", "1"), call("logs", "2")), stop="tool_calls")
    deeds = Deed("state", lambda _: "exited"), Deed("logs", lambda _: "boom")
    loop, provider = stage([asked], *deeds, metered=False)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, len(provider.heard)) == ("done", "exited\n\nboom", 1)


async def test_provider_without_a_model_keeps_what_it_found_when_one_of_its_calls_fails(stage: Stage) -> None:
    asked = Completion("Two lookups.", (call("state", "1"), call("logs", "2")), stop="tool_calls")
    loop, _ = stage([asked], Deed("state", lambda _: "exited"), Deed("logs", fails(GONE)), metered=False)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, outcome.complete) == ("unavailable", "exited", False)


async def test_provider_without_a_model_ends_as_denied_when_its_only_call_is_denied(stage: Stage) -> None:
    loop, provider = stage([asks(call("ps"))], Deed("ps", lambda _: "x"), metered=False, denied=("ps",))
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.denied, len(provider.heard)) == ("denied", ("ps",), 1)


async def test_answer_cut_twice_is_reported_as_cut(stage: Stage, diary: Diary) -> None:
    cut = Completion("Once upon", usage=USED, stop="length")
    loop, _ = stage([cut, cut])
    outcome = await loop.run("Be brief.", "Tell me a story")
    assert (outcome.status, outcome.answer) == ("done", "Once upon")
    assert [note.text for note in diary.of(Noted)] == [
        "the answer was cut at its output limit; raise --max-output-tokens for more"
    ]


async def test_partial_second_answer_does_not_replace_the_complete_first_one(stage: Stage) -> None:
    cut = Completion("The first four thousand words", usage=USED, stop="length")
    broken = [Delta("The fir"), ProviderUnavailable("reset")]
    loop, provider = stage([cut, broken])
    outcome = await loop.run("s", "t")
    assert len(provider.heard) == 2
    assert (outcome.status, outcome.answer, outcome.complete) == ("done", "The first four thousand words", True)


async def test_interrupted_second_request_leaves_the_first_answer(stage: Stage) -> None:
    reached = anyio.Event()

    async def hang(_: Request) -> None:
        reached.set()
        await anyio.sleep_forever()

    loop, _ = stage([Completion("The first words", usage=USED, stop="length"), (Delta("The fir"), hang)])
    async with anyio.create_task_group() as group:
        group.start_soon(loop.run, "s", "t")
        await reached.wait()
        group.cancel_scope.cancel()
    assert loop.outcome(ProviderUnavailable("stopped")).answer == "The first words"


async def test_ids_of_calls_are_unique_over_the_whole_run(stage: Stage) -> None:
    look = Deed("look", lambda given: str(given["path"]))
    loop, provider = stage([asks(call("look", "0", path=p)) for p in "abc"] + [says("done")], look)
    assert (await loop.run("s", "t")).answer == "done"
    said = provider.heard[-1].messages
    ids = [one.id for message in said for one in message.tool_calls]
    assert len(set(ids)) == 3
    assert ids[0] == "0"
    assert [message.tool_call_id for message in said if message.role == "tool"] == ids
