"""Takes in one answer from the wire: piece by piece, within its silence, its deadline and its clamp."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import anyio

from agentctl.breaker import RanPast
from agentctl.errors import ProviderUnavailable
from agentctl.events import AnswerStreamed, Emit
from agentctl.messages import Completion, Delta, Request
from agentctl.protocols import LLMProvider

HANG_UP_S = 5.0
_MOST_BYTES_PER_TOKEN = 256  # no tokenizer's average token is longer: beyond it a stream surely ran past its clamp


class Patience(NamedTuple):
    """How long to wait, in seconds: for a piece, and for the whole, which ends at ``deadline`` on anyio's clock."""

    silence_s: float
    whole_s: float
    deadline: float


@dataclass(slots=True)
class Sent:
    """What is known of an attempt that went out, also when taking it in fails; ``pieces`` are its words so far.

    ``failed``: the provider raised; ``ran_past``: it did not keep to its clamp, and was cut off.
    """

    completion: Completion | None = None
    answered: bool = False
    failed: bool = False
    ran_past: bool = False
    text_bytes: int = 0
    pieces: list[str] = field(default_factory=list)


async def take_in(provider: LLMProvider, request: Request, sent: Sent, patience: Patience, emit: Emit) -> None:
    """Send ``request`` and fill in ``sent`` until the answer is complete.

    Raises:
        ProviderUnavailable: silence, deadline, a stream past its clamp, or one without an end.
    """
    name = provider.facts.provider
    stream = provider.stream(request)
    try:
        with anyio.fail_after(patience.deadline - anyio.current_time()):
            await _read(stream, request, sent, patience.silence_s, emit)
    except TimeoutError as error:
        raise ProviderUnavailable(
            f"{name} sent nothing for {patience.silence_s:g} s, or not the whole answer in {patience.whole_s:g} s",
            hint="try again, or raise --llm-timeout",
        ) from error
    finally:
        await _hang_up(stream)
    if sent.ran_past:
        raise RanPast(f"{name} went on past max_tokens={request.max_output_tokens}; it was cut off")
    if sent.completion is None:
        raise ProviderUnavailable(f"the answer of {name} was cut short", hint="try again")


async def _read(
    stream: AsyncIterator[Delta | Completion], request: Request, sent: Sent, silence_s: float, emit: Emit
) -> None:
    """Read until the completion, the end, or more text than the clamp can have allowed."""
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
        sent.answered = True
        sent.text_bytes += len(item.text.encode("utf-8", "surrogatepass"))
        if clamp is not None and sent.text_bytes > clamp * _MOST_BYTES_PER_TOKEN:
            sent.ran_past = True
            return
        if item.text:
            sent.pieces.append(item.text)
            await emit(AnswerStreamed(item.text))


async def _next(stream: AsyncIterator[Delta | Completion], sent: Sent) -> Delta | Completion | None:
    """Return the next piece, None at the end; what fails in here is the provider's fault."""
    try:
        return await anext(stream, None)
    except Exception as error:
        sent.failed, sent.ran_past = True, isinstance(error, RanPast)
        raise


async def _hang_up(stream: AsyncIterator[Delta | Completion]) -> None:
    """Close the connection, whatever it says to that: what was answered stays answered."""
    close = getattr(stream, "aclose", None)
    if close is not None:
        with anyio.move_on_after(HANG_UP_S, shield=True), suppress(Exception):
            await close()
