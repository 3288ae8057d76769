"""Read an answer, with one reader per wire format: usage, model, service tier, end and error. Pure.

litellm's figures are not used for money: it invents a usage if none was reported, and treats a cut stream as a complete
one. The readers use only what was on the wire.

One rule applies to every format: for each token class, an answer used the most that any of its usage blocks reports.
A stream may repeat its usage in each chunk, report it before its last chunk, or spread it over several.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import ClassVar

from agentctl.core.messages import Usage
from agentctl.core.pricing import NANO_PER_USD
from agentctl.providers.usage_fields import (
    ANTHROPIC,
    GEMINI,
    MOST_NUMBER,
    OLLAMA,
    OPENAI,
    FieldTable,
    cache_writes,
    input_with_caches,
    larger,
    number_of,
    read_block,
    with_rest,
)
from agentctl.providers.wires.exchange import mapping_of, worse_reason

_TICKS_PER_NANO = 10  # of xAI: 10,000,000,000 ticks are a dollar
_ENVELOPE = frozenset(
    {"id", "request_id", "user_id", "object", "type", "created", "created_at", "index", "role", "error"}
    | {"model", "modelVersion", "provider", "system_fingerprint", "service_tier", "base_resp"}
    | {"code", "status", "Status", "status_code", "statusCode", "StatusCode"}
)
_USAGES = ("usage", "usageMetadata", "usage_metadata", "token_usage", "tokenUsage")
_OF_ANSWERS = frozenset({"role", "content", "thinking", "tool_calls"})  # what a message of a model has
_BARE_ERRORS = ("detail", "message", "errors", "error_msg", "error_message")  # of FastAPI, and of gateways
_STATUSES = ("code", "status", "status_code", "statusCode", "StatusCode")  # of an error, beside its words


class UsageReader(ABC):
    """Reads the events of one answer, and collects what they report.

    ``model`` is the model that answered, ``tier`` the service tier that served it, ``billed_nano`` the most that the
    provider says it billed; each is None if the answer does not say. ``fell``: a later block reports less of a class
    than an earlier one. ``finished``: the model said that it was done, ``reason`` is its word for that; ``over``:
    nothing more will come. ``error`` is an error document in the stream; ``spoken``: an event held a piece of an answer
    or a usage. ``events`` counts the events that could be read, ``blocks`` the usage blocks among them. ``whole`` is an
    event that is a whole answer, as a server sends it that does not stream. ``has_counted``: behind the end of the
    answer came an event with nothing but its usage, which is the last one by the format.
    """

    table: ClassVar[FieldTable]

    def __init__(self) -> None:
        self.model: str | None = None
        self.tier: str | None = None
        self.reason = ""
        self.billed_nano: int | None = None
        self.fell = self.finished = self.over = False
        self.error: Mapping[str, object] | None = None
        self.spoken = False
        self.whole: Mapping[str, object] | None = None
        self.has_counted = False
        self.events = self.blocks = 0
        self._counts: dict[str, int] = {}  # by the names in the table
        self._classes: dict[str, int] = {}  # by the classes of a usage, as single blocks report them
        self._fees: dict[str, str] = {}
        self._flaw = ""
        self._has_answered = self._has_whole = False
        self._is_behind = False  # more was answered since the last block that counts output

    @property
    def usage(self) -> Usage | None:
        """The usage of the whole answer; None if ``flaw`` says why it cannot be charged."""
        return None if self.flaw else self.reported

    @property
    def reported(self) -> Usage | None:
        """The readable part of the usage reported so far; None if there was none."""
        if not self.blocks:
            return None
        most = self._most()
        return Usage(*(most.get(name, 0) for name in ("input", "output", "cached", "written", "reasoning")))

    @property
    def flaw(self) -> str:
        """The reason why no usage can be charged; "" if one can."""
        most = self._most()
        if not self.blocks:
            return "no usage was reported"
        if self._flaw:
            return self._flaw
        missing = next((name for name in ("input", "output") if name not in most), None)
        if missing is not None:
            return f"no {missing} tokens were reported"
        has_ended = self.finished or self.over or self.whole is not None
        return "the usage of only a part of the answer was reported" if self._is_behind or not has_ended else ""

    @property
    def fee(self) -> str | None:
        """A service that was billed but not requested, with its count; None if there was none."""
        return next((f"{count} {name}" for name, count in self._fees.items()), None)

    @property
    def has_counts(self) -> bool:
        """Whether anything was reported that may be billed; zeros are nothing."""
        return bool(self._flaw or self._fees or self.billed_nano or any(self._counts.values()))

    @property
    def hour_writes(self) -> int:
        """The tokens among the cache writes that last an hour."""
        return self._most().get("hour writes", 0)

    def read(self, event: Mapping[str, object]) -> None:
        """Read one parsed event; its numbers are as ``parse_integer`` and ``parse_fraction`` read them."""
        self.events += 1
        error = self.error_in(event)
        self.spoken = self.spoken or (error is not event and _has_substance(event))
        if not self.finished:  # an answer that was whole stays one
            self.error = self.error or error
        self._read_event(event)
        self.read_refusal(event, error)
        self.spoken = self.spoken or self.has_counts

    def read_refusal(self, document: Mapping[str, object], error: Mapping[str, object] | None) -> None:
        """Read the usage that stands in a document with an error, if it is one."""
        for place in () if error is None else (document, error):
            for name in _USAGES:
                self._report(place.get(name))

    def error_in(self, event: Mapping[str, object]) -> Mapping[str, object] | None:
        """Return the error document that an event is or holds, None if there is none."""
        for place in (event, *_choices(event)):
            found = place.get("error")
            if isinstance(found, (dict, str)) and found:
                beside = {name: place[name] for name in _STATUSES if name in place}
                return {**beside, **(found if isinstance(found, dict) else {"message": found})}
        if number_of((said := mapping_of(event.get("base_resp"))).get("status_code")).least:  # MiniMax's
            return {"message": said.get("status_msg") or "an error"}
        is_one = "error" in (event.get("object"), event.get("type"))
        return event if is_one or self._is_bare_error(event) else None

    def _is_bare_error(self, event: Mapping[str, object]) -> bool:
        """Return whether an event is an error document that does not call itself one."""
        said = mapping_of(event.get("message"))
        is_answer = "choices" in event or "usage" in event or not said.keys().isdisjoint(_OF_ANSWERS)
        return not is_answer and any(event.get(name) for name in _BARE_ERRORS)

    @abstractmethod
    def _read_event(self, event: Mapping[str, object]) -> None:
        """Collect what one event reports."""

    @abstractmethod
    def _derive(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        """Return the token classes of a usage from the counts of the table, without unreported ones."""

    def _note_answer(self) -> None:
        """Record that a piece of the answer came: usage that was reported before does not cover it."""
        self._has_answered = self._is_behind = True

    def _finish(self, reason: object) -> None:
        """Record the provider's word for the end of the answer, if it gives one."""
        if reason:
            self.finished = True
            self.reason = worse_reason(self.reason, reason if isinstance(reason, str) else str(reason))

    def _report(self, block: object) -> None:
        """Add a usage block: of each class keep the larger of its count and the earlier ones."""
        if not block:
            return
        self.blocks += 1
        if not isinstance(block, dict):
            self._flaw = self._flaw or "usage is not an object"
            return
        found = read_block(block, self.table)
        self._flaw = self._flaw or found.flaw
        self._fees |= found.fees
        self.fell |= any(count < self._counts.get(name, 0) for name, count in found.counts.items())
        self._counts = larger(self._counts, found.counts)
        classes = self._derive(found.counts)
        self._classes = larger(self._classes, classes)
        if "output" in classes and (classes["output"] or not self._has_answered):
            self._is_behind = False

    def _bill(self, nano: int) -> None:
        """Record what the provider says it billed so far."""
        self.fell |= nano < (self.billed_nano or 0)
        self.billed_nano = max(nano, self.billed_nano or 0)

    def _most(self) -> Mapping[str, int]:
        return larger(self._classes, self._derive(self._counts))


class OpenAIReader(UsageReader):
    """Chat completions: usage in a chunk of its own, in the last one of the choice, in each, or inside the choice."""

    table = OPENAI

    def _read_event(self, event: Mapping[str, object]) -> None:
        self.model = _text(event.get("model")) or self.model
        self.tier = _text(event.get("service_tier")) or self.tier
        choices = _choices(event)
        if any(map(_has_content, choices)):
            self._note_answer()
        if event.get("object") == "chat.completion" and any(choice.get("message") for choice in choices):
            self.whole = None if self._has_whole else event  # several are pieces
            self._has_whole = True
        self.has_counted = self.finished and not choices and bool(mapping_of(event.get("usage")))
        for choice in choices:
            self._finish(choice.get("finish_reason"))
        said = [mapping_of(choice.get(name)) for choice in choices for name in ("delta", "message")]
        for place in (event, mapping_of(event.get("x_groq")), *choices, *said):
            for name in _USAGES:
                self._report(place.get(name))
        ticks = number_of(mapping_of(event.get("usage")).get("cost_in_usd_ticks"))
        if ticks.is_whole:
            self._bill(-(-ticks.least // _TICKS_PER_NANO))

    def _derive(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        """Return the classes; tokens that only the total counts (reasoning, at some providers) are output."""
        found = {name: counts[name] for name in ("input", "output", "cached", "reasoning") if name in counts}
        if "cache read" in counts:
            found["cached"] = max(counts["cache read"], found.get("cached", 0))
        if "input" not in counts and "input tokens" in counts:
            found["input"] = input_with_caches(counts)
        if "candidates" in counts or "thoughts" in counts:  # Gemini's names: neither is among the other
            found["reasoning"] = max(counts.get("thoughts", 0), counts.get("reasoning", 0))
            found["output"] = max(counts.get("candidates", 0) + counts.get("thoughts", 0), counts.get("output", 0))
        return with_rest(found, counts) | cache_writes(counts)


class OpenRouterReader(OpenAIReader):
    """OpenRouter, which also reports what it billed, in dollars, as it chooses among hosts with different prices.

    Where the host bills the user's own key (``is_byok``), that comes on top of OpenRouter's own fee.
    """

    def _read_event(self, event: Mapping[str, object]) -> None:
        super()._read_event(event)
        block = mapping_of(event.get("usage"))
        cost = _dollars(block.get("cost"))
        if cost is not None:
            own_key = _dollars(mapping_of(block.get("cost_details")).get("upstream_inference_cost"))
            cost += own_key if own_key is not None and block.get("is_byok") is True else 0
            self._bill(int((cost * NANO_PER_USD).to_integral_value(ROUND_CEILING)))


class AnthropicReader(UsageReader):
    """Anthropic's messages: the input is in the first block, the output in the last, both cumulative."""

    table = ANTHROPIC

    def _is_bare_error(self, event: Mapping[str, object]) -> bool:
        return "type" not in event and super()._is_bare_error(event)

    def _read_event(self, event: Mapping[str, object]) -> None:
        match event.get("type"):
            case "message_start":
                message = mapping_of(event.get("message"))
                self.model = _text(message.get("model")) or self.model
                self._report_all(message.get("usage"))
                self._is_behind = True  # it does not count the output yet
            case "content_block_start" | "content_block_delta":
                self._note_answer()
            case "message_delta":
                self._report_all(event.get("usage"))
                self._finish(mapping_of(event.get("delta")).get("stop_reason"))
            case "message":
                self.whole = event
                self.model = _text(event.get("model")) or self.model
                self._note_answer()
                self._report_all(event.get("usage"))
                self._finish(event.get("stop_reason"))
            case "message_stop":
                self.over = True
            case _:
                pass

    def _report_all(self, block: object) -> None:
        """Add a block, and the sum of the turns that the provider made on its own, if it lists them."""
        self.tier = _text(mapping_of(block).get("service_tier")) or self.tier
        self._report(block)
        turns = [turn for turn in _as_list(mapping_of(block).get("iterations")) if isinstance(turn, dict)]
        if turns:
            found = [read_block(turn, self.table) for turn in turns]
            names = {name for turn in found for name in turn.counts}
            sums = {name: sum(turn.counts.get(name, 0) for turn in found) for name in names}
            self._counts = larger(self._counts, sums)
            self._flaw = self._flaw or next((turn.flaw for turn in found if turn.flaw), "")
            self._fees |= {name: fee for turn in found for name, fee in turn.fees.items()}

    def _derive(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        """Return the classes; the reported input leaves out what was read from caches and written to them."""
        found = {name: counts[name] for name in ("cached", "output") if name in counts} | cache_writes(counts)
        if "uncached" in counts:
            found["input"] = counts["uncached"] + found.get("cached", 0) + found.get("written", 0)
        return with_rest(found, counts)


class OllamaReader(UsageReader):
    """Ollama's chat: usage is in the last line; the count includes cached tokens, where it reports them."""

    table = OLLAMA

    def _is_bare_error(self, event: Mapping[str, object]) -> bool:
        return not isinstance(event.get("message"), dict) and super()._is_bare_error(event)

    def _read_event(self, event: Mapping[str, object]) -> None:
        self.model = _text(event.get("model")) or self.model
        message = mapping_of(event.get("message"))
        if any(value for name, value in message.items() if name != "role"):
            self._note_answer()
        numbers = {name: value for name, value in event.items() if name in OLLAMA or _is_number(value)}
        if not numbers.keys().isdisjoint(_OLLAMA_COUNTS):
            self._report(numbers)
        self._report(event.get("usage"))
        if event.get("done") is True:
            self.whole = event if self.events == 1 else None
            self._finish(event.get("done_reason") or "stop")  # older versions give none
            self.over = True

    def _derive(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        return with_rest(counts, counts)


class GeminiReader(UsageReader):
    """Gemini's generateContent: thoughts are not among the candidates' tokens, and a count of 0 is left out."""

    table = GEMINI

    def _read_event(self, event: Mapping[str, object]) -> None:
        self.model = _text(event.get("modelVersion")) or self.model
        candidates = [one for one in _as_list(event.get("candidates")) if isinstance(one, dict)]
        if any(mapping_of(one.get("content")).get("parts") for one in candidates):
            self._note_answer()
        for one in candidates:
            self._finish(one.get("finishReason"))
        self._report(event.get("usageMetadata"))

    def _derive(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        """Return the classes; tokens that only the total counts are output."""
        if "prompt" not in counts:
            return {}
        tokens_in = counts["prompt"] + counts.get("tool prompt", 0)
        thoughts = counts.get("thoughts", 0)
        tokens_out = max(counts.get("candidates", 0) + thoughts, counts.get("total", 0) - tokens_in)
        return {"input": tokens_in, "output": tokens_out, "cached": counts.get("cached", 0), "reasoning": thoughts}


_OLLAMA_COUNTS = frozenset(name for name, kind in OLLAMA.items() if kind in ("input", "output", "cached"))


def _has_content(choice: Mapping[str, object]) -> bool:
    """Return whether a choice has a piece of the answer of any kind: text, a thought, a call, or an unknown one."""
    said = mapping_of(choice.get("delta")) or mapping_of(choice.get("message"))
    return any((choice.get("text"), *(value for name, value in said.items() if name != "role")))


def _dollars(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)) or value < 0:
        return None
    return Decimal(min(value, MOST_NUMBER))


def _choices(event: Mapping[str, object]) -> list[Mapping[str, object]]:
    return [choice for choice in _as_list(event.get("choices")) if isinstance(choice, dict)]


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _has_substance(event: Mapping[str, object]) -> bool:
    """Return whether an event holds more than its envelope: text, a call, a usage, or anything that we do not know."""
    pending: list[object] = [event]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += [inner for name, inner in value.items() if name not in _ENVELOPE]
        elif isinstance(value, list):
            pending += value
        elif value not in (None, "", False, "error"):
            return True
    return False


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
