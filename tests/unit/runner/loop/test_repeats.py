"""Calls that go round in a circle, and denied calls that are made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count

import pytest

from agentctl.core.errors import TaskFailed
from agentctl.core.messages import Completion, ToolCall
from agentctl.permissions.guards import RepeatGuard
from tests.support.json_run import JsonRun
from tests.support.loop import Deed, asks, call, says
from tests.support.scripted_cli import USED, answer
from tests.unit.runner.loop.conftest import Stage

ROUNDS = {"two": "ab", "three": "abc", "three with a pair": "aab"}


def moving() -> Callable[[Mapping[str, object]], str]:
    """Return a tool whose value changes with each call."""
    numbers = count()
    return lambda _: f"{next(numbers)} s"


def scene(names: str, act: Callable[[], Callable[[Mapping[str, object]], str]]) -> dict[str, Deed]:
    """Tools that change something; what becomes of a repeated read says ``test_answer_gate``."""
    return {name: Deed(name, act(), effect="write", contained=True) for name in names}


@pytest.mark.parametrize("names", ROUNDS.values(), ids=ROUNDS)
async def test_second_round_of_calls_is_warned_about_and_its_next_call_ends_the_run(stage: Stage, names: str) -> None:
    deeds = scene(names, lambda: lambda _: "fine")
    loop, provider = stage([asks(call(name)) for name in names * 5], *deeds.values())
    outcome = await loop.run("s", "t")
    assert sum(len(deed.given) for deed in deeds.values()) == 2 * len(names) - 1
    assert len(provider.heard) == 2 * len(names) + 1
    assert "2 times in a row; use the results you have" in provider.heard[-1].messages[-1].text
    assert (outcome.status, outcome.complete) == ("failed", False)
    assert isinstance(outcome.error, TaskFailed)
    assert "Found so far:" in outcome.answer
    assert "a() -> fine" in outcome.answer


@pytest.mark.parametrize("names", ["ab", "abc"])
async def test_round_whose_results_change_may_come_twice(stage: Stage, names: str) -> None:
    deeds = scene(names, moving)
    loop, provider = stage([asks(call(name)) for name in names * 5], *deeds.values())
    outcome = await loop.run("s", "t")
    assert sum(len(deed.given) for deed in deeds.values()) == 3 * len(names) - 1
    assert "3 times in a row" in provider.heard[-1].messages[-1].text
    assert outcome.status == "failed"


async def test_model_that_waits_for_a_change_with_two_calls_is_not_stopped(stage: Stage) -> None:
    deeds = scene("ab", moving)
    loop, _ = stage([*(asks(call(name)) for name in "abab"), says("it is up")], *deeds.values())
    assert (await loop.run("s", "t")).status == "done"


async def test_model_that_does_something_else_after_the_warning_goes_on(stage: Stage) -> None:
    deeds = scene("abc", lambda: lambda _: "fine")
    loop, _ = stage([*(asks(call(name)) for name in "ababcab"), says("done")], *deeds.values())
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer) == ("done", "done")


async def test_edit_and_test_with_other_arguments_is_no_round(stage: Stage) -> None:
    write, test = Deed("write", lambda _: "written", contained=True, effect="write"), Deed("test", lambda _: "failed")
    turns = [asks(one) for n in range(4) for one in (call("write", text=f"v{n}"), call("test"))]
    loop, _ = stage([*turns, says("done")], write, test)
    assert (await loop.run("s", "t")).status == "done"
    assert (len(write.given), len(test.given)) == (4, 4)


async def test_results_that_were_cut_from_the_conversation_may_be_read_again(stage: Stage) -> None:
    texts = {name: f"{name} holds " + "words " * 1500 for name in "ab"}
    deeds = [Deed(name, lambda _, text=text: text) for name, text in texts.items()]  # type: ignore[misc]
    filler = [asks(call("c", n=n)) for n in range(3)]
    script = [asks(call("a")), asks(call("b")), asks(call("a")), asks(call("b")), *filler, says("done")]
    loop, _ = stage(script, *deeds, Deed("c", lambda _: "x"), max_tokens=4000)
    assert (await loop.run("s", "t")).status == "done"
    assert [len(deed.given) for deed in deeds] == [2, 2], "the model had lost the first results"


async def test_calls_of_one_turn_are_no_round_until_their_results_are_known(stage: Stage) -> None:
    deeds = scene("ab", lambda: lambda _: "fine")
    both = asks(call("a"), call("b"))
    loop, provider = stage([both] * 5, *deeds.values())
    outcome = await loop.run("s", "t")
    assert outcome.status == "failed"
    assert len(provider.heard) == 4


def test_guard_counts_a_call_alone_as_before() -> None:
    guard = RepeatGuard(3)
    for _ in range(2):
        assert guard.check_repeats([call("a")]) == {}
        guard.add_results(["x"])
    assert list(guard.check_repeats([call("a")]) or ()) == ["a"]
    assert guard.check_repeats([call("a")]) is None


STOP = call("stop", name="web")


async def test_denied_call_made_again_ends_the_run_as_denied_with_the_answer_so_far(stage: Stage) -> None:
    ps, stop = Deed("ps", lambda _: "web  up"), Deed("stop", lambda _: "stopped", effect="write")
    script = [asks(call("ps"), text="Looking."), asks(STOP, text="web is up, I stop it."), asks(STOP), says("stopped!")]
    loop, provider = stage(script, ps, stop)
    outcome = await loop.run("s", "stop web")
    assert (outcome.status, outcome.complete, outcome.turns, outcome.denied) == ("denied", False, 3, ("stop",))
    assert outcome.answer == "web is up, I stop it.\n\nFound so far:\n- ps() -> web up"
    assert len(provider.heard) == 3
    assert stop.given == []


async def test_denied_call_in_two_spellings_is_one(stage: Stage) -> None:
    one, other = (
        ToolCall("1", "stop", {"name": "web", "timeout": 5}),
        ToolCall("2", "stop", {"timeout": 5, "name": "web"}),
    )
    loop, _ = stage([asks(one), asks(other)], Deed("stop", lambda _: "", effect="write"))
    assert (await loop.run("s", "t")).status == "denied"


async def test_denied_call_between_reads_is_denied_at_its_third_time_or_second_round(stage: Stage) -> None:
    for reads, turns in ((["ps"] * 9, 5), ([f"ps{n}" for n in range(9)], 5)):
        deeds = [Deed(name, lambda _: "web  up") for name in set(reads)]
        script = [asks(one) for read in reads for one in (STOP, call(read))]
        loop, _ = stage(script, *deeds, Deed("stop", lambda _: "", effect="write"))
        outcome = await loop.run("s", "t")
        assert (outcome.status, outcome.turns) == ("denied", turns)


async def test_another_call_after_a_denial_may_still_succeed(stage: Stage) -> None:
    ps, stop = Deed("ps", lambda _: "web  up"), Deed("stop", lambda _: "", effect="write")
    loop, _ = stage([asks(STOP), asks(call("ps")), says("It may not be stopped.")], ps, stop)
    assert (await loop.run("s", "t")).status == "done"


async def test_same_denied_call_twice_in_one_turn_is_not_yet_a_repeat(stage: Stage) -> None:
    stop = Deed("stop", lambda _: "", effect="write")
    loop, provider = stage([asks(STOP, ToolCall("2", "stop", {"name": "web"})), says("Not allowed.")], stop)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, len(provider.heard)) == ("denied", "Not allowed.", 2)


def test_command_line_ends_with_5_and_keeps_what_was_found(json_run: JsonRun) -> None:
    def ask(name: str, **arguments: object) -> Completion:
        return Completion("On it.", (ToolCall("1", name, arguments),), USED, stop="tool_calls")

    write = ask("write_file", path=".envrc", text="x")
    json_run.run([ask("system_memory"), write, write, answer("written")], "--agent", "system")
    assert (json_run.code, json_run.document["status"], json_run.document["complete"]) == (5, "denied", False)
    assert json_run.document["answer"].startswith("On it.\n\nFound so far:\n- system_memory() -> ")
    assert json_run.document["error"]["hint"] == "to allow it: --allow 'write_file(path=.envrc)'"
    assert "On it." in json_run.err
