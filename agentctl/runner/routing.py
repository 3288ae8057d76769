"""Choose the agent that fits a task, and its tools.

Each agent is a TOML file in ``agent_files``. Its examples, description and name are one document, and the ranker that
finds tools (``core.ranking``) ranks these documents by the task. A path or a file's name is a sign of its own: it goes
to the agent that reads files, unless the task speaks of containers, too: then their agent gets tools of both. Where two
are close, and for a task without any known word, the choice is ``system``: it looks at the machine itself and needs no
container engine. A run and its estimate use the same choice of agent and tools.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.ranking import Field, Ranker
from agentctl.runner.agent_spec import MOST_TOOLS, AgentSpec, find_agent
from agentctl.tools.toolbox import CHANGES, READ_SKILL, SEPARATOR, TOOLS

if TYPE_CHECKING:
    from agentctl.core.answer_schema import AnswerSchema
    from agentctl.runner.plan import Plan

FALLBACK = "system"
_FILE_SIGN, _CONTAINER_SIGN = "read_file", "docker_ps"  # the tool that an agent for files, or for containers, has
_TIE = 1e-9  # scores that differ by less are the same
MARGIN = 0.1  # how far the best agent must be before the next one, as a share of its score
_PLAIN = re.compile(r"[^\W_][\w-]*")
_STRONG = 3.0  # how far a sign puts an agent before the next one
_WORD = re.compile(r"[^\s\"'`()<>\[\]{},;]+")
_ENDING = re.compile(r"(?<=[\w)*-])\.([A-Za-z][A-Za-z0-9]{0,9})\Z")
_DOT_NAME = re.compile(r"\.[A-Za-z][\w.-]+")
_FILE_NAMES = frozenset(
    ("makefile", "dockerfile", "containerfile", "jenkinsfile", "vagrantfile", "readme", "changelog")
)
_NO_FILES = frozenset(("e.g", "i.e", "node.js", "vue.js", "next.js", "asp.net"))
_NO_ENDINGS = frozenset(
    ("com", "org", "net", "io", "dev", "de", "eu", "edu", "gov", "local", "internal", "lan", "test")
)
_CONTAINER_WORDS = frozenset((
    "container", "docker", "podman", "compose", "image", "volume", "restart", "unhealthy", "healthcheck",
))  # fmt: skip
_ABOUT_CONTAINERS = re.compile(
    r"\blogs?\s+(?:lines?\s+)?(?:of|from|for)\s+(?:the\s+)?(?!files?\b)[a-z]|(?:^|\b(?:and|then|,))\s*(?:please\s+)?(?:start|stop|pause)\s+(?!at\b)[a-z]",
    re.IGNORECASE,
)
_THIS_MACHINE = re.compile(r"\bthis (?:host|machine|server|computer|box)\b", re.IGNORECASE)
_ASKS = frozenset((
    "what", "which", "who", "whose", "where", "when", "why", "how", "is", "are", "was", "were", "does", "did",
    "has", "have", "show", "read", "list", "count", "find", "search", "print", "display", "tell", "explain", "compare",
    "describe", "summarise", "summarize", "last", "first", "tail", "head", "cat", "view", "look", "check", "give",
))  # fmt: skip
_SILENT = frozenset((
    "a", "about", "all", "an", "and", "any", "are", "as", "at", "be", "by", "can", "could", "do", "does",
    "did", "each", "for", "from", "give", "had", "has", "have", "how", "i", "in", "is", "it", "its", "list",
    "many", "me", "more", "most", "much", "my", "of", "on", "one", "or", "our", "please", "s", "show", "so",
    "some", "tell", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "to",
    "up", "was", "we", "were", "what", "when", "where", "which", "who", "why", "will", "with", "would", "you",
    "your",
))  # fmt: skip


class RoutingResult(NamedTuple):
    """The chosen agent's name; ``score`` is its share of all agents' scores, 0 when no word was known."""

    agent: str
    score: float
    runner_up: str | None = None
    chosen_by: str = "task words"


class AgentScores(NamedTuple):
    """The score of each agent for a task, the best first, and what the best one has it from.

    ``words`` are words of the task, and how far each puts the best agent before the best of the others. ``signs`` are
    what else was seen in the task.
    """

    scores: Mapping[str, float]
    words: Mapping[str, float]
    signs: tuple[str, ...] = ()


def choose_agent(
    task: str, plan: Plan, agents: Sequence[AgentSpec], *, containers: Collection[str] = ()
) -> tuple[AgentSpec, str]:
    """Return the agent that the plan names, else the one that fits the task, and the reason for the choice.

    ``containers`` are names in the task that look like files and are containers.

    Raises:
        UsageError: there is no task, or the agent does not exist.
    """
    if not task.strip():
        raise UsageError("there is no task", hint='agentctl run "How much disk is free?"')
    if plan.agent is not None:
        return find_agent(plan.agent, agents), plan.agent_chosen_by
    routed = route(task, agents, containers=containers)
    return find_agent(routed.agent, agents), routed.chosen_by


def choose_tools(
    agent: AgentSpec,
    task: str,
    plan: Plan,
    *,
    metered: bool,
    agents: Sequence[AgentSpec] = (),
    containers: Collection[str] = (),
) -> tuple[str, ...] | None:
    """Return the tools to choose from, the most needed first; None: all.

    All are for a provider that is not a language model, with an agent of the package; another agent has only its own.

    Raises:
        UsageError: more tools are named than are offered to a model.
    """
    if not metered:
        return None if agent.origin == "package" else (*agent.tools, *agent.more)
    names = plan.permissions.only
    if names is None:
        ranked = ranked_tools(agent, task, () if plan.agent is not None else agents, containers=containers)
        if not ranked or plan.notes is None or not plan.notes.skills:
            return ranked
        return (*ranked[: MOST_TOOLS - 1], READ_SKILL, *ranked[MOST_TOOLS - 1 :])
    if sum(SEPARATOR not in name for name in names) > MOST_TOOLS:  # those of servers are found when they are needed
        raise UsageError(f"{len(names)} tools are too many for a model", hint=f"name at most {MOST_TOOLS} of them")
    has_skills = plan.notes is not None and bool(plan.notes.skills)
    return names if has_skills else tuple(name for name in names if name != READ_SKILL)


def route(task: str, agents: Sequence[AgentSpec], *, containers: Collection[str] = ()) -> RoutingResult:
    """Return the agent that fits the words of ``task`` best; ``agents`` must not be empty.

    A path or file name goes to an agent that reads files, unless it is one of the ``containers``; if the task speaks
    of containers as well, to an agent for those, and that of the package then gets tools of both. If the best one is
    no more than a tenth before the next, ``system`` is chosen, and ``chosen_by`` says which other one was close; of one
    that is only about some words and another one, that other. An agent for containers that is ahead keeps a task that
    speaks of them.
    """
    signs = read_signs(task, containers)
    scores, ahead = _score(signs, _candidates(signs, agents))
    ranked = sorted(scores, key=lambda name: (-round(scores[name], 9), name != FALLBACK, name))
    best, runner_up = ranked[0], ranked[1] if len(ranked) > 1 else None
    total = math.fsum(scores.values()) or 1.0
    if runner_up is not None and FALLBACK in scores:
        by_words = scores[best] - min(ahead.get(best, 0.0), ahead.get(runner_up, 0.0))
        is_sign = signs.containers and any(one.name == best and _CONTAINER_SIGN in one.tools for one in agents)
        if runner_up == FALLBACK and is_sign and scores[best] - scores[runner_up] > _TIE:
            by_words = 0.0
        if by_words > 0 and scores[best] - scores[runner_up] < MARGIN * by_words:
            special = {agent.name for agent in agents if agent.only_about}
            if FALLBACK not in (best, runner_up) and (best in special) != (runner_up in special):
                chosen, other = (runner_up, best) if best in special else (best, runner_up)
                return RoutingResult(chosen, scores[chosen] / total, other, f"task words, {other} is close")
            other = best if best != FALLBACK else runner_up
            return RoutingResult(FALLBACK, scores[FALLBACK] / total, other, f"task words, {other} is close")
    return RoutingResult(best, scores[best] / total, runner_up)


def explain(task: str, agents: Sequence[AgentSpec], *, containers: Collection[str] = ()) -> AgentScores:
    """Return what ``route`` decides by."""
    signs = read_signs(task, containers)
    agents = _candidates(signs, agents)
    scores, _ = _score(signs, agents)
    ranked = dict(sorted(scores.items(), key=lambda item: (-round(item[1], 9), item[0] != FALLBACK, item[0])))
    best = next(iter(ranked))
    ranker, leads = _ranker(agents), {}
    for word in dict.fromkeys(_PLAIN.findall(signs.text)):
        found = {agents[place].name: score for place, score in ranker.rank(word)}
        lead = found.get(best, 0.0) - max((score for name, score in found.items() if name != best), default=0.0)
        if lead > 0:
            leads[word] = lead
    said = [f"names a file: {name}" for name in signs.files] + [f"names a container: {name}" for name in signs.named]
    said += ["speaks of containers"] if signs.containers else []
    said += ["speaks of this machine"] if _THIS_MACHINE.search(signs.text) else []
    return AgentScores(ranked, dict(sorted(leads.items(), key=lambda item: -item[1])), tuple(said))


def _candidates(signs: TaskSigns, agents: Sequence[AgentSpec]) -> Sequence[AgentSpec]:
    """Return the agents that a task may be routed to; all if there were none."""
    said = words(signs.text)
    return [agent for agent in agents if not agent.only_about or said & words(" ".join(agent.only_about))] or agents


def _ranker(agents: Sequence[AgentSpec]) -> Ranker:
    return Ranker([Field(" ".join((*agent.examples, agent.description, agent.name)))] for agent in agents)


def _score(signs: TaskSigns, agents: Sequence[AgentSpec]) -> tuple[dict[str, float], dict[str, float]]:
    """Return each agent's score, and how much of it those agents have that are put ahead: they have the sign's tool."""
    scores = {agent.name: 0.0 for agent in agents}
    scores |= {agents[place].name: score for place, score in _ranker(agents).rank(signs.text)}
    sign = _CONTAINER_SIGN if signs.containers else _FILE_SIGN
    is_sure = signs.files or signs.named or (not signs.containers and _THIS_MACHINE.search(signs.text))
    strong = [agent.name for agent in agents if sign in agent.tools] if is_sure else []
    top = max(scores.values())
    if len(strong) == 1:
        return {**scores, strong[0]: top + _STRONG}, {}
    ahead = dict.fromkeys(strong, top + _STRONG)
    return {name: score + ahead.get(name, 0.0) for name, score in scores.items()}, ahead


def ranked_tools(
    agent: AgentSpec, task: str, agents: Sequence[AgentSpec] = (), *, containers: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the tools for a task: first those that are offered, in the agents' own order, then the next ones.

    A tool that changes something is among them only if a word of the task brings it. The shell and, if the task is no
    question, ``write_file`` come for a named file, and for a task whose words bring no read. Of ``agents``, the other
    one adds its tools to a task that names both a file and containers.
    """
    signs = read_signs(task, containers)
    team = [agent]
    if agent.origin == "package" and signs.files and signs.containers:
        packaged = [one for one in agents if one.origin == "package"]
        others = (_agent_with(sign, packaged) for sign in (_CONTAINER_SIGN, _FILE_SIGN))
        team += [other for other in others if other is not None and other.name != agent.name]
    own_order = tuple(dict.fromkeys(name for one in team for name in (*one.tools, *one.more)))
    said = words(signs.text)
    keys = {name: words(" ".join(listed)) for one in team for name, listed in one.more.items()}
    brought = {name: len(said & listed) for name, listed in keys.items() if said & listed}
    if len(team) == 1 and (signs.files or not brought.keys() - CHANGES):
        general = {"run_shell"} if _is_question(signs.text) else {"run_shell", "write_file"}
        brought |= {name: brought.get(name, 0) + 1 for name in keys if name in general}
    if signs.files and "search_files" in keys:
        brought["search_files"] = brought.get("search_files", 0) + 1
    if signs.writes and "write_file" in keys:
        brought["write_file"] = brought.get("write_file", 0) + 1
    first = [one.tools[0] for one in team if one.tools] if len(team) > 1 else list(agent.tools)
    fixed = [name for one in team for name in one.tools]
    reads = [name for name in own_order if name in TOOLS and name not in CHANGES]
    needed = (*first, *sorted(brought, key=lambda name: -brought[name]), *fixed, *reads)
    ranked = tuple(dict.fromkeys(needed))
    return (*sorted(ranked[:MOST_TOOLS], key=own_order.index), *ranked[MOST_TOOLS:])


class TaskSigns(NamedTuple):
    """What a task names: ``files``; ``named`` containers that look like files; ``text`` is the rest of the task.

    ``containers``: it speaks of containers. ``writes``: something goes "into" or "to" a file, or is saved "as" one.
    """

    files: tuple[str, ...]
    named: tuple[str, ...]
    containers: bool
    text: str
    writes: bool = False


def read_signs(task: str, containers: Collection[str] = ()) -> TaskSigns:
    """Return what a task names; ``containers`` are the names of containers that look like files."""
    files: list[str] = []
    named: list[str] = []

    def take(match: re.Match[str]) -> str:
        name = match[0].rstrip(".,:;!?")
        if not _is_file(name):
            return match[0]
        (named if name in containers else files).append(name)
        return " "

    text = _WORD.sub(take, task)
    speaks = bool(named) or bool(words(text) & _CONTAINER_WORDS) or _ABOUT_CONTAINERS.search(text) is not None
    writes = any(re.search(rf"\b(?:into|to|as)\s+\W?{re.escape(name)}", task, re.IGNORECASE) for name in files)
    return TaskSigns(tuple(files), tuple(named), speaks, text, writes)


def _is_file(word: str) -> bool:
    """Return whether a word of a task is a path or a file's name; addresses, images and versions are not."""
    if "://" in word or word.startswith("//"):
        return False
    if word.startswith(("/", "~/", "./", "../")):
        return len(word) > 1
    name = word.rstrip("/").rpartition("/")[2]
    if word.endswith("/") and len(word) > 1:
        return True
    if name.lower() in _FILE_NAMES or _DOT_NAME.fullmatch(name):
        return True
    ending = _ENDING.search(name)
    return ending is not None and word.lower() not in _NO_FILES and ending[1].lower() not in _NO_ENDINGS


def _is_question(task: str) -> bool:
    """Return whether a task only asks: by its first word, or its end."""
    said = [word for word in re.findall(r"[a-z]+", task.lower()) if word not in ("please", "and", "then", "now")]
    return task.rstrip().endswith("?") or (bool(said) and said[0] in _ASKS)


def _agent_with(tool: str, agents: Sequence[AgentSpec]) -> AgentSpec | None:
    return next((agent for agent in agents if tool in agent.tools), None)


def words(text: str) -> frozenset[str]:
    """Return the significant words of a text: lower case, singular, without stop words."""
    plain = "".join(c if c.isalnum() else " " for c in text.lower())
    return frozenset(_singular(word) for word in plain.split() if word not in _SILENT)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def answer_schema_of(agent: AgentSpec, plan: Plan) -> AnswerSchema | None:
    """Return the schema of a run's answer: the plan's own, else the agent's, None if its answer is in words."""
    return plan.answer_schema or agent.answer_schema
