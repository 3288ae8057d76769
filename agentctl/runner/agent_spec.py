"""What an agent is, and the TOML file that describes one; the package's own lie in ``agent_files``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from agentctl.core.errors import LIMIT_NAMES, UsageError
from agentctl.core.text import did_you_mean, safe_text

if TYPE_CHECKING:
    from agentctl.core.answer_schema import AnswerSchema
    from agentctl.settings import Loaded

Origin = Literal["package", "config", "project", "file"]
"""Where an agent comes from, the weakest first: a later one replaces an earlier one of the same name."""

MOST_TOOLS = 8  # schemas are in every request's bound and bill

_TEXTS = {"name", "description", "instructions"}
_LISTS = {"examples", "tools"}
_OTHERS = {"max_turns", "more", "only_about", "schema", "why", "why_about"}
_TERMS = {"limits", "model", "sandbox", "network", "read_only", "allow", "ask", "deny", "mcp"}
_KNOWN = _TEXTS | _LISTS | _OTHERS | _TERMS
#: The settings that the table ``limits`` may have.
LIMIT_KEYS = (*LIMIT_NAMES, "max_turns", "max_output_tokens", "max_context_tokens", "timeout")
_SHORT_LIMITS = {"max_cost": "max_cost_per_task", "max_tokens": "max_tokens_per_task", "turns": "max_turns"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY_LIKE = re.compile(r"(?i)(?:^|_)(?:api_?keys?|keys?|secrets?|tokens?|passwords?|env|base_url)$")


class AgentTerms(NamedTuple):
    """What an agent's file changes in the settings of its runs; None: nothing. ``mcp`` names servers.

    ``limits`` are values of settings by name, as the settings have them.
    """

    limits: Mapping[str, object] = MappingProxyType({})
    model: str | None = None
    sandbox: str | None = None
    network: bool | None = None
    read_only: bool = False
    allow: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    mcp: tuple[str, ...] = ()


class AgentSpec(NamedTuple):
    """A named kind of worker; ``max_turns`` lowers the run's own limit when set.

    ``tools`` are always offered to its model; ``more`` maps further tools to the words of a task that call for them.
    ``why`` is advice for tasks that ask for a cause, ``why_about`` the words that they must have (none: any).
    ``only_about`` are words of which a task must have one to be routed to this agent (none: any task).
    ``answer_schema`` is the schema of its answers, unless the run has one of its own. ``place`` names its file in
    messages, "" for an agent of the package.
    """

    name: str
    description: str
    instructions: str
    examples: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    max_turns: int | None = None
    more: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    why: str = ""
    why_about: tuple[str, ...] = ()
    answer_schema: AnswerSchema | None = None
    only_about: tuple[str, ...] = ()
    terms: AgentTerms = AgentTerms()
    origin: Origin = "package"
    place: str = ""

    @property
    def digested(self) -> Mapping[str, object]:
        """What makes the agent what it is, for a digest: not where its file lies, nor what it leaves at its default."""
        apart = {"answer_schema", "origin", "place", *(() if self.terms != AgentTerms() else ("terms",))}
        apart |= set() if self.only_about else {"only_about"}
        return {name: value for name, value in self._asdict().items() if name not in apart}


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
    **dict.fromkeys(("docker-compose", "podman-compose", "stack", "project"), "compose"),
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


def find_named(name: str, loaded: Loaded) -> AgentSpec:
    """Return the agent that a setting or a flag names, one of the package or of the user's own.

    Raises:
        UsageError: there is none, or its file cannot be used.
    """
    agents = load_agents()
    if any(agent.name == name for agent in agents):
        return find_agent(name, agents)
    from agentctl.runner.agent_catalog import load_catalog  # noqa: PLC0415 - most users have the package's only

    return load_catalog(loaded).find(name)


def _load(file: Path) -> AgentSpec:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        raise _unreadable(file, exc) from exc
    return parse_agent(text, file)


def _unreadable(file: Path, error: Exception) -> UsageError:
    return UsageError(f"{file} cannot be read as an agent: {error}", hint="compare it with agents/system.toml")


def parse_agent(text: str, file: Path, *, origin: Origin = "package", place: str = "") -> AgentSpec:
    """Return the agent that the text of a TOML file describes; ``place`` names the file in messages.

    An agent that is not of the package may leave out its name, which is that of the file then.

    Raises:
        UsageError: it does not describe an agent.
    """
    import tomllib  # noqa: PLC0415 - only a run reads agents
    from decimal import Decimal  # noqa: PLC0415 - loaded by then

    said = place or str(file)
    try:
        table = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as exc:
        raise _unreadable(file, exc) from exc
    for key in table:
        if key not in _KNOWN:
            raise _unknown_key(said, key)
    if origin != "package":
        table.setdefault("name", file.stem)
        table.setdefault("description", table["name"])
    texts = {key: _text(said, table, key) for key in _TEXTS}
    lists = {key: _list(said, table, key) for key in _LISTS}
    if len(lists["tools"]) > MOST_TOOLS:
        raise UsageError(f"{said}: {len(lists['tools'])} tools; an agent has at most {MOST_TOOLS}")
    turns = table.get("max_turns")
    if turns is not None and (type(turns) is not int or turns < 1):
        raise UsageError(f"{said}: max_turns must be a whole number of at least 1, not {turns!r}")
    return AgentSpec(
        name=texts["name"],
        description=texts["description"],
        instructions=texts["instructions"],
        examples=lists["examples"],
        tools=lists["tools"],
        max_turns=turns,
        more=_more(said, table),
        why=_text(said, table, "why") if "why" in table else "",
        why_about=_list(said, table, "why_about"),
        only_about=_list(said, table, "only_about"),
        answer_schema=_schema(file, said, table["schema"], origin) if "schema" in table else None,
        terms=_read_terms(said, table) if _TERMS & table.keys() else AgentTerms(),
        origin=origin,
        place=place,
    )


def _unknown_key(said: str, key: str) -> UsageError:
    if _KEY_LIKE.search(key):
        return UsageError(
            f'{said}: "{safe_text(key)}" cannot stand in the file of an agent, which names no keys and no servers',
            hint="agentctl providers set-key NAME   saves a key",
        )
    return UsageError(f'{said}: unknown key "{safe_text(key)}"', hint=did_you_mean(key, _KNOWN))


def _read_terms(said: str, table: Mapping[str, object]) -> AgentTerms:
    """Return what an agent's file changes in the settings of its runs.

    Raises:
        UsageError: a value is wrong.
    """
    from agentctl.settings.merge import validate  # noqa: PLC0415 - few agents change settings
    from agentctl.settings.sources import SettingEntry, Source  # noqa: PLC0415

    limits = table.get("limits", {})
    if not isinstance(limits, dict):
        raise UsageError(
            f"{said}: limits is not a table of limits", hint="write [limits], then max_cost_per_task = 0.10"
        )
    for name in limits:
        if name not in LIMIT_KEYS:
            hint = did_you_mean(name, LIMIT_KEYS, _SHORT_LIMITS) or f"known limits: {', '.join(LIMIT_KEYS)}"
            raise UsageError(f'{said}: unknown limit "{safe_text(name)}"', hint=hint)
    words = {"model": "llm_model", "sandbox": "sandbox", "network": "network"}
    given = {**limits, **{words[name]: table[name] for name in words if name in table}}
    for name in ("network", "read_only"):
        if not isinstance(table.get(name, False), bool):
            raise UsageError(f"{said}: {name} is neither true nor false")
    entries = {name: SettingEntry(value, Source("agent file", said), name) for name, value in given.items()}
    values, problems = validate(entries)
    if problems:
        raise UsageError(problems[0].text, hint=problems[0].hint)
    rules = {name: _rules(said, table, name) for name in ("allow", "ask", "deny")}
    servers = _list(said, table, "mcp")
    for server in servers:
        if not NAME.fullmatch(server):
            raise UsageError(f'{said}: mcp names "{safe_text(server)}", which is no name of a server')
    return AgentTerms(
        limits={name: values[name] for name in limits},
        model=values.get("llm_model"),
        sandbox=values.get("sandbox"),
        network=values.get("network"),
        read_only=table.get("read_only") is True,
        mcp=servers,
        **rules,
    )


def _rules(said: str, table: Mapping[str, object], key: str) -> tuple[str, ...]:
    """Return rules as they are written; a parameter in one is refused: what it allows would depend on a value.

    Raises:
        UsageError: they are no list of texts, or one has a parameter.
    """
    found = _list(said, table, key)
    for rule in found:
        if "{{" in rule:
            raise UsageError(
                f"{said}: {key} {safe_text(rule)} has a parameter, and rules take none",
                hint="write the value into the rule, or give the rule on the command line: --deny RULE",
            )
    return found


def _schema(file: Path, said: str, given: object, origin: Origin) -> AnswerSchema:
    """Return the schema of an agent's answers: a table, or a text as of ``--schema``; files are in the agent's folder.

    Raises:
        UsageError: it is no schema, or the file is outside the folder, also by way of a symbolic link.
    """
    from agentctl.core.answer_schema import is_schema_file, read_answer_schema  # noqa: PLC0415 - few agents have one

    name = f"{said}: schema"
    if not isinstance(given, (str, dict)):
        raise UsageError(f"{name} is neither a table nor a string", hint='write schema = "name:string,count:int"')
    if isinstance(given, str) and is_schema_file(given):
        if origin == "project":  # trust is bound to the content of the agent's file alone
            raise UsageError(f"{name} names a file; a project's agent has its schema in its own file")
        folder = file.parent.resolve()
        if not (folder / given).resolve().is_relative_to(folder):
            raise UsageError(f"{name} {safe_text(given)} is outside the folder of the agent", hint="move it there")
    return read_answer_schema(given, name=name, folder=file.parent)


def _text(said: str, table: Mapping[str, object], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{said}: {key} is missing, empty or not a string")
    return value.strip()


def _list(said: str, table: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{said}: {key} is not a list of strings")
    return tuple(value)


def _more(said: str, table: Mapping[str, object]) -> Mapping[str, tuple[str, ...]]:
    found = table.get("more", {})
    if not isinstance(found, dict):
        raise UsageError(f"{said}: more is not a table of tools, each with a list of words")
    return MappingProxyType({str(name): _list(said, found, str(name)) for name in found})
