"""Bound the input tokens of a request from above: its bytes are the bound, reported usage makes it tight. Pure.

A byte-level tokenizer makes at most one token per byte; templates, roles and hidden tool prompts are covered by the
fixed parts (the constants below).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import NamedTuple
from urllib.parse import unquote

from agentctl.context.tokens import PLAIN
from agentctl.core.json_values import split_pointer
from agentctl.core.messages import Completion, Message, MessageMemo, Request, RunningTotal, ToolSpec, Usage

FIXED = 1024
JOINT = 64
PER_PART = 16
FORMAT = 512  # a provider's own words about a schema that it holds an answer to
_LEAST_BYTES_PER_TOKEN = 16
_ALIKE = 1.15  # how much denser another part of the same conversation may be
_MOST_TOOLS = 64

# What was counted once. An id identifies an object only while that is alive: an entry holds its tool.
_tool_bytes: dict[int, tuple[ToolSpec, int]] = {}


def _as_plain(value: object) -> object:
    """Return ``value`` with mappings and tuples as dicts and lists, which JSON can write."""
    if isinstance(value, Mapping):
        return {str(k): _as_plain(v) for k, v in value.items()}
    return [_as_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _dump(value: object) -> str:
    return json.dumps(_as_plain(value), ensure_ascii=False, separators=(",", ":"), default=str)


def _inline_refs(schema: object, root: Mapping[str, object], seen: tuple[str, ...] = ()) -> object:
    """Return ``schema`` with ``$ref``s written out, as a provider's template may do; a cycle stays a reference."""
    if isinstance(schema, Mapping):
        ref = schema.get("$ref")
        if isinstance(ref, str) and ref.startswith("#/") and ref not in seen:
            target: object = root
            for part in split_pointer(unquote(ref[1:])):
                if isinstance(target, (list, tuple)):
                    target = target[int(part)] if part.isdecimal() and int(part) < len(target) else {}
                else:
                    target = target.get(part, {}) if isinstance(target, Mapping) else {}
            rest = {k: v for k, v in schema.items() if k != "$ref"}
            inlined = _inline_refs(target, root, (*seen, ref))
            return {**inlined, **rest} if isinstance(inlined, Mapping) else inlined
        return {k: _inline_refs(v, root, seen) for k, v in schema.items()}
    return [_inline_refs(v, root, seen) for v in schema] if isinstance(schema, (list, tuple)) else schema


def _byte_length(text: str) -> int:
    """Return the bytes of ``text`` or of its NFKC form, whichever is longer (U+FDFA grows from 3 to 33)."""
    plain = len(text.encode("utf-8", "surrogatepass"))
    if text.isascii():
        return plain
    return max(plain, len(unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass")))


def text_bytes(text: str) -> int:
    """Return the bytes of a text, as the bound counts them."""
    return _byte_length(text)


def json_bytes(value: object) -> int:
    """Return the bytes of a value as JSON, as the bound counts them."""
    return _byte_length(_dump(value))


def _escape_overhead(written: str) -> int:
    """Return how many bytes longer JSON becomes if a template escapes non-ASCII characters as ``\\u``."""
    if written.isascii():
        return 0
    return sum(8 if char > "\uffff" else 3 if char > "\u07ff" else 4 for char in written if char > "\x7f")


def _count_message(message: Message) -> int:
    """Return the bytes of one message, its JSON frame and its tool calls included.

    Arguments count with non-ASCII characters escaped, as chat templates may write them.
    """
    written = [_dump(call.arguments) for call in message.tool_calls]
    calls = [
        {"id": call.id, "name": call.name, "arguments": text}
        for call, text in zip(message.tool_calls, written, strict=True)
    ]
    frame = {"role": message.role, "content": message.text, "tool_calls": calls, "tool_call_id": message.tool_call_id}
    thoughts = _byte_length(_dump(message.thoughts)) if message.thoughts else 0
    return _byte_length(_dump(frame)) + thoughts + sum(map(_escape_overhead, written))


message_bytes = MessageMemo(_count_message)
_conversation_bytes = RunningTotal(message_bytes)
_calls_of_conversation = RunningTotal(lambda message: len(message.tool_calls))


def tool_bytes(tool: ToolSpec) -> int:
    """Return the bytes of one tool's schema, with references written out or not, whichever is longer.

    Non-ASCII characters count as escapes, as chat templates may write them. Each tool is counted once.
    """
    if (entry := _tool_bytes.get(id(tool))) is not None:
        return entry[1]
    if len(_tool_bytes) >= _MOST_TOOLS:
        _tool_bytes.clear()
    count = _count_tool(tool)
    _tool_bytes[id(tool)] = tool, count
    return count


def _count_tool(tool: ToolSpec) -> int:
    frames = (tool.parameters, _inline_refs(tool.parameters, tool.parameters))
    written = (_dump({"name": tool.name, "description": tool.description, "parameters": frame}) for frame in frames)
    return max(_byte_length(text) + _escape_overhead(text) for text in written)


class TokenWeights(NamedTuple):
    """Functions that bound the tokens of messages, tools and other values, without what a template adds.

    The default counts bytes: a byte-level tokenizer makes at most one token per byte.
    """

    message: Callable[[Message], int] = message_bytes
    tool: Callable[[ToolSpec], int] = tool_bytes
    value: Callable[[object], int] = json_bytes


BYTE_WEIGHTS = TokenWeights()


def vocabulary_weights(count: Callable[[str], int]) -> TokenWeights:
    """Return weights by a vocabulary; ``count`` returns the most tokens that a text can be.

    They count every text that the model reads: words, names, ids, arguments and schemas. JSON counts as the longest of
    its forms: as sent, without spaces, with non-ASCII characters escaped, with references written out or not. The fixed
    parts, the same as in the bound by bytes, cover roles and markers. The bound is sound as long as the vocabulary is
    the provider's own. Its name is published by the provider and its file is checked by a hash; if a report exceeds
    such a bound anyway, the ledger never uses a count for that model again.
    """

    def written(value: object) -> int:
        if isinstance(value, str):
            return count(value)
        plain = _as_plain(value)
        sent = {json.dumps(plain, ensure_ascii=escapes, default=str) for escapes in (False, True)}
        return max(map(count, {_dump(value), *sent}))

    def message(said: Message) -> int:
        calls = sum(count(call.id) + count(call.name) + written(call.arguments) for call in said.tool_calls)
        thoughts = sum(written(list(thought)) for thought in said.thoughts)
        return count(said.text) + calls + count(said.tool_call_id or "") + thoughts

    def tool(spec: ToolSpec) -> int:
        schema = max(written(spec.parameters), written(_inline_refs(spec.parameters, spec.parameters)))
        return count(spec.name) + count(spec.description) + schema

    return TokenWeights(message, tool, written)


def _count_parts(messages: tuple[Message, ...]) -> int:
    return len(messages) + _calls_of_conversation(messages)


def plain_bound(request: Request, weights: TokenWeights = BYTE_WEIGHTS) -> int:
    """Return ``bytes + 1024 + 16 * (messages + tools + tool calls)``, the upper bound of input tokens.

    An answer's format counts like a tool, and 512 for what the provider tells the model of it.
    """
    is_plain = weights.message is message_bytes
    weight = _conversation_bytes(request.messages) if is_plain else sum(map(weights.message, request.messages))
    weight += sum(map(weights.tool, request.tools))
    weight += weights.value(request.settings) if request.settings else 0
    if request.answer_format is not None:
        weight += weights.tool(request.answer_format.spec) + FORMAT + PER_PART
    return weight + FIXED + PER_PART * (_count_parts(request.messages) + len(request.tools))


class SettledRequest(NamedTuple):
    """A settled request with its answer and usage, on which the next bound can build."""

    request: Request
    answer: Message
    usage: Usage


def _same_setting(before: Request, now: Request) -> bool:
    shape = before.model, before.tools, dict(before.settings), before.answer_format
    return shape == (now.model, now.tools, dict(now.settings), now.answer_format)


def accept_report(
    previous: SettledRequest | None, request: Request, completion: Completion, usage: Usage
) -> SettledRequest | None:
    """Return the settled request to build on, or None if the report is not plausible.

    A report is not plausible if it is below one for a shorter prefix, or below bytes / 16.
    """
    weight = _conversation_bytes(request.messages)
    if usage.input_tokens * _LEAST_BYTES_PER_TOKEN < weight:
        return None
    longer = previous is not None and _extends(previous, request)
    if longer and previous is not None and usage.input_tokens < previous.usage.input_tokens:
        return None
    return SettledRequest(request, completion.as_message(), usage)


def _extends(known: SettledRequest, request: Request) -> bool:
    prefix = (*known.request.messages, known.answer)
    return _same_setting(known.request, request) and request.messages[: len(prefix)] == prefix


def _continues(known: SettledRequest, request: Request) -> bool:
    """Return whether a request continues the earlier one: with its answer, or with a user's words in place of it."""
    before = known.request.messages
    if not _same_setting(known.request, request) or request.messages[: len(before)] != before:
        return False
    follows = request.messages[len(before) : len(before) + 1]
    return follows == (known.answer,) or (bool(follows) and follows[0].role == "user")


def _is_extension(request: Request, than: Request) -> bool:
    """Return whether a request extends another one with the same tools and answer's format, or without any.

    Other settings do not matter.
    """
    begins = request.messages[: len(than.messages)] == than.messages
    return begins and than.tools in ((), request.tools) and than.answer_format in (None, request.answer_format)


class BoundBasis(NamedTuple):
    """The facts from a run's reports for its next bound; ``known`` is the request to build on now, or None.

    ``seen`` are the last plausible reports, one for each set of tools and answer's format; ``model`` is the one that
    answered. ``lost`` is final: after a report that was not plausible, that fell from one block to the next or that
    passed its bound, or after an answer of another model, the next plausible report may leave out just as much.
    """

    known: SettledRequest | None = None
    seen: tuple[SettledRequest, ...] = ()
    model: str | None = None
    lost: bool = False

    def after(self, request: Request, completion: Completion, usage: Usage, *, is_bound: bool = True) -> BoundBasis:
        """Return the basis after a report that was charged; ``is_bound``: it was not above its bound."""
        known = accept_report(None, request, completion, usage)
        short = any(
            usage.input_tokens < one.usage.input_tokens for one in self.seen if _is_extension(request, one.request)
        )
        other = bool(self.seen) and completion.model != self.model
        lost = self.lost or known is None or short or other or completion.fell or not is_bound
        shape = request.tools, request.answer_format
        others = tuple(one for one in self.seen if (one.request.tools, one.request.answer_format) != shape)
        seen = self.seen if known is None else (*others, known)
        return BoundBasis(None if lost else known, seen, completion.model, lost)

    def without_report(self) -> BoundBasis:
        """Return the basis after an attempt without a report: there is nothing to build on until the next one."""
        return self._replace(known=None)


def bound(
    request: Request,
    known: SettledRequest | None = None,
    *,
    may_cut: bool = False,
    weights: TokenWeights = BYTE_WEIGHTS,
) -> int:
    """Return the most input tokens that ``request`` can be: a tight bound on a ``known`` request, else the plain one.

    Tight: input of the earlier request + the larger of its output tokens and its answer's bytes + the bytes of
    everything that was not in it + 16 for each new message or call + 64 for each sequence of its messages that is still
    contiguous. That covers a request that continues (one sequence), one that is sent again, and one that was cut: the
    remaining earlier messages in their order, notes on the removed ones, and new messages. ``may_cut``: the server may
    have cut the earlier prompt silently, so that its report omits a part of it; then only a continuation is tight.

    Why this is sound after a cut: a template puts a marker in front of each message, so the tokens of a prompt are
    those of its frame, its tools and its messages. Removing a message removes its tokens and adds none. A tokenizer can
    split words differently only where two texts become adjacent: at both ends of a sequence, and where a text was
    continued. Two properties of templates depend on the whole conversation. They insert a system message if there is
    none, so the first message must still be there. They drop thoughts before the last question, so no message may move
    from before the last question to after it.
    """
    plain = plain_bound(request, weights)
    if known is None or not _same_setting(known.request, request):
        return plain
    if may_cut and not _continues(known, request):
        return plain
    beyond = _tokens_beyond(known, request.messages, weights)
    return plain if beyond is None else min(plain, known.usage.input_tokens + beyond)


def _tokens_beyond(known: SettledRequest, now: tuple[Message, ...], weights: TokenWeights) -> int | None:
    """Return the most tokens of ``now`` that were not in the earlier request; None: no bound can be based on it.

    Each earlier message matches one message at most, in order.
    """
    before, places, start, tokens, new = known.request.messages, dict[int, int](), 0, 0, list[Message]()
    if before and now[: len(before)] == before:  # as in most turns: it continues, in one sequence
        more = now[len(before) :]
        if known.answer in more:
            tokens = max(0, known.usage.output_tokens - weights.message(known.answer))
        return tokens + sum(map(weights.message, more)) + JOINT + _parts_bound(more)
    for at, message in enumerate(now):
        place = next((place for place in range(start, len(before)) if before[place] == message), None)
        if place is None and (place := _earlier_form(before, start, message)) is not None:
            tokens += weights.value(message.text[_common_length(before[place].text, message.text) :]) + JOINT
        if place is None:
            new.append(message)
        else:
            places[at], start = place, place + 1
    question = max((place for place, message in enumerate(before) if message.role == "user"), default=-1)
    last = max((at for at, message in enumerate(now) if message.role == "user"), default=-1)
    if places.get(0) != 0 or any(place < question and at > last for at, place in places.items()):
        return None
    if known.answer in new:
        tokens += max(0, known.usage.output_tokens - weights.message(known.answer))
    runs = sum(places.get(at - 1) != place - 1 for at, place in places.items())
    return tokens + sum(map(weights.message, new)) + JOINT * runs + _parts_bound(new)


def _parts_bound(new: Sequence[Message]) -> int:
    return PER_PART * (len(new) + sum(len(message.tool_calls) for message in new))


def _common_length(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))


def _earlier_form(before: tuple[Message, ...], start: int, message: Message) -> int | None:
    """Return the place of the earlier message that this one was made from: by notes on a question, or by shortening."""
    for place in range(start, len(before)):
        other = before[place]
        if other.role == message.role and (
            message.role == "user" or (message.role == "tool" and message.tool_call_id == other.tool_call_id)
        ):
            return place
    return None


def estimate_input(request: Request, known: SettledRequest | None = None) -> int:
    """Estimate the input tokens of ``request``, rather too high than too low, to see if it fits a window.

    Never use it for money: it can be too low. Earlier reports show how dense this conversation is.
    """
    if known is not None and _continues(known, request):
        new = request.messages[len(known.request.messages) :]
        return known.usage.input_tokens + ceil(PLAIN.conversation(new) * (1 + PLAIN.margin))
    dense = 1 + PLAIN.margin
    if known is not None:
        dense = min(dense, known.usage.input_tokens / _count(known.request) * _ALIKE)
    return ceil(_count(request) * dense)


def _count(request: Request) -> int:
    asked = () if request.answer_format is None else (request.answer_format.spec,)
    return max(1, PLAIN.conversation(request.messages) + PLAIN.schemas((*request.tools, *asked)))
