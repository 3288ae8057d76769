"""The user's rules, held against the tools that there are."""

from __future__ import annotations

from collections.abc import Sequence

from agentctl.core.errors import UsageError
from agentctl.core.text import did_you_mean
from agentctl.core.tool_rules import Rule, parse_rule
from agentctl.permissions.decision import Permissions
from agentctl.settings import Loaded
from agentctl.tools.toolbox import TOOLS, arguments_of


def permissions_of(loaded: Loaded) -> Permissions:
    """Return what the user lets a run do; a misspelt name must not allow what it meant to forbid.

    Raises:
        UsageError: a rule or ``tools`` names a tool or an argument that does not exist, with the nearest name.
    """
    settings = loaded.settings
    for name in settings.tools or ():
        if name not in TOOLS:
            raise _unknown(f'tools ({loaded.sources["tools"]}) names "{name}"', name)
    rules: dict[str, tuple[Rule, ...]] = {}
    for setting in ("deny", "ask", "allow"):
        rules[setting] = tuple(map(parse_rule, getattr(settings, setting)))
        for rule in rules[setting]:
            where = f"{setting} ({loaded.sources[setting]})"
            covered = [name for name in TOOLS if rule.covers(name)]
            if not covered:
                raise _unknown(f'{where} names "{rule.tool}"', rule.tool)
            _refuse_unknown_arguments(rule, covered, where)
    return Permissions(read_only=settings.read_only, only=settings.tools, **rules)


def _unknown(said: str, name: str) -> UsageError:
    hint = did_you_mean(name, TOOLS) or f"there are: {', '.join(TOOLS)}"
    return UsageError(f"{said}, and there is no such tool", hint=hint)


def _refuse_unknown_arguments(rule: Rule, covered: Sequence[str], where: str) -> None:
    known = {argument for name in covered for argument in arguments_of(name)} if rule.arguments else set()
    for argument, _ in rule.arguments:
        if argument not in known:
            near = did_you_mean(argument, known)
            raise UsageError(
                f'{where}: {rule} names "{argument}", and {", ".join(covered[:3])} has no such argument',
                hint=near or f"there are: {', '.join(sorted(known)) or 'none'}",
            )
