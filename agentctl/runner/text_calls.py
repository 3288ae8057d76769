"""Read the tool calls that a model wrote as text, as a server without a parser for its chat template returns them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from agentctl.budget.output_range import repeats_lines
from agentctl.core.messages import Completion, Message, ToolCall, ToolSpec
from agentctl.tools.toolbox import TOOLS, real_name

_TAG = re.compile(r"</?(?:tool_calls?|function_calls?|tools?)>|\[/?TOOL_CALLS\]|<\|(?:/?tool|python)[^<>|]{0,40}\|>")
_FENCE = re.compile(r"^[ \t]*```[ \t]*(?:json|tool_calls?|tool_code)?[ \t]*$", re.MULTILINE)
_BEGIN = re.compile(rf"{_TAG.pattern}|{_FENCE.pattern}|^[ \t]*[\[{{]", re.MULTILINE)
_MARKS = re.compile(rf"(?:{_TAG.pattern}|{_FENCE.pattern}|[\s,;])*", re.MULTILINE)
_NAMED = re.compile(r"<function=([\w.:/-]+)>\s*(\{.*?\})?\s*(?:</function>|\Z)", re.DOTALL)
_NAMES, _ARGUMENTS = ("name", "function", "tool"), ("arguments", "parameters", "args", "input")
_BESIDE = {"type", "id"}


def with_text_calls(answer: Completion, offered: Sequence[ToolSpec], messages: Iterable[Message]) -> Completion:
    """Return an answer whose text holds calls as an answer with these calls and the words before; any other as it is.

    A call is a JSON object with the name of a tool and an object of arguments, alone or in a list: in a Markdown block,
    between a chat template's tags, or at the end of the text. What follows it was written before its result was known.
    Of an endless round of calls, which only the output limit has cut, each is taken once.
    A call that stands in ``messages`` is none: it is quoted from the task or from what a tool returned.
    """
    is_cut = answer.stop == "length" and repeats_lines(answer.text)
    if answer.tool_calls or (answer.stop != "stop" and not is_cut):
        return answer
    names = {tool.name for tool in offered}
    text = _NAMED.sub(_named_call, answer.text)
    for begin in _BEGIN.finditer(text):
        is_marked = begin[0].lstrip()[:1] not in ("{", "[") or begin[0].startswith(("[TOOL", "[/TOOL"))
        calls, end = _read_calls(text, begin.start(), names)
        if calls and (is_marked or is_cut or end == len(text)):
            if _is_quoted(text[begin.start() : end], messages):
                break
            calls = tuple(call for place, call in enumerate(calls) if call not in calls[:place])
            return replace(answer, text=text[: begin.start()].strip(), tool_calls=calls, stop="tool_calls")
    return answer


def _read_calls(text: str, place: int, names: set[str]) -> tuple[tuple[ToolCall, ...], int]:
    """Return the calls that begin at a place of a text, marks aside, and the place where they end."""
    decoder, calls, end = json.JSONDecoder(strict=False), list[ToolCall](), place
    with suppress(ValueError, RecursionError):
        while (begin := _ends_at(_MARKS, text, end)) < len(text):
            value, after = decoder.raw_decode(text, begin)
            calls += [_call(one, names) for one in (value if isinstance(value, list) else (value,))]
            end = _ends_at(_MARKS, text, after)
    return tuple(calls), end


def _ends_at(pattern: re.Pattern[str], text: str, place: int) -> int:
    found = pattern.match(text, place)
    return found.end() if found else place


def _named_call(found: re.Match[str]) -> str:
    return f'<tool_call>{{"name": "{found[1]}", "arguments": {found[2] or "{}"}}}'


def _call(value: object, names: set[str]) -> ToolCall:
    """Return the call that a JSON value describes.

    Raises:
        ValueError: it describes none.
    """
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not value.keys() <= {*_NAMES, *_ARGUMENTS, *_BESIDE}:
        raise ValueError("no call")
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), "")
    arguments = next((value[key] or {} for key in _ARGUMENTS if key in value), None)
    if isinstance(arguments, str):
        arguments = json.loads(arguments, strict=False)
    if real_name(name, names) not in {*names, *TOOLS} or not isinstance(arguments, dict):
        raise ValueError("no call of a tool")
    return ToolCall("", name, arguments)


def _is_quoted(written: str, messages: Iterable[Message]) -> bool:
    """Return whether calls stand in what the user or a tool said, blanks and marks aside."""
    plain = "".join(_FENCE.sub("", _TAG.sub("", written)).split())
    return any(plain in "".join(message.text.split()) for message in messages if message.role in ("user", "tool"))
