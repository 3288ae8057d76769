"""The values that every wire takes and gives: the facts of a request, its body, and the pieces of an answer. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from agentctl.core.messages import Stop, Thought

_NOTHING: Mapping[str, object] = MappingProxyType({})
#: The providers' words for the end of an answer, in small letters. Any other word: the provider broke off.
_FINISH_REASONS: Mapping[str, Stop] = MappingProxyType(
    {
        **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"), "stop"),
        **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), "tool_calls"),
        **dict.fromkeys(("length", "max_tokens", "model_length", "model_context_window_exceeded"), "length"),
        **dict.fromkeys(("max_output_tokens", "max_new_tokens", "max_completion_tokens"), "length"),
        **dict.fromkeys(("refusal", "content_filter", "content_filtered", "sensitive", "error_toxic"), "refusal"),
        **dict.fromkeys(("guardrail_intervened", "safety", "recitation", "blocklist", "spii", "language"), "refusal"),
        **dict.fromkeys(("prohibited_content", "image_safety", "image_prohibited_content"), "refusal"),
    }
)
#: From the best to the worst: of several words of one answer the worst is believed.
_WORSE: tuple[Stop, ...] = ("stop", "tool_calls", "length", "refusal", "broken")


def _letters(word: str) -> str:
    """Return a word without what differs between its spellings: end_turn, endTurn, END-TURN."""
    return word.strip().lower().replace("_", "").replace("-", "").replace(" ", "")


_BY_LETTERS: Mapping[str, Stop] = MappingProxyType({_letters(word): stop for word, stop in _FINISH_REASONS.items()})
#: The fields that hold an answer to a JSON schema, of every wire.
FORMAT_FIELDS = frozenset(
    {"response_format", "output_config", "output_format", "format", "text"}
)  # the third is litellm's
ANSWER_FORMAT = "answer_format"  # stands for them in ``Refusals.left_out``
_CLAMPS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")


class Refusals(NamedTuple):
    """What a server has refused so far: the names ``left_out``, and the ``clamp_name`` that is sent in place of one."""

    left_out: frozenset[str] = frozenset()
    clamp_name: str = ""

    @property
    def streams(self) -> bool:
        """Whether an answer is asked for in pieces."""
        return "stream" not in self.left_out

    @property
    def bounds_nothing(self) -> bool:
        """Whether every name of the clamp was refused."""
        is_refused = not self.left_out.isdisjoint(_CLAMPS)
        return is_refused and (not self.clamp_name or self.clamp_name in self.left_out)

    def without(self, *names: str) -> Refusals:
        """Return the refusals with further names."""
        return self._replace(left_out=self.left_out.union(names))

    def after_answer(self, *, is_reported: bool) -> Refusals:
        """Return the refusals after an answer: without its usage the next one is asked for in one piece, with usage."""
        is_missing = "stream_options" in self.left_out and not is_reported
        return self.without("stream") if is_missing else self


class BodyFacts(NamedTuple):
    """The facts of a request that its messages do not hold.

    ``model`` is its name on the wire, ``clamp`` the most output tokens. ``clamp_name`` is the field for that and
    ``system_role`` the role of instructions, which differ by model in the chat format. ``marks``: Anthropic's cache
    marks are set. ``asks_for_usage``: the usage comes only if it is asked for. ``temperature`` None: the model's own.
    ``options`` are further fields of the body, ``model_options`` those of Ollama's ``options``. ``refusals`` says which
    of all these the server does not take.
    """

    model: str
    clamp: int
    clamp_name: str = "max_tokens"
    system_role: str = "system"
    marks: bool = False
    asks_for_usage: bool = False
    temperature: float | None = None
    options: Mapping[str, object] = _NOTHING
    model_options: Mapping[str, object] = _NOTHING
    refusals: Refusals = Refusals()


class Body(NamedTuple):
    """A request's body: its parsed ``content``, and the bytes written from exactly that.

    ``is_escaped``: every character beyond ASCII is written as an escape.
    """

    content: Mapping[str, object]
    data: bytes
    is_escaped: bool = False


class CallPiece(NamedTuple):
    """A piece of a tool call; ``place`` is the call's in the answer, None for a whole call.

    A piece that does not open a call (``opens``) belongs to none if no other piece has opened it. ``is_counted``: the
    server named no place, so it is the piece's order in its event, and its id says more.
    """

    place: int | None = None
    id: str = ""
    name: str = ""
    arguments: str = ""
    opens: bool = True
    is_counted: bool = False


class ThoughtPiece(NamedTuple):
    """A piece of a thought that has to be given back; ``place`` is its block's in the answer."""

    place: int
    thought: Thought


class Piece(NamedTuple):
    """A piece of an answer. ``stop`` is the wire's own word for the reason of its end, "" before that.

    ``thought`` counts as output and is not shown; ``thoughts`` are those parts of it that have to be given back.
    ``unknown`` names what this wire's module does not know: an event, a field, a reason. ``is_refusal``: its text says
    why the model refuses. ``is_whole``: its text is not a piece but all of the answer's, as a server sends it that does
    not stream. ``is_hidden``: its thought is encrypted, and nobody can read it.
    """

    text: str = ""
    thought: str = ""
    calls: tuple[CallPiece, ...] = ()
    stop: str = ""
    thoughts: tuple[ThoughtPiece, ...] = ()
    unknown: tuple[str, ...] = ()
    is_refusal: bool = False
    is_whole: bool = False
    is_hidden: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether it brings the answer no further, whatever else it names."""
        signed = any(part.thought.signature for part in self.thoughts)
        return not (self.text or self.thought or self.calls or self.stop or signed)


def stop_of(reason: str) -> Stop:
    """Return what a provider's word for the end of an answer means; "broken" for one that is not known."""
    return _BY_LETTERS.get(_letters(reason), "broken")


def worse_reason(one: str, other: str) -> str:
    """Return of two words for the end of one answer the one that promises less, the later one if both are alike."""
    if not (one and other):
        return one or other
    return one if _WORSE.index(stop_of(one)) > _WORSE.index(stop_of(other)) else other


def write_body(content: Mapping[str, object]) -> Body:
    """Serialise a request: in UTF-8, or with everything escaped if a text holds half of a UTF-16 pair."""
    try:
        text = _write(content)
    except ValueError:
        content = _with_null(content)
        text = _write(content)
    try:
        return Body(content, text.encode())
    except UnicodeEncodeError:
        return Body(content, _write(content, escapes=True).encode(), True)


def write_arguments(value: Mapping[str, object]) -> str:
    """Return a call's arguments as the JSON text that models are shown, without spaces, as the bound counts it."""
    try:
        return _write(value)
    except ValueError:
        return _write(_with_null(value))


def arguments_of(value: object) -> str:
    """Return the arguments of an event's call as text, "" for none; what is no object stays visible as it is."""
    if isinstance(value, dict):
        return write_arguments(value)
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, default=_to_plain)


def _write(value: Mapping[str, object], *, escapes: bool = False) -> str:
    """Return a value as JSON.

    Raises:
        ValueError: it holds a number that JSON does not have.
    """
    return json.dumps(value, ensure_ascii=escapes, separators=(",", ":"), default=_to_plain, allow_nan=False)


def _with_null(value: Mapping[str, object]) -> Mapping[str, object]:
    """Return a value with null for infinity and for what is no number: models write them, and Python reads them."""
    found: Mapping[str, object] = json.loads(json.dumps(value, default=_to_plain), parse_constant=lambda _: None)
    return found


def _to_plain(value: object) -> object:
    """Return a value that JSON can hold for one that it cannot; a fraction of a parsed answer is a Decimal."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Decimal):
        return float(value)
    return list(value) if isinstance(value, (tuple, frozenset, set)) else str(value)


def text_of(value: object) -> str:
    """Return a text of an event, "" for anything else."""
    return value if isinstance(value, str) else ""


def mapping_of(value: object) -> Mapping[str, object]:
    """Return an object of an event, an empty one for anything else."""
    return value if isinstance(value, dict) else _NOTHING


def mappings_of(value: object) -> list[Mapping[str, object]]:
    """Return the objects of a list of an event."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def place_of(value: object) -> int | None:
    """Return a place in an answer, None if it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
