"""Go on with a run from its journal: what must be the same as at its start, what its limits are, what is said next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from agentctl.budget.rules import PastSpending
from agentctl.core.answer_schema import AnswerSchema
from agentctl.core.errors import UsageError
from agentctl.core.limits import CostLimit
from agentctl.core.messages import ToolSpec
from agentctl.core.pricing import ModelFacts, to_usd
from agentctl.journal.past_run import PastRun
from agentctl.runner.agent_spec import AgentSpec
from agentctl.runner.plan import Plan
from agentctl.runner.structured_answer import tries_of

if TYPE_CHECKING:
    from agentctl.runner.project_notes import ProjectNotes

_GO_ON = "Go on with the task."
_TASK_LIMITS = ("max_cost_per_task", "max_tokens_per_task")
_DIGITS = 16
_CHANGES = {
    "tools": "the tools that the model is offered have changed",
    "agent": "the agent has changed",
    "model": "the model or its address has changed",
    "prices": "the prices of the model have changed",
    "sandbox": "the sandbox has changed",
    "schema": "the schema of the answer has changed",
    "notes": "the notes or skills of the project have changed",
}


class Resumption(NamedTuple):
    """A run that goes on: what its journal has, and how the user wants it to go on.

    ``words`` are what the user says next, "" if nothing. ``is_fork``: in a new run with limits of its own. ``spent`` is
    what it had spent before, as far as the ledger says. ``has_more_turns``: its turns were raised by a flag.
    ``copy_files`` copies the files of the run for a fork.
    ``accepts``: changes since the start are accepted, by a flag or because a person reads of them. ``allowed`` are the
    rules given now, ``given`` the names of all settings that flags set now. ``flags`` are kept for a next time.
    """

    past: PastRun
    words: str = ""
    is_fork: bool = False
    accepts: bool = False
    allowed: tuple[str, ...] = ()
    given: frozenset[str] = frozenset()
    flags: Mapping[str, object] = MappingProxyType({})
    spent: PastSpending = PastSpending()
    has_more_turns: bool = False
    copy_files: Callable[[], Awaitable[object]] | None = None

    def most_turns(self, most: int, agent: AgentSpec | None) -> int:
        """Return how many turns all parts may have: at most the agent's own, unless a flag has raised them."""
        own = None if self.has_more_turns or agent is None else agent.max_turns
        return most if own is None else min(most, own)

    def plan(self, plan: Plan) -> Plan:
        """Return the plan with what the run keeps: its agent, and its own limits unless they are raised or lower now.

        A fork keeps no limit.
        """
        past, kept = self.past, plan._replace(notes=plan.notes and plan.notes.without_text)
        if "agent" not in self.given:
            kept = kept._replace(
                agent=past.text("agent") or plan.agent,
                agent_chosen_by=past.text("agent_chosen_by") or plan.agent_chosen_by,
            )
        if not self.given & {"llm_provider", "llm_model"}:
            kept = kept._replace(provider_chosen_by=past.text("provider_chosen_by") or plan.provider_chosen_by)
        if self.is_fork:
            return kept._replace(labels={**past.labels, **plan.labels})
        return kept._replace(labels=past.labels, limits=self._limits(plan.limits))

    def _limits(self, limits: CostLimit) -> CostLimit:
        changes: dict[str, object] = {}
        for name in _TASK_LIMITS:
            before, now = self.past.limits.get(name), getattr(limits, name)
            if name in self.given or before is None:
                continue
            old = to_usd(before) if name == "max_cost_per_task" else before
            changes[name] = old if now is None else min(old, now)
        return limits.model_copy(update=changes)

    def translate(self, facts: ModelFacts) -> Resumption:
        """Return the resumption with a past that the provider of ``facts`` can take, if another one has answered."""
        if not self.past.replaced and self.past.text("provider") == facts.provider:
            return self
        from agentctl.runner.fallbacks import id_form, translate_past  # noqa: PLC0415 - few runs change their provider

        return self._replace(past=translate_past(self.past, id_form(facts)))

    def refuse_pointless(self, most_turns: int) -> None:
        """Check that there is something to go on with, before anything is loaded or opened.

        Raises:
            UsageError: there is not.
        """
        past, run_id = self.past, self.past.run_id
        if past.started.get("metered") is False:
            raise UsageError(
                f"run {run_id} used no model, so there is no conversation to go on with",
                hint="run the task again: it costs nothing",
            )
        if past.ended_well and not self.said:
            raise UsageError(
                f"run {run_id} has ended well, and there are no new words for it",
                hint=f'agentctl runs resume {run_id} "And now?"',
            )
        goes_on = not self.said and (past.has_answer or past.is_unfinished or tries_of(past.messages) is not None)
        if past.turns >= most_turns and not goes_on:
            raise UsageError(
                f"run {run_id} has used its {most_turns} turns",
                hint=f"agentctl runs resume {run_id} --max-turns {2 * past.turns}   (a total)",
            )

    @property
    def said(self) -> str:
        """What the user says next, behind words that an earlier part did not come to say; "" if nothing."""
        return f"{self.past.words}\n\n{self.words}".strip()

    @property
    def next_words(self) -> str:
        """What the model is told next: the user's words, or that it is to go on, if it would otherwise have none."""
        past = self.past
        if self.said or past.has_answer:
            return self.said
        if past.is_denied and self.allowed:
            return f"Now allowed: {', '.join(self.allowed)}. {_GO_ON}"
        return _GO_ON if past.is_denied or past.awaits_words else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the conversation differ from the one that the run had."""
        if not self.past.redacted:
            return ()
        said = "1 message has" if self.past.redacted == 1 else f"{self.past.redacted} messages have"
        return (f"{said} [redacted] where the journal left out a secret; the model reads that in its place",)

    def changes(self, digests: Mapping[str, str]) -> tuple[str, ...]:
        """Return what has changed since the last part, given what is there now.

        Raises:
            UsageError: something has, and it is not accepted.
        """
        before = self.past.digests
        if not before:
            found: tuple[str, ...] = ("whether tools, agent, model or prices have changed is unknown",)
        else:
            found = tuple(said for name, said in _CHANGES.items() if before.get(name) != digests.get(name))
        if found and not self.accepts:
            raise UsageError(
                f"run {self.past.run_id} would go on otherwise than it began: {'; '.join(found)}",
                hint="add --accept-changes to go on",
            )
        return found


def digests_of(
    agent: AgentSpec,
    tools: Sequence[ToolSpec],
    facts: ModelFacts,
    sandbox: str | None,
    schema: AnswerSchema | None = None,
    notes: ProjectNotes | None = None,
) -> Mapping[str, str]:
    """Return a digest of each thing that a resumed run should find as it was."""
    return {
        **({} if schema is None else {"schema": _digest(schema.text)}),
        **({"notes": notes.digest} if notes and notes.digest else {}),
        "tools": _digest([tool._asdict() for tool in tools]),
        "agent": _digest(agent.digested),
        "model": _digest([facts.provider, facts.model, facts.base_url]),
        "prices": _digest(None if facts.price is None else facts.price.as_row()),
        "sandbox": sandbox or "none",
    }


def _digest(value: object) -> str:
    text = json.dumps(
        value, sort_keys=True, default=lambda item: dict(item) if isinstance(item, Mapping) else str(item)
    )
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
