"""Find a project's .mcp.json, which counts only once it is trusted, and say what trusting it would start."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.lookalikes import escape_lookalikes
from agentctl.core.redaction import redact
from agentctl.core.text import list_names, safe_text
from agentctl.settings.mcp_entries import EntryPlace, read_entry
from agentctl.settings.mcp_servers import servers_of
from agentctl.settings.mcp_variables import references
from agentctl.settings.project_files import FoundProjectFile, Project, with_trust_states
from agentctl.settings.untrusted_files import MCP_FIELD, IgnoredLine, NoticeMemory, TrustPrompt

if TYPE_CHECKING:
    from agentctl.settings.loaded import Loaded

_WIDEST = 2000  # characters of a command line in a question


class ProjectServers(NamedTuple):
    """The servers that a project's file names: what each would start or reach, and the variables that it asks for."""

    names: tuple[str, ...]
    lines: tuple[str, ...]
    variables: tuple[str, ...]

    @property
    def consequences(self) -> tuple[str, ...]:
        """One sentence for each thing that trusting the file permits."""
        asked = f"gives them {', '.join(self.variables)}" if self.variables else ""
        return (*self.lines, *filter(None, [asked]))


def servers_in(found: FoundProjectFile) -> ProjectServers:
    """Return what a project's file would start or reach, for a person who decides on it; no value of a variable.

    Raises:
        UsageError: it is not JSON, or has no ``mcpServers``.
    """
    servers = servers_of(found.file.text, found.place)
    variables = dict.fromkeys(name for entry in servers.values() for text in _texts(entry) for name in references(text))
    lines = tuple(escape_lookalikes(redact(_line(name, entry), ())) for name, entry in servers.items())
    return ProjectServers(tuple(escape_lookalikes(name[:60]) for name in servers), lines, tuple(variables))


def warnings_of(found: FoundProjectFile, loaded: Loaded) -> tuple[str, ...]:
    """Return what of a project's servers would have no effect once the file is trusted, and why.

    Raises:
        UsageError: it is not JSON, or has no ``mcpServers``.
    """
    place = EntryPlace(found.place, {}, loaded.settings, found.file.path.parent, is_users_own=False)
    said: list[str] = []
    for name, entry in servers_of(found.file.text, found.place).items():
        read = read_entry(name, entry, place)
        said += [*read.warnings, *([str(read.skipped)] if read.skipped is not None else [])]
    return tuple(said)


def with_mcp_file(found: FoundProjectFile, project: Project, *, remember: bool) -> tuple[FoundProjectFile, Project]:
    """Return the file with its trust state, and the project with what is said of the file.

    Nothing is said if it is trusted or names no server. The note appears once for each content of the file, as those
    on other project files do.
    """
    ((found,), notes) = with_trust_states((found,), project.settings.state_dir)
    project = project._replace(notes=(*project.notes, *notes))
    if found.trust_state == "trusted":
        return found, project
    note, ignored, offers = _notice(found)
    memory = NoticeMemory(project.settings.state_dir)
    is_told = not note or (remember and memory.knows(found.file.digest))
    if not is_told and remember:
        memory.remember(found.file.digest)
    return found, project._replace(
        notes=(*project.notes, *(() if is_told else (safe_text(note),))),
        ignored=(*project.ignored, *ignored),
        offers=(*project.offers, *offers),
    )


def _notice(found: FoundProjectFile) -> tuple[str, tuple[IgnoredLine, ...], tuple[TrustPrompt, ...]]:
    file, place = found.file, found.place
    if file.unread:
        return f"{place} was not read: {file.unread}; its MCP servers are not used", (), ()
    try:
        servers = servers_in(found)
    except UsageError as error:
        return f"{error.message}; its MCP servers are not used", (), ()
    if not servers.names:
        return "", (), ()
    names = list_names(servers.names)
    called = f"MCP server{'s' if len(servers.names) > 1 else ''} {names}"
    ignored = IgnoredLine(MCP_FIELD, called, file.path, place)
    why = "has changed since it was trusted" if found.trust_state == "changed" else "is not trusted"
    if file.doubt:
        why = f"is not trusted, because {file.doubt}"
    note = f"{place} {why}, so this was ignored: {ignored.name}. To use it: {ignored.remedy}"
    changed = found.trust_state == "changed"
    offer = TrustPrompt(file, place, servers.names, servers.consequences, changed, safe_text(note))
    return note, (ignored,), () if file.doubt else (offer,)


def _texts(entry: object) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, Mapping):
        for part in entry.values():
            yield from _texts(part)
    elif isinstance(entry, Sequence):
        for part in entry:
            yield from _texts(part)


def _line(name: str, entry: object) -> str:
    """Return what one server is: the command line that it starts, or the address that it reaches."""
    table = entry if isinstance(entry, Mapping) else {}
    command, args, url = table.get("command"), table.get("args"), table.get("url")
    if isinstance(url, str) and command is None:
        return f"{name[:60]} sends the arguments of its calls to {_cut(url)}"
    words = [command, *(args if isinstance(args, Sequence) and not isinstance(args, str) else ())]
    line = shlex.join(str(word) for word in words if word is not None)
    env = table.get("env")
    variables = f", with {', '.join(map(str, env))}" if isinstance(env, Mapping) and env else ""
    return f"{name[:60]} starts in the sandbox of the run: {_cut(line)}{variables}"


def _cut(text: str) -> str:
    """Return a text whole, or its beginning and how much is not shown."""
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}… and {len(text) - _WIDEST} more characters"
