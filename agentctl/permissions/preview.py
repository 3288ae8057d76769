"""Preview the decision on a tool call by the settings alone, without asking, looking up or running anything. Pure.

A call is written like a rule, ``docker_restart(name=web)``, but its values are literal: ``*`` is an asterisk. A text
that is not a tool call is a shell command.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from agentctl.core.errors import AgentctlError, UsageError
from agentctl.core.messages import ToolSpec
from agentctl.core.text import did_you_mean, nearest, safe_text
from agentctl.core.tool_rules import Rule, parse_rule, rule_for
from agentctl.permissions.admission import Approve
from agentctl.permissions.decision import Permissions
from agentctl.protocols import TargetAware, Tool

PreviewOutcome = Literal["runs", "asks", "denied", "left_out"]

_CALL = re.compile(r"[A-Za-z0-9_-]{1,100}\s*\(.*\)", re.DOTALL)
_WORD = re.compile(r"[A-Za-z0-9_]{1,100}")


class CallPreview(NamedTuple):
    """The decision on a call, and why; ``asks``: it needs a person, and is denied if there is none.

    ``left_out``: the tool is not offered to a model, because the sandbox, or systemd, that it needs is not there.
    """

    outcome: PreviewOutcome
    why: str
    hint: str = ""


class WrittenCall(NamedTuple):
    """A call as the user wrote it: a tool's name, and its arguments as text."""

    name: str
    arguments: tuple[tuple[str, str], ...] = ()


def preview_call(
    permissions: Permissions,
    approve: Approve,
    tool: Tool,
    arguments: Mapping[str, object] | None = None,
    *,
    missing: AgentctlError | None = None,
) -> CallPreview:
    """Return what would happen to a call; without ``arguments``: to one that no rule about arguments matches.

    ``missing`` says why the sandbox, or systemd, that the tool needs is not there.
    """
    subject = None if arguments is None or not isinstance(tool, TargetAware) else tool.subject(arguments)
    decision = permissions.decide(
        tool.spec.name, tool.effect, arguments or {}, subject=subject, contained=tool.contained
    )
    if decision.kind == "deny":
        return CallPreview("denied", decision.why)
    if missing is not None:
        return CallPreview("left_out", missing.message, missing.hint)
    if decision.kind == "allow":
        return CallPreview("runs", decision.why)
    rule = example_rule(tool.spec) if arguments is None else allowing_rule(tool.spec, arguments)
    hint = f"to allow it: --allow {shlex.quote(rule)}"
    if approve == "all":
        return CallPreview("runs", f"{decision.why}; --approve all answers yes")
    if approve == "deny":
        return CallPreview("denied", f"{decision.why}; --approve deny answers no", hint)
    return CallPreview("asks", decision.why, hint)


def rules_about(permissions: Permissions, name: str) -> tuple[tuple[str, Rule], ...]:
    """Return the rules about the tool ``name``, each with its setting."""
    named = (("deny", permissions.deny), ("ask", permissions.ask), ("allow", permissions.allow))
    return tuple((setting, rule) for setting, rules in named for rule in rules if rule.covers(name))


def example_rule(spec: ToolSpec) -> str:
    """Return an example of a rule about the tool: ``docker_restart(name=NAME)``."""
    return spec.name if spec.target is None else f"{spec.name}({spec.target}={spec.target.upper()})"


def allowing_rule(spec: ToolSpec, arguments: Mapping[str, object]) -> str:
    """Return the rule that allows this call and similar ones."""
    return str(rule_for(spec.name, arguments, spec.target))


def parse_call(text: str, known: Collection[str]) -> WrittenCall | None:
    """Parse ``text`` as a tool call; return None if it must be a shell command.

    Raises:
        UsageError: it is written like a call, but the tool does not exist or the call cannot be parsed.
    """
    said = text.strip()
    if not said:
        raise UsageError("there is nothing to check", hint="agentctl policy check 'TOOL(ARGUMENT=VALUE)'")
    name = said.partition("(")[0].strip()
    if name not in known:
        near = nearest(name, known) if _WORD.fullmatch(name) and "_" in name else ""
        if not near and not (_CALL.fullmatch(said) and _WORD.fullmatch(name)):
            return None
        hint = did_you_mean(name, known) or "agentctl tools list"
        raise UsageError(safe_text(f'there is no tool "{name}"'), hint=hint)
    try:
        rule = parse_rule(said)
    except ValueError as error:
        raise UsageError(
            safe_text(f'"{said[:200]}" is not a valid call; allowed: {error}'), hint=f"agentctl tools show {name}"
        ) from None
    return WrittenCall(
        name, tuple((argument, re.sub(r"\\([*?\\])", r"\1", value)) for argument, value in rule.arguments)
    )


def typed_arguments(spec: ToolSpec, written: tuple[tuple[str, str], ...]) -> dict[str, object]:
    """Return the values in the types that the tool's schema names; a value that cannot be converted stays a string."""
    properties = spec.parameters.get("properties")
    kinds = properties if isinstance(properties, Mapping) else {}
    return {name: _typed(kinds.get(name), value) for name, value in written}


def _typed(entry: object, value: str) -> object:
    if not isinstance(entry, Mapping) or entry.get("type", "string") == "string":
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
