"""Read conversations in the formats of OpenAI, Anthropic, Mistral and Ollama into messages, and write them back.

Anything unreadable is refused, and the error names its place, because a message that is not counted would break the
limit. ``ParseCache`` remembers what was read, so that a growing conversation is parsed once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, get_args

from agentctl.context.blocks import (
    Content,
    beside_known,
    read_call,
    read_calls,
    read_content,
    read_images,
    read_uses,
    refuse,
    require_json,
    rewrite_blocks,
    type_name,
)  # fmt: skip
from agentctl.context.tokens import PER_MESSAGE, PLAIN, Measure, json_text
from agentctl.core.messages import Message, Role, Thought, ToolCall, ToolSpec

_ROLES = "system, developer, user, assistant and tool"
_PARTS = 200  # lists and dicts in one message that are remembered
_CHAT = ("role", "content")
_ITEM = re.compile(  # the items of OpenAI's Responses that have no role
    r"_(?:call|output)\Z|\Amcp_|\A(?:reasoning|program|item_reference|compaction(?:_\w+)?|configuration_update)\Z"
)
_CONVERTERS = {  # by the package of a message's class, or by what its dict looks like
    "langchain": "pass convert_to_openai_messages(messages), from langchain_core.messages",
    "pydantic_ai": "pass await model._map_messages(messages, ModelRequestParameters()), of its OpenAIChatModel",
    "llama_index": "pass to_openai_message_dicts(messages), from llama_index.llms.openai.utils",
    "haystack": "pass [message.to_openai_dict_format() for message in messages]",
    "anthropic": "append {'role': message.role, 'content': [block.model_dump() for block in message.content]}",
}


class MessagePart(NamedTuple):
    """A parsed message: its place, and its block if it was one tool result among others.

    What is sent with it and never cut (thoughts, a name) is in the message's thoughts; ``media`` is the number of its
    images, files and recordings. An ``item`` of OpenAI's Responses joins with the assistant's items beside it;
    ``items`` are the joined ones.
    """

    message: Message
    place: int
    block: int | None = None
    media: int = 0
    item: bool = False
    items: tuple[MessagePart, ...] = ()

    def split(self, message: Message) -> Iterator[tuple[MessagePart, Message]]:
        """Yield the given messages that this part was joined from, each with its share of the present text."""
        if not self.items:
            yield self, message
            return
        rest = message.text
        for one in self.items:
            said = one.message
            if message is not self.message and not rest.startswith(said.text):
                said, rest = replace(said, text=rest), ""
            else:
                rest = rest[len(said.text) :]
            yield one, said


class ParseCache:
    """Reads conversations, and remembers at most ``most`` parsed messages, as long as they are not changed."""

    __slots__ = ("_joined", "_most", "_read")

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._read: dict[int, tuple[object, object, tuple[MessagePart, ...]]] = {}  # by id: as given, and a copy
        self._joined: dict[tuple[int, ...], MessagePart] = {}

    def read(self, messages: object) -> tuple[MessagePart, ...]:
        """Read a conversation of our messages, of dicts, or of both.

        Raises:
            UsageError: it is not a conversation; the error names the message's place, counted from 0.
        """
        if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
            refuse("messages", f"must be a list of messages, not {type_name(messages)}")
        found: list[MessagePart] = []
        has_items = False
        for place, given in enumerate(messages):
            entry = self._read.get(id(given))
            if entry is None or not (entry[1] is given or entry[1] == given):
                parts = tuple(_parts_of(place, given))
                self._remember(given, parts)
            elif (parts := entry[2])[0].place != place:  # an earlier message was removed
                parts = tuple(part._replace(place=place) for part in parts)
                self._read[id(given)] = (entry[0], entry[1], parts)
            found += parts
            has_items = has_items or parts[0].item
        return tuple(self._join_items(found)) if has_items else tuple(found)

    def retain(self, *conversations: Iterable[object]) -> None:
        """Forget all messages that are in none of ``conversations``."""
        left = {id(message) for messages in conversations for message in messages}
        if len(self._read) > len(left):
            self._read = {at: self._read[at] for at in left if at in self._read}

    def _remember(self, given: object, parts: tuple[MessagePart, ...]) -> None:
        try:
            copied = given if isinstance(given, Message) else _copy(given, [None] * _PARTS)
        except ValueError:
            self._read.pop(id(given), None)
            return
        if len(self._read) >= self._most:
            self._read.clear()
        self._read[id(given)] = (given, copied, parts)

    def _join_items(self, parts: list[MessagePart]) -> Iterator[MessagePart]:
        """Yield the parts with each run of the assistant's items joined: the results come after all of its calls."""
        known, self._joined = self._joined, {}
        start = 0
        while start < len(parts):
            end = start
            while end < len(parts) and parts[end].message.role == "assistant":
                end += 1
            run = parts[start:end]
            if len(run) > 1 and any(part.item for part in run):
                key = tuple([id(part.message) for part in run])
                joined = known.get(key)
                if joined is None or joined.place != run[0].place:
                    joined = _join(run, None if joined is None else joined.message)
                self._joined[key] = joined
                yield joined
            else:
                yield from run
            yield from parts[end : end + 1]
            start = end + 1


def read_tools(tools: object, measure: Measure = PLAIN) -> int:
    """Return the tokens of the schemas of ``tools``: our specs, or dicts in any of the formats.

    Raises:
        UsageError: a tool has none of these forms.
    """
    if isinstance(tools, (str, bytes, Mapping)) or not isinstance(tools, Iterable):
        refuse("tools", f"must be a list of tools, not {type_name(tools)}")
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
    key = "content" if "role" in given else "output"
    content = given.get(key)
    if not isinstance(content, (list, tuple)):
        return {**given, key: own}
    return {**given, key: rewrite_blocks(content, own, answers)}


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
        package = type(given).__module__.partition(".")[0]
        known = (line for name, line in _CONVERTERS.items() if package.startswith(name))
        refuse(where, f"must be a message or a dict, not {type_name(given)}", next(known, hint))
    role = given.get("role")
    content = given.get("content")
    match role:
        case "system" | "developer":
            found = read_content(where, content, role="system")
            yield _part("system", where, place, given, found)
        case "user":
            yield from _from_user(where, place, given)
        case "assistant":
            yield _from_assistant(where, place, given)
        case "tool" | "function":
            answered = given.get("tool_call_id")
            if answered is not None and not isinstance(answered, str):
                refuse(f"{where}.tool_call_id", f"must be a string, not {type_name(answered)}")
            found = read_content(where, content, role="tool", may_be_empty=content is None)
            yield _part("tool", where, place, given, found, known=("tool_call_id",), answered=answered)
        case None if isinstance(kind := given.get("type"), str) and _ITEM.search(kind):
            yield _from_item(where, place, kind, given)
        case _:
            said = "has no role" if role is None else f"has an unknown role: {role!r}"
            refuse(where, said, _CONVERTERS.get(_foreign(given), f"the roles are {_ROLES}"))


def _part(
    role: Role,
    where: str,
    place: int,
    given: Mapping[object, object],
    found: Content,
    *,
    known: Sequence[str] = (),
    calls: tuple[ToolCall, ...] = (),
    answered: str | None = None,
    beside: str = "",
    item: bool = False,
) -> MessagePart:
    """Return the part of one message; every key that is not among the ``known`` ones counts."""
    more = beside + found.more + beside_known(where, given, (*_CHAT, *known))
    thoughts = (Thought(more),) if more else ()
    media = found.media + read_images(given)
    return MessagePart(Message(role, found.text, calls, answered, thoughts), place, media=media, item=item)


def _from_assistant(where: str, place: int, given: Mapping[object, object]) -> MessagePart:
    content = given.get("content")
    asked = [*read_calls(where, given.get("tool_calls")), *read_uses(where, content)]
    if isinstance(legacy := given.get("function_call"), Mapping):
        at = f"{where}.function_call"
        call = read_call(at, None, legacy.get("name"), legacy.get("arguments"))
        asked.append((call, beside_known(at, legacy, ("name", "arguments"))))
        known: tuple[str, ...] = ("tool_calls", "function_call")
    else:
        known = ("tool_calls",)
    beside = "".join(more for _, more in asked)
    may_be_empty = not content and bool(asked or beside_known(where, given, (*_CHAT, *known)))
    found = read_content(where, content, role="assistant", may_be_empty=may_be_empty)
    calls = tuple(call for call, _ in asked)
    return _part("assistant", where, place, given, found, known=known, calls=calls, beside=beside)


def _from_user(where: str, place: int, given: Mapping[object, object]) -> Iterator[MessagePart]:
    """Yield the parts of a user's message; tool results among Anthropic's blocks come first, wherever they are."""
    content = given.get("content")
    blocks = content if isinstance(content, (list, tuple)) else ()
    answers = [
        (n, block)
        for n, block in enumerate(blocks)
        if isinstance(block, Mapping) and block.get("type") == "tool_result"
    ]
    beside = beside_known(where, given, _CHAT) if answers and len(answers) == len(blocks) else ""
    for number, block in answers:
        at = f"{where}.content[{number}]"
        answered = block.get("tool_use_id")
        if not isinstance(answered, str):
            refuse(f"{at}.tool_use_id", f"must be a string, not {type_name(answered)}")
        found = read_content(at, block.get("content"), role="tool", may_be_empty=True)
        known = ("type", "tool_use_id")
        part = _part("tool", at, place, block, found, known=known, answered=answered, beside=beside)
        yield part._replace(block=number)
        beside = ""
    if not answers or len(answers) < len(blocks):
        yield _part("user", where, place, given, read_content(where, content, role="user"))


def _from_item(where: str, place: int, kind: str, item: Mapping[object, object]) -> MessagePart:
    """Return the part of an item of OpenAI's Responses that has no role: a call, its output, or a thought."""
    call_id = item.get("call_id")
    if call_id is not None and not isinstance(call_id, str):
        refuse(f"{where}.call_id", f"must be a string, not {type_name(call_id)}")
    if kind == "item_reference":
        refuse(where, "refers to an item that the provider keeps, which cannot be counted", "pass the item itself")
    everything = tuple(map(str, item))
    if kind.endswith("_output") or kind == "mcp_approval_response":
        answered = call_id or item.get("approval_request_id")
        answered = answered if isinstance(answered, str) else None
        output = item.get("output")
        if isinstance(output, str) or (isinstance(output, (list, tuple)) and _has_types(output)):
            found = read_content(where, output, role="tool")
            return _part("tool", where, place, item, found, known=("type", "call_id", "output"), answered=answered)
        found = read_content(where, [item], role="tool")
        return _part("tool", where, place, item, found, known=everything, answered=answered)
    if kind == "function_call" or kind.endswith("_tool_call"):
        asked = item.get("arguments", item.get("input"))
        calls: tuple[ToolCall, ...] = (read_call(where, call_id, item.get("name"), asked),)
        known = ("type", "call_id", "name", "arguments", "input")
        return _part("assistant", where, place, item, Content(), known=known, calls=calls, item=True)
    found = read_content(where, [item], role="assistant")
    if kind in ("compaction", "additional_tools", "configuration_update"):  # what all of the rest relies on
        return _part("system", where, place, item, found, known=everything)
    waits = kind == "program" or (kind.endswith("_call") and ("call_id" in item or kind == "local_shell_call"))
    calls = (ToolCall(call_id or "", kind, {}),) if waits else ()
    if kind == "mcp_approval_request":
        calls = (ToolCall(str(item.get("id") or ""), kind, {}),)
    return _part("assistant", where, place, item, found, known=everything, calls=calls, item=True)


def _has_types(output: Sequence[object]) -> bool:
    return bool(output) and all(isinstance(one, Mapping) and isinstance(one.get("type"), str) for one in output)


def _join(run: Sequence[MessagePart], joined: Message | None) -> MessagePart:
    """Return one part for the assistant's items of a turn; ``joined`` is their message if it is known."""
    messages = [part.message for part in run]
    message = joined or Message(
        "assistant",
        "".join(one.text for one in messages),
        tuple(call for one in messages for call in one.tool_calls),
        thoughts=tuple(thought for one in messages for thought in one.thoughts),
    )
    return MessagePart(message, run[0].place, media=sum(part.media for part in run), items=tuple(run))


def _foreign(given: Mapping[object, object]) -> str:
    """Return the name of the package whose own messages look like this dict; "" if it is not known."""
    kind = given.get("type")
    if kind in ("human", "ai", "system", "tool", "function", "chat", "constructor", "remove"):
        return "langchain"
    return "pydantic_ai" if "parts" in given and given.get("kind") in ("request", "response") else ""


def _schema_tokens(where: str, tool: object, measure: Measure) -> int:
    if isinstance(tool, ToolSpec):
        return measure.schemas((tool,))
    if not isinstance(tool, Mapping):
        refuse(where, f"must be a tool's schema as a dict, not {type_name(tool)}")
    require_json(where, tool)
    return PER_MESSAGE + measure.text(json_text(tool))


def _check(where: str, message: Message) -> Message:
    if message.role not in get_args(Role):
        refuse(where, f"has an unknown role: {message.role!r}", f"the roles are {_ROLES}")
    if not isinstance(message.text, str):
        refuse(f"{where}.text", f"must be a string, not {type_name(message.text)}")
    for number, call in enumerate(message.tool_calls):
        require_json(f"{where}.tool_calls[{number}].arguments", call.arguments)
    return message


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
