"""Read the tool calls that a model wrote as text, as a server without a parser for its chat template returns them.

Such text is no answer. A call that stands alone is taken as the call; beside other words it may be an example, and the
model is told. What stands in the task or in what a tool returned is quoted, and part of an answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from agentctl.budget.output_range import repeats_lines
from agentctl.core.errors import TaskFailed
from agentctl.core.events import Emit, Noted
from agentctl.core.messages import Completion, Message, ToolCall, ToolSpec
from agentctl.runner.call_templates import FENCE, NAME, rewrite_calls, value_of
from agentctl.tools.toolbox import TOOLS, real_name

_TAG = re.compile(
    r"</?(?:\w+:)?(?:tool_calls?|function_calls?|tools?)>|\[/?TOOL_CALLS\]|<\|(?:/?tool|python)[^<>|]{0,40}\|>"
    r"|</?TOOLCALL>|\[(?:END_)?TOOL_REQUEST\]|functools(?=\[\s*\{)|<\|(?:action_(?:start|end)|plugin)\|>"
    r"|<\|(?:START|END)_ACTION\|>|<\uff5ctool▁calls▁(?:begin|end)\uff5c>|<\|(?:im_end|eom_id|eot_id|call|end)\|>|</s>"
)
_BEGIN = re.compile(rf"{_TAG.pattern}|{FENCE.pattern}|^[ \t]*[\[{{]", re.MULTILINE)
_MARKS = re.compile(rf"(?:{_TAG.pattern}|{FENCE.pattern}|[\s,;])*", re.MULTILINE)
_NAMES = ("name", "function", "tool", "tool_name", "function_name", "action")
_ARGUMENTS = ("arguments", "parameters", "args", "input", "action_input")
_BESIDE = {"type", "id", "tool_call_id"}
_MARKUP = re.compile(
    r"<\|?/?(?:\w+:)?(?:tool_?calls?\b|function_?calls?\b|function=|invoke name=)|\[TOOL_CALLS\]|<\|python_tag\|>"
    r"|<\uff5c(?:tool▁|DSML)|<\|tool_call|<\|channel\|>commentary to=|<\|START_ACTION\|>"
    r"|<TOOLCALL>|\[TOOL_REQUEST\]|<tool_use>|functools\[|<\|action_start\|>",
    re.IGNORECASE,
)
FENCED = re.compile(r"```\w*\n(.*?)\n?```", re.DOTALL)
_WRITTEN_CALL = re.compile(rf"{NAME}\s*\((.*)\)\s*;?", re.DOTALL)
_CONSTANTS: Mapping[str, object] = {"true": True, "false": False, "null": None, "none": None}
_MOST_PYTHON = 20_000  # characters of a call in Python's form
_TOLD = (
    "Your last message has a tool call as text ({flaw}). It was not run. To call a tool, use the tool calling of this "
    "API, or write the call alone, with nothing else. To answer the task, write the answer without a call."
)


class TextCallGuard:
    """Takes the calls in the text of a run's answers as calls, or says why not: ``flaw``, "" without any.

    Once the model was told, calls that need no approval are taken beside other words, too: some models always add some.
    ``told`` is what an earlier part of the run has told it.
    """

    def __init__(self, emit: Emit, unasked_tools: Callable[[], Collection[str]], told: Sequence[str] = ()) -> None:
        self._emit, self._unasked_tools = emit, unasked_tools
        self._is_told = any(said.startswith(_TOLD.partition("{")[0]) for said in told)
        self.flaw = ""

    async def read(self, answer: Completion, offered: Sequence[ToolSpec], messages: Iterable[Message]) -> Completion:
        """Return an answer, with the calls in its text as calls."""
        beside = self._unasked_tools() if self._is_told else ()
        found = read_text_calls(answer, offered, messages, beside=beside)
        self.flaw = found.flaw
        if found.answer.tool_calls and not answer.tool_calls:
            names = ", ".join(call.name for call in found.answer.tool_calls)
            await self._emit(Noted(f"the model wrote its call of {names} as text: taken as the call", "detail"))
        return found.answer

    async def tell(self) -> Message:
        """Return what tells the model that its call was not run, the first time.

        Raises:
            TaskFailed: it was told before.
        """
        if self._is_told:
            raise TaskFailed(
                "the model wrote a tool call as text in place of an answer",
                hint="choose a model and a server that can call tools: agentctl providers test",
            )
        self._is_told = True
        await self._emit(Noted(f"the model wrote a tool call as text ({self.flaw}): asking it once for a real call"))
        return Message("user", _TOLD.format(flaw=self.flaw))


class TextCalls(NamedTuple):
    """An answer, with the calls in its text as calls; ``flaw`` says why they must not be run, "" without any."""

    answer: Completion
    flaw: str = ""


def read_text_calls(
    answer: Completion,
    offered: Sequence[ToolSpec],
    messages: Iterable[Message],
    *,
    beside: Collection[str] = (),
) -> TextCalls:
    """Return an answer whose text is a call, or several, as an answer with these calls; any other as it is.

    A call is a JSON object with the name of a tool and an object of arguments, alone or in a list, in a Markdown block
    or between a chat template's tags; or one of the forms of other templates. Those of the tools ``beside`` are taken
    beside other words, too. Of an endless round of calls, which only the output limit has cut, each is taken once.
    """
    text, is_cut = answer.text, answer.stop == "length"
    if answer.tool_calls or answer.stop not in ("stop", "tool_calls", "length") or not text.strip():
        return TextCalls(answer)
    quotes = _Quotes(messages)
    specs = {tool.name: tool for tool in offered}
    plain = rewrite_calls(text, specs, quotes.have)
    is_round = is_cut and repeats_lines(text)
    tried = -1
    for begin in _BEGIN.finditer(plain):
        if begin.start() <= tried:
            continue
        is_marked = begin[0].lstrip()[:1] not in ("{", "[") or begin[0].startswith(("[TOOL", "[/TOOL"))
        alone = not plain[: begin.start()].strip()
        calls, end = _read_calls(plain, begin.start(), specs, alone=alone)
        if not calls:
            tried = end  # the marks in between lead there, too
            continue
        if quotes.have(plain[begin.start() : end]):
            return TextCalls(answer)
        is_last = end == len(plain)
        if not (is_marked or is_last or is_round or any(real_name(call.name, specs) in specs for call in calls)):
            continue
        calls = tuple(call for place, call in enumerate(calls) if call not in calls[:place])
        taken = replace(answer, text=plain[: begin.start()].strip(), tool_calls=calls, stop="tool_calls")
        if is_round or (alone and is_last and not is_cut):
            return TextCalls(taken)
        if is_cut:
            return TextCalls(answer, "cut at the output limit")
        may_be_beside = (is_marked or is_last) and all(real_name(call.name, specs) in beside for call in calls)
        return TextCalls(taken) if may_be_beside else TextCalls(answer, "beside other words")
    if calls := () if is_cut else _tagged_calls(text, specs, quotes):
        return TextCalls(replace(answer, text="", tool_calls=calls, stop="tool_calls"))
    if calls := _python_calls(text, specs):
        if quotes.have(text):
            return TextCalls(answer)
        return TextCalls(replace(answer, text="", tool_calls=calls, stop="tool_calls"))
    return TextCalls(answer, _flaw_of(text, specs, quotes, is_cut=is_cut))


class _Quotes:
    """What the user and the tools said, without blanks and marks."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._messages, self._texts = messages, list[str]()
        self._is_read = False

    def have(self, written: str) -> bool:
        """Return whether calls stand in it."""
        if not self._is_read:
            said = (message.text for message in self._messages if message.role in ("user", "tool"))
            self._texts, self._is_read = ["".join(text.split()) for text in said], True
        plain = "".join(FENCE.sub("", _TAG.sub("", written)).split()) or "".join(written.split())
        return any(plain in text for text in self._texts)


def _read_calls(
    text: str, place: int, specs: Mapping[str, ToolSpec], *, alone: bool
) -> tuple[tuple[ToolCall, ...], int]:
    """Return the calls that begin at a place of a text, marks aside, and the place where they end."""
    decoder, calls, end = json.JSONDecoder(strict=False), list[ToolCall](), _ends_at(_MARKS, text, place)
    with suppress(ValueError, RecursionError):
        while end < len(text):
            value, after = decoder.raw_decode(text, end)
            after = _ends_at(_MARKS, text, after)
            is_whole = alone and not calls and after == len(text)
            calls += [call for one in _each(value) for call in _calls_of(one, specs, is_whole=is_whole)]
            end = after
    return tuple(calls), end


def _each(value: object) -> Iterator[object]:
    """Yield the parts of a JSON value that may be a call each."""
    if isinstance(value, dict) and value.keys() <= {"tool_calls", "role", "content"} and "tool_calls" in value:
        value = value["tool_calls"]
    yield from value if isinstance(value, list) else (value,)


def _ends_at(pattern: re.Pattern[str], text: str, place: int) -> int:
    found = pattern.match(text, place)
    return found.end() if found else place


def _calls_of(value: object, specs: Mapping[str, ToolSpec], *, is_whole: bool) -> Iterator[ToolCall]:
    """Yield the call that a JSON value describes; one of an offered tool that is the ``whole`` text needs no arguments.

    Raises:
        ValueError: it describes none.
    """
    for outer in ("function", "function_call"):
        if isinstance(value, dict) and isinstance(value.get(outer), dict):
            value = value[outer]
    if isinstance(value, dict) and len(value) == 1 and is_whole:
        ((key, only),) = value.items()
        if key in specs and isinstance(only, dict):  # {"read_file": {"path": …}}
            value = {"name": key, "arguments": only}
    if is_whole and isinstance(value, dict) and (flat := _flat_call(value, specs)):
        value = flat
    if not isinstance(value, dict) or not value.keys() <= {*_NAMES, *_ARGUMENTS, *_BESIDE}:
        raise ValueError("no call")
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), "")
    real = real_name(name, specs)
    arguments = next(
        (value[key] or {} for key in _ARGUMENTS if key in value), {} if is_whole and real in specs else None
    )
    if isinstance(arguments, str):
        arguments = json.loads(arguments, strict=False)
    if real not in {*specs, *TOOLS} or not isinstance(arguments, dict):
        raise ValueError("no call of a tool")
    yield ToolCall("", name, arguments)


def _flat_call(value: Mapping[str, object], specs: Mapping[str, ToolSpec]) -> Mapping[str, object] | None:
    """Return the call that an object is whose arguments stand beside the tool's name, None if it is none."""
    key = next((key for key in ("tool", "tool_name", "function", "action") if key in value), "")
    spec = specs.get(str(value.get(key)))
    properties = spec.parameters.get("properties") if spec else None
    arguments = {name: one for name, one in value.items() if name != key}
    if not (arguments and isinstance(properties, dict) and arguments.keys() <= properties.keys()):
        return None
    return {"name": value[key], "arguments": arguments}


def _tagged_calls(text: str, specs: Mapping[str, ToolSpec], quotes: _Quotes) -> tuple[ToolCall, ...]:
    """Return the call that a whole text is as a tag with a tool's name, with a tag for each argument; else none."""
    found = re.fullmatch(r"\s*<([\w.-]+)>(.*)</\1>\s*", text, re.DOTALL)
    spec = specs.get(found[1]) if found else None
    properties = spec.parameters.get("properties") if spec else None
    if not found or not isinstance(properties, dict) or quotes.have(text):
        return ()
    inner = re.compile(r"\s*<(\w+)>(.*?)</\1>\s*", re.DOTALL)
    pairs = {one[1]: value_of(one[2], properties.get(one[1])) for one in inner.finditer(found[2])}
    is_whole = not inner.sub("", found[2]).strip() and pairs.keys() <= properties.keys()
    return (ToolCall("", found[1], pairs),) if is_whole else ()


def _python_calls(text: str, specs: Mapping[str, ToolSpec]) -> tuple[ToolCall, ...]:
    """Return the calls of offered tools that a whole text is in Python's form, alone or in a list; else none."""
    text = _TAG.sub("", FENCE.sub("", text)).strip().strip("`").strip().rstrip(";")
    if not text.endswith((")", "]")) or len(text) > _MOST_PYTHON:
        return ()
    import ast  # noqa: PLC0415 - few answers end like a call

    def value_of(node: ast.expr) -> object:
        if isinstance(node, ast.Name) and node.id in _CONSTANTS:
            return _CONSTANTS[node.id]
        return ast.literal_eval(node)

    def call_of(node: ast.expr) -> ToolCall:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print" and len(node.args) == 1:
            (node,) = node.args  # as Gemma does
        if not isinstance(node, ast.Call) or len(node.args) > 1 or any(one.arg is None for one in node.keywords):
            raise ValueError("no call")
        name = ast.unparse(node.func).removesuffix(".call")
        spec = specs.get(real_name(name, specs))
        if spec is None or (node.args and spec.target is None):
            raise ValueError("no call of an offered tool")
        first = {str(spec.target): value_of(node.args[0])} if node.args else {}
        return ToolCall("", name, {**first, **{str(one.arg): value_of(one.value) for one in node.keywords}})

    try:
        body = ast.parse(text, mode="eval").body
        return tuple(map(call_of, body.elts if isinstance(body, (ast.List, ast.Tuple)) else [body]))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ()


def _flaw_of(text: str, specs: Mapping[str, ToolSpec], quotes: _Quotes, *, is_cut: bool) -> str:
    """Return what is wrong with a call in a text that cannot be read as one, "" if there is none."""
    if any(not _is_mentioned(text, found.start(), quotes) for found in _MARKUP.finditer(text)) or has_call(text, specs):
        return "cut at the output limit" if is_cut else "it cannot be read"
    return ""


def _is_mentioned(text: str, place: int, quotes: _Quotes) -> bool:
    """Return whether a tag is a word of an answer: in Markdown's code, or in a line of the task or of a result."""
    start, end = text.rfind("\n", 0, place) + 1, text.find("\n", place)
    line = text[start : len(text) if end < 0 else end]
    return text.count("`", start, place) % 2 == 1 or quotes.have(line)


def has_call(text: str, tools: Collection[str]) -> bool:
    """Return whether a text is, or ends with, a call that cannot be read: ``ps(all=true)`` among words, broken JSON."""
    last = text.strip().rpartition("\n\n")[2]
    parts = (text, last, last.rpartition("\n")[2], *FENCED.findall(text))
    return any(_is_call(part.strip().strip("`"), tools) for part in parts)


def _is_call(text: str, tools: Collection[str]) -> bool:
    if written := _WRITTEN_CALL.fullmatch(text):
        return re.split("[.:]", written[1])[-1] in tools
    if not text.startswith(("{", "[")):
        return False
    with suppress(ValueError, RecursionError):
        json.loads(text)
        return False
    return any(f'"{name}"' in text for name in tools) and any(f'"{key}"' in text for key in _ARGUMENTS)


def has_markup(text: str) -> bool:
    """Return whether a text has a tag that chat templates put around calls."""
    return _MARKUP.search(text) is not None
