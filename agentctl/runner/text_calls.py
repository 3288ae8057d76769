"""Read the tool calls that a model wrote as text, as a server without a parser for its chat template returns them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from agentctl.core.messages import Completion, Message, ToolCall, ToolSpec
from agentctl.tools.toolbox import TOOLS, real_name

_TAG = re.compile(r"</?(?:tool_calls?|function_calls?|tools?)>|\[/?TOOL_CALLS\]|<\|(?:/?tool|python)[^<>|]{0,40}\|>")
_FENCE = re.compile(r"^[ \t]*```[ \t]*(?:json|tool_calls?|tool_code)?[ \t]*$", re.MULTILINE)
_BEGIN = re.compile(rf"{_TAG.pattern}|{_FENCE.pattern}|^[ \t]*[\[{{]", re.MULTILINE)
_NAMED = re.compile(r"<function=([\w.:/-]+)>\s*(\{.*?\})?\s*(?:</function>|\Z)", re.DOTALL)
_NAMES, _ARGUMENTS = ("name", "function", "tool"), ("arguments", "parameters", "args", "input")
_BESIDE = {"type", "id"}


def with_text_calls(answer: Completion, offered: Sequence[ToolSpec], messages: Iterable[Message]) -> Completion:
    """Return an answer whose text ends with calls as an answer with these calls; any other as it is.

    A call is a JSON object with the name of a tool and an object of arguments: alone, in a list, in a Markdown block or
    between a chat template's tags. A text with anything behind its last call is an answer, and so is one whose calls
    stand in ``messages``: they are quoted from the task or from what a tool returned.
    """
    if answer.tool_calls or answer.stop != "stop":
        return answer
    names = {tool.name for tool in offered}
    text = _NAMED.sub(
        lambda found: f'<tool_call>{{"name": "{found[1]}", "arguments": {found[2] or "{}"}}}', answer.text
    )
    for begin in _BEGIN.finditer(text):
        written = _FENCE.sub(" ", _TAG.sub(" ", text[begin.start() :]))
        with suppress(ValueError, RecursionError):
            calls = tuple(_call(value, names) for value in _values(written))
            if not calls or _is_quoted(written, messages):
                break
            return replace(answer, text=text[: begin.start()].strip(), tool_calls=calls, stop="tool_calls")
    return answer


def _named_call(found: re.Match[str]) -> str:
    return f'<tool_call>{{"name": "{found[1]}", "arguments": {found[2] or "{}"}}}'


def _values(text: str) -> Iterator[object]:
    """Yield the JSON values of a text one after another, the items of a list each.

    Raises:
        ValueError: something in it is no JSON.
    """
    decoder, place = json.JSONDecoder(strict=False), 0
    while (rest := text[place:].lstrip(" \t\r\n,;")) != "":
        value, end = decoder.raw_decode(rest)
        place = len(text) - len(rest) + end
        yield from value if isinstance(value, list) else (value,)


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
    """Return whether a text stands in what the user or a tool said, blanks aside."""
    plain = "".join(written.split())
    return any(plain in "".join(message.text.split()) for message in messages if message.role in ("user", "tool"))
