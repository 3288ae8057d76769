"""The stream of one answer, as a run reads it, and the completion at its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from agentctl.core.messages import Completion, Delta, Reported, Request, Restart, Tentative
from agentctl.core.redaction import redact
from agentctl.protocols import Outcome
from agentctl.providers.chat_format import CompletionBuilder
from agentctl.providers.stream_readers import UsageReader

if TYPE_CHECKING:
    from agentctl.providers.http_gate import Attempt

#: The names in an answer of the service tier that was asked for, and of those that cost no more.
_USUAL_TIERS = frozenset({None, "default", "standard", "standard_only", "auto", "flex", "batch", "scale", "on_demand"})


class Attempts(list["Attempt"]):
    """The attempt of one stream, as soon as there is one; ``on_life`` is called when a line of its answer ends."""

    on_life: Callable[[], object] | None = None

    def add(self, attempt: Attempt) -> None:
        """Add the attempt, which is about to be sent."""
        attempt.on_life = self.on_life
        self.append(attempt)


_MARK_REASONING = frozenset({"openai", "azure", "anthropic"})  # at their own addresses


class AnswerStream(AsyncIterator[Delta | Reported | Completion]):
    """One request and its answer; ``attempts`` has an entry once it is about to be sent. ``key`` is redacted."""

    def __init__(self, pieces: AsyncGenerator[Delta | Reported | Completion], attempts: Attempts, key: str) -> None:
        self._pieces, self._attempts, self._key = pieces, attempts, key

    def watch(self, on_life: Callable[[], object]) -> None:
        """Have ``on_life`` called whenever a line of the answer ends, also one that is no piece of it."""
        self._attempts.on_life = on_life

    async def __anext__(self) -> Delta | Reported | Completion:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        await self._pieces.aclose()

    @property
    def model(self) -> str | None:
        """The model that answers, None until the answer names it."""
        model = self._attempts[0].reader.model if self._attempts else None
        return None if model is None else redact(model, (self._key,))

    @property
    def begun(self) -> Completion | None:
        """What the answer says of its bill so far, besides the tokens; None if there is no answer."""
        return _bill_of(self._attempts[0].reader, self._key) if self._attempts else None

    def withdraw(self) -> Outcome:
        """Stop the request from leaving; return its outcome: unsent, refused or unknown."""
        return self._attempts[0].withdraw() if self._attempts else "unsent"


class ReasoningHabit:
    """Whether the answers of one provider begin inside reasoning that nothing opens, as far as they have shown."""

    def __init__(self) -> None:
        self._begins_inside: bool | None = None

    def begin(self, request: Request, *, is_official: bool, kind: str) -> CompletionBuilder:
        """Return the builder of the answer to a request at the provider's own address or another."""
        is_unsure = self._begins_inside is None and not (is_official and kind in _MARK_REASONING)
        earlier = (call for message in request.messages for call in message.tool_calls)
        return CompletionBuilder(earlier, waits=self._begins_inside is True, is_unsure=is_unsure)

    def delta(self, text: str, answer: CompletionBuilder) -> Delta:
        """Return a piece of an answer."""
        if answer.said.restarts:
            return Restart(text)
        return Tentative(text) if answer.is_unsure and not answer.said.reasoning else Delta(text)

    def finish(self, answer: CompletionBuilder, completion: Completion) -> Iterator[Delta | Completion]:
        """Yield the text held back until the end of an answer, then the whole; learn from it how answers begin."""
        if answer.rest or answer.said.restarts:
            yield self.delta(answer.rest, answer)
        if answer.said.began_inside or completion.text:
            self._begins_inside = self._begins_inside or answer.said.began_inside
        yield completion


def is_complete(answer: CompletionBuilder, attempt: Attempt) -> bool:
    """Return whether an answer came to its end: by its finish reason, or with the stream's, where it says none.

    Without a finish reason it must be text, or calls whose arguments are whole; a whole document is its own end.
    """
    reader = attempt.reader
    has_ended = reader.over or (reader.whole is not None and attempt.ended)
    return reader.finished or (has_ended and answer.is_usable)


def build_completion(answer: CompletionBuilder, reader: UsageReader, key: str) -> Completion:
    """Return the completion of an answer that was read to its end; ``key`` is redacted."""
    bill, reason = _bill_of(reader, key), redact(reader.reason, (key,))
    built = answer.build(
        usage=reader.usage, model=bill.model, billed_nano=bill.billed_nano, fee=bill.fee, reason=reason
    )
    reported = None
    if reader.usage is None and reader.reported is not None:
        reported = Reported(reader.reported, reader.flaw)
    return replace(built, tier=bill.tier, hour_writes=reader.hour_writes, reported=reported, fell=reader.fell)


def _bill_of(reader: UsageReader, key: str) -> Completion:
    """Return what an answer says of its bill, besides the tokens; ``key`` is redacted."""
    model = None if reader.model is None else redact(reader.model, (key,))
    tier = "" if reader.tier in _USUAL_TIERS else redact(str(reader.tier), (key,))
    return Completion("", model=model, billed_nano=reader.billed_nano, fee=reader.fee, tier=tier)
