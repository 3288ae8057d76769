"""Which agent fits a task, by the words they share. Pure.

Each agent's examples, description and name are small documents. A word speaks for an agent by the share of its
documents that hold it (naive Bayes, smoothed); words that nobody knows say nothing. On a tie, and for a task
without one known word, the answer is ``system``: it looks at the machine itself and needs no engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from agentctl.runner.agents import AgentSpec

FALLBACK = "system"
_SMOOTHING = 0.25
_SILENT = frozenset((
    "a", "about", "all", "an", "and", "any", "are", "as", "at", "be", "by", "can", "could", "do", "does",
    "did", "each", "for", "from", "give", "had", "has", "have", "how", "i", "in", "is", "it", "its", "list",
    "many", "me", "more", "most", "much", "my", "of", "on", "one", "or", "our", "please", "s", "show", "so",
    "some", "tell", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "to",
    "up", "was", "we", "were", "what", "when", "where", "which", "who", "why", "will", "with", "would", "you",
    "your",
))  # fmt: skip


class RoutingResult(NamedTuple):
    """The chosen agent's name; ``score`` is its share of the belief from 0 to 1, 0 when no word was known."""

    agent: str
    score: float
    runner_up: str | None = None
    chosen_by: str = "task words"


def words(text: str) -> frozenset[str]:
    """Return the telling words of a text: lower case, singular, without those that stand in any question."""
    plain = "".join(c if c.isalnum() else " " for c in text.lower())
    return frozenset(_singular(word) for word in plain.split() if word not in _SILENT)


def route(task: str, agents: Sequence[AgentSpec]) -> RoutingResult:
    """Return the agent whose examples sound most like ``task``; at least one agent is needed."""
    counts = {agent.name: _count(agent) for agent in agents}
    known = [word for word in sorted(words(task)) if any(word in count for count, _ in counts.values())]
    belief = {name: sum(_log_share(word, *counted) for word in known) for name, counted in counts.items()}
    ranked = sorted(belief, key=lambda name: (-round(belief[name], 9), name != FALLBACK, name))
    best, runner_up = ranked[0], ranked[1] if len(ranked) > 1 else None
    if not known:
        return RoutingResult(best, 0.0, runner_up)
    total = sum(math.exp(value - belief[best]) for value in belief.values())
    return RoutingResult(best, 1 / total, runner_up)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _count(agent: AgentSpec) -> tuple[dict[str, int], int]:
    documents = [*agent.examples, agent.description, agent.name]
    count: dict[str, int] = {}
    for document in documents:
        for word in words(document):
            count[word] = count.get(word, 0) + 1
    return count, len(documents)


def _log_share(word: str, count: dict[str, int], documents: int) -> float:
    return math.log((count.get(word, 0) + _SMOOTHING) / (documents + 2 * _SMOOTHING))


def ranked_tools(agent: AgentSpec, task: str) -> tuple[str, ...]:
    """Return the agent's tools, the most needed first: those always there, then those that the task's words bring.

    A model is offered the first few of them; what no word brings stands in the agent's own order.
    """
    said = words(task)
    brought = {name: len(said & words(" ".join(keys))) for name, keys in agent.more.items()}
    rest = sorted(agent.more, key=lambda name: -brought[name])  # stable: the agent's own order where they are even
    return tuple(dict.fromkeys((*agent.tools, *rest)))
