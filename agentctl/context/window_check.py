"""Detect a server that silently cut the prompt, by comparing what it reports with what was sent. Pure.

How servers behave, according to public sources (github.com/ollama/ollama, unless another is named):

* A ``num_ctx`` above the model's trained length is lowered to it, with a line in the server's log only (pull request
  1971). Without one the window is OLLAMA_CONTEXT_LENGTH, else the server's own choice (4,096 on most machines);
  ``/v1`` takes no ``num_ctx`` at all (NousResearch/hermes-agent issue 43900).
* On overflow the chat endpoint drops messages from the front, all but system messages and the newest
  (server/prompt.go). A message that is still too long loses its middle: ``num_keep`` tokens of its head stay (4, some
  models 24, one more for the first token) and as much of its end as fills the window (runner/ollamarunner/runner.go),
  or half of it: ``num_ctx - (num_ctx - keep) // 2`` (llm/llama_server.go; issue 17427).
* ``truncate: false`` in ``/api/chat`` turns this into HTTP 400, from 0.12.6 on; before, and at ``/v1``, it changes
  nothing (pull requests 12519, 12545; issue 16800). ``shift: false`` would end an answer that fills the window, instead
  of dropping a part of the prompt for it; but a model that was loaded with another ``shift`` is reloaded.
* ``prompt_eval_count`` is taken after the cut. Up to 0.3 it counts what was not in the cache only, and is left out
  where all of it was (issues 2068, 3427); from 0.4 on it counts the whole prompt, apart from some releases of 0.30,
  which left out the cached part again (issue 16414, fixed by pull request 16428).
* llama.cpp's server and vLLM refuse; LM Studio removes the middle, or the oldest part, as configured.

So a low report means a cut, or counts only the part that was not in a cache. The reports of one run together tell which
of the two it is. If they do not, the run continues.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from agentctl.context.tokens import PLAIN, json_text
from agentctl.core.errors import ContextOverflow
from agentctl.core.messages import Completion, Message, ToolSpec
from agentctl.core.pricing import ModelFacts

SMALLEST = 2048  # tokens: a server opens a smaller window only if configured to, and then it refuses longer prompts
_COUNTED, _SURE, _DENSE = 4.0, 5.2, 2.0  # characters per token: by our count, in text of few tokens, in text of many
_FRAME, _JOINT = 32, 64
_LEAST_ANSWER = 256
_RUNS = re.compile(r"(.)\1{3,}", re.DOTALL)  # a run of blanks or dashes is one token, or a few
_WINDOWS, _HALVES = 1024, 512
_KEPT = frozenset({0, 2, 3, 12, 13})  # above half of a window, by ``num_keep``

ReportVerdict = Literal["all", "new", "doubt", "cut"]
ReportBasis = Literal["unknown", "all", "new"]


class SentTokens(NamedTuple):
    """The tokens of one request: at least ``least`` in all.

    If it continues the last reported request, ``new_least`` to ``new_most`` of its tokens are new, and up to ``spared``
    of what was sent with both may be missing this time (schemas that a template shows only in the user's turn).
    ``new_least`` None: it does not continue that request.
    """

    least: int
    new_least: int | None = None
    new_most: int = 0
    spared: int = 0


class ReportHistory(NamedTuple):
    """The findings from the reports of a run: the last one (``reported``), and whether it was ``good``, a full count.

    ``basis``: whether the server counts the whole prompt, or only its new part. ``doubts``: how many reports in a row
    could be of a cut prompt, or of a cached one.
    """

    reported: int = 0
    good: bool = False
    basis: ReportBasis = "unknown"
    doubts: int = 0


def judge_report(history: ReportHistory, sent: SentTokens, reported: int) -> tuple[ReportVerdict, ReportHistory]:
    """Return the verdict on a report ("all": all was read, "new": it counts what was not cached, "cut", or "doubt").

    A report that is too low is a cut if it has the size of a window, or if the server is known to count whole prompts,
    cached or not. It is not a cut if it is at most the new part. The first low report of a run is doubtful, as another
    run may have left its prompt in the cache; two in a row that exceed the new part, and do not grow with it, cannot be
    due to caching. The same figure twice is doubtful, too, because at most half of it can be new.
    """
    goes_on = sent.new_least is not None
    grown = history.reported + (sent.new_least or 0)
    least = max(sent.least, grown - sent.spared if goes_on and history.good else 0)
    exceeds_new = goes_on and reported > sent.new_most  # more than a server would report that counts new tokens only
    if reported >= least:
        counts_all = exceeds_new and history.good and history.basis == "unknown"
        return "all", ReportHistory(reported, True, "all" if counts_all else history.basis)
    if sent.least * _SURE / _COUNTED <= SMALLEST:
        return "new", ReportHistory(reported, False, history.basis)
    if _is_window_size(reported) and (history.basis != "new" or exceeds_new):
        return "cut", history
    if goes_on and not exceeds_new:
        if reported == history.reported and reported >= max(_HALVES, 2 * (sent.new_least or 0)):
            return "doubt", ReportHistory(reported, False, "new")
        return "new", ReportHistory(reported, False, "new")
    if history.basis == "all":
        return "cut", history
    if history.basis == "new":
        return "new", ReportHistory(reported, False, "new")
    if history.doubts and goes_on:
        if reported >= grown:  # it grows with what was sent: all of that was read, and our count is too high
            return "all", ReportHistory(reported, True, "all")
        return "cut", history
    return "doubt", ReportHistory(reported, False, "unknown", history.doubts + 1)


def _is_window_size(tokens: int) -> bool:
    """Return whether a cut leaves that many tokens: a window, one less, or a little more than half of one."""
    return tokens >= _HALVES and (tokens % _WINDOWS in (0, _WINDOWS - 1) or tokens % _HALVES in _KEPT)


class TruncationDetector:
    """Checks each report of one run, unless its provider never cuts (``may_cut`` False)."""

    def __init__(self, facts: ModelFacts) -> None:
        self._facts = facts
        self._history = ReportHistory()
        self._last: _WeighedRequest | None = None
        self._has_warned = False

    def check(self, messages: tuple[Message, ...], tools: Sequence[ToolSpec], answer: Completion) -> str:
        """Check the report of an answer; return a warning, once, if its prompt may have been cut, else "".

        Raises:
            ContextOverflow: the server cut the prompt, so the answer is not to the whole of it.
        """
        usage = answer.usage
        if not self._facts.may_cut or usage is None or not usage.input_tokens:
            return ""
        sent, weighed = _weigh(self._last, messages, tools)
        self._last = weighed
        if usage.cached_input_tokens:  # a server that reports these counts both
            self._history = self._history._replace(basis="all")
        before = self._history
        about = before.reported + weighed.new if before.good and sent.new_least is not None else weighed.about
        verdict, self._history = judge_report(before, sent, usage.input_tokens)
        if verdict == "cut":
            raise _server_cut_error(self._facts, usage.input_tokens, about)
        if verdict != "doubt" or self._has_warned:
            return ""
        self._has_warned = True
        said = f"{self._facts.provider} reports {usage.input_tokens:,} input tokens, and about {about:,} were sent"
        return f"{said}: it may have cut the prompt, or read the rest from its cache"


def shrink_limit(error: ContextOverflow, sent: int) -> int:
    """Return how many tokens, by our count, may be sent after ``sent`` of them were refused.

    Use the provider's own figures if it named both, else a quarter less. If only an answer of the requested length did
    not fit, the result is not lower than before.
    """
    window, prompt = error.window, error.prompt
    if window is None or not prompt:
        return max(1, min(sent * 3 // 4, (window or sent) - _LEAST_ANSWER))
    room = window - _LEAST_ANSWER
    return max(1, sent * room // prompt if prompt <= room else sent * room // prompt * 19 // 20)


def _server_cut_error(facts: ModelFacts, reported: int, about: int) -> ContextOverflow:
    """Return the error for a run whose prompt was cut, with the setting to raise."""
    window = facts.context_window if facts.provider == "ollama" else None
    window = window or -(-about // 512) * 1024  # twice as much
    lower = f"send less: MAX_CONTEXT_TOKENS={max(500, reported * 3 // 4 // 500 * 500)}"
    if facts.provider == "ollama":
        hint = f"give the model a larger window (OLLAMA_CONTEXT_LENGTH={window} where Ollama is started, or PARAMETER "
        hint += f"num_ctx {window} in its Modelfile), choose a model that was trained on a longer one, or {lower}"
    else:
        hint = f"raise the window at the server (Ollama: OLLAMA_CONTEXT_LENGTH={window}, or choose --provider ollama, "
        hint += f"which sets it; LM Studio: the model's context length), or {lower}"
    return ContextOverflow(
        f"{facts.provider} silently cut the prompt: it read {reported:,} tokens of about {about:,} sent",
        hint=hint,
    )


@dataclass(frozen=True, slots=True)
class _WeighedRequest:
    """A request to check: its relevant characters and estimated tokens, ``new`` of which are new."""

    messages: tuple[Message, ...]
    size: int
    about: int
    new: int


def _weigh(
    before: _WeighedRequest | None, messages: tuple[Message, ...], tools: Sequence[ToolSpec]
) -> tuple[SentTokens, _WeighedRequest]:
    """Return the tokens of a request, and the basis on which the next one is weighed."""
    if before is None or messages[: len(before.messages)] != before.messages:
        counted = PLAIN.conversation(messages)
        weight = _WeighedRequest(messages, sum(map(_size, messages)), counted + PLAIN.schemas(tools), counted)
        return SentTokens(int(weight.size / _SURE)), weight
    new = messages[len(before.messages) :]
    counted = PLAIN.conversation(new)
    weight = _WeighedRequest(messages, before.size + sum(map(_size, new)), before.about + counted, counted)
    results = sum(_size(message) for message in new if message.role != "assistant")  # templates leave out of its words
    most = sum(_bytes(message) / _DENSE + _FRAME for message in new) + _JOINT
    other = not before.messages or before.messages[-1].role != messages[-1].role
    spared = PLAIN.schemas(tools) * 2 if other else 0
    return SentTokens(int(weight.size / _SURE), int(results / _SURE), int(most), spared + _JOINT), weight


def _size(message: Message) -> int:
    return len(_RUNS.sub(r"\1", message.text))


def _bytes(message: Message) -> int:
    calls = sum(
        len(call.name) + len(json_text(call.arguments).encode("utf-8", "replace")) for call in message.tool_calls
    )
    return len(message.text.encode("utf-8", "replace")) + calls
