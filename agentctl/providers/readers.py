"""Reads along what a provider answers, byte by byte: its usage, its own name, its end, its error. Pure.

litellm's figures are not used for money: it makes up a usage where none was reported, and takes a cut stream for a
whole one. What is believed here stood on the wire.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import TypeGuard

from agentctl.messages import Usage
from agentctl.pricing import NANO_PER_USD

MOST_LINE_BYTES = 16 * 1024 * 1024
_MOST_USD = 1e6
_ENVELOPE = frozenset(
    {"id", "request_id", "user_id", "object", "type", "created", "created_at", "index", "role", "error"}
    | {"model", "modelVersion", "provider", "system_fingerprint", "service_tier"}
)


class TooLong(ValueError):
    """One line of an answer is longer than any answer is."""


class Reader(ABC):
    """Takes the bytes of one answer and keeps what they report.

    ``usage`` is the last cumulative block, None if there was none or its numbers are no whole numbers; ``billed_nano``
    what the provider says that it billed, where it does; ``model`` the one that answered; ``tier`` the service tier
    that served it, where that is said; ``hour_writes`` the tokens among its cache writes that last an hour;
    ``fee`` what it did and charges for that was never asked of it.
    ``finished``: the model said that it was done; ``over``: nothing more will come. ``error`` is an error document in
    the stream; ``spoken`` whether an event held a piece of an answer or a usage. ``events`` counts what could be read.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.billed_nano: int | None = None
        self.model: str | None = None
        self.tier: str | None = None
        self.hour_writes = 0
        self.fee: str | None = None
        self.finished = self.over = False
        self.error: Mapping[str, object] | None = None
        self.spoken = False
        self.events = 0
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            TooLong: a line without an end.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MOST_LINE_BYTES:
            raise TooLong("a line of the answer has no end")
        for line in lines:
            self._line(line)

    def close(self) -> None:
        """Take what is left as the last line."""
        rest, self._rest = self._rest, b""
        self._line(rest)

    def _line(self, line: bytes) -> None:
        text = line.strip().removeprefix(b"data:").strip()
        if text == b"[DONE]":
            self.over = True
        if not text.startswith(b"{"):
            return
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(event, dict):
            self.events += 1
            self.spoken = self.spoken or _speaks(event)
            error = event.get("error")
            if isinstance(error, (dict, str)) and error:
                self.error = error if isinstance(error, dict) else {"message": error}
            self._take(event)

    @abstractmethod
    def _take(self, event: Mapping[str, object]) -> None:
        """Keep what one event reports."""


class OpenAIReader(Reader):
    """Chat completions: usage counts from the chunk on that ends the choice, or after it."""

    def _take(self, event: Mapping[str, object]) -> None:
        self.model = _text(event.get("model")) or self.model
        self.tier = _text(event.get("service_tier")) or self.tier
        choices = event.get("choices")
        if isinstance(choices, list) and any(_in(choice).get("finish_reason") for choice in choices):
            self.finished = True
        block = event.get("usage") or _in(event.get("x_groq")).get("usage")
        if self.finished and isinstance(block, dict):
            self.usage = _openai_usage(block)


class OpenRouterReader(OpenAIReader):
    """OpenRouter also says what it billed, in dollars: it chose among hosts, and some are dearer.

    Where the host bills the user's own key (``is_byok``), that comes on top of OpenRouter's own fee.
    """

    def _take(self, event: Mapping[str, object]) -> None:
        super()._take(event)
        block = _in(event.get("usage"))
        cost = _dollars(block.get("cost"))
        if cost is not None:
            own_key = _dollars(_in(block.get("cost_details")).get("upstream_inference_cost"))
            cost += own_key if own_key is not None and block.get("is_byok") is True else 0
            self.billed_nano = int((cost * NANO_PER_USD).to_integral_value(ROUND_CEILING))


class AnthropicReader(Reader):
    """Messages: the input stands in the first block, the output in the last, both cumulative."""

    def __init__(self) -> None:
        super().__init__()
        self._block: dict[str, object] = {}

    def _take(self, event: Mapping[str, object]) -> None:
        match event.get("type"):
            case "message_start":
                message = _in(event.get("message"))
                self.model = _text(message.get("model")) or self.model
                self._block.update(_in(message.get("usage")))
            case "message_delta":
                told = {name: value for name, value in _in(event.get("usage")).items() if value is not None}
                self._block.update(told)
                if _in(event.get("delta")).get("stop_reason"):
                    self.finished = True
                self.usage = _anthropic_usage(self._block) if "output_tokens" in told else None
                hour = _in(self._block.get("cache_creation")).get("ephemeral_1h_input_tokens") or 0
                self.hour_writes = hour if _whole(hour) else 0
                self.tier = _text(self._block.get("service_tier"))
                own = _in(self._block.get("server_tool_use"))
                self.fee = next((f"{count} {name}" for name, count in own.items() if count), None)
            case "message_stop":
                self.over = True
            case _:
                pass


class OllamaReader(Reader):
    """Ollama's chat: everything in the last line; what came from a cache is part of the count, if it is told."""

    def _take(self, event: Mapping[str, object]) -> None:
        self.model = _text(event.get("model")) or self.model
        if event.get("done") is True:
            self.finished = self.over = True
            cached = event.get("prompt_eval_cached_count", 0)
            self.usage = _usage(event.get("prompt_eval_count"), event.get("eval_count"), cached=cached)


class GeminiReader(Reader):
    """Gemini's generateContent: thoughts are not among the candidates' tokens."""

    def _take(self, event: Mapping[str, object]) -> None:
        self.model = _text(event.get("modelVersion")) or self.model
        candidates = event.get("candidates")
        if isinstance(candidates, list) and any(_in(one).get("finishReason") for one in candidates):
            self.finished = True
        block = event.get("usageMetadata")
        if self.finished and isinstance(block, dict):
            thoughts = block.get("thoughtsTokenCount", 0)
            output = _sum(block.get("candidatesTokenCount", 0), thoughts)
            tools = _sum(block.get("promptTokenCount"), block.get("toolUsePromptTokenCount", 0))
            self.usage = _usage(tools, output, cached=block.get("cachedContentTokenCount", 0), reasoning=thoughts)


def _openai_usage(block: Mapping[str, object]) -> Usage | None:
    """Return the block by class; what a provider counts in the total only (reasoning, at some) is output."""
    prompt, answer, total = block.get("prompt_tokens"), block.get("completion_tokens"), block.get("total_tokens")
    inside, outside = _in(block.get("prompt_tokens_details")), _in(block.get("completion_tokens_details"))
    if _whole(prompt) and _whole(answer) and _whole(total):
        answer = max(answer, total - prompt)
    cached = inside.get("cached_tokens")
    return _usage(
        prompt,
        answer,
        cached=block.get("prompt_cache_hit_tokens", 0) if cached is None else cached,
        written=inside.get("cache_write_tokens"),
        reasoning=outside.get("reasoning_tokens"),
    )


def _anthropic_usage(block: Mapping[str, object]) -> Usage | None:
    cached, written = block.get("cache_read_input_tokens") or 0, block.get("cache_creation_input_tokens") or 0
    parts = [part or 0 for name, part in _in(block.get("cache_creation")).items() if name.endswith("_input_tokens")]
    if _whole(written) and parts:
        lasting = _sum(*parts)
        written = max(written, lasting) if _whole(lasting) else None
    whole_input = _sum(block.get("input_tokens"), cached, written)
    return _usage(whole_input, block.get("output_tokens"), cached=cached, written=written)


def _usage(
    tokens_in: object, tokens_out: object, *, cached: object = 0, written: object = 0, reasoning: object = 0
) -> Usage | None:
    """Return a report whose numbers are whole, else None: what cannot be read was not reported."""
    parts = [0 if part is None else part for part in (cached, written, reasoning)]
    if not (_whole(tokens_in) and _whole(tokens_out)) or not all(map(_whole, parts)):
        return None
    return Usage(tokens_in, tokens_out, *(int(str(part)) for part in parts))


def _sum(*parts: object) -> object:
    return sum(part for part in parts if _whole(part)) if all(map(_whole, parts)) else None


def _whole(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**53


def _dollars(value: object) -> Decimal | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < _MOST_USD:
        return None
    return Decimal(str(value))


def _in(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _speaks(event: Mapping[str, object]) -> bool:
    """Whether an event holds more than its envelope: text, a call, a usage, or anything that we do not know."""
    left: list[object] = [event]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [inner for name, inner in value.items() if name not in _ENVELOPE]
        elif isinstance(value, list):
            left += value
        elif value not in (None, "", False, "error"):
            return True
    return False


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
