"""``agentctl policy check``: check whether a tool call would run, ask or be denied."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agentctl.cli.options import Config, EnvFile, Json, Output, approval_mode, wants_json

if TYPE_CHECKING:
    from agentctl.cli.documents import Document
    from agentctl.cli.tools import ToolCatalog
    from agentctl.cli.ui.columns import Page
    from agentctl.core.messages import ToolCall
    from agentctl.permissions.preview import CallPreview
    from agentctl.permissions.shell_commands import CommandVerdict
    from agentctl.protocols import Tool
    from agentctl.settings import Loaded

SCHEMA = "agentctl.policy/1"
_RULES = "Same as for a run"
_EXAMPLE = "agentctl policy check 'docker_ps(all=true)'"


def check(
    call: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CALL",
            help="'TOOL(ARGUMENT=VALUE)' or a shell command; words are joined. A rule may stand before it.",
            show_default=False,
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="RULE",
            help="Allow matching calls without asking (may be repeated).",
            rich_help_panel=_RULES,
        ),
    ] = None,
    deny: Annotated[
        list[str] | None,
        typer.Option("--deny", metavar="RULE", help="Deny matching calls (may be repeated).", rich_help_panel=_RULES),
    ] = None,
    approve: Annotated[
        Literal["ask", "deny", "all"] | None,
        typer.Option("--approve", help="How to decide calls that need approval (default ask).", rich_help_panel=_RULES),
    ] = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Same as --approve all.", rich_help_panel=_RULES)] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="Allow only reads.", rich_help_panel=_RULES)] = False,
    tools: Annotated[
        list[str] | None, typer.Option("--tools", metavar="A,B", help="Allow only these tools.", rich_help_panel=_RULES)
    ] = None,
    sandbox: Annotated[
        Literal["auto", "bwrap", "landlock", "none", "external"] | None,
        typer.Option("--sandbox", help="Sandbox for shell commands.", rich_help_panel=_RULES),
    ] = None,
    config: Config = None,
    env_file: EnvFile = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Check whether a tool call would run, ask or be denied.

    Executes nothing and does not contact the container engine. Exit 0: the call runs. 5: it is denied or needs
    approval. 6: it needs a sandbox that is not available. 2: the call is invalid.

    Examples:
        agentctl policy check 'docker_restart(name=web)'
        agentctl policy check --read-only git status
        agentctl policy check --deny run_shell make test
        agentctl policy check 'run_shell(ls *)' "ls -l docs"
    """
    from agentctl.cli.error_output import print_stderr
    from agentctl.cli.exit_codes import status_named
    from agentctl.cli.tools import load_tool_catalog
    from agentctl.core.errors import UsageError
    from agentctl.core.text import safe_text
    from agentctl.settings import load_settings

    as_json = wants_json(output, json=json)
    rule, words = _leading_rule(call or [])
    text = " ".join(words)
    if not text.strip():
        raise UsageError("CALL is missing", hint=f"for example: {_EXAMPLE}")
    flags: dict[str, object] = {
        "allow": [*(allow or ()), *rule] or None,
        "deny": deny or None,
        "approve": approval_mode(approve, yes=yes),
        "read_only": read_only or None,
        "tools": tools or None,
        "sandbox": sandbox,
    }
    loaded = load_settings(flags=flags, config=config, env_files=env_file or (), remember=False, needs=("policy",))
    for note in loaded.notes:
        print_stderr(safe_text(note))
    catalog = load_tool_catalog(loaded)
    tool_call = _parse_call(text, catalog)
    tool = catalog.tools[tool_call.name]
    preview = catalog.preview(tool, tool_call.arguments)
    command = catalog.permissions.judge_command(tool_call.name, tool_call.arguments)
    hooks = _hooks_before(tool_call, tool, loaded) if preview.outcome in ("runs", "asks") else ()
    missing = catalog.left_out.get(tool_call.name)
    left_out = "sandbox" if missing is None else missing.status
    status = {"runs": "done", "left_out": left_out}.get(preview.outcome, "denied")
    if as_json:
        from agentctl.cli.documents import as_json as dumped

        print(dumped(_document(tool_call, tool, preview, status, command, hooks)))
    else:
        from agentctl.cli.ui.columns import stdout_page

        print(_describe(tool_call, tool, preview, stdout_page(), command, hooks))
    raise typer.Exit(status_named(status).value)


COMMANDS: dict[str, Callable[..., None]] = {"check": check}


def _leading_rule(call: list[str]) -> tuple[list[str], list[str]]:
    """Return the rule that stands before a call, if there is one, and the words of the call."""
    from agentctl.core.tool_rules import parse_rule

    if len(call) > 1 and "(" in call[0]:
        try:
            parse_rule(call[0])
        except ValueError:
            return [], call
        return call[:1], call[1:]
    return [], call


def _parse_call(text: str, catalog: ToolCatalog) -> ToolCall:
    """Parse ``text`` as a tool call.

    Raises:
        UsageError: ``text`` is not a valid call of a known tool.
    """
    from agentctl.core.errors import ToolError, UsageError
    from agentctl.core.messages import ToolCall
    from agentctl.permissions.preview import parse_call, typed_arguments
    from agentctl.tools.toolbox import check_arguments

    written = parse_call(text, catalog.tools)
    if written is None:
        return _shell_call(text.strip(), catalog)
    arguments = typed_arguments(catalog.tools[written.name].spec, written.arguments)
    try:
        check_arguments(written.name, arguments)
    except ToolError as error:
        raise UsageError(error.message, hint=error.hint) from error
    return ToolCall("", written.name, arguments)


def _shell_call(text: str, catalog: ToolCatalog) -> ToolCall:
    """Return the tool call that runs ``text`` in a shell.

    Raises:
        UsageError: there is no tool that runs commands.
    """
    from agentctl.core.errors import UsageError
    from agentctl.core.messages import ToolCall
    from agentctl.runner.toolset import NEED_SANDBOX

    name = next((name for name in NEED_SANDBOX if name in catalog.tools), None)
    target = None if name is None else catalog.tools[name].spec.target
    if name is None or target is None:
        raise UsageError(
            f'"{text[:200]}" is not a tool call, and no tool here runs shell commands',
            hint=f"for example: {_EXAMPLE}",
        )
    return ToolCall("", name, {target: text})


_WORDS = {
    "runs": "runs",
    "asks": "needs approval (denied without a terminal)",
    "denied": "denied",
    "left_out": "left out, because what it needs is not there",
}


def _hooks_before(tool_call: ToolCall, tool: Tool, loaded: Loaded) -> tuple[str, ...]:
    """Return the commands of the hooks that would run before a call; none of them is run."""
    if not loaded.settings.hook:
        return ()
    import shlex

    from agentctl.core.targets import Subject
    from agentctl.permissions.hook_rules import hook_rules_of
    from agentctl.protocols import TargetAware

    arguments = tool_call.arguments
    subject = tool.subject(arguments) if isinstance(tool, TargetAware) else Subject(arguments)
    due = (rule for rule in hook_rules_of(loaded) if rule.on == "pre_tool")
    return tuple(shlex.join(rule.command) for rule in due if rule.matches(tool_call.name, arguments, subject))


def _describe(
    tool_call: ToolCall,
    tool: Tool,
    preview: CallPreview,
    page: Page,
    command: CommandVerdict | None,
    hooks: tuple[str, ...],
) -> str:
    from agentctl.cli.ui.lines import call_text
    from agentctl.core.text import safe_text
    from agentctl.permissions.preview import allowing_rule

    fields = [
        ("because", preview.why),
        ("effect", tool.effect + (", inside the workspace or a sandbox" if tool.contained else "")),
        *([("covered", _coverage(command))] if command is not None else []),
        *(("hook", f"{safe_text(hook)}, which can deny it") for hook in hooks),
        ("rule", str(allowing_rule(tool.spec, tool_call.arguments))),
        *([("hint", preview.hint)] if preview.hint else []),
    ]
    head = page.prose(f"{call_text(tool_call)}: {_WORDS[preview.outcome]}")
    return f"{head}\n{page.fields(fields, whole=('rule', 'hint'), margin=9)}"


def _coverage(command: CommandVerdict) -> str:
    """Return which rules for commands cover the command, or why none does."""
    from agentctl.core.text import safe_text

    said = f"yes, by {' and '.join(map(str, command.rules))}" if command.allowed else f"no: {command.why}"
    return safe_text(said)


def _document(
    tool_call: ToolCall,
    tool: Tool,
    preview: CallPreview,
    status: str,
    command: CommandVerdict | None,
    hooks: tuple[str, ...],
) -> Document:
    from agentctl.cli.exit_codes import status_named
    from agentctl.core.version import __version__
    from agentctl.permissions.preview import allowing_rule

    return {
        "schema": SCHEMA,
        "version": __version__,
        "status": status_named(status).shown,
        "exit_code": status_named(status).value,
        "call": {"name": tool_call.name, "arguments": dict(tool_call.arguments)},
        "effect": tool.effect,
        "contained": tool.contained,
        "outcome": preview.outcome,
        "why": preview.why,
        "rule": allowing_rule(tool.spec, tool_call.arguments),
        "command": None
        if command is None
        else {
            "covered": command.allowed,
            "why": command.why,
            "rules": [str(rule) for rule in command.rules],
            "parts": [list(words) for words in command.parts],
        },
        "hooks": list(hooks),
        "hint": preview.hint,
        "error": None,
    }
