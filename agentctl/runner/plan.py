"""The plan of a run: what it may do, and for how long. Plain values made from the settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import anyio

from agentctl.budget.last_answer import SHARE
from agentctl.budget.output_range import choose_output
from agentctl.context.message_cache import MessageCache
from agentctl.context.pruning import prune
from agentctl.context.tokens import PLAIN, Measure
from agentctl.core.errors import AgentctlError, ContextOverflow
from agentctl.core.leases import Lease
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import AnswerSpec, Message, ToolCall, ToolSpec
from agentctl.core.pricing import ModelFacts
from agentctl.core.results import InputTaken
from agentctl.permissions.decision import Permissions
from agentctl.permissions.guards import LoopLimits

if TYPE_CHECKING:
    from agentctl.context.manager import ContextManager
    from agentctl.core.answer_schema import AnswerSchema
    from agentctl.permissions.hook_rules import HookRule
    from agentctl.providers.cassettes.lane import Lane, RecordedResult
    from agentctl.runner.project_notes import ProjectNotes


class RunInput(Protocol):
    """What stands beside the task of a run: what was taken of it, and what has come too late."""

    @property
    def data(self) -> str:
        """The text that is sent behind the task, "" without any."""
        ...

    @property
    def taken(self) -> InputTaken | None:
        """The data that was taken, None without any."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings that the user has seen already."""
        ...

    @property
    def waited_s(self) -> float:
        """The seconds of the run's time limit that passed before the run began."""
        ...

    def refuse_late(self) -> None:
        """Check that no data has come since; called before the first request is reserved.

        Raises:
            UsageError: data has come that would not be read.
        """
        ...

    def late_warning(self) -> str:
        """Return a warning if data has come that was not read, else ""."""
        ...


FallBack = Callable[[AgentctlError], Awaitable[AgentctlError | None]]
"""Lets a fallback take over after an error; returns the error that ends the run instead, None if one took over."""


class Plan(NamedTuple):
    """What one run may do. Times are in seconds. ``agent`` overrides the routing.

    ``limits_set_by`` names the file that tightened a limit. ``context`` overrides ``max_context_tokens`` and the
    numbers of messages to keep. ``max_result_tokens`` None: a share of the context. ``approve`` says how
    questions are answered. ``fallback_wait_s`` is how long a call waits for a provider that is paused after failed
    calls if another one can take over. ``waits_for_load``: ``silence_s`` does not bind the first token of a server that
    may have to load its model. ``parent`` is the run that a nested one belongs to. ``answer_schema`` is what the answer
    must be valid by, instead of the agent's own; at most ``schema_retries`` answers are sent back. ``notes`` are those
    of the project. ``trace_parent`` is the span of another program that the run is part of, "" if it is part of none.
    ``cassette`` records or replays the run.
    """

    limits: CostLimit = CostLimit.model_construct()
    limits_set_by: Mapping[str, str] = MappingProxyType({})
    agent: str | None = None
    agent_chosen_by: str = "flag"
    provider_chosen_by: str = "default"
    timeout_s: float | None = 1800.0
    silence_s: float = 60.0
    waits_for_load: bool = True
    deadline_s: float = 600.0
    budget_wait_s: float = 60.0
    fallback_wait_s: float = 5.0
    settle_wait_s: float = 120.0
    retries: int = 3
    max_output_tokens: int | None = None
    doubt: Literal["normal", "strict"] = "normal"
    loop: LoopLimits = LoopLimits()
    max_context_tokens: int = 8000
    keep_user: int = 3
    keep_assistant: int = 3
    cut_to_percent: int = 50
    warn_percent: int = 80
    max_result_tokens: int | None = None
    summaries: Literal["auto", "always", "never"] = "auto"
    summary_tokens: int = 500
    context: ContextManager | None = None
    permissions: Permissions = Permissions()
    approve: Literal["ask", "deny", "all", "defer"] = "ask"
    workdir: str = "."
    labels: Mapping[str, str] = MappingProxyType({})
    version: str = ""
    parent: Parent | Lease | None = None
    answer_schema: AnswerSchema | None = None
    schema_retries: int = 2
    hooks: tuple[HookRule, ...] = ()
    notes: ProjectNotes | None = None
    trace_parent: str = ""
    cassette: Lane | None = None

    @property
    def pause(self) -> Callable[[float], Awaitable[None]]:
        """How to wait between two attempts, in seconds."""
        return anyio.sleep if self.cassette is None else self.cassette.pause

    def replay_tool(self, call: ToolCall) -> RecordedResult | None:
        """Return the recorded result of a tool call, None for one that is to run.

        Raises:
            CassetteError: it was not recorded.
        """
        return None if self.cassette is None else self.cassette.take_tool(call)

    @property
    def measure(self) -> Measure | None:
        """The way of counting of ``context``, if any; it overrides what a model reports."""
        measure = None if self.context is None else self.context.measure
        return None if measure is not None and measure.is_estimate else measure

    @property
    def max_context(self) -> int:
        """The most tokens of a request, regardless of the model's window."""
        return self.context.max_tokens if self.context else self.max_context_tokens

    def context_limit(self, facts: ModelFacts) -> int:
        """Return the most tokens of a request, its tools' schemas included.

        The model's window also holds the answer, so the shortest useful answer is subtracted from it.
        """
        if facts.context_window is None:
            return self.max_context
        room = facts.context_window - choose_output(facts, self.max_output_tokens).least
        return min(self.max_context, max(room, facts.context_window // 2))

    def window_note(self, facts: ModelFacts) -> str:
        """Return a note if the model's window is smaller than ``max_context_tokens``, else ""."""
        window = facts.context_window
        if not facts.metered or window is None or window >= self.max_context:
            return ""
        said = f"the window of {facts.model} is {window:,} tokens: at most {self.context_limit(facts):,} are sent"
        return f"{said}, not the {self.max_context:,} of max_context_tokens"

    def token_turns(self, facts: ModelFacts, most_turns: int) -> tuple[int, int] | None:
        """Return about how many turns with a full context the token limit allows, at least and at most.

        Return None if something else stops a run first: ``most_turns``, a dollar limit, or nothing. The lower
        number assumes requests that fill the whole context; the higher one requests as full as cuts leave them on
        average. Both leave out the reserve for a last answer.
        """
        tokens, context = self.limits.max_tokens_per_task, self.context_limit(facts)
        if not facts.metered or tokens is None:
            return None
        cut_to = self.context.cut_to_percent if self.context else self.cut_to_percent
        least = -(-tokens // context)
        most = max(least, round(tokens * (1 - 1 / SHARE) / (context * (100 + cut_to) / 200)))
        dollars = min((c for c in (self.limits.max_cost_per_task, self.limits.max_cost_per_hour) if c), default=None)
        is_dear = facts.price is not None and dollars is not None and facts.price.input * tokens > dollars * 1_000_000
        return None if most >= most_turns or is_dear else (least, most)

    def result_shares(self, facts: ModelFacts, beside: int = 0) -> tuple[int, int]:
        """Return the most tokens of one result, and of all results of a turn together (0: no limit).

        ``beside`` are the tokens that the instructions and the schemas of the tools take of every request.
        """
        if not facts.metered:
            return self.loop.result_tokens, 0
        room = max(0, self.context_limit(facts) - beside)
        share = self.max_result_tokens if self.max_result_tokens is not None else room // 8
        each = min(max(256, share), self.loop.result_tokens)
        return each, max(each, room // 4)

    def fit(
        self,
        facts: ModelFacts,
        messages: tuple[Message, ...],
        tools: tuple[ToolSpec, ...],
        *,
        measure: Measure = PLAIN,
        most: int | None = None,
        trial: bool = False,
        cache: MessageCache | None = None,
    ) -> tuple[Message, ...]:
        """Return the messages to send, pruned to the limit; a provider that is not a language model gets all of them.

        ``most`` is a lower limit than usual, in tokens. ``trial``: nothing is sent, so ``context``
        neither counts a cut nor warns. ``cache`` remembers what was computed for each message.

        Raises:
            ContextOverflow: they cannot be made to fit.
        """
        if not facts.metered:
            return messages
        limit = min(self.context_limit(facts), most or self.max_context)
        own, measure = self.context, self.measure or measure
        try:
            if own is not None and not trial:
                return own.prune(messages, tools, max_tokens=limit, measure=measure)
            return prune(
                messages,
                max_tokens=limit,
                keep_user=own.keep_last_n_user_messages if own else self.keep_user,
                keep_assistant=own.keep_last_n_assistant_messages if own else self.keep_assistant,
                tools_tokens=measure.beside(tools),
                answer_tokens=measure.schemas([tool for tool in tools if isinstance(tool, AnswerSpec)]),
                cut_to_percent=own.cut_to_percent if own else self.cut_to_percent,
                measure=measure,
                cache=cache,
            )
        except ContextOverflow as error:
            window = facts.context_window
            if limit < self.max_context or (window and error.prompt and error.prompt > window):
                most = limit if limit < self.max_context else window
                raise ContextOverflow(
                    f"the conversation does not fit the {most:,} tokens of {facts.model}, even when cut",
                    hint=f"choose a model with a larger context window, or {error.hint.partition(', or ')[2]}",
                    billed="no",
                ) from error
            raise


def hint_at_data(error: ContextOverflow) -> None:
    """Name the data of a first request in the hint: it can be shortened, unlike a question."""
    other = error.hint.removesuffix(", or shorten the task")
    error.hint = f"pass less data, for example its end: tail -c 10000; or {other}"
