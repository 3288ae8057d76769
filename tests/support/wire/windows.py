"""A server's context window: how it treats a longer prompt, and the usage it reports. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from tests.support.wire.script import Format, Said, WireRequest
from tests.support.wire.speech import Refusal, compact, listed

KEPT = 4  # tokens of its head that Ollama keeps when it cuts


class Window(NamedTuple):
    """``tokens`` are for the prompt and its answer; Ollama's may be less, by the request's ``num_ctx``.

    ``cuts``: it "refuse"s what is longer; or keeps, and nobody told, the system messages and the "newest" that fit, or
    the head and the end that fill "half" of it. ``heeds`` what Ollama is told about that (as from 0.12.6 on).
    ``counts``: its reports are of "all" that it read, or of what is "new" to it, as if all before were in a cache.
    """

    tokens: int
    cuts: Literal["refuse", "newest", "half"] = "refuse"
    heeds: bool = True
    counts: Literal["all", "new"] = "all"

    def refused(self, asked: WireRequest) -> Refusal | None:
        """Return why a request is too long, in the words of the format, unless it is cut."""
        told = asked.format == "ollama" and self.heeds and asked.body.get("truncate") is False
        if self.cuts != "refuse" and not told:
            return None
        prompt, window, clamp = tokens_of(asked), self._open(asked), asked.clamp or 0
        if prompt + (0 if asked.format == "ollama" else clamp) <= window:
            return None
        words = _words(asked.format, prompt, window, clamp)
        return Refusal(400, "context_length_exceeded", asked.model, words)

    def read(self, asked: WireRequest, earlier: Sequence[tuple[Said, ...]]) -> int:
        """Return how many tokens it says that it read of a request, after ``earlier`` ones."""
        prompt, window = tokens_of(asked), self._open(asked)
        if prompt > window:
            return self._left(asked, prompt, window)
        if self.counts == "all":
            return prompt
        known = max((_in_common(asked.messages, before) for before in earlier), default=0)
        return prompt if not known else max(1, sum(_sizes(asked)[known:]))

    def _open(self, asked: WireRequest) -> int:
        options = asked.body.get("options")
        asked_for = options.get("num_ctx") if isinstance(options, dict) and asked.format == "ollama" else None
        return min(self.tokens, asked_for) if isinstance(asked_for, int) else self.tokens

    def _left(self, asked: WireRequest, prompt: int, window: int) -> int:
        if self.cuts == "half":
            return window - (window - KEPT) // 2
        sizes = _sizes(asked)
        for place, (said, size) in enumerate(zip(asked.messages, sizes, strict=True)):
            if prompt <= window:
                return prompt
            if said.role != "system" and place < len(sizes) - 1:
                prompt -= size
        return min(prompt, window)


def tokens_of(asked: WireRequest) -> int:
    """Return what a request comes to, its tools included."""
    return asked.size // 4


def _sizes(asked: WireRequest) -> list[int]:
    return [len(compact(message).encode()) // 4 for message in listed(asked.body.get("messages"))]


def _in_common(messages: tuple[Said, ...], before: tuple[Said, ...]) -> int:
    same = 0
    for one, other in zip(messages, before, strict=False):
        if one != other:
            break
        same += 1
    return same


def _words(format: Format, prompt: int, window: int, clamp: int) -> str:
    if format == "anthropic":
        if prompt > window:
            return f"prompt is too long: {prompt} tokens > {window} maximum"
        both = f"input length and `max_tokens` exceed context limit: {prompt} + {clamp} > {window}"
        return f"{both}, decrease input length or `max_tokens` and try again"
    if format == "ollama":
        said = f"request ({prompt} tokens) exceeds the available context size ({window} tokens), try increasing it"
        error = {"code": 400, "message": said, "type": "exceed_context_size_error"}
        return compact({"error": {**error, "n_prompt_tokens": prompt, "n_ctx": window}})
    most = f"This model's maximum context length is {window} tokens. However, "
    if prompt > window:
        return f"{most}your messages resulted in {prompt} tokens. Please reduce the length of the messages."
    asked = f"you requested {prompt + clamp} tokens ({prompt} in the messages, {clamp} in the completion)"
    return f"{most}{asked}. Please reduce the length of the messages or completion."
