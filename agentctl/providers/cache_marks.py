"""Where Anthropic is asked to keep a prompt: it reads a conversation from its cache only up to a mark. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agentctl.core.pricing import Price

_MARK: Mapping[str, object] = {"cache_control": {"type": "ephemeral"}}  # five minutes, from the last reading on


def allows_cache_marks(provider: str, model: str | None, price: Price | None) -> bool:
    """Return whether requests to a model may have marks; a write that has no price of its own is not asked for."""
    claude = provider == "anthropic" or (provider == "openrouter" and (model or "").startswith("anthropic/"))
    return claude and (price is None or price.cache_write is not None)


def marked(messages: Sequence[Mapping[str, object]], *, followed: bool) -> list[dict[str, object]]:
    """Return a conversation in the chat format with at most three marks (four may be); ``messages`` stay as they are.

    One stands behind system message and tools, which outlive a cut of the rest. One stands where the request before
    this one ended, because from a mark the provider looks back over twenty blocks only, and a turn may have more. One
    stands at the end; where nothing is to follow that would read it (``followed``), before the last message, because a
    write costs more than it saves then. No mark stands at the assistant's words, behind which calls may come, nor at
    empty ones, which take none.
    """
    answered = max((place for place, one in enumerate(messages) if one["role"] == "assistant"), default=0)
    ends = (
        _last(messages, range(len(messages)), ("system",)),
        _last(messages, range(answered), ("user", "tool")),
        _last(messages, range(len(messages) - (not followed)), ("user", "tool")),
    )
    return [{**one, **_MARK} if place in ends else dict(one) for place, one in enumerate(messages)]


def _last(messages: Sequence[Mapping[str, object]], places: Iterable[int], roles: Sequence[str]) -> int | None:
    return max(
        (place for place in places if messages[place]["role"] in roles and messages[place]["content"]), default=None
    )
