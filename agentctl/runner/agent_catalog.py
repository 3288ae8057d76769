"""Find the agents of a run: those of the package, of the user's config folder, of a trusted project, and of a file.

A later one replaces an earlier one of the same name. A file that cannot be used is left out with a sentence, and is an
error only for a run that names it. A project's agent can only narrow what a run may do, and one that replaces an agent
of the user's own keeps what that one narrows.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.text import safe_text
from agentctl.runner.agent_markdown import parse_markdown_agent
from agentctl.runner.agent_spec import NAME, AgentSpec, AgentTerms, Origin, find_agent, load_agents, parse_agent
from agentctl.settings import Loaded
from agentctl.settings.own_files import is_there, read_own_file
from agentctl.settings.project_documents import (
    AGENT_FOLDER,
    AGENT_SUFFIXES,
    ProjectDocument,
    agent_paths,
    find_documents,
    has_documents,
    with_trust,
)
from agentctl.settings.sources import Problem
from agentctl.settings.untrusted_files import MOST_BYTES, NoticeMemory
from agentctl.tools.toolbox import is_tool, nearest_tool

_ARTICLE = {"config": "of yours", "project": "of this project", "file": "of --agent-file"}


class AgentFile(NamedTuple):
    """A file that describes an agent, or was to: the agent, sentences about what has no effect, or what is wrong."""

    place: str
    origin: Origin
    name: str
    agent: AgentSpec | None = None
    notes: tuple[str, ...] = ()
    error: UsageError | None = None
    digest: str = ""


class AgentCatalog(NamedTuple):
    """The agents of a run, sorted by name, and the files that they and others were read from, in their order."""

    agents: tuple[AgentSpec, ...]
    files: tuple[AgentFile, ...] = ()

    def find(self, name: str) -> AgentSpec:
        """Return the agent called ``name``.

        Raises:
            UsageError: there is none, or the file that describes it cannot be used.
        """
        broken = [file.error for file in self.files if file.name == name and file.error is not None]
        if broken and all(agent.name != name for agent in self.agents):
            raise broken[-1]
        return find_agent(name, self.agents)

    @property
    def given(self) -> AgentSpec | None:
        """The agent of ``--agent-file``, None without one."""
        return next((file.agent for file in self.files if file.origin == "file" and file.agent), None)

    def notes(self, memory: NoticeMemory | None = None) -> Iterator[str]:
        """Yield a warning for each file that is left out, once for each content of it if ``memory`` is given."""
        for file in self.files:
            if file.error is None or (memory is not None and file.digest and memory.knows(file.digest)):
                continue
            hint = f" ({file.error.hint})" if file.error.hint else ""
            yield f"warning: {file.error.message}{hint}"
            if memory is not None and file.digest:
                memory.remember(file.digest)


def has_own_agents(loaded: Loaded) -> bool:
    """Return whether agents may lie in the config folder or in the project, by two system calls."""
    folder = loaded.settings.workdir or Path.cwd()
    return is_there(loaded.settings.config_dir / AGENT_FOLDER) or has_documents(folder)


def load_catalog(loaded: Loaded, *, file: str | None = None, strict: bool = True) -> AgentCatalog:
    """Return the agents of a run with these settings; ``file`` describes one more.

    Raises:
        UsageError: ``file`` does not describe an agent, unless not ``strict``: then it is one of the files.
    """
    packaged = load_agents()
    fallback = find_agent("system", packaged)
    found: dict[str, AgentSpec] = {agent.name: agent for agent in packaged}
    files: list[AgentFile] = []
    own = loaded.settings.config_dir / AGENT_FOLDER
    for path in agent_paths(own):
        files.append(_take(_read_own(path, "config", fallback), found, files))
    folder, cwd = loaded.settings.workdir or Path.cwd(), Path.cwd()
    if has_documents(folder):
        for document in with_trust(find_documents(folder, cwd=cwd, kinds=("agent",)), loaded.settings.state_dir):
            files.append(_take(_read_project(document, fallback, found), found, files))
    if file is not None:
        read = _read_own(Path(file).expanduser(), "file", fallback)
        if read.error is not None and strict:
            raise read.error
        files.append(_take(read, found, files))
    return AgentCatalog(tuple(sorted(found.values(), key=lambda agent: agent.name)), tuple(files))


def preview(document: ProjectDocument) -> AgentFile:
    """Return what a document of the project would describe if it were trusted."""
    packaged = load_agents()
    found = {agent.name: agent for agent in packaged}
    return _read_project(document._replace(trust_state="trusted"), find_agent("system", packaged), found)


def _take(read: AgentFile, found: dict[str, AgentSpec], files: Sequence[AgentFile]) -> AgentFile:
    """Add the agent of a file to those that were found, unless another file of the same folder has its name."""
    if read.agent is None:
        return read
    twin = next((one for one in files if one.agent and one.origin == read.origin and one.name == read.name), None)
    if twin is not None:
        said = f'{read.place}: {twin.place} describes an agent "{read.name}", too; this one is left out'
        return read._replace(agent=None, error=UsageError(said, hint="give one of them another name"))
    replaced = found.get(read.name)
    notes = read.notes
    if replaced is not None:
        whose = f"the one {_ARTICLE[replaced.origin]}" if replaced.origin != "package" else "agentctl's own"
        notes = (*notes, f'{read.place}: agent "{read.name}" replaces {whose}')
    found[read.name] = read.agent
    return read._replace(notes=notes)


def _read_own(path: Path, origin: Origin, fallback: AgentSpec) -> AgentFile:
    """Read a file that the user named or owns; links are followed, a pipe is none."""
    name, place = path.stem.removesuffix(".agent"), safe_text(os.fspath(path))
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError) as error:
        said = (getattr(error, "strerror", "") or "not a file name").lower()
        return AgentFile(place, origin, name, error=UsageError(f"agent file {place} cannot be read: {said}"))
    if not is_file:
        said = f"agent file {place} is not a regular file"
        return AgentFile(place, origin, name, error=UsageError(said, hint="save the agent as NAME.toml or NAME.md"))
    text = read_own_file(path, "agent file")
    if isinstance(text, Problem):
        return AgentFile(place, origin, name, error=UsageError(text.text, hint=text.hint))
    if len(text.encode()) > MOST_BYTES:
        return AgentFile(place, origin, name, error=_too_large(place))
    return _parse(text, path, origin, place, fallback)


def _too_large(place: str) -> UsageError:
    said = f"agent file {place} is larger than {MOST_BYTES // 1024} KiB: each request would pay for its instructions"
    return UsageError(said, hint="let the agent read the rest from a file when it needs it")


def _read_project(document: ProjectDocument, fallback: AgentSpec, found: Mapping[str, AgentSpec]) -> AgentFile:
    """Read an agent of the project, if it is trusted, and narrow it."""
    path, place = document.file.path, safe_text(document.place)
    name = path.stem.removesuffix(".agent")
    if document.refusal:
        trusted = "agentctl trust" if document.place.startswith("./") else f"agentctl trust {path.parents[2]}"
        hint = "" if document.file.unread else document.file.hint or f"read it, then: {trusted}"
        error = UsageError(f"agent file {place} is not used: {document.refusal}", hint=hint)
        return AgentFile(place, "project", name, error=error, digest=document.file.digest)
    read = _parse(document.file.text, path, "project", place, fallback)
    return read if read.agent is None else _narrow(read, read.agent, found.get(read.name))


def _parse(text: str, path: Path, origin: Origin, place: str, fallback: AgentSpec) -> AgentFile:
    name, notes = path.stem.removesuffix(".agent"), []
    try:
        if path.suffix not in AGENT_SUFFIXES:
            raise UsageError(f"agent file {place} ends neither in .toml nor in .md", hint=f"rename it: {name}.toml")
        text, hidden = without_hidden(text)
        if hidden:
            notes.append(f"{place}: {hidden} invisible or control characters were left out")
        if path.suffix == ".md":
            agent, more = parse_markdown_agent(text, path, origin=origin, place=place, defaults=fallback)
            notes += more
        else:
            agent = parse_agent(text, path, origin=origin, place=place)
            if not agent.tools and not agent.more and not _has_tools(text):
                agent = agent._replace(tools=fallback.tools, more=fallback.more)
        _check(agent, place)
    except UsageError as error:
        return AgentFile(place, origin, name, error=error)
    return AgentFile(place, origin, agent.name, agent, tuple(notes))


def _has_tools(text: str) -> bool:
    import tomllib  # noqa: PLC0415 - only a run with agents of the user's own

    return "tools" in tomllib.loads(text)


def without_hidden(text: str) -> tuple[str, int]:
    """Return a text without characters that no one sees, and their number."""
    text = text.replace("\r\n", "\n")
    lines = [(line, safe_text(line)) for line in text.split("\n")]
    if all(line == safe for line, safe in lines):
        return text, 0
    kept = "".join(c for c in text if c in "\n\t" or safe_text(c) == c)
    return kept, len(text) - len(kept)


def _check(agent: AgentSpec, place: str) -> None:
    """Check what only the files of users can have wrong.

    Raises:
        UsageError: the name is none, a text has control characters, or a tool or a rule names nothing.
    """
    from agentctl.permissions.decision import parse_known_rules  # noqa: PLC0415 - only agents of the user's own

    if not NAME.fullmatch(agent.name):
        raise UsageError(
            f'{place}: "{safe_text(agent.name)[:80]}" is no name for an agent',
            hint="use up to 64 letters, digits, hyphens, dots and underscores",
        )
    for text in (agent.description, agent.instructions, agent.why, *agent.examples):
        if without_hidden(text)[1]:  # written with an escape of TOML
            raise UsageError(f"{place}: a text of the agent has control or invisible characters")
    for name in (*agent.tools, *agent.more):
        if not is_tool(name):
            raise UsageError(f'{place} names "{safe_text(name)}", and there is no such tool', hint=nearest_tool(name))
    for setting in ("allow", "ask", "deny"):
        parse_known_rules(getattr(agent.terms, setting), f"{setting} ({place})")


def _narrow(read: AgentFile, agent: AgentSpec, replaced: AgentSpec | None) -> AgentFile:
    """Return a project's agent without the lines that would widen what a run may do, with a sentence about each."""
    place, terms, notes = read.place, agent.terms, list(read.notes)
    refused = [f"allow {rule}" for rule in terms.allow]
    refused += ["network = true"] if terms.network else []
    refused += [f'sandbox = "{terms.sandbox}"'] if terms.sandbox in ("none", "external") else []
    only = "is refused: a project's agent can only narrow what a run may do"
    notes += [f"{place}: {safe_text(line)} {only}" for line in refused]
    kept = AgentTerms() if replaced is None or replaced.origin == "package" else replaced.terms
    own_limits = {name: _lower(kept.limits.get(name), value) for name, value in terms.limits.items()}
    narrowed = AgentTerms(
        limits=MappingProxyType({**kept.limits, **own_limits}),
        model=terms.model,
        sandbox=kept.sandbox or (terms.sandbox if terms.sandbox not in ("none", "external") else None),
        network=False if terms.network is False else kept.network,
        read_only=terms.read_only or kept.read_only,
        ask=tuple(dict.fromkeys((*kept.ask, *terms.ask))),
        deny=tuple(dict.fromkeys((*kept.deny, *terms.deny))),
        mcp=terms.mcp,
    )
    turns = [one.max_turns for one in (agent, replaced) if one and one.max_turns is not None]
    agent = agent._replace(terms=narrowed, max_turns=min(turns, default=None))
    if replaced is not None and replaced.origin == "config":
        there = {*replaced.tools, *replaced.more}
        if dropped := [name for name in (*agent.tools, *agent.more) if name not in there]:
            notes.append(f"{place}: {', '.join(dropped)} left out: your own agent {agent.name} has no such tool")
        agent = agent._replace(
            tools=tuple(name for name in agent.tools if name in there),
            more={name: words for name, words in agent.more.items() if name in there},
        )
    return read._replace(agent=agent, notes=tuple(notes))


def _lower(kept: object, value: object) -> object:
    """Return the lower of two limits; None is no limit."""
    if kept is None or value is None:
        return kept if value is None else value
    return value if value < kept else kept  # type: ignore[operator]  # both of the same limit: int, float or Decimal
