"""A model that has the answer and goes on calling tools, says nothing, or runs out of turns is asked once to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

import pytest

from agentctl.budget.input_bound import plain_bound
from agentctl.core.errors import (
    ActionDenied,
    AgentctlError,
    ContextOverflow,
    EngineUnavailable,
    ProviderUnavailable,
    Refused,
    ToolError,
)
from agentctl.core.events import ModelAnswered, Noted
from agentctl.core.messages import Completion, Message, Request, ToolCall, ToolSpec
from agentctl.permissions.repeated_reads import AT_HAND, MOVING, ReadHistory, read_key
from agentctl.runner.answer_gate import is_answer, is_refusal
from agentctl.tools.toolbox import TOOLS, toolbox
from tests.support.loop import USED, Deed, Diary, asks, call, fails, says
from tests.unit.runner.loop.conftest import Stage

PS = asks(call("ps"))
LIST = "web  up\ndb   exited"
DONE = says("web is up, db has exited.")
STOP = call("stop", name="web")
CUT = Completion("web is", usage=USED, stop="length")


def ps(text: str = LIST) -> Deed:
    return Deed("ps", lambda _: text)


def moving() -> Callable[[Mapping[str, object]], str]:
    """Return a tool whose value changes with each call."""
    numbers = count()
    return lambda _: f"{next(numbers)} s"


def closing(request: Request) -> bool:
    """Whether a request is the closing form: no tools, a system line and one text."""
    return not request.tools and [message.role for message in request.messages] == ["system", "user"]


async def test_second_repeat_of_a_read_is_asked_for_its_answer_without_tools(stage: Stage, diary: Diary) -> None:
    deed = ps()
    loop, provider = stage([PS, PS, PS, DONE], deed)
    outcome = await loop.run("Be brief.", "Which containers run?")
    assert (outcome.status, outcome.answer, outcome.complete) == ("done", "web is up, db has exited.", True)
    assert (len(deed.given), len(provider.heard), outcome.turns) == (1, 4, 3)
    assert [closing(request) for request in provider.heard] == [False, False, False, True]
    form = provider.heard[-1].messages[1].text
    assert form.startswith(f"Task: Which containers run?\n\nps() returned:\n{LIST}\n\n")
    assert form.count(LIST) == 1
    assert "Be brief." not in form
    assert diary.of(Noted)[0].text.startswith(
        "ps was called again although its result is at hand: asking for an answer"
    )
    assert diary.of(ModelAnswered)[-1] == ModelAnswered(3, DONE.text, (), "stop", None)


async def test_first_repeat_gets_the_stored_result_and_a_line(stage: Stage) -> None:
    deed = Deed("ps", moving())
    loop, provider = stage([PS, PS, says("0 s")], deed)
    outcome = await loop.run("s", "t")
    assert (outcome.status, len(deed.given)) == ("done", 1)
    assert provider.heard[-1].messages[-1].text == f"0 s\n\n{AT_HAND}"
    assert outcome.tools[0].calls == 2


SCHEMA = {"type": "object", "properties": {"all": {"default": False}, "name": {"default": "web"}, "last": {}}}
SPELLINGS: tuple[tuple[dict[str, object], ...], ...] = (
    ({}, {"all": False}, {"name": "web", "all": False}),
    ({"all": True, "name": "db"}, {"name": "db", "all": True}, {"name": "db", "all": True, "last": None}),
)


@pytest.mark.parametrize("spellings", SPELLINGS, ids=["defaults", "order"])
async def test_spellings_of_one_call_are_one(stage: Stage, spellings: tuple[dict[str, object], ...]) -> None:
    deed = Deed("ps", lambda _: LIST, parameters=SCHEMA)
    loop, provider = stage([*(asks(ToolCall("1", "ps", given)) for given in spellings), DONE], deed)
    assert (await loop.run("s", "t")).status == "done"
    assert (len(deed.given), len(provider.heard)) == (1, 4)
    assert provider.heard[-1].messages[1].text.count(" returned:\n") == 1


REAL: dict[str, tuple[dict[str, object], ...]] = {
    "list_files": ({}, {"path": "."}, {"path": "", "recursive": True}, {"kind": "file", "pattern": "*"}),
    "read_file": ({"path": "app.log"}, {"path": "./app.log"}, {"path": "app.log", "last": None}),
    "system_disks": ({}, {"path": ""}),
    "system_processes": ({}, {"sort": "cpu", "limit": 10}, {"limit": "10"}),
}


@pytest.mark.parametrize("name", REAL)
async def test_spellings_of_one_call_of_a_real_tool_are_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "app.log").touch()
    tool = toolbox(workspace=tmp_path, names=[name]).get(name)
    keys = [read_key(ToolCall("1", name, await tool.prepare(given)), tool) for given in REAL[name]]
    assert len(set(keys)) == 1


async def test_other_arguments_are_another_call(stage: Stage) -> None:
    deed = Deed("ps", lambda _: LIST, parameters=SCHEMA)
    script = [asks(call("ps", all=value)) for value in (False, True, "no", 0)]
    loop, provider = stage([*script, DONE], deed)
    assert (await loop.run("s", "t")).status == "done"
    assert len(deed.given) == 4
    assert all(request.tools for request in provider.heard)


@pytest.mark.parametrize("names", ["aba", "abab", "abcabc", "aabb"])
async def test_rounds_of_reads_end_with_an_answer(stage: Stage, names: str) -> None:
    deeds = [Deed(name, lambda _: "fine") for name in "abc"]
    loop, provider = stage([*(asks(call(name)) for name in f"{names}{names}"[: len(names) + 1]), DONE], *deeds)
    script = [request for request in provider.heard if not request.tools]
    outcome = await loop.run("s", "t")
    assert outcome.status == "done"
    assert script == []
    assert sum(len(deed.given) for deed in deeds) == len(set(names))


@pytest.mark.parametrize("name", sorted(MOVING))
async def test_value_that_moves_is_looked_up_again_and_repeated_only_if_it_stayed(stage: Stage, name: str) -> None:
    still, moves = Deed(name, lambda _: "0.1"), Deed(name, moving())
    loop, provider = stage([asks(call(name))] * 3 + [DONE], still)
    assert (await loop.run("s", "t")).status == "done"
    assert (len(still.given), closing(provider.heard[-1])) == (3, True)
    loop, provider = stage([asks(call(name)), asks(call(name)), says("1 s")], moves)
    assert (await loop.run("s", "t")).answer == "1 s"
    assert (len(moves.given), provider.heard[-1].messages[-1].text) == (2, "1 s")


async def test_shell_command_with_the_same_output_is_a_repeat_though_it_may_change_things(stage: Stage) -> None:
    shell = Deed("run_shell", lambda _: "40 app.log", effect="write", contained=True)
    loop, provider = stage([asks(call("run_shell", command="wc -l app.log"))] * 3 + [says("40")], shell)
    assert ((await loop.run("s", "t")).answer, len(shell.given), closing(provider.heard[-1])) == ("40", 3, True)


def test_moving_tools_are_tools() -> None:
    assert set(TOOLS) >= MOVING


# --- a model that checks its work is left alone


def acting(name: str = "restart") -> Deed:
    return Deed(name, lambda _: "done", effect="write", contained=True)


async def assert_untouched(stage: Stage, script: list[Completion], *deeds: Deed, **more: int) -> None:
    """Every call reaches its tool, and no request is a closing form."""
    loop, provider = stage([*script, DONE], *deeds, **more)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer) == ("done", DONE.text)
    assert sum(len(deed.given) for deed in deeds) == sum(len(turn.tool_calls) for turn in script)
    assert len(provider.heard) == len(script) + 1
    assert not any(closing(request) for request in provider.heard)


async def test_change_and_a_look_after_it(stage: Stage) -> None:
    restart = asks(call("restart"))
    await assert_untouched(stage, [PS, restart, PS, asks(call("restart", again=1)), PS], ps(), acting())


async def test_waiting_after_a_change_sees_new_values(stage: Stage) -> None:
    deed = Deed("ps", moving())
    await assert_untouched(stage, [PS, asks(call("restart")), PS, PS], deed, acting())


async def test_wait_after_a_change_that_shows_nothing_new_ends_with_an_answer(stage: Stage) -> None:
    deed = ps()
    loop, provider = stage([asks(call("restart")), PS, PS, PS, DONE], deed, acting())
    assert (await loop.run("s", "t")).status == "done"
    assert (len(deed.given), closing(provider.heard[-1])) == (3, True)


async def test_edit_and_test_again(stage: Stage) -> None:
    test = asks(call("run_shell", command="pytest"))
    script = [turn for n in range(4) for turn in (asks(call("write", text=f"v{n}")), test)]
    shell = Deed("run_shell", lambda _: "exit code: 1\n1 failed", effect="write", contained=True)
    await assert_untouched(stage, script, acting("write"), shell)


async def test_command_between_two_reads(stage: Stage) -> None:
    reads = [turn for n in range(4) for turn in (PS, asks(call("run_shell", command=f"step {n}")))]
    await assert_untouched(stage, reads, ps(), acting("run_shell"))


async def test_result_that_was_pruned_and_is_read_again(stage: Stage) -> None:
    texts = {name: f"{name} holds " + "words " * 1500 for name in "ab"}
    deeds = [Deed(name, lambda _, text=text: text) for name, text in texts.items()]  # type: ignore[misc]
    script = [asks(call(name)) for name in "abab"]
    await assert_untouched(stage, script, *deeds, max_tokens=4000)


async def test_poll_of_a_moving_value(stage: Stage) -> None:
    logs = Deed("docker_logs", moving())
    script = [turn for n in range(4) for turn in (asks(call("docker_logs", name="web")), asks(call("ps", n=n)))]
    await assert_untouched(stage, script[:5], logs, ps())


async def test_moving_value_asked_for_three_times_in_a_row_is_warned_about_as_before(stage: Stage) -> None:
    logs = Deed("docker_logs", moving())
    loop, provider = stage([asks(call("docker_logs"))] * 3 + [DONE], logs)
    assert (await loop.run("s", "t")).status == "done"
    assert len(logs.given) == 2
    assert (
        "not run: docker_logs was called with these arguments 3 times in a row" in provider.heard[-1].messages[-1].text
    )


async def test_result_that_was_cut_is_no_result_at_hand(stage: Stage) -> None:
    deed = ps("line of a log\n" * 600)
    loop, provider = stage([PS, PS, DONE], deed, result_tokens=300)
    assert (await loop.run("s", "t")).status == "done"
    assert len(deed.given) == 2
    assert AT_HAND not in provider.heard[-1].messages[-1].text


async def test_failing_read_may_be_tried_again(stage: Stage) -> None:
    deed = Deed("ps", fails(ToolError("busy")))
    loop, _ = stage([PS, PS, DONE], deed)
    assert (await loop.run("s", "t")).status == "done"
    assert len(deed.given) == 2


async def test_parallel_calls_with_something_new_among_them_go_on(stage: Stage) -> None:
    deed, other = ps(), Deed("logs", lambda given: f"log {given['n']}")
    script = [asks(call("ps"), call("logs", n=n)) for n in range(4)]
    loop, provider = stage([*script, DONE], deed, other)
    assert (await loop.run("s", "t")).status == "done"
    assert (len(deed.given), len(other.given), len(provider.heard)) == (1, 4, 5)


async def test_parallel_calls_without_anything_new_end_with_an_answer(stage: Stage) -> None:
    deed, other = ps(), Deed("logs", lambda _: "log")
    loop, provider = stage([asks(call("ps"), call("logs"))] * 3 + [DONE], deed, other)
    assert (await loop.run("s", "t")).status == "done"
    assert (len(deed.given), len(other.given)) == (1, 1)
    assert provider.heard[-1].messages[1].text.count(" returned:\n") == 2


async def test_same_read_twice_in_one_turn_is_no_repeat(stage: Stage) -> None:
    deed = ps()
    twice = asks(call("ps", "1"), call("ps", "2"))
    loop, provider = stage([twice, DONE], deed)
    assert (await loop.run("s", "t")).status == "done"
    assert AT_HAND not in "".join(message.text for message in provider.heard[-1].messages)


async def test_raised_limit_of_identical_calls_lets_a_model_poll(stage: Stage) -> None:
    await assert_untouched(stage, [PS] * 5, ps(), identical_calls=7)


async def test_provider_that_is_no_language_model_is_never_asked(stage: Stage) -> None:
    loop, provider = stage([asks(call("ps"), call("ps", "2"))], ps(), metered=False)
    assert ((await loop.run("s", "t")).answer, len(provider.heard)) == (f"{LIST}\n\n{LIST}", 1)


# --- the turn limit, and an empty answer


async def test_turn_limit_keeps_the_answer_as_partial(stage: Stage) -> None:
    loop, provider = stage([asks(call("ps", n=n)) for n in range(3)] + [DONE], ps(), max_turns=3)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, outcome.complete, outcome.turns) == ("failed", DONE.text, False, 3)
    assert str(outcome.error) == "no answer after 3 turns"
    assert closing(provider.heard[-1])


@pytest.mark.parametrize("stop", ["stop", "length", "tool_calls"])
async def test_empty_answer_after_a_result_is_asked_for_once(stage: Stage, stop: str) -> None:
    empty = Completion("  \n", usage=USED, stop=stop)  # type: ignore[arg-type]
    tries = [empty] * 2 if stop == "length" else [empty]  # an answer that was cut is asked for again
    loop, provider = stage([PS, *tries, DONE], ps())
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, outcome.complete) == ("done", DONE.text, True)
    assert closing(provider.heard[-1])


async def test_empty_answer_after_failures_only_is_a_failure(stage: Stage) -> None:
    loop, provider = stage([PS, says("")], Deed("ps", fails(ToolError("no"))))
    outcome = await loop.run("s", "t")
    assert (str(outcome.error), len(provider.heard)) == ("the model gave an empty answer", 2)


# --- no answer even then

NO_ANSWERS: dict[str, list[object]] = {
    "a tool call": [asks(call("ps"))],
    "words and a tool call": [asks(call("ps"), text="Let me look.")],
    "a call as text": [says('{"name": "ps", "arguments": {}}')],
    "a refusal": [says("I'm sorry, but I can't assist with that.")],
    "a refusal by the filter": [Completion("No.", usage=USED, stop="refusal")],
    "refused by the provider": [Refused("filtered", billed="no")],
    "empty": [says(" \n")],
    "thoughts only": [says("<think>the list is there</think>\n")],
}
TRIGGERS: dict[str, tuple[list[Completion], str]] = {
    "repeat": ([PS, PS, PS], "ps was called repeatedly with the same arguments"),
    "empty": ([PS, says("")], "the model gave an empty answer"),
    "turns": ([PS, asks(call("ps", n=1)), asks(call("ps", n=2)), asks(call("ps", n=3))], "no answer after 4 turns"),
}


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("last", NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_closing_form_without_an_answer_leaves_the_last_result(
    stage: Stage, trigger: str, last: list[object]
) -> None:
    script, why = TRIGGERS[trigger]
    loop, provider = stage([*script, *last, says("never")], ps(), max_turns=4)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.complete) == ("failed", False)
    assert (str(outcome.error), outcome.answer) == (why, f"Results so far:\n{LIST}")
    assert len(provider.heard) == len(script) + 1, "once a run"


async def test_answer_that_was_cut_off_stands_before_the_last_result(stage: Stage) -> None:
    loop, _ = stage([PS, PS, PS, CUT, CUT], ps())
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer) == ("failed", f"web is\n\nResults so far:\n{LIST}")


async def test_call_as_text_after_failures_only_is_shown_nowhere(stage: Stage) -> None:
    loop, provider = stage(
        [PS, says('{"name": "ps", "arguments": {}}')], Deed("ps", fails(ToolError("no"))), max_turns=1
    )
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, len(provider.heard)) == ("failed", "", 2)


async def test_form_has_failures_and_denials_but_no_call_that_was_refused(stage: Stage) -> None:
    bad, logs = Deed("bad", fails(ToolError("no such file"))), Deed("docker_logs", moving())
    script = [asks(call("bad")), asks(STOP), *[asks(call("docker_logs"))] * 3, says(""), DONE]
    loop, provider = stage(script, bad, logs, Deed("stop", lambda _: "", effect="write"))
    await loop.run("s", "t")
    form = provider.heard[-1].messages[1].text
    assert "bad() returned:\nerror: no such file\n" in form
    assert 'stop(name="web") returned:\ndenied: stop needs approval' in form
    assert "docker_logs() returned:\n1 s" in form
    assert "not run" not in form


async def test_last_result_is_the_last_good_one(stage: Stage) -> None:
    script = [asks(call("ps"), text="Looking."), asks(call("bad")), says(""), says("")]
    loop, _ = stage(script, ps(), Deed("bad", fails(ToolError("no"))))
    assert (await loop.run("s", "t")).answer == f"Looking.\n\nResults so far:\n{LIST}"


# --- denials, trips and failures

DENIED: dict[str, list[Completion]] = {
    "repeats": [PS, asks(STOP), PS, PS],
    "empty": [PS, asks(STOP), says("")],
    "turns": [PS, asks(STOP), asks(call("bad")), asks(call("bad", n=1))],
    "beside a repeat": [PS, PS, asks(STOP), asks(call("ps", "2"))],
}


@pytest.mark.parametrize("last", [DONE, says("")], ids=["answer", "no answer"])
@pytest.mark.parametrize("script", DENIED.values(), ids=DENIED)
async def test_denied_call_without_a_success_after_it_is_denied_whatever_is_said(
    stage: Stage, script: list[Completion], last: Completion
) -> None:
    stop, bad = Deed("stop", lambda _: "", effect="write"), Deed("bad", fails(ToolError("no")))
    loop, provider = stage([*script, last], ps(), stop, bad, max_turns=4)
    outcome = await loop.run("s", "stop web")
    assert (outcome.status, outcome.complete, closing(provider.heard[-1])) == ("denied", False, True)
    assert isinstance(outcome.error, ActionDenied)
    assert outcome.answer == (DONE.text if last is DONE else f"Results so far:\n{LIST}")


async def test_denied_call_before_a_success_does_not_count(stage: Stage) -> None:
    stop = Deed("stop", lambda _: "", effect="write")
    loop, _ = stage([asks(STOP), PS, PS, PS, DONE], ps(), stop)
    assert (await loop.run("s", "stop web")).status == "done"


async def test_repeat_after_a_missing_engine_is_no_failure(stage: Stage) -> None:
    gone = Deed("logs", fails(EngineUnavailable("no such container")))
    loop, _ = stage([PS, asks(call("logs")), PS, says("There is no such container.")], ps(), gone)
    assert (await loop.run("s", "t")).status == "done"


@pytest.mark.parametrize(
    ("trigger", "status"), [("repeat", "unavailable"), ("empty", "unavailable"), ("turns", "failed")]
)
async def test_provider_that_fails_at_the_closing_form(stage: Stage, trigger: str, status: str) -> None:
    script, why = TRIGGERS[trigger]
    loop, _ = stage([*script, ProviderUnavailable("no route", billed="no")], ps(), max_turns=4)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.complete) == (status, False)
    assert LIST.splitlines()[0] in outcome.answer
    if status == "failed":
        assert str(outcome.error) == why


async def test_closing_form_that_is_too_long_for_the_server_is_asked_again_shorter(stage: Stage) -> None:
    too_long = ContextOverflow("too long", billed="no", window=900)
    deed = ps("a line of a table\n" * 400)
    loop, provider = stage([PS, PS, PS, too_long, DONE], deed)
    assert (await loop.run("s", "t")).status == "done"
    first, second = (plain_bound(request) for request in provider.heard[-2:])
    assert second < first


async def test_interrupted_closing_form_keeps_what_was_said(stage: Stage) -> None:
    def stopped(request: Request) -> Completion:
        raise AgentctlError("stopped")

    loop, _ = stage([asks(call("ps"), text="Looking."), PS, PS, stopped], ps())
    assert (await loop.run("s", "t")).answer == "Looking."


# --- what is a call, what is a refusal

CALLS = (
    '{"name": "ps", "arguments": {"all": true}}',
    '[{"name": "ps", "arguments": {}}]',
    '{"function": {"name": "ps", "arguments": "{}"}}',
    '{"tool": "ps", "args": {}}',
    '{"name": "ps", "arguments": {"all": true}',
    '```json\n{"name": "ps", "parameters": {}}\n```',
    "I need to look again.\n\n```\nps(all=true)\n```",
    "ps(all=true)",
    "functions.ps()",
    "`ps()`",
    'I will call it.\n{"name": "ps", "arguments": {}}',
    '<tool_call>\n{"name": "ps"}\n</tool_call>',
    "<function=ps></function>",
    "<|tool_call|>ps",
    "[TOOL_CALLS] ps {}",
    '{"name": "docker_ps", "arguments": {}}',
    "docker_ps(all=true)",
)
NO_CALLS = (
    "Two containers: web and db.",
    '{"name": "web", "status": "up"}',
    '[{"name": "web"}, {"name": "db"}]',
    "[]",
    "{}",
    "Run docker_ps(all=true) to see all.",
    "ps shows (as always) two containers.",
    "memory (512 MB)",
    "web (up)",
    '{"web": {"state": "up"}}',
    "The log holds:\n\n```\nERROR in main()\n```",
)
REFUSALS = (
    "I'm sorry, but I can't assist with that.",
    "I\u2019m sorry, I can\u2019t help with that request.",
    "I cannot comply.",
    "Sorry, but I am unable to answer this.",
    "Unfortunately, I cannot provide that.",
    "I apologize, but I won't continue.",
    "As an AI language model, I cannot assist with this.",
)
NO_REFUSALS = (
    "I can't find web: only db runs.",
    "Sorry state of affairs: 40 errors.",
    "The log says: I cannot help.",
    "web cannot answer on port 80.",
)


OFFERED = tuple(ToolSpec(name, "", {}) for name in ("ps", "logs"))


@pytest.mark.parametrize("text", [*CALLS, *REFUSALS])
def test_call_as_text_and_refusal_are_no_answers(text: str) -> None:
    assert not is_answer(says(text), OFFERED, ())


@pytest.mark.parametrize("text", [*NO_CALLS, *NO_REFUSALS])
def test_other_text_is_an_answer(text: str) -> None:
    assert is_answer(says(text), OFFERED, ())


def test_call_that_a_result_holds_is_quoted() -> None:
    found = Message("tool", 'logged {"name": "ps", "arguments": {}}', tool_call_id="1")
    assert is_answer(says('{"name": "ps", "arguments": {}}'), OFFERED, (found,))


@pytest.mark.parametrize("text", REFUSALS)
def test_refusal_is_recognized(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize("text", [*NO_REFUSALS, *NO_CALLS])
def test_answer_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)


def test_history_forgets_a_result_that_left_the_conversation() -> None:
    history, deed, one = ReadHistory(3), ps(), call("ps")
    message = Message("tool", LIST, tool_call_id="ps")
    history.begin_turn([one], ())
    assert history.look_up(one, one, deed) is None
    history.record("ps", LIST, message)
    assert history.begin_turn([one], (message,)) == {"ps": True}
    assert history.look_up(one, one, deed) == LIST
    assert history.begin_turn([one], (Message("tool", LIST, tool_call_id="ps"),)) == {}
    assert history.look_up(one, one, deed) is None


LOOK = Deed(
    "docker_ps",
    lambda _: "name  status\nbackup  Exited (3) 2 minutes ago\nweb  Up 2 minutes",
    parameters={"type": "object"},
)


@pytest.mark.parametrize(
    "text",
    [
        "The command to list all containers is `docker_ps --all`.",
        "To list all containers, you can use the `docker_ps` function with the `all` parameter set to `true`.",
    ],
)
async def test_answer_that_says_how_to_look_is_asked_again_from_the_results(
    stage: Stage, diary: Diary, text: str
) -> None:
    loop, provider = stage([asks(call("docker_ps")), says(text), says("backup has exited, web is up.")], LOOK)
    outcome = await loop.run("s", "List all containers")
    assert (outcome.status, outcome.answer) == ("done", "backup has exited, web is up.")
    assert closing(provider.heard[-1])
    assert "the answer names a tool, but nothing that it returned" in diary.of(Noted)[0].text


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("List all containers", "docker_ps shows two: backup has exited, web is up."),
        ("List all containers", "I looked with docker_ps: one exited with 3."),
        ("What does docker_ps do?", "docker_ps lists containers."),
        ("List all containers", "I cannot see any."),
    ],
)
async def test_answer_that_tells_what_was_seen_or_asked_is_kept(stage: Stage, task: str, text: str) -> None:
    loop, provider = stage([asks(call("docker_ps")), says(text)], LOOK)
    outcome = await loop.run("s", task)
    assert (outcome.status, outcome.answer, len(provider.heard)) == ("done", text, 2)


async def test_answer_that_names_a_tool_before_any_look_or_after_a_failure_is_kept(stage: Stage) -> None:
    loop, _ = stage([says("I can look with docker_ps.")], LOOK)
    assert (await loop.run("s", "What can you do?")).answer == "I can look with docker_ps."
    broken = Deed("docker_ps", fails(ToolError("the engine does not answer")))
    loop, _ = stage([asks(call("docker_ps")), says("docker_ps does not work.")], broken)
    assert (await loop.run("s", "List all containers")).answer == "docker_ps does not work."
