"""Read one answer from the wire, piece by piece, within its silence timeout, its deadline and its clamp."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import anyio
import anyio.lowlevel

from agentctl.budget.breaker import ClampExceeded
from agentctl.core.errors import ProviderUnavailable
from agentctl.core.events import AnswerStreamed, Emit
from agentctl.core.messages import Completion, Delta, KeepAlive, Reported, Request, Usage
from agentctl.protocols import LLMProvider, Outcome

HANG_UP_S = 5.0
_MOST_BYTES_PER_TOKEN = 256  # no tokenizer's average token is longer: a longer stream has exceeded its clamp


class StreamTimeouts(NamedTuple):
    """Timeouts in seconds: for a piece, and for the whole answer, which ends at ``deadline`` on anyio's clock."""

    silence_s: float
    whole_s: float
    deadline: float


@dataclass(slots=True)
class AttemptProgress:
    """The state of a sent attempt, also when reading fails; ``pieces`` is its text so far.

    ``failed``: the provider raised; ``ran_past``: it exceeded its clamp, and was cut off. ``outcome`` is the request's
    outcome if no answer came, once ``read_stream`` has ended; ``reported`` is the usage reported so far. ``model`` is
    the one that answers, if the provider names it before the end.
    """

    completion: Completion | None = None
    answered: bool = False
    failed: bool = False
    ran_past: bool = False
    outcome: Outcome = "unsent"
    text_bytes: int = 0
    pieces: list[str] = field(default_factory=list)
    reported: Usage | None = None
    model: str | None = None


def client_of(provider: LLMProvider) -> str | None:
    """Return the client that sends a provider's requests, "lean" or "litellm"; None if it has neither."""
    found = getattr(provider, "client", None)  # of a user's own provider this may be anything
    return found if isinstance(found, str) and found in ("lean", "litellm") else None


def unknown_names(provider: LLMProvider) -> tuple[str, ...]:
    """Return what a provider's answers held that agentctl does not know, the most first: ``event new_event (3)``."""
    found = getattr(provider, "unknown", None)
    if client_of(provider) is None or not isinstance(found, Counter):
        return ()
    return tuple(f"{name} ({times})" for name, times in found.most_common())


def describe_unknown(provider: LLMProvider) -> str:
    """Return a sentence about ``unknown_names``, "" if there are none."""
    names = ", ".join(unknown_names(provider))
    return f"{provider.facts.provider} sent what agentctl does not know: {names}" if names else ""


async def read_stream(
    provider: LLMProvider, request: Request, sent: AttemptProgress, timeouts: StreamTimeouts, emit: Emit
) -> None:
    """Send ``request`` and update ``sent`` until the answer is complete.

    Raises:
        ProviderUnavailable: silence, deadline, a stream beyond its clamp, or one without an end.
    """
    name = provider.facts.provider
    try:
        with anyio.fail_after(timeouts.deadline - anyio.current_time()):
            await anyio.lowlevel.checkpoint()  # an earlier cancellation takes effect here, before anything is sent
            sent.outcome = "unknown"
            stream = provider.stream(request)
            try:
                await _read(stream, request, sent, timeouts.silence_s, emit)
            finally:
                await _hang_up(stream)
                sent.outcome, sent.model = _withdraw(stream), _model_of(stream)
    except TimeoutError as error:
        raise _late(name, sent, timeouts) from error
    if sent.ran_past:
        raise ClampExceeded(f"{name} exceeded max_tokens={request.max_output_tokens}; its answer was cut off")
    if sent.completion is None:
        raise ProviderUnavailable(f"the answer of {name} was cut short", hint="try again")


async def _read(
    stream: AsyncIterator[Delta | Reported | Completion],
    request: Request,
    sent: AttemptProgress,
    silence_s: float,
    emit: Emit,
) -> None:
    """Read until the completion, the end of the stream, or more text than the clamp can have allowed."""
    clamp = request.max_output_tokens
    while True:
        with anyio.fail_after(silence_s):
            item = await _next(stream, sent)
        if item is None:
            return
        if isinstance(item, Completion):
            sent.completion = item
            sent.answered = sent.answered or bool(item.text or item.tool_calls)
            return
        if isinstance(item, Reported):
            sent.reported = item.usage
            continue
        if isinstance(item, KeepAlive):
            continue
        sent.answered = True
        sent.text_bytes += len(item.text.encode("utf-8", "surrogatepass"))
        if clamp is not None and sent.text_bytes > clamp * _MOST_BYTES_PER_TOKEN:
            sent.ran_past = True
            return
        if item.text:
            sent.pieces.append(item.text)
            await emit(AnswerStreamed(item.text))


async def _next(
    stream: AsyncIterator[Delta | Reported | Completion], sent: AttemptProgress
) -> Delta | Reported | Completion | None:
    """Return the next piece, None at the end; an error raised here is the provider's."""
    try:
        return await anext(stream, None)
    except Exception as error:
        sent.failed, sent.ran_past = True, isinstance(error, ClampExceeded)
        raise


def _late(name: str, sent: AttemptProgress, timeouts: StreamTimeouts) -> ProviderUnavailable:
    """Return the error for an attempt that took too long."""
    if sent.outcome == "unsent":
        return ProviderUnavailable(
            f"the request to {name} could not be sent within {min(timeouts.silence_s, timeouts.whole_s):g} s",
            hint="check the address and the network, or raise --llm-timeout",
            billed="no",
            unsent=True,
        )
    return ProviderUnavailable(
        f"{name} sent nothing for {timeouts.silence_s:g} s, or did not finish its answer in {timeouts.whole_s:g} s",
        hint="try again, or raise --llm-timeout",
        billed="no" if sent.outcome == "refused" else "unknown",
    )


def _model_of(stream: AsyncIterator[Delta | Reported | Completion]) -> str | None:
    """Return the model that answers, None if the provider does not say."""
    try:
        model = stream.model  # type: ignore[attr-defined] # not every provider's has it
    except Exception:  # noqa: BLE001 - code of other packages
        return None
    return model if isinstance(model, str) else None


def _withdraw(stream: AsyncIterator[Delta | Reported | Completion]) -> Outcome:
    """Return the outcome that the provider reports for a request that ended; "unknown" if it reports none."""
    try:
        said = stream.withdraw()  # type: ignore[attr-defined] # not every provider's has it
    except Exception:  # noqa: BLE001 - code of other packages
        return "unknown"
    return said if said in ("unsent", "refused") else "unknown"


async def _hang_up(stream: AsyncIterator[Delta | Reported | Completion]) -> None:
    """Close the connection and ignore its errors: an answer that was read is kept."""
    close = getattr(stream, "aclose", None)
    if close is not None:
        with anyio.move_on_after(HANG_UP_S, shield=True), suppress(Exception):
            await close()
