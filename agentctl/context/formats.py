"""Read conversations in the formats of OpenAI, Anthropic and Ollama into messages, and write them back.

Anything unreadable is refused, and the error names its place, because a message that is not counted would break the
limit. ``ParseCache`` remembers what was read, so that a growing conversation is parsed once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, NoReturn, get_args

from agentctl.context.tokens import PER_MESSAGE, PLAIN, Measure, json_text
from agentctl.core.errors import UsageError
from agentctl.core.messages import Message, Role, ToolCall, ToolSpec

_TEXT = ("text", "input_text", "output_text")
_THOUGHT = {"thinking": "thinking", "redacted_thinking": "data"}
_ROLES = "system, developer, user, assistant and tool"
_PARTS = 200  # lists and dicts in one message that are remembered


class MessagePart(NamedTuple):
    """A parsed message: its place, and its block if it was one tool result among others.

    ``more`` is text that is sent with it and never cut: thoughts, a name.
    """

    message: Message
    place: int
    block: int | None = None
    more: str = ""


class ParseCache:
    """Reads conversations, and remembers at most ``most`` parsed messages, as long as they are not changed."""

    __slots__ = ("_most", "_read")

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._read: dict[int, tuple[object, object, tuple[MessagePart, ...]]] = {}  # by id: as given, and a copy

    def read(self, messages: object) -> tuple[MessagePart, ...]:
        """Read a conversation of our messages, of dicts, or of both.

        Raises:
            UsageError: it is not a conversation; the error names the message's place, counted from 0.
        """
        if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
            _refuse("messages", f"must be a list of messages, not {_type_name(messages)}")
        found: list[MessagePart] = []
        for place, given in enumerate(messages):
            entry = self._read.get(id(given))
            if entry is None or not (entry[1] is given or entry[1] == given):
                parts = tuple(_parts_of(place, given))
                self._remember(given, parts)
            elif (parts := entry[2])[0].place != place:  # an earlier message was removed
                parts = tuple(part._replace(place=place) for part in parts)
                self._read[id(given)] = (entry[0], entry[1], parts)
            found += parts
        return tuple(found)

    def retain(self, messages: Iterable[object]) -> None:
        """Forget all messages that are not among ``messages``."""
        self._read = {at: self._read[at] for at in map(id, messages) if at in self._read}

    def _remember(self, given: object, parts: tuple[MessagePart, ...]) -> None:
        try:
            copied = given if isinstance(given, Message) else _copy(given, [None] * _PARTS)
        except ValueError:
            self._read.pop(id(given), None)
            return
        if len(self._read) >= self._most:
            self._read.clear()
        self._read[id(given)] = (given, copied, parts)


def read_tools(tools: object, measure: Measure = PLAIN) -> int:
    """Return the tokens of the schemas of ``tools``: our specs, or dicts in any of the three formats.

    Raises:
        UsageError: a tool has none of these forms.
    """
    if isinstance(tools, (str, bytes, Mapping)) or not isinstance(tools, Iterable):
        _refuse("tools", f"must be a list of tools, not {_type_name(tools)}")
    tokens = sum(_schema_tokens(f"tools[{place}]", tool, measure) for place, tool in enumerate(tools))
    return max(0, tokens + measure.fixed) if tokens else 0


def write_back(given: object, before: Sequence[MessagePart], after: Sequence[tuple[MessagePart, Message]]) -> object:
    """Return ``given`` with the remaining parts only: itself if nothing was removed or changed, else a copy.

    ``before`` are all of its parts, ``after`` the remaining ones, each with its present text.
    """
    if len(before) == len(after) and all(part.message is message for part, message in after):
        return given
    if not isinstance(given, Mapping):
        return after[0][1]
    answers = {part.block: message.text for part, message in after if part.block is not None}
    own = next((message.text for part, message in after if part.block is None), None)
    content = given.get("content")
    if not isinstance(content, (list, tuple)):
        return {**given, "content": own}
    kept: list[object] = []
    rest = own or ""
    for place, block in enumerate(content):
        if block["type"] == "tool_result":
            if place in answers:
                kept.append(_answer(block, answers[place]))
        elif block["type"] not in _TEXT:
            kept.append(block)
        elif rest.startswith(block["text"]):
            kept += [block] if own is not None else []
            rest = rest[len(block["text"]) :]
        elif rest:
            kept.append({**block, "text": rest})
            rest = ""
    if rest:
        kept.append({"type": "text", "text": rest})
    return {**given, "content": kept}


def _parts_of(place: int, given: object) -> Iterator[MessagePart]:
    """Yield the parts of one message; only Anthropic's user messages combine text and tool results.

    Raises:
        UsageError: no provider accepts the message.
    """
    where = f"messages[{place}]"
    if isinstance(given, Message):
        yield MessagePart(_check(where, given), place)
        return
    if not isinstance(given, Mapping):
        dump = "pass it as a dict"
        hint = "append .model_dump(exclude_none=True)" if hasattr(given, "model_dump") else dump
        _refuse(where, f"must be a message or a dict, not {_type_name(given)}", hint)
    if given.get("images"):
        _refuse(where, "contains images; only text can be counted")
    role = given.get("role")
    content = given.get("content")
    more = "".join(value for key in ("name", "thinking") if isinstance(value := given.get(key), str))
    match role:
        case "system" | "developer":
            text, thoughts = _text(where, content)
            yield MessagePart(Message("system", text), place, more=more + thoughts)
        case "user":
            yield from _from_user(where, place, content, more)
        case "assistant":
            calls = (*_calls(where, given.get("tool_calls")), *_uses(where, content))
            text, thoughts = _text(where, content, beside="tool_use", empty=bool(calls))
            yield MessagePart(Message("assistant", text, calls), place, more=more + thoughts)
        case "tool":
            answered = given.get("tool_call_id")
            if answered is not None and not isinstance(answered, str):
                _refuse(f"{where}.tool_call_id", f"must be a string, not {_type_name(answered)}")
            text, thoughts = _text(where, content)
            yield MessagePart(Message("tool", text, tool_call_id=answered), place, more=more + thoughts)
        case _:
            said = "has no role" if role is None else f"has an unknown role: {role!r}"
            _refuse(where, said, f"the roles are {_ROLES}")


def _from_user(where: str, place: int, content: object, more: str) -> Iterator[MessagePart]:
    """Yield the parts of a user's message; tool results among Anthropic's blocks come first, wherever they are."""
    blocks = content if isinstance(content, (list, tuple)) else ()
    answers = [
        (n, block)
        for n, block in enumerate(blocks)
        if isinstance(block, Mapping) and block.get("type") == "tool_result"
    ]
    for number, block in answers:
        at = f"{where}.content[{number}]"
        answered = block.get("tool_use_id")
        if not isinstance(answered, str):
            _refuse(f"{at}.tool_use_id", f"must be a string, not {_type_name(answered)}")
        inner = block.get("content")
        text = "" if inner is None or inner == [] else _text(at, inner)[0]
        yield MessagePart(Message("tool", text, tool_call_id=answered), place, number)
    if not answers or len(answers) < len(blocks):
        text, thoughts = _text(where, content, beside="tool_result")
        yield MessagePart(Message("user", text), place, more=more + thoughts)


def _text(where: str, content: object, *, beside: str = "", empty: bool = False) -> tuple[str, str]:
    """Return the text of a message's content, with its blocks joined, and the thoughts among them.

    ``beside`` is the one other kind of block that is allowed there; ``empty``: there may be no text.
    """
    if isinstance(content, str):
        return content, ""
    if empty and (content is None or content == []):
        return "", ""
    if not isinstance(content, (list, tuple)):
        _refuse(f"{where}.content", f"must be a string or a list of text blocks, not {_type_name(content)}")
    if not content:
        _refuse(f"{where}.content", "is an empty list", 'use "" for no text')
    said: list[str] = []
    more: list[str] = []
    for number, block in enumerate(content):
        at = f"{where}.content[{number}]"
        kind = block.get("type") if isinstance(block, Mapping) else None
        if not isinstance(block, Mapping):
            _refuse(at, f"must be a block such as {{'type': 'text', 'text': …}}, not {_type_name(block)}")
        if kind in _TEXT or kind in _THOUGHT:
            key = _THOUGHT.get(str(kind), "text")
            text = block.get(key)
            if not isinstance(text, str):
                _refuse(f"{at}.{key}", f"must be a string, not {_type_name(text)}")
            if kind in _TEXT:
                said.append(text)
            else:
                more.append(text)
        elif kind != (beside or None):
            known = f"text, {beside}" if beside else "text"
            _refuse(at, f"is a block of type {kind!r}, which is not supported there", f"allowed there: {known}")
    return "".join(said), "".join(more)


def _calls(where: str, calls: object) -> Iterator[ToolCall]:
    """Yield the calls of OpenAI and Ollama; those of Ollama have no ids, and their arguments are parsed already."""
    if calls is None:
        return
    if not isinstance(calls, (list, tuple)):
        _refuse(f"{where}.tool_calls", f"must be a list, not {_type_name(calls)}")
    for number, call in enumerate(calls):
        at = f"{where}.tool_calls[{number}]"
        if isinstance(call, ToolCall):
            yield call
            continue
        asked = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(call, Mapping) or not isinstance(asked, Mapping):
            _refuse(at, 'must be a dict with a "function"')
        yield _call(at, call.get("id"), asked.get("name"), asked.get("arguments"))


def _uses(where: str, content: object) -> Iterator[ToolCall]:
    """Yield the calls of Anthropic, which are blocks of the content."""
    for number, block in enumerate(content if isinstance(content, (list, tuple)) else ()):
        if isinstance(block, Mapping) and block.get("type") == "tool_use":
            yield _call(f"{where}.content[{number}]", block.get("id"), block.get("name"), block.get("input"))


def _call(at: str, call_id: object, name: object, arguments: object) -> ToolCall:
    if not isinstance(name, str):
        _refuse(f"{at}.name", f"must be a string, not {_type_name(name)}")
    if call_id is not None and not isinstance(call_id, str):
        _refuse(f"{at}.id", f"must be a string, not {_type_name(call_id)}")
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            parsed = None  # models write invalid JSON: it is sent, so it counts
        arguments = parsed if isinstance(parsed, dict) else {"": arguments}
    if not isinstance(arguments, Mapping):
        if arguments is not None:
            _refuse(f"{at}.arguments", f"must be JSON text or a dict, not {_type_name(arguments)}")
        arguments = {}
    _require_json(at, arguments)
    return ToolCall(call_id or "", name, arguments)


def _schema_tokens(where: str, tool: object, measure: Measure) -> int:
    if isinstance(tool, ToolSpec):
        return measure.schemas((tool,))
    if not isinstance(tool, Mapping):
        _refuse(where, f"must be a tool's schema as a dict, not {_type_name(tool)}")
    _require_json(where, tool)
    return PER_MESSAGE + measure.text(json_text(tool))


def _require_json(where: str, value: object) -> None:
    try:
        json_text(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{where} cannot be written as JSON: {error}") from error


def _check(where: str, message: Message) -> Message:
    if message.role not in get_args(Role):
        _refuse(where, f"has an unknown role: {message.role!r}", f"the roles are {_ROLES}")
    if not isinstance(message.text, str):
        _refuse(f"{where}.text", f"must be a string, not {_type_name(message.text)}")
    for number, call in enumerate(message.tool_calls):
        _require_json(f"{where}.tool_calls[{number}].arguments", call.arguments)
    return message


def _answer(block: Mapping[str, object], text: str) -> object:
    """Return a tool's result with its present text; the same object if the text has not changed."""
    inner = block.get("content")
    had = "".join(one["text"] for one in inner) if isinstance(inner, (list, tuple)) else inner or ""
    return block if had == text else {**block, "content": text}


def _type_name(value: object) -> str:
    """Return a value's type with its article, for an error: ``a list``."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _refuse(where: str, what: str, hint: str = "") -> NoReturn:
    """Raise the error for a message or a tool that no provider accepts; ``where`` names its place."""
    raise UsageError(f"{where} {what}", hint=hint)


def _copy(value: object, left: list[None], deepest: int = 8) -> object:
    """Return a deep copy of ``value``, to detect later changes by comparison; each part takes one of ``left``.

    Raises:
        ValueError: it has values other than texts (1 equals True and 1.0, which are written differently), or too many.
    """
    if type(value) is str or value is None:
        return value
    if not left or not deepest:
        raise ValueError
    left.pop()
    if type(value) is dict:
        return {_copy(key, left, 0): _copy(one, left, deepest - 1) for key, one in value.items()}
    if type(value) is list:
        return [_copy(one, left, deepest - 1) for one in value]
    raise ValueError
