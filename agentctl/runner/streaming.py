"""Read one answer from the wire, piece by piece, within its silence timeout, its deadline and its clamp."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import anyio
import anyio.lowlevel

from agentctl.budget.breaker import ClampExceeded
from agentctl.core.errors import Billed, ProviderError, ProviderUnavailable, Silent
from agentctl.core.events import AnswerStreamed, Emit, Noted
from agentctl.core.messages import Completion, Delta, KeepAlive, Reported, Request, Restart, Tentative, Usage
from agentctl.core.pricing import ModelFacts
from agentctl.protocols import LLMProvider, Outcome

if TYPE_CHECKING:
    from agentctl.providers.chat_format import AnswerText
    from agentctl.runner.streamed_calls import CallFilter

HANG_UP_S = 5.0
SUMMARY_SILENCE_S, SUMMARY_DEADLINE_S = 30.0, 120.0  # short, as a run can do without a summary
_MOST_BYTES_PER_TOKEN = 256  # no tokenizer's average token is longer: a longer stream has exceeded its clamp


class StreamTimeouts(NamedTuple):
    """Timeouts in seconds: for a piece, and for the whole answer, which ends at ``deadline`` on anyio's clock.

    ``first_s`` is the timeout for the first piece; None: that for any piece.
    """

    silence_s: float
    whole_s: float
    deadline: float = inf
    first_s: float | None = None

    def of_attempt(self, facts: ModelFacts, *, is_summary: bool) -> Self:
        """Return those of one attempt, less for a summary; ``first_s`` only where the first piece may come late: of a
        model that may have to be loaded, or answers in one piece.
        """
        whole_s = min(self.whole_s, SUMMARY_DEADLINE_S) if is_summary else self.whole_s
        is_short = is_summary and not facts.reasoning
        silence_s = min(self.silence_s, SUMMARY_SILENCE_S) if is_short else self.silence_s
        is_late = facts.answers_whole or (self.first_s is not None and facts.may_load)
        waits = is_late and whole_s > silence_s
        return self._replace(silence_s=silence_s, whole_s=whole_s, first_s=whole_s if waits else None)


@dataclass(slots=True)
class AttemptProgress:
    """The state of a sent attempt, also when reading fails; ``pieces`` is its text so far.

    ``failed``: the provider raised; ``ran_past``: it exceeded its clamp, and was cut off. ``outcome`` is the request's
    outcome if no answer came, once ``read_stream`` has ended; ``reported`` is the usage reported so far. ``model`` is
    the one that answers, if the provider names it before the end, and ``begun`` has what else the answer said of its
    bill besides tokens. ``silent_s``: it was silent for so many seconds.
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
    begun: Completion | None = None
    silent_s: float | None = None


def retry_pause(error: ProviderError, tried: int, first_s: float) -> float:
    """Return the seconds to wait before a retry: what the provider says, else exponential with a random factor."""
    if error.retry_after is not None:
        return error.retry_after
    import random  # noqa: PLC0415 - most calls are not retried

    return first_s * float(2 ** (tried - 1)) * (0.5 + random.random())  # noqa: S311 - jitter, not a secret


def client_of(provider: LLMProvider) -> str | None:
    """Return the client that sends a provider's requests, "lean" or "litellm"; None if it has neither."""
    found = getattr(provider, "client", None)  # of a user's own provider this may be anything
    return found if isinstance(found, str) and found in ("lean", "litellm") else None


def shaped(provider: LLMProvider, request: Request) -> Request:
    """Return a request as a provider takes it, with what it adds, so that the bound counts that."""
    if request.answer_format is not None:
        from agentctl.runner.structured_answer import formatted  # noqa: PLC0415 - few runs have a schema

        request = formatted(provider.facts, request)
    shape = getattr(provider, "shaped", None)
    return request if client_of(provider) is None or shape is None else shape(request)


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
            if request.is_late():
                raise ProviderUnavailable(f"a request to {name} was not sent: this process stopped", hint="try again")
            sent.outcome = "unknown"
            stream = provider.stream(request)
            try:
                await _read(stream, request, sent, timeouts, _Pieces(provider, request, sent, emit))
            finally:
                await _hang_up(stream)
                sent.outcome, sent.model, sent.begun = _withdraw(stream), _model_of(stream), _begun_of(stream)
    except TimeoutError as error:
        raise _late(provider.facts, sent, timeouts) from error
    if sent.ran_past:
        raise ClampExceeded(f"{name} exceeded max_tokens={request.max_output_tokens}; its answer was cut off")
    if sent.completion is None:
        raise ProviderUnavailable(f"the answer of {name} was cut short", hint="try again")


async def _read(
    stream: AsyncIterator[Delta | Reported | Completion],
    request: Request,
    sent: AttemptProgress,
    timeouts: StreamTimeouts,
    pieces: _Pieces,
) -> None:
    """Read until the completion, the end of the stream, or more text than the clamp can have allowed."""
    clamp, life = request.max_output_tokens, _Life(stream, timeouts.first_s or timeouts.silence_s)
    wait = None if timeouts.first_s is None else _FirstWait(timeouts, pieces.emit, sent)
    while True:
        try:
            with anyio.fail_after(life.limit_s) as life.scope:
                item = await (_next(stream, sent) if wait is None else wait.next(stream))
        except TimeoutError:
            sent.silent_s = life.limit_s
            raise
        if isinstance(item, KeepAlive):
            continue
        wait, life.limit_s = None, timeouts.silence_s
        if item is None:
            return
        if isinstance(item, Completion):
            sent.answered = sent.answered or bool(item.text or item.tool_calls)
            sent.completion = await pieces.finish(item)
            return
        if isinstance(item, Reported):
            sent.reported = item.usage
            continue
        sent.answered = True
        sent.text_bytes += len(item.text.encode("utf-8", "surrogatepass"))
        if clamp is not None and sent.text_bytes > clamp * _MOST_BYTES_PER_TOKEN:
            sent.ran_past = True
            return
        await pieces.add(item)


class _Pieces:
    """Emits the pieces of an answer, without reasoning and without tool calls in its text.

    A provider with a client of ours has divided text and reasoning already.
    """

    def __init__(self, provider: LLMProvider, request: Request, sent: AttemptProgress, emit: Emit) -> None:
        self._request, self._sent, self.emit = request, sent, emit
        self._calls: CallFilter | None = None
        self._kind: Literal["answer", "unsure"] = "answer"
        self._text: AnswerText | None = None
        if client_of(provider) is None and provider.facts.metered:
            from agentctl.providers.chat_format import AnswerText  # noqa: PLC0415 - for providers of other packages

            self._text = AnswerText()

    async def add(self, item: Delta) -> None:
        """Add a piece to the progress, and emit it."""
        text, restarts, is_unsure = item.text, isinstance(item, Restart), isinstance(item, Tentative)
        if self._text is not None:
            text = self._text.add(text)
            restarts, is_unsure = restarts or self._text.restarts, not self._text.reasoning
        if restarts:
            self._sent.pieces.clear()
        if text or restarts:
            self._sent.pieces.append(text)
            self._kind = "unsure" if is_unsure else "answer"
            shown = self._take(text, restarts=restarts) if self._request.tools else text
            if shown or restarts:
                await self.emit(AnswerStreamed(shown, "restart" if restarts else self._kind))

    def _take(self, text: str, *, restarts: bool) -> str:
        """Return what can be shown of a text that may be a call."""
        if self._calls is None:
            from agentctl.runner.streamed_calls import CallFilter  # noqa: PLC0415 - once a model says something

            self._calls = CallFilter({tool.name for tool in self._request.tools})
        if restarts:
            self._calls.restart()
        return self._calls.take(text)

    async def finish(self, answer: Completion) -> Completion:
        """Emit what was held back of an answer and is none; return it, with the reasoning in its text apart."""
        if self._text is not None and answer.text:
            from agentctl.providers.reasoning_text import split_reasoning  # noqa: PLC0415 - as above

            text, reasoning = split_reasoning(answer.text, is_cut=answer.stop == "length")
            if text != answer.text:
                answer = replace(answer, text=text, reasoning=answer.reasoning + reasoning)
        if self._calls is not None and self._calls.held:
            from agentctl.runner.text_calls import read_text_calls  # noqa: PLC0415 - few answers look like a call

            found = read_text_calls(answer, self._request.tools, self._request.messages)
            if not found.flaw and (answer.tool_calls or not found.answer.tool_calls):
                await self.emit(AnswerStreamed(self._calls.held, self._kind))
        return answer


class _Life:
    """The scope of the wait for a piece, which every line of the answer prolongs: a comment, too, is a sign of life."""

    def __init__(self, stream: AsyncIterator[Delta | Reported | Completion], limit_s: float) -> None:
        self.limit_s = limit_s
        self.scope: anyio.CancelScope | None = None
        with suppress(Exception):  # not every provider's has it; code of other packages
            stream.watch(self.prolong)  # type: ignore[attr-defined]

    def prolong(self) -> None:
        """Begin the wait anew."""
        if self.scope is not None:
            self.scope.deadline = anyio.current_time() + self.limit_s


class _FirstWait:
    """The wait for the first piece of an answer: told of once, as soon as it takes longer than that for any piece."""

    def __init__(self, timeouts: StreamTimeouts, emit: Emit, sent: AttemptProgress) -> None:
        self._timeouts, self._emit, self._sent = timeouts, emit, sent
        self._until = anyio.current_time() + timeouts.silence_s
        self._failure: Exception | None = None
        self._is_told = False

    async def next(self, stream: AsyncIterator[Delta | Reported | Completion]) -> Delta | Reported | Completion | None:
        """Return the next piece, None at the end."""
        if self._is_told:
            return await _next(stream, self._sent)
        item: Delta | Reported | Completion | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._tell, group.cancel_scope)
            try:
                item = await _next(stream, self._sent)
            except Exception as error:  # noqa: BLE001 - raised below, outside the group
                self._failure = error
            group.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure
        return item

    async def _tell(self, scope: anyio.CancelScope) -> None:
        await anyio.sleep_until(self._until)
        self._is_told = True
        most_s = self._timeouts.first_s or 0.0
        text = f"waiting for the first token, {_duration(self._timeouts.silence_s)} so far, {_duration(most_s)} at most"
        try:
            with anyio.CancelScope(shield=True):  # a record is written whole
                await self._emit(Noted(text))
        except Exception as error:  # noqa: BLE001 - raised where the piece is awaited
            self._failure = error
            scope.cancel()


def _duration(value: float) -> str:
    """Return seconds as the screens do: ``45 s``, ``1 min 10 s``."""
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{value:g} s"


async def _next(
    stream: AsyncIterator[Delta | Reported | Completion], sent: AttemptProgress
) -> Delta | Reported | Completion | None:
    """Return the next piece, None at the end; an error raised here is the provider's."""
    try:
        return await anext(stream, None)
    except Exception as error:
        sent.failed, sent.ran_past = True, isinstance(error, ClampExceeded)
        raise


def _late(facts: ModelFacts, sent: AttemptProgress, timeouts: StreamTimeouts) -> ProviderUnavailable:
    """Return the error for an attempt that took too long."""
    name = facts.provider
    if sent.outcome == "unsent":
        return ProviderUnavailable(
            f"the request to {name} could not be sent within {min(timeouts.silence_s, timeouts.whole_s):g} s",
            hint="check the address and the network, or raise --llm-timeout",
            billed="no",
            unsent=True,
        )
    has_waited = timeouts.first_s is not None and not sent.answered
    is_ours = facts.own_host or has_waited
    raised = Silent if is_ours else ProviderUnavailable
    billed: Billed = "no" if sent.outcome == "refused" else "unknown"
    if sent.silent_s is None or sent.silent_s >= timeouts.whole_s:
        said = f"{name} did not finish its answer in {timeouts.whole_s:g} s"
        faster = "choose a smaller model, or lower --max-output-tokens"
        return raised(said, hint=faster if is_ours else "try again", billed=billed)
    said = f"{name} sent nothing for {sent.silent_s:g} s"
    hint = "raise --llm-timeout, or check what the server is doing" if is_ours else "try again, or raise --llm-timeout"
    return raised(said, hint=hint, billed=billed)


def _model_of(stream: AsyncIterator[Delta | Reported | Completion]) -> str | None:
    """Return the model that answers, None if the provider does not say."""
    try:
        model = stream.model  # type: ignore[attr-defined] # not every provider's has it
    except Exception:  # noqa: BLE001 - code of other packages
        return None
    return model if isinstance(model, str) else None


def _begun_of(stream: AsyncIterator[Delta | Reported | Completion]) -> Completion | None:
    """Return what an answer says of its bill so far, None if the provider does not say."""
    found = getattr(stream, "begun", None)
    return found if isinstance(found, Completion) else None


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
