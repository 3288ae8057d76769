"""Choose the agent that fits a task, its tools and its system prompt.

Each agent is a TOML file in ``agent_files``. Routing is naive Bayes with smoothing: an agent's examples, description
and name are small documents, and a word supports an agent by the share of its documents that contain it. Unknown words
are ignored. On a tie, and for a task without any known word, the choice is ``system``: it looks at the machine itself
and needs no container engine. A run and its estimate use the same choice of agent, tools and system prompt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.text import did_you_mean, safe_text

if TYPE_CHECKING:
    from agentctl.runner.plan import Plan

MOST_TOOLS = 8  # schemas are in every request's bound and bill

_TEXTS = {"name", "description", "instructions"}
_LISTS = {"examples", "tools"}
_OTHERS = {"max_turns", "more"}

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


class AgentSpec(NamedTuple):
    """A named kind of worker; ``max_turns`` lowers the run's own limit when set.

    ``tools`` are always offered to its model; ``more`` maps further tools to the words of a task that call for them.
    """

    name: str
    description: str
    instructions: str
    examples: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    max_turns: int | None = None
    more: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class RoutingResult(NamedTuple):
    """The chosen agent's name; ``score`` is its posterior probability, 0 when no word was known."""

    agent: str
    score: float
    runner_up: str | None = None
    chosen_by: str = "task words"


def choose_agent(task: str, plan: Plan, agents: Sequence[AgentSpec]) -> tuple[AgentSpec, str]:
    """Return the agent that the plan names, else the one that fits the task, and the reason for the choice.

    Raises:
        UsageError: there is no task, or the agent does not exist.
    """
    if not task.strip():
        raise UsageError("there is no task", hint='agentctl run "How much disk is free?"')
    if plan.agent is not None:
        return find_agent(plan.agent, agents), plan.agent_chosen_by
    routed = route(task, agents)
    return find_agent(routed.agent, agents), routed.chosen_by


def choose_tools(agent: AgentSpec, task: str, plan: Plan, *, metered: bool) -> tuple[str, ...] | None:
    """Return the tools to choose from, the most needed first; None: all (the provider is not a language model).

    Raises:
        UsageError: more tools are named than are offered to a model.
    """
    if not metered:
        return None
    names = plan.permissions.only
    if names is None:
        return ranked_tools(agent, task)
    if len(names) > MOST_TOOLS:
        raise UsageError(f"{len(names)} tools are too many for a model", hint=f"name at most {MOST_TOOLS} of them")
    return names


def system_prompt(agent: AgentSpec, plan: Plan, at: datetime) -> str:
    """Return the system prompt of a run that starts ``at``."""
    return f"{agent.instructions}\n\nWorkspace: {plan.workdir}. It is {at:%Y-%m-%d %H:%M} UTC."


def route(task: str, agents: Sequence[AgentSpec]) -> RoutingResult:
    """Return the agent that fits the words of ``task`` best; ``agents`` must not be empty."""
    counts = {agent.name: _count(agent) for agent in agents}
    known = [word for word in sorted(words(task)) if any(word in count for count, _ in counts.values())]
    belief = {name: sum(_log_share(word, *counted) for word in known) for name, counted in counts.items()}
    ranked = sorted(belief, key=lambda name: (-round(belief[name], 9), name != FALLBACK, name))
    best, runner_up = ranked[0], ranked[1] if len(ranked) > 1 else None
    if not known:
        return RoutingResult(best, 0.0, runner_up)
    total = sum(math.exp(value - belief[best]) for value in belief.values())
    return RoutingResult(best, 1 / total, runner_up)


def ranked_tools(agent: AgentSpec, task: str) -> tuple[str, ...]:
    """Return the agent's tools in order of need: its fixed tools, then those whose keywords the task contains.

    A model is offered the first few. Tools without a matching keyword keep the agent's own order.
    """
    said = words(task)
    brought = {name: len(said & words(" ".join(keys))) for name, keys in agent.more.items()}
    rest = sorted(agent.more, key=lambda name: -brought[name])  # stable: ties keep the agent's own order
    return tuple(dict.fromkeys((*agent.tools, *rest)))


def words(text: str) -> frozenset[str]:
    """Return the significant words of a text: lower case, singular, without stop words."""
    plain = "".join(c if c.isalnum() else " " for c in text.lower())
    return frozenset(_singular(word) for word in plain.split() if word not in _SILENT)


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


def load_agents(folder: Path | None = None) -> tuple[AgentSpec, ...]:
    """Return every agent of ``folder`` (by default the package's own), sorted by name.

    Raises:
        UsageError: a file cannot be read or does not describe an agent.
    """
    files = sorted((folder or Path(__file__).parent / "agent_files").glob("*.toml"))
    return tuple(sorted((_load(file) for file in files), key=lambda agent: agent.name))


#: What users of other tools call an agent.
_MEANINGS: Mapping[str, str] = {
    **dict.fromkeys(("containers", "container", "docker-agent", "podman", "ops"), "docker"),
    **dict.fromkeys(("shell", "linux", "files", "host", "machine", "general", "default", "coder"), "system"),
}


def find_agent(name: str, agents: Sequence[AgentSpec]) -> AgentSpec:
    """Return the agent called ``name``.

    Raises:
        UsageError: there is no such agent; the hint has the nearest name.
    """
    for agent in agents:
        if agent.name == name:
            return agent
    known = [agent.name for agent in agents]
    hint = did_you_mean(name, known, _MEANINGS) or f"known agents: {', '.join(known)}"
    raise UsageError(f'no agent is called "{safe_text(name)}"', hint=hint)


def _load(file: Path) -> AgentSpec:
    import tomllib  # noqa: PLC0415 - only a run reads agents

    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise UsageError(
            f"{file} cannot be read as an agent: {exc}", hint="compare it with agents/system.toml"
        ) from exc
    for key in table:
        if key not in _TEXTS | _LISTS | _OTHERS:
            hint = did_you_mean(key, _TEXTS | _LISTS | _OTHERS)
            raise UsageError(f'{file}: unknown key "{safe_text(key)}"', hint=hint)
    texts = {key: _text(file, table, key) for key in _TEXTS}
    lists = {key: _list(file, table, key) for key in _LISTS}
    if len(lists["tools"]) > MOST_TOOLS:
        raise UsageError(f"{file}: {len(lists['tools'])} tools; an agent has at most {MOST_TOOLS}")
    turns = table.get("max_turns")
    if turns is not None and (type(turns) is not int or turns < 1):
        raise UsageError(f"{file}: max_turns must be a whole number of at least 1, not {turns!r}")
    return AgentSpec(
        name=texts["name"],
        description=texts["description"],
        instructions=texts["instructions"],
        examples=lists["examples"],
        tools=lists["tools"],
        max_turns=turns,
        more=_more(file, table),
    )


def _text(file: Path, table: dict[str, object], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{file}: {key} is missing, empty or not a string")
    return value.strip()


def _list(file: Path, table: dict[str, object], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{file}: {key} is not a list of strings")
    return tuple(value)


def _more(file: Path, table: dict[str, object]) -> Mapping[str, tuple[str, ...]]:
    found = table.get("more", {})
    if not isinstance(found, dict):
        raise UsageError(f"{file}: more is not a table of tools, each with a list of words")
    return MappingProxyType({str(name): _list(file, found, str(name)) for name in found})
