"""The kinds of worker there are: each a TOML file here, read once a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.text import did_you_mean, safe_text

MOST_TOOLS = 8  # schemas are in every request's bound and bill

_TEXTS = {"name", "description", "instructions"}
_LISTS = {"examples", "tools"}
_OTHERS = {"max_turns", "more"}


class AgentSpec(NamedTuple):
    """A named kind of worker; ``max_turns`` lowers the run's own limit when set.

    ``tools`` are the names that are always offered to its model, ``more`` those that words of the task bring.
    """

    name: str
    description: str
    instructions: str
    examples: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    max_turns: int | None = None
    more: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def load_agents(folder: Path | None = None) -> tuple[AgentSpec, ...]:
    """Read every agent of ``folder`` (the package's own by default), by name.

    Raises:
        UsageError: a file that cannot be read or does not describe an agent.
    """
    files = sorted((folder or Path(__file__).parent / "agent_files").glob("*.toml"))
    return tuple(sorted((_load(file) for file in files), key=lambda agent: agent.name))


def find_agent(name: str, agents: Sequence[AgentSpec]) -> AgentSpec:
    """Return the agent called ``name``.

    Raises:
        UsageError: there is none, with the nearest name.
    """
    for agent in agents:
        if agent.name == name:
            return agent
    known = [agent.name for agent in agents]
    hint = did_you_mean(name, known) or f"there are: {', '.join(known)}"
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
            raise UsageError(f'{file}: no agent has "{safe_text(key)}"', hint=hint)
    texts = {key: _text(file, table, key) for key in _TEXTS}
    lists = {key: _list(file, table, key) for key in _LISTS}
    if len(lists["tools"]) > MOST_TOOLS:
        raise UsageError(f"{file}: {len(lists['tools'])} tools; an agent has at most {MOST_TOOLS}")
    turns = table.get("max_turns")
    if turns is not None and (type(turns) is not int or turns < 1):
        raise UsageError(f"{file}: max_turns is {turns!r}; it is a whole number from 1")
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
        raise UsageError(f"{file}: {key} is missing, empty or not a text")
    return value.strip()


def _list(file: Path, table: dict[str, object], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{file}: {key} is not a list of texts")
    return tuple(value)


def _more(file: Path, table: dict[str, object]) -> Mapping[str, tuple[str, ...]]:
    found = table.get("more", {})
    if not isinstance(found, dict):
        raise UsageError(f"{file}: more is not a table of tools, each with its words")
    return MappingProxyType({str(name): _list(file, found, str(name)) for name in found})
