"""Calls that a model writes as text, since its server does not read its chat template's: run, not printed."""

from __future__ import annotations

import json

import pytest

from agentctl.budget.output_range import repeats_lines
from agentctl.core.events import ModelAnswered, Noted
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
    "a namespace": '{"name": "functions.list", "arguments": {"path": "src"}}',
    "tags in a block": f"```xml\n<tool_call>\n{LIST}\n</tool_call>\n```",
    "a template's end": f"{LIST}<|im_end|>",
    "OpenAI's whole message": f'{{"tool_calls": [{LIST}]}}',
    "the name as a key": '{"list": {"path": "src"}}',
    "an action": '{"action": "list", "action_input": {"path": "src"}}',
    "Qwen's tags": "<tool_call>\n<function=list>\n<parameter=path>\nsrc\n</parameter>\n</function>\n</tool_call>",
    "Claude's tags": (
        '<function_calls>\n<invoke name="list">\n<parameter name="path">src</parameter>\n</invoke>\n</function_calls>'
    ),
    "GLM's tags": "<tool_call>list\n<arg_key>path</arg_key>\n<arg_value>src</arg_value>\n</tool_call>",
    "DeepSeek's tags": (
        "<\uff5ctool\u2581calls\u2581begin\uff5c><\uff5ctool\u2581call\u2581begin\uff5c>function<\uff5ctool\u2581sep\uff5c>list\n"
        '```json\n{"path": "src"}\n```<\uff5ctool\u2581call\u2581end\uff5c><\uff5ctool\u2581calls\u2581end\uff5c>'
    ),
    "Mistral's new mark": '[TOOL_CALLS]list[ARGS]{"path": "src"}',
    "Kimi's tags": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.list:0<|tool_call_argument_begin|>"
        '{"path": "src"}<|tool_call_end|><|tool_calls_section_end|>'
    ),
    "OpenAI's open models'": (
        '<|channel|>commentary to=functions.list <|constrain|>json<|message|>{"path": "src"}<|call|>'
    ),
    "Cohere's": (
        '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "list", "parameters": {"path": "src"}}]<|END_ACTION|>'
    ),
    "ReAct's": 'Action: list\nAction Input: {"path": "src"}',
    "Python's": 'list(path="src")',
    "Python's, in a list": '[list(path="src")]',
    "DeepSeek's new tags": (
        '<\uff5cDSML\uff5cfunction_calls>\n<\uff5cDSML\uff5cinvoke name="list">\n'
        '<\uff5cDSML\uff5cparameter name="path" string="true">'
        "src</\uff5cDSML\uff5cparameter>\n</\uff5cDSML\uff5cinvoke>\n</\uff5cDSML\uff5cfunction_calls>"
    ),
    "Gemma's tags": '<|tool_call>call:list{path:<|"|>src<|"|>}<tool_call|>',
    "Gemma's tags, with other strings": "<|tool_call>call:list(path: 'src')<tool_call|>",
    "Gemma's, without its tags": "call:list{path:src}",
    "Gemma's, printed": '```tool_code\nprint(list(path="src"))\n```',
    "Phi's": f"functools[{LIST}]",
    "InternLM's": f"<|action_start|><|plugin|>{LIST}<|action_end|>",
    "Nemotron's": f"<TOOLCALL>[{LIST}]</TOOLCALL>",
    "LM Studio's": f"[TOOL_REQUEST]\n{LIST}\n[END_TOOL_REQUEST]",
    "Llama's function, in brackets": '<function(list)>{"path": "src"}</function>',
    "a function with a name": '<function name="list"><parameter name="path">src</parameter></function>',
    "a tag with a name": '<tool_call name="list">{"path": "src"}</tool_call>',
    "a tag for each part": '<tool_use>\n<name>list</name>\n<arguments>{"path": "src"}</arguments>\n</tool_use>',
    "a tag of the tool's name": "<list>\n<path>src</path>\n</list>",
    "another key of the name": '{"function_name": "list", "arguments": {"path": "src"}}',
    "OpenAI's old form": '{"function_call": {"name": "list", "arguments": "{\\"path\\": \\"src\\"}"}}',
    "arguments beside the name": '{"tool": "list", "path": "src"}',
    "Python's, in a block": '```tool_code\nlist("src")\n```',
}
#: Calls that may be examples: the model is told, once.
BESIDE = {
    "words before tags": f"I look.\n<tool_call>\n{LIST}\n</tool_call>",
    "words behind a block": f"```json\n{LIST}\n```\nThis call lists the folder.",
    "an invented result": f"<tool_call>\n{LIST}\n</tool_call>\n<tool_response>\nx y\n</tool_response>\nx, y",
    "words before a bare call": f"I look.\n{LIST}",
    "a thought": 'Thought: I look.\nAction: list\nAction Input: {"path": "src"}',
}
UNREADABLE = {
    "words behind a bare call": f"{LIST}\nThis call lists the folder.",
    "a broken call": '```json\n{"name": "list", "arguments": {"path":\n```',
    "broken tags": '<tool_call>\n{"name": "list", "arguments": {"path":\n</tool_call>',
    "a tag alone": "Sure. <tool_call>",
    "a tool that nobody has": '<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call>',
    "Python's, behind words": 'I look:\n\nlist(path="src")',
    "a cut parameter": '<invoke name="list"><parameter name="path">sr',
}
ANSWERS = {
    "JSON": '{"name": "web", "state": "running"}',
    "the name of something else": '{"name": "web", "arguments": {"port": 80}}',
    "a tool and more": '{"name": "list", "arguments": {}, "result": "a b"}',
    "another tool's tag": "<page>\n<path>src</path>\n</page>",
    "a tool and what it cannot take": '{"tool": "list", "port": 80}',
    "a word and a colon": "call: list the folder",
    "a list of words": '["list", "read"]',
    "words": "use list {path}",
    "a call in a sentence": "I called list(src) and saw nothing (really).",
    "tags in code": "A call begins with `<tool_call>` and ends with `</tool_call>`.",
    "another block": "Run this:\n```sh\nlist src\n```",
    "boxes": "- [x] done\n- [ ] open",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
async def test_call_written_as_text_is_run_and_its_result_answered(stage: Stage, text: str) -> None:
    deed = Deed("list", lambda _: "a b")
    deed.parameters = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    loop, provider = stage([says(text), says("There are a and b.")], deed)
    outcome = await loop.run("s", "What is in src?")
    assert (outcome.status, outcome.answer) == ("done", "There are a and b.")
    assert deed.given == [{"path": "src"}]
    *_, asked, told = provider.heard[1].messages
    assert (asked.text, [one.name for one in asked.tool_calls]) == ("", ["list"])
    assert (told.role, told.text, told.tool_call_id) == ("tool", "a b", asked.tool_calls[0].id)


@pytest.mark.parametrize("text", BESIDE.values(), ids=BESIDE)
async def test_call_beside_words_is_told_once_and_then_taken_if_it_only_reads(
    stage: Stage, diary: Diary, text: str
) -> None:
    deed = Deed("list", lambda _: "a b")
    loop, provider = stage([says(text), says(text), says("There are a and b.")], deed)
    outcome = await loop.run("s", "What is in src?")
    assert (outcome.status, outcome.answer, deed.given) == ("done", "There are a and b.", [{"path": "src"}])
    said, told = provider.heard[1].messages[-2:]
    assert (said.role, said.text) == ("assistant", text)
    assert (told.role, "It was not run" in told.text) == ("user", True)
    assert ["asking it once for a real call" in one.text for one in diary.of(Noted)].count(True) == 1


@pytest.mark.parametrize("text", BESIDE.values(), ids=BESIDE)
async def test_call_beside_words_of_a_tool_that_changes_something_is_never_run(stage: Stage, text: str) -> None:
    deed = Deed("list", lambda _: "a b", effect="write")
    loop, _ = stage([says(text), says(text)], deed, approve="all")
    outcome = await loop.run("s", "What is in src?")
    assert (outcome.status, outcome.complete, outcome.answer, deed.given) == ("failed", False, text, [])
    assert outcome.error is not None
    assert outcome.error.message == "the model wrote a tool call as text in place of an answer"


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
async def test_call_that_cannot_be_read_is_told_once_and_is_no_answer(stage: Stage, text: str) -> None:
    deed = Deed("list", lambda _: "a b")
    loop, provider = stage([says(text), says("Nothing is there.")], deed)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer, deed.given) == ("done", "Nothing is there.", [])
    assert len(provider.heard) == 2
    loop, provider = stage([says(text), says(text)], deed)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.complete, deed.given) == ("failed", False, [])


async def test_call_as_text_behind_results_ends_in_an_answer_from_them(stage: Stage) -> None:
    deed, text = Deed("list", lambda _: "a b"), UNREADABLE["a tag alone"]
    loop, provider = stage([asks(call("list")), says(text), says(text), says("There are a and b.")], deed)
    outcome = await loop.run("s", "t")
    assert (outcome.status, outcome.answer) == ("done", "There are a and b.")
    assert provider.heard[-1].tools == ()


async def test_two_calls_as_text_are_both_run(stage: Stage) -> None:
    deed = Deed("list", lambda given: str(given["path"]))
    text = '<tool_call>\n{"name": "list", "arguments": {"path": "a"}}\n</tool_call>\n<tool_call>\n'
    text += '{"name": "list", "arguments": {"path": "b"}}\n</tool_call>'
    loop, provider = stage([says(text), says("a and b")], deed)
    assert (await loop.run("s", "t")).answer == "a and b"
    asked, *told = provider.heard[1].messages[2:]
    assert [one.arguments for one in asked.tool_calls] == [{"path": "a"}, {"path": "b"}]
    assert [one.text for one in told] == ["a", "b"]
    assert [one.tool_call_id for one in told] == [one.id for one in asked.tool_calls]


async def test_values_in_tags_have_the_types_that_the_tool_wants(stage: Stage) -> None:
    deed = Deed("list", lambda _: "a b")
    types = {"path": "string", "lines": "integer", "all": "boolean", "names": "array"}
    deed.parameters = {"type": "object", "properties": {name: {"type": type} for name, type in types.items()}}
    values = {"path": "5", "lines": "5", "all": "true", "names": '["a"]'}
    tags = "".join(f"<parameter={name}>\n{value}\n</parameter>" for name, value in values.items())
    loop, _ = stage([says(f"<function=list>{tags}</function>"), says("done")], deed)
    await loop.run("s", "t")
    assert deed.given == [{"path": "5", "lines": 5, "all": True, "names": ["a"]}]


async def test_call_of_a_tool_without_arguments_needs_none(stage: Stage) -> None:
    deed = Deed("list", lambda _: "a b")
    loop, _ = stage([says('{"name": "list"}'), says("done")], deed)
    assert ((await loop.run("s", "t")).answer, deed.given) == ("done", [{}])


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
    cut = Completion(LIST, stop="length", usage=USED)
    loop, _ = stage([cut, cut, says("shorter")], deed)  # the second is the retry with more room
    assert (await loop.run("s", "t")).answer == "shorter"
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
