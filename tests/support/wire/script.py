"""The values of a wire script: the request, and the answer that the server gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Format = Literal["openai", "anthropic", "ollama", "responses"]
Json = dict[str, Any]
Reported = Literal["report", "omit", "zero", "twice", "falls", "garbage", "early", "negative", "absurd"]
CutAt = Literal["headers", "first", "middle", "before_finish", "before_usage", "before_end"]


class Call(NamedTuple):
    """A tool call that the model makes; ``id`` "" is one by the number of the request."""

    name: str
    arguments: Mapping[str, object] = {}
    id: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model answers, and how the wire misbehaves on the way.

    Tokens are counted alike for every format: ``input_tokens`` is all input, ``cached`` and ``cache_write`` included;
    ``output_tokens`` is all output, ``reasoning`` included. The Anthropic wire subtracts where the real one does.
    ``cache_write`` includes ``cache_hour``. None is a plausible count. ``stop`` replaces the wire's own word for why it
    ended. ``searches`` were made by the provider itself, unasked.

    ``usage``: "omit" leaves it out, "zero" reports nothing used, "twice" sends a smaller block before the last, "falls"
    sends one after it, "early" sends only that smaller block, "garbage" sends text, negatives, fractions and truth
    values, "negative" and "absurd" numbers that are whole and cannot be.
    ``cut_after`` (bytes of the body) and ``cut_at`` close the connection there; ``clean_cut`` ends the body properly
    instead, before the finish unless ``cut_at`` says where. ``stall`` sends half (or up to ``cut_at``) and then nothing
    until the client goes. ``garbage`` is sent as the body, line by line if there is a ``gap_s``. It is billed in full
    whatever happens, as ``bill_nano`` if that is set, and ``billed`` times.
    """

    text: str = ""
    calls: tuple[Call, ...] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached: int = 0
    cache_write: int = 0
    cache_hour: int = 0
    reasoning: int = 0
    searches: int = 0
    model: str | None = None
    stop: str | None = None
    obeys: bool = True
    usage: Reported = "report"
    cut_after: int | None = None
    cut_at: CutAt | None = None
    clean_cut: bool = False
    pause_s: float = 0.0
    gap_s: float = 0.0
    stall: bool = False
    garbage: bytes | None = None
    bill_nano: int | None = None
    billed: int = 1
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault instead of an answer.

    Without ``body`` it is the real provider's document for ``status``, or for ``code``: insufficient_quota,
    context_length_exceeded, model_not_found, invalid_api_key, unsupported_parameter, no_tools. ``in_stream`` begins to
    answer (with ``text``) and then sends the error as an event. ``reset`` answers with a TCP reset, ``hang_up`` with a
    closed connection, both without a byte. With ``bills`` it is paid for as ``input_tokens`` and ``output_tokens``.
    """

    status: int | None = None
    code: str | None = None
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    bills: bool = False
    input_tokens: int | None = None
    output_tokens: int = 0
    bill_nano: int | None = None
    in_stream: bool = False
    text: str = "The first half"
    location: str | None = None
    pause_s: float = 0.0
    reset: bool = False
    hang_up: bool = False


class Called(NamedTuple):
    """A tool call in a conversation, as the client sent it back."""

    id: str
    name: str


class Said(NamedTuple):
    """One message in a form common to all formats; ``answers`` is the id of the call that a tool's message answers."""

    role: str
    text: str = ""
    calls: tuple[Called, ...] = ()
    answers: str = ""


@dataclass(frozen=True, slots=True)
class WireRequest:
    """The content of a model request; ``clamp`` is the most output tokens it allows (None: as many as it likes)."""

    format: Format
    path: str
    body: Json = field(repr=False)
    model: str
    clamp: int | None
    stream: bool
    tools: tuple[str, ...]
    messages: tuple[Said, ...]
    size: int
    number: int

    @property
    def since_user(self) -> tuple[Said, ...]:
        """Everything said after the last message of the user."""
        last = max((at for at, said in enumerate(self.messages) if said.role == "user"), default=-1)
        return self.messages[last + 1 :]


Step = Answer | Fault
Mind = Callable[[WireRequest], Step]
Script = Step | Mind | Sequence[Step | Mind]
