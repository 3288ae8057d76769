"""Choose among agents of the user's own before the parts of a run are: their files change its settings.

A run without such files, without ``--agent-file`` and without ``--param`` does none of this: the orchestrator routes
its task. Here the task is routed first, the agent's parameters are filled in, and its terms become settings: each is
stronger than the user's config and weaker than flags and the environment, limits of all runs can only fall, and what
an agent of a project would raise is refused with a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.limits import WINDOWS
from agentctl.core.text import did_you_mean, safe_text
from agentctl.runner.agent_catalog import AgentCatalog
from agentctl.runner.agent_spec import AgentSpec
from agentctl.runner.routing import route
from agentctl.settings import Loaded, Settings, Source
from agentctl.settings.provider_names import BUILT_IN_NAMES
from agentctl.settings.untrusted_files import tighten
from agentctl.tools.toolbox import DELEGATE

if TYPE_CHECKING:
    from agentctl.runner.plan import Plan

_PARAMETER = re.compile(r"\{\{[ \t]*([A-Za-z_][A-Za-z0-9_-]{0,63})[ \t]*\}\}")
DEEPEST = 2  # delegated runs, one below the other
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_LONGEST_VALUE = 32 * 1024
#: Sources that an agent's file overrides.
_WEAKER = frozenset({"trusted project file", "user .env", "user config", "docker context", "default"})


class AgentChoice(NamedTuple):
    """The settings with the agent's terms, the agents that the run chooses from, and its task, filled in.

    ``agent`` is the one that was chosen here, None if the orchestrator is to choose among those of the package.
    ``chosen_by`` says why. ``others`` are the agents that it can delegate to (none: those of the package), and
    ``depth`` is how many runs have delegated one below the other to this one.
    """

    loaded: Loaded
    agents: tuple[AgentSpec, ...]
    task: str
    agent: AgentSpec | None = None
    chosen_by: str = ""
    notes: tuple[str, ...] = ()
    others: tuple[AgentSpec, ...] = ()
    depth: int = 0

    @property
    def delegates(self) -> bool:
        """Whether the agent lists the tool that delegates, and the run is not too deep for it."""
        return self.agent is not None and DELEGATE in (*self.agent.tools, *self.agent.more) and self.depth < DEEPEST

    @property
    def servers(self) -> tuple[str, ...]:
        """The MCP servers that the agent names, the only ones of its runs; none: it names none."""
        return () if self.agent is None else self.agent.terms.mcp

    def apply(self, plan: Plan) -> Plan:
        """Return the plan of a run whose agent was chosen already, if it was."""
        if self.agent is None:
            return plan
        return plan._replace(agent=self.agent.name, agent_chosen_by=self.chosen_by)


def choose_own_agent(
    loaded: Loaded, catalog: AgentCatalog, task: str, *, params: Mapping[str, str], resumed: str | None = None
) -> AgentChoice:
    """Return the agent for ``task``, and the settings of its run.

    ``resumed`` is the agent of a run that goes on, whose task was filled in when it began.

    Raises:
        UsageError: there is no such agent, its file cannot be used, or a parameter has no value or no place.
    """
    name, by = loaded.settings.agent or resumed, str(loaded.sources["agent"])
    task, used = _fill(task, params, "the task") if params and resumed is None else (task, frozenset())
    if catalog.given is not None and (name is None or loaded.sources["agent"].kind != "flag"):
        name, by = catalog.given.name, "flag --agent-file"
    notes: tuple[str, ...] = ()
    if name is None:
        routed = route(task, catalog.agents)
        chosen, by = catalog.find(routed.agent), routed.chosen_by
    else:
        chosen = catalog.find(name)
    agent, more = fill_agent(chosen, params)
    if resumed is None:
        _refuse_unused(params, used | more, chosen)
    if name is None and chosen.origin == "package":
        packaged = tuple(one for one in catalog.agents if one.origin == "package")
        return AgentChoice(loaded, packaged, task)
    notes += tuple(note for file in catalog.files if file.agent is chosen for note in file.notes)
    loaded, said = with_terms(loaded, agent)
    return AgentChoice(loaded, (agent,), task, agent, by, (*notes, *said), others=catalog.agents)


def parse_values(given: Sequence[str]) -> dict[str, str]:
    """Return ``k=v`` words as a mapping.

    Raises:
        UsageError: a word has no ``=``, its name is none, it stands twice, or its value is too long.
    """
    params: dict[str, str] = {}
    for word in given:
        name, mark, value = word.partition("=")
        if not mark or not _NAME.fullmatch(name):
            raise UsageError(
                f'--param "{safe_text(word)[:80]}" is not NAME=VALUE', hint="for example: --param env=staging"
            )
        if name in params:
            raise UsageError(f"--param {name} is given twice", hint="give it once")
        if len(value.encode("utf-8", "replace")) > _LONGEST_VALUE:
            raise UsageError(f"--param {name} is longer than 32 KiB", hint="pass long text as data: --input FILE")
        params[name] = value
    return params


def fill_agent(agent: AgentSpec, params: Mapping[str, str]) -> tuple[AgentSpec, frozenset[str]]:
    """Return the agent with its instructions filled in, and the names of the parameters in them.

    Raises:
        UsageError: one of them has no value.
    """
    if agent.origin == "package":
        return agent, frozenset()
    text, used = _fill(agent.instructions, params, f"the instructions of {agent.name}")
    return agent._replace(instructions=text), used


def _fill(text: str, params: Mapping[str, str], where: str) -> tuple[str, frozenset[str]]:
    """Return a text with each ``{{name}}`` replaced by its value, once: a value is not looked through again.

    Raises:
        UsageError: a name has no value.
    """
    names = dict.fromkeys(_PARAMETER.findall(text))
    if missing := [name for name in names if name not in params]:
        named = ", ".join(f"{{{{{name}}}}}" for name in missing)
        flags = " ".join(f"--param {name}=VALUE" for name in missing)
        raise UsageError(f"{named} in {where} {'has' if len(missing) == 1 else 'have'} no value", hint=f"add {flags}")
    return _PARAMETER.sub(lambda match: params[match[1]], text), frozenset(names)


def _refuse_unused(params: Mapping[str, str], used: frozenset[str], agent: AgentSpec) -> None:
    for name in params:
        if name not in used:
            said = f"--param {name}: neither the task nor the instructions of {agent.name} have {{{{{name}}}}}"
            raise UsageError(said, hint=did_you_mean(name, used) or "leave it out")


def with_terms(loaded: Loaded, agent: AgentSpec) -> tuple[Loaded, tuple[str, ...]]:
    """Return the settings of a run of ``agent``, and a sentence about each of its lines that has no effect."""
    terms, settings = agent.terms, loaded.settings
    source = Source("agent file", agent.place)
    offered = {
        **terms.limits,
        **({"read_only": True} if terms.read_only else {}),
        **{name: rules for name in ("deny", "ask") if (rules := getattr(terms, name))},
    }
    lowered = [name for name in offered if name != "max_output_tokens"]
    step = tighten({name: getattr(settings, name) for name in lowered}, {name: offered[name] for name in lowered})
    changes, notes = dict(step.changes), []
    for name in step.loosening:
        if agent.origin != "project" and name not in WINDOWS and _is_weaker(loaded, name):
            changes[name] = offered[name]
        else:
            value, now = _said(offered[name]), _said(getattr(settings, name))
            notes.append(f"{agent.place}: {name} = {value} is refused: it would raise the limit, which is {now}")
    if (output := offered.get("max_output_tokens")) is not None:
        most = settings.max_output_tokens
        if most is None or (isinstance(output, int) and output < most):
            changes["max_output_tokens"] = output
    if terms.allow and agent.origin != "project":
        changes["allow"] = (*settings.allow, *terms.allow)
    given: Mapping[str, object] = {"llm_model": terms.model, "sandbox": terms.sandbox, "network": terms.network}
    for name, wanted in given.items():
        if wanted is None or wanted == getattr(settings, name):
            continue
        if agent.origin == "project" and name == "sandbox" and settings.sandbox != "auto":
            notes.append(f"{agent.place}: sandbox = {wanted} has no effect: it is {settings.sandbox} already")
        elif _is_weaker(loaded, name) or (name == "network" and wanted is False):
            changes[name] = wanted
    if (name := str(changes.get("llm_model", ""))) and (pair := _provider_of(name, settings)):
        provider, model = pair
        if provider == settings.llm_provider or _is_weaker(loaded, "llm_provider"):
            changes |= {"llm_provider": provider, "llm_model": model}
        else:
            del changes["llm_model"]
            given_by = loaded.sources["llm_provider"]
            notes.append(f"{agent.place}: model = {name} is not used with {settings.llm_provider} ({given_by})")
    if not changes:
        return loaded, tuple(notes)
    return replace(
        loaded,
        settings=settings.model_copy(update=changes),
        sources={**loaded.sources, **dict.fromkeys(changes, source)},
        tightened={**loaded.tightened, **dict.fromkeys(step.changes, Path(agent.place))},
    ), tuple(notes)


def _provider_of(name: str, settings: Settings) -> tuple[str, str] | None:
    """Return provider and model of a name such as ``openai/gpt-4o``, None if it names no provider."""
    head, _, tail = name.partition("/")
    is_known = head.lower() in BUILT_IN_NAMES or settings.named(head.lower()) is not None
    return (head.lower(), tail) if tail and is_known else None


def _is_weaker(loaded: Loaded, name: str) -> bool:
    return name in Settings.model_fields and loaded.sources[name].kind in _WEAKER


def _said(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
