"""Decide whether a tool call runs, needs approval, or is denied.

Deny rules, ``--tools`` and ``--read-only`` come first, then ask rules, then allow rules, then the kind of the call:
reads run, and so does what stays inside the workspace or a sandbox; everything else asks. A more specific rule has no
precedence. ``core.autorun_files`` lists what other programs run or obey later: git's own files and agentctl's own are
never written, whatever the rules say; writing one with the policy ``asks``, or any other name with a leading dot, asks
a person, inside the workspace too.

``Permissions`` is pure. ``permissions_of`` makes it from the settings, and checks the rules against the existing tools.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from agentctl.core.errors import ToolError, UsageError
from agentctl.core.targets import PATH_TOOLS, Subject, fits, hidden_pattern
from agentctl.core.text import did_you_mean
from agentctl.core.tool_rules import OTHER_NAMES, SHELL_ARGUMENTS, Rule, glob, parse_rule
from agentctl.settings import Loaded
from agentctl.settings.untrusted_files import MCP_FIELD
from agentctl.tools.toolbox import (
    CALL_TOOL,
    FIND_TOOLS,
    READ_SKILL,
    SEPARATOR,
    TOOLS,
    arguments_of,
    is_tool,
    nearest_tool,
)

if TYPE_CHECKING:
    from agentctl.core.autorun_files import AutorunFile
    from agentctl.permissions.shell_commands import CommandVerdict


_WRITES = {"write_file": "path"}
_OWN_NAMES = {other: name for name, other in OTHER_NAMES.items()}


class Decision(NamedTuple):
    """``allow``, ``ask`` or ``deny``, and why."""

    kind: Literal["allow", "ask", "deny"]
    why: str


class Permissions(NamedTuple):
    """The rules of one run. ``only`` None: every tool. ``granted``: rules that a person answered "always" to."""

    read_only: bool = False
    only: tuple[str, ...] | None = None
    deny: tuple[Rule, ...] = ()
    ask: tuple[Rule, ...] = ()
    allow: tuple[Rule, ...] = ()
    granted: tuple[Rule, ...] = ()

    def why_withheld(self, name: str, effect: str) -> str | None:
        """Return why the tool ``name`` may never run, whatever its arguments; None if it may be offered."""
        for rule in self.deny:
            if not rule.arguments and rule.covers(name):
                return _denial(name, rule)
        if self.only is not None and name not in (*self.only, FIND_TOOLS, CALL_TOOL):  # these reach no other tool
            return f"{name} is not among the tools that the user allows: {', '.join(self.only) or 'none'}"
        if self.read_only and effect != "read":
            return f"{name} would change something, and this run is read-only"
        return None

    def needs_names(self, name: str) -> bool:
        """Return whether a rule is about arguments of the tool ``name``, so that all names of its target are needed."""
        restricting = (*self.deny, *self.ask)
        return any(rule.arguments and (rule.covers(name) or name in PATH_TOOLS) for rule in restricting)

    def decide(
        self,
        name: str,
        effect: str,
        given: Mapping[str, object],
        *,
        resolved: Mapping[str, object] | None = None,
        subject: Subject | None = None,
        contained: bool = False,
        autorun: AutorunFile | None = None,
    ) -> Decision:
        """Decide on one call. ``resolved`` are its arguments as the tool will use them; deny rules match both forms.

        ``subject`` adds the defaults and the other names of the call's target. ``contained``: its changes stay inside
        the workspace or a sandbox. ``autorun`` is the program that runs or obeys the written file, if that depends on
        more than the file's name.
        """
        meant = given if resolved is None else resolved
        subject = Subject(meant) if subject is None else subject
        meant = subject.arguments
        for rule in self.deny:
            if fits(rule, name, given, subject) or _hides(rule, name, subject):
                return Decision("deny", _denial(name, rule))
        if (why := self.why_withheld(name, effect)) is not None:
            return Decision("deny", why)
        path = _path_written(name, meant)
        if path is not None:
            autorun = _more_severe(path, autorun)
            if autorun is not None and autorun.policy == "never":
                # Before every rule that allows: a write here is a command in the user's next git or agentctl.
                return Decision(
                    "deny", f"{path} belongs to {autorun.program}, and no tool may write it; continue without it"
                )
        for rule in self.granted:
            if rule.permits(name, meant):
                return Decision("allow", f"you, always in this run: {rule}")
        for rule in self.ask:
            if fits(rule, name, given, subject):
                return Decision("ask", f"the rule ask {rule}")
        for rule in self.allow:
            if rule.permits(name, meant):
                return Decision("allow", f"the rule allow {rule}")
        command = self.judge_command(name, meant)
        if command is not None and command.allowed:
            return Decision("allow", f"the rule allow {' and '.join(map(str, command.rules))}")
        if effect == "read":
            return Decision("allow", "it only reads")
        if path is not None and (why := _why_ask(path, autorun)) is not None:
            return Decision("ask", why)
        if contained:
            return Decision("allow", "it stays inside the workspace")
        if name in _WRITES:
            return Decision("ask", "the workspace is not a project folder: it holds other files too")
        why = f"{name} would change something outside the workspace"
        if SEPARATOR in name:
            why = f"{name} may change whatever its MCP server can reach"
        return Decision("ask", why if command is None else f"{why}; {command.why}")

    def judge_command(self, name: str, arguments: Mapping[str, object]) -> CommandVerdict | None:
        """Return whether allow rules for commands cover a call of ``name``; None: no such rule is about this call."""
        if not isinstance(arguments.get(SHELL_ARGUMENTS.get(name, "")), str) or not any(
            rule.arguments and rule.covers(name) for rule in self.allow
        ):
            return None
        from agentctl.permissions.shell_commands import judge_command  # noqa: PLC0415 - loads a parser

        return judge_command(self.allow, name, arguments)


def _path_written(name: str, arguments: Mapping[str, object]) -> str | None:
    path = arguments.get(_WRITES.get(name, ""))
    return path if isinstance(path, str) else None


def _more_severe(path: str, known: AutorunFile | None) -> AutorunFile | None:
    """Return the entry of the list for a path, or the ``known`` one, whichever restricts more."""
    from agentctl.core.autorun_files import find_autorun  # noqa: PLC0415 - a long table, needed when something is written

    listed = find_autorun(path)
    if listed is None or (known is not None and (known.policy == "never" or listed.policy == "reported")):
        return known or listed
    return listed


def _why_ask(path: str, autorun: AutorunFile | None) -> str | None:
    """Return why writing ``path`` needs approval, or None."""
    has_dot = any(part.startswith(".") and part.strip(".") for part in path.split("/"))
    if autorun is not None and (has_dot or autorun.policy == "asks"):
        return f"{autorun.program} runs or obeys {path}"
    return f"{path} may be obeyed by other programs later" if has_dot else None


def _hides(rule: Rule, name: str, subject: Subject) -> bool:
    """Return whether the rule denies the file or folder that the call is about, whatever its tool."""
    target, pattern = subject.targets.get("path"), hidden_pattern(rule)
    return pattern is not None and target is not None and name in PATH_TOOLS and target.fits(pattern)


def _denial(name: str, rule: Rule) -> str:
    return f"{name} is denied by a user rule ({rule}); continue without it"


class _UnknownServer(UsageError):
    """A rule is about an MCP server that is not configured, or is in a project's file that is not trusted."""


def permissions_of(loaded: Loaded) -> Permissions:
    """Return the permissions of a run by the settings.

    Raises:
        UsageError: a rule or ``tools`` names a tool or an argument that does not exist, with the nearest name.
    """
    try:
        return _read_permissions(loaded)
    except _UnknownServer as error:
        raise UsageError(error.message, hint=loaded.cause(MCP_FIELD) or error.hint) from error


def _read_permissions(loaded: Loaded) -> Permissions:
    settings, own = loaded.settings, loaded.own_tools
    only = settings.tools and tuple(_OWN_NAMES.get(name, name) for name in settings.tools)
    refuse_unknown_tools(only or (), f"tools ({loaded.sources['tools']})", own, _servers(loaded, "tools"))
    rules = {
        setting: parse_known_rules(
            getattr(settings, setting), f"{setting} ({loaded.sources[setting]})", own, _servers(loaded, setting)
        )
        for setting in ("deny", "ask", "allow")
    }
    return Permissions(read_only=settings.read_only, only=only, **rules)


def _servers(loaded: Loaded, setting: str) -> tuple[str, ...] | None:
    """Return the MCP servers that a setting can name; None: any, as a line of a file may be about another run's."""
    if not any(SEPARATOR in text for text in getattr(loaded.settings, setting) or ()):
        return ()
    if loaded.sources[setting].kind != "flag":
        return None
    return loaded.server_names


def _is_of_server(name: str, said: str, servers: Sequence[str] | None) -> bool:
    """Return whether a name is that of tools of an MCP server.

    Raises:
        UsageError: there is no such server.
    """
    server, separator, _ = name.partition(SEPARATOR)
    if not separator:
        return False
    if servers is None or any(glob(server).fullmatch(known) for known in servers):
        return True
    hint = did_you_mean(server, servers) or "agentctl mcp list   lists the servers"
    raise _UnknownServer(f'{said}, and there is no MCP server "{server}"', hint=hint)


def refuse_unknown_tools(
    names: Iterable[str],
    where: str,
    own: Mapping[str, Any] = MappingProxyType({}),
    servers: Sequence[str] | None = None,
) -> None:
    """Refuse the name of a tool that does not exist; ``where`` says where the names come from.

    ``own`` are the tools of Python code, by name, ``servers`` the MCP servers that names can be about; None: any.

    Raises:
        UsageError: there is one, with the nearest name.
    """
    for name in names:
        said = f'{where} names "{name}"'
        if not is_tool(_OWN_NAMES.get(name, name), own) and not _is_of_server(name, said, servers):
            raise _unknown(said, name)


def parse_known_rules(
    texts: Iterable[str],
    where: str,
    own: Mapping[str, Any] = MappingProxyType({}),
    servers: Sequence[str] | None = None,
) -> tuple[Rule, ...]:
    """Return the rules; ``where`` says where their texts come from. ``own`` are the tools of Python code, by name.

    ``servers`` are the MCP servers that rules can be about; None: any. What tools these have is not known yet.

    Raises:
        UsageError: one is no rule, or names a tool or an argument that does not exist, with the nearest name.
    """
    rules = tuple(map(parse_rule, texts))
    for rule in rules:
        covered = [name for name in (*TOOLS, READ_SKILL, *own) if rule.covers(name)]
        if not covered:
            covered = _covered_of_packages(rule)
        said = f'{where} names "{rule.tool}"'
        if not covered and _is_of_server(rule.tool, said, servers):
            continue
        if not covered:
            raise _unknown(said, rule.tool)
        _refuse_unknown_arguments(rule, covered, where, own)
    return rules


def _covered_of_packages(rule: Rule) -> list[str]:
    from agentctl.tools.package_tools import package_tool_names  # noqa: PLC0415 - few rules are about such a tool

    return [name for name in package_tool_names() if rule.covers(name)]


def _unknown(said: str, name: str) -> UsageError:
    return UsageError(f"{said}, and there is no such tool", hint=nearest_tool(name))


def _refuse_unknown_arguments(rule: Rule, covered: Sequence[str], where: str, own: Mapping[str, Any]) -> None:
    if not rule.arguments:
        return
    try:
        known = {argument for name in covered for argument in arguments_of(name, own)}
    except ToolError:
        return  # the tool of a package that cannot be loaded, and so is never called
    for argument, _ in rule.arguments:
        if argument not in known:
            near = did_you_mean(argument, known)
            raise UsageError(
                f'{where}: {rule} names "{argument}", and {", ".join(covered[:3])} has no such argument',
                hint=near or f"known arguments: {', '.join(sorted(known)) or 'none'}",
            )
