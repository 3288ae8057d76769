"""Calls that a model writes as text, since its server does not read its chat template's: run, not printed."""

from __future__ import annotations

import json

import pytest

from agentctl.budget.output_range import repeats_lines
from agentctl.core.events import ModelAnswered
from agentctl.core.messages import Completion, ToolCall
from tests.support.loop import USED, Deed, Diary, asks, call, says
from tests.unit.runner.loop.conftest import Stage

LIST = '{"name": "list", "arguments": {"path": "src"}}'
WRITTEN = {
    "alone": LIST,
    "a Markdown block": f"```json\n{LIST}\n```",
    "a block without a language": f"```\n{LIST}\n```\n",
    "a block over several lines": '```json\n{\n  "name": "list",\n  "arguments": {\n    "path": "src"\n  }\n}\n```',
    "Hermes' tags": f"<tool_call>\n{LIST}\n</tool_call>",
    "a tag without its end": f"<tool_call>\n{LIST}",
    "Mistral's mark": f"[TOOL_CALLS] [{LIST}]",
    "Llama's function": '<function=list>{"path": "src"}</function>',
    "Llama's parameters": '<|python_tag|>{"type": "function", "name": "list", "parameters": {"path": "src"}}',
    "OpenAI's form": '{"type": "function", "function": {"name": "list", "arguments": "{\\"path\\": \\"src\\"}"}}',
    "a block and words behind it": f"```json\n{LIST}\n```\nThis call lists the folder.",
    "tags and an invented result": f"<tool_call>\n{LIST}\n</tool_call>\n<tool_response>\nx y\n</tool_response>\nx, y",
    "a namespace": '{"name": "functions.list", "arguments": {"path": "src"}}',
}
ANSWERS = {
    "JSON": '{"name": "web", "state": "running"}',
    "the name of something else": '{"name": "web", "arguments": {"port": 80}}',
    "a tool and more": '{"name": "list", "arguments": {}, "result": "a b"}',
    "no arguments": '{"name": "list"}',
    "a bare call and words behind it": f"{LIST}\nThis call lists the folder.",
    "a list of words": '["list", "read"]',
    "a broken call": '```json\n{"name": "list", "arguments": {"path":\n```',
    "words": "use list {path}",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
async def test_call_written_as_text_is_run_and_its_result_answered(stage: Stage, text: str) -> None:
    deed = Deed("list", lambda _: "a b")
    loop, provider = stage([says(text), says("There are a and b.")], deed)
    outcome = await loop.run("s", "What is in src?")
    assert (outcome.status, outcome.answer) == ("done", "There are a and b.")
    assert deed.given == [{"path": "src"}]
    *_, asked, told = provider.heard[1].messages
    assert (asked.text, [one.name for one in asked.tool_calls]) == ("", ["list"])
    assert (told.role, told.text, told.tool_call_id) == ("tool", "a b", asked.tool_calls[0].id)


async def test_calls_after_words_are_run_and_the_words_kept(stage: Stage) -> None:
    deed = Deed("list", lambda given: str(given["path"]))
    text = 'I look at both.\n<tool_call>\n{"name": "list", "arguments": {"path": "a"}}\n</tool_call>\n<tool_call>\n'
    text += '{"name": "list", "arguments": {"path": "b"}}\n</tool_call>'
    loop, provider = stage([says(text), says("a and b")], deed)
    assert (await loop.run("s", "t")).answer == "a and b"
    asked, *told = provider.heard[1].messages[2:]
    assert asked.text == "I look at both."
    assert [one.arguments for one in asked.tool_calls] == [{"path": "a"}, {"path": "b"}]
    assert [one.text for one in told] == ["a", "b"]
    assert [one.tool_call_id for one in told] == [one.id for one in asked.tool_calls]


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
async def test_text_that_is_no_call_stays_the_answer(stage: Stage, text: str) -> None:
    deed = Deed("list", lambda _: "a b")
    loop, _ = stage([says(text)], deed)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, deed.given) == ("done", text, [])


async def test_call_quoted_from_a_file_or_the_task_is_not_run(stage: Stage) -> None:
    quoted = '{"name":"delete",\n"arguments":{"path":"src"}}'
    read, delete = Deed("read", lambda _: f"line 1\n{quoted}"), Deed("delete", lambda _: "deleted", effect="write")
    text = 'The last line is:\n```json\n{"name": "delete", "arguments": {"path": "src"}}\n```'
    loop, _ = stage([asks(call("read")), says(text)], read, delete)
    outcome = await loop.run("s", "Show the last line.")
    assert (outcome.status, outcome.answer, delete.given) == ("done", text, [])
    loop, _ = stage([says(text)], read, delete)
    assert (await loop.run("s", f"Format this: {quoted}")).answer == text
    assert delete.given == []


async def test_call_cut_at_the_output_limit_or_beside_a_real_one_is_not_read(stage: Stage) -> None:
    deed = Deed("list", lambda _: "a b")
    loop, _ = stage([Completion(LIST, stop="length", usage=USED)], deed)
    assert (await loop.run("s", "t")).answer == LIST
    loop, _ = stage([asks(call("list"), text=LIST), says("done")], deed)
    assert (await loop.run("s", "t")).answer == "done"
    assert deed.given == [{}]


async def test_written_call_of_a_tool_that_is_not_offered_is_told_so(stage: Stage) -> None:
    deed = Deed("list", lambda _: "a b")
    loop, provider = stage([says('{"name": "docker_ps", "arguments": {}}'), says("I cannot.")], deed)
    assert (await loop.run("s", "t")).answer == "I cannot."
    assert provider.heard[1].messages[-1].text.startswith('error: there is no tool "docker_ps" here')


async def test_event_has_the_written_call_as_a_call(stage: Stage, diary: Diary) -> None:
    deed = Deed("list", lambda _: "a b")
    loop, _ = stage([says(LIST), says("done")], deed)
    await loop.run("s", "t")
    first = diary.of(ModelAnswered)[0]
    assert (first.text, first.stop, first.tool_calls) == (
        "",
        "tool_calls",
        (ToolCall("call_1_1", "list", {"path": "src"}),),
    )


async def test_marks_inside_an_argument_are_part_of_it(stage: Stage) -> None:
    write = Deed("write", lambda _: "written")
    text = "Use <tool_call> tags:\n```json\n{}\n```\n<|python_tag|>"
    block = f"```json\n{json.dumps({'name': 'write', 'arguments': {'text': text}})}\n```"
    loop, _ = stage([says(block), says("done")], write)
    await loop.run("s", "t")
    assert write.given == [{"text": text}]


async def test_endless_round_of_written_calls_is_run_once_and_asked_for_no_more(stage: Stage) -> None:
    deed = Deed("list", lambda given: str(given["path"]))
    lines = [json.dumps({"name": "list", "arguments": {"path": path}}) for path in "abc" * 9]
    cut = Completion("\n".join(lines) + '\n{"name": "list", "argu', stop="length", usage=USED)
    loop, provider = stage([asks(call("list", path="x")), cut, says("a, b and c")], deed)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, len(provider.heard)) == ("done", "a, b and c", 3)
    assert sorted(str(given["path"]) for given in deed.given) == ["a", "b", "c", "x"]


def test_text_repeats_its_lines_only_if_they_come_three_times_at_its_end() -> None:
    round_ = "first line of a round\nsecond line of a round\n"
    assert repeats_lines(round_ * 3 + "first li")
    assert repeats_lines("words before\n" + round_ * 5 + "first li")
    assert not repeats_lines(round_ * 2 + "first li")
    assert not repeats_lines(round_ * 3 + "and then something else\nand mo")
    assert not repeats_lines("0\n" * 50)
