"""How a setting is declared: its default, variables, flag, line in config.toml, and the commands that need it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import AliasChoices, Field
from pydantic.fields import FieldInfo

PREFIX = "AGENTCTL_"

#: The sections of config.toml and .env.example, in order, each with what its settings decide.
SECTIONS = {
    "answer": "provider, model and addresses",
    "keys": "API keys of the providers",
    "cost": 'limits; "none" disables one',
    "context": "the context: what is sent",
    "work": "the run; durations are 30s, 5m, 2h or 1h30m",
    "reach": 'permissions; a rule is a tool, or one with arguments: "docker_restart(name=web)"',
    "look": "output",
    "folders": "folders of agentctl's own files",
    "hooks": "hooks: commands of yours that run before a tool call or at the end of a run",
    "providers": "providers of your own: any server that speaks a known format, with its address, price and key",
    "mcp": "MCP servers: programs and addresses with tools for the model",
    "prices": "prices that replace or add to litellm's: dollars per million tokens, 0 is free",
}

COMMON, LIMITS, CONTEXT, REACH = "Common options", "Limits", "Context", "Permissions"
INPUT, OUTPUT = "Input", "Output"


class Flag(NamedTuple):
    """A setting's flag of ``agentctl run``: its panel in the help, and the placeholder for its value there.

    ``spellings`` replace the setting's own name. ``synonym`` is another long form, which messages use.
    """

    panel: str
    metavar: str = ""
    kind: Literal["text", "switch", "yes_no", "choice", "list"] = "text"
    spellings: tuple[str, ...] = ()
    synonym: str = ""


class Declaration(NamedTuple):
    """What a setting has besides its type and default.

    ``variables`` may hold it, the strongest first; ``documented`` are those that the documentation names. A wrong
    value stops the commands of ``needed_by``. ``written`` is the default as files write it, or an ``example``.
    """

    section: str
    help: str
    variables: tuple[str, ...]
    documented: tuple[str, ...]
    needed_by: tuple[str, ...]
    flag: Flag | None
    in_toml: bool
    written: str
    example: str


def setting(
    default: Any,  # noqa: ANN401 - of the field's own type
    variable: str | tuple[str, ...],
    section: str,
    help: str,
    flag: Flag | None = None,
    *,
    bare: bool = False,
    needed_by: tuple[str, ...] = ("run",),
    in_toml: bool = True,
    written: str = "",
    example: str = "",
    **more: Any,  # noqa: ANN401 - pydantic's own
) -> Any:  # noqa: ANN401 - used in place of the field's default
    """Return the field of a setting whose variable is ``variable`` with the prefix AGENTCTL_; with ``bare`` also
    without.

    A function as ``default`` is called to make the default. ``needed_by`` names groups of commands ("run", "report",
    "policy", "prices"), the use of a provider ("provider openai") and that of any model ("model": not builtin).
    """
    names = (variable,) if isinstance(variable, str) else variable
    prefixed = tuple(PREFIX + name for name in names)
    variables, documented = ((*prefixed, *names), names) if bare else (prefixed, prefixed)
    declared = Declaration(section, help, variables, documented, needed_by, flag, in_toml, written, example)
    more["default_factory" if callable(default) else "default"] = default
    more["validation_alias"] = AliasChoices(*variables) if variables else None
    more["json_schema_extra"] = {"setting": declared}
    return Field(**more)


def declaration_of(field: FieldInfo) -> Declaration:
    """Return what a field of ``Settings`` was declared with."""
    extra = field.json_schema_extra
    declared = extra.get("setting") if isinstance(extra, dict) else None
    if not isinstance(declared, Declaration):
        raise TypeError("the field is not a setting")
    return declared
