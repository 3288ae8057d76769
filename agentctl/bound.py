"""How many input tokens a request can be at most: bytes are the bound, reported usage makes it tight. Pure.

A byte-level tokenizer makes at most one token of a byte; templates, roles and hidden tool prompts are covered by
the fixed parts (``DESIGN.md`` section 4, step 1, and the figures in its references).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

from agentctl.measure import PLAIN
from agentctl.messages import Completion, Message, Request, ToolSpec, Usage

FIXED = 1024
JOINT = 64
PER_PART = 16
_LEAST_BYTES_PER_TOKEN = 16
_ALIKE = 1.15  # another part of the same conversation may be so much denser


def _plain(value: object) -> object:
    """Turn mappings and tuples into what JSON can write."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _dump(value: object) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), default=str)


def _inline(schema: object, root: Mapping[str, object], seen: tuple[str, ...] = ()) -> object:
    """Write ``$ref``s out, as a provider's template may; a circle stays a reference."""
    if isinstance(schema, Mapping):
        ref = schema.get("$ref")
        if isinstance(ref, str) and ref.startswith("#/") and ref not in seen:
            target: object = root
            for part in ref[2:].split("/"):
                target = target.get(part, {}) if isinstance(target, Mapping) else {}
            rest = {k: v for k, v in schema.items() if k != "$ref"}
            inlined = _inline(target, root, (*seen, ref))
            return {**inlined, **rest} if isinstance(inlined, Mapping) else inlined
        return {k: _inline(v, root, seen) for k, v in schema.items()}
    return [_inline(v, root, seen) for v in schema] if isinstance(schema, (list, tuple)) else schema


def _weigh(text: str) -> int:
    """Return the bytes of ``text`` or of its NFKC form, whichever is longer (U+FDFA grows from 3 to 33)."""
    plain = len(text.encode("utf-8", "surrogatepass"))
    if text.isascii():
        return plain
    return max(plain, len(unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass")))


def weight(value: object) -> int:
    """Return the weight in bytes of a whole request as JSON, as the bound counts it."""
    return _weigh(_dump(value))


def message_bytes(message: Message) -> int:
    """Return the weight of one message in bytes, its JSON frame and its tool calls included."""
    calls = [{"id": c.id, "name": c.name, "arguments": _dump(c.arguments)} for c in message.tool_calls]
    frame = {"role": message.role, "content": message.text, "tool_calls": calls, "tool_call_id": message.tool_call_id}
    return _weigh(_dump(frame))


def tool_bytes(tool: ToolSpec) -> int:
    """Return the weight of one tool's schema in bytes, references written out or not, whichever is longer."""
    frames = (tool.parameters, _inline(tool.parameters, tool.parameters))
    return max(_weigh(_dump({"name": tool.name, "description": tool.description, "parameters": f})) for f in frames)


def _parts(messages: tuple[Message, ...]) -> int:
    return len(messages) + sum(len(m.tool_calls) for m in messages)


def plain_bound(request: Request) -> int:
    """Return ``bytes + 1024 + 16 * (messages + tools + tool calls)``: input tokens cannot be more."""
    weight = sum(map(message_bytes, request.messages)) + sum(map(tool_bytes, request.tools))
    weight += _weigh(_dump(request.settings)) if request.settings else 0
    return weight + FIXED + PER_PART * (_parts(request.messages) + len(request.tools))


class Known(NamedTuple):
    """A settled request and what it was: the ground on which the next bound can be tight."""

    request: Request
    answer: Message
    usage: Usage


def _same_setting(before: Request, now: Request) -> bool:
    return (before.model, before.tools, dict(before.settings)) == (now.model, now.tools, dict(now.settings))


def learn(previous: Known | None, request: Request, completion: Completion, usage: Usage) -> Known | None:
    """Return what can be built on after ``usage`` was believed, or None where the report is not plausible.

    A report below one for a shorter prefix, or below bytes / 16, is not.
    """
    weight = sum(map(message_bytes, request.messages))
    if usage.input_tokens * _LEAST_BYTES_PER_TOKEN < weight:
        return None
    longer = previous is not None and _extends(previous, request)
    if longer and previous is not None and usage.input_tokens < previous.usage.input_tokens:
        return None
    return Known(request, completion.as_message(), usage)


def _extends(known: Known, request: Request) -> bool:
    prefix = (*known.request.messages, known.answer)
    return _same_setting(known.request, request) and request.messages[: len(prefix)] == prefix


def _is_longer(request: Request, than: Request) -> bool:
    """Whether a request is another one and more, whatever else was set: of tools the other may have none."""
    begins = request.messages[: len(than.messages)] == than.messages
    return begins and than.tools in ((), request.tools)


class Ground(NamedTuple):
    """What the reports of a run are worth for the next bound; ``known`` is what can be built on now, or None.

    ``seen`` are the last plausible reports, one for each set of tools, ``model`` is the one that answered. ``lost`` for
    good: once a report was not plausible, or another model answered, the next that looks well may leave out as much.
    """

    known: Known | None = None
    seen: tuple[Known, ...] = ()
    model: str | None = None
    lost: bool = False

    def after(self, request: Request, completion: Completion, usage: Usage) -> Ground:
        """Return the ground after a report that was believed."""
        known = learn(None, request, completion, usage)
        short = any(
            usage.input_tokens < one.usage.input_tokens for one in self.seen if _is_longer(request, one.request)
        )
        other = bool(self.seen) and completion.model != self.model
        lost = self.lost or known is None or short or other
        others = tuple(one for one in self.seen if one.request.tools != request.tools)
        seen = self.seen if known is None else (*others, known)
        return Ground(None if lost else known, seen, completion.model, lost)

    def shaken(self) -> Ground:
        """Return the ground after an attempt without a report: there is none until the next."""
        return self._replace(known=None)


def bound(request: Request, known: Known | None = None) -> int:
    """Return the most input tokens that ``request`` can be: tight on ``known`` ground, else plain.

    Tight: input of the earlier request + the larger of its output tokens and its answer's bytes + the bytes of
    all that came after + 64 + 16 for each new message or call.
    """
    plain = plain_bound(request)
    if known is None or not _extends(known, request):
        return plain
    new = request.messages[len(known.request.messages) + 1 :]
    answer = max(known.usage.output_tokens, message_bytes(known.answer))
    after = sum(map(message_bytes, new)) + JOINT + PER_PART * (_parts(new) + _parts((known.answer,)))
    return min(plain, known.usage.input_tokens + answer + after)


def about(request: Request, known: Known | None = None) -> int:
    """Return about how many input tokens ``request`` is, rather more than fewer: what a window may have room for.

    For no amount of money: it can be too low. What was reported shows how dense this conversation is.
    """
    if known is not None and _extends(known, request):
        new = request.messages[len(known.request.messages) :]
        return known.usage.input_tokens + ceil(PLAIN.conversation(new) * (1 + PLAIN.margin))
    dense = 1 + PLAIN.margin
    if known is not None:
        dense = min(dense, known.usage.input_tokens / _counted(known.request) * _ALIKE)
    return ceil(_counted(request) * dense)


def _counted(request: Request) -> int:
    return max(1, PLAIN.conversation(request.messages) + PLAIN.schemas(request.tools))
