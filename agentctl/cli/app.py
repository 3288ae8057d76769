"""The Typer application: parses the command line, runs a command and returns its exit code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from functools import cache, partial
from importlib import import_module
from typing import Annotated, Any, cast

import typer
from typer._click.shell_completion import ShellComplete, add_completion_class
from typer.core import TyperGroup

from agentctl.cli.commands import Group, add_command, new_group
from agentctl.cli.invocation import Assemble, Invocation
from agentctl.cli.run.command import run
from agentctl.core.errors import AgentctlError, Interrupted

_HELP = """Run a task with a language model and tools, within a budget that it cannot exceed.

Examples:
    agentctl run "How much disk is free?"
    agentctl run --max-cost 0.10 -i app.log "What failed?"
    agentctl costs --last-hour
    agentctl doctor

Flags of a command: agentctl COMMAND --help
Topics: agentctl help
"""

_ORDER = (
    *(
        "run",
        "costs",
        "budget",
        "ledger",
        "runs",
        "cassette",
        "agents",
        "tools",
        "mcp",
        "policy",
        "providers",
        "models",
    ),
    *("config", "trust", "doctor", "schema", "completion", "help"),
)
#: The groups: the module of each one's commands, what they do, and examples.
_GROUPS = {
    "budget": (
        "agentctl.cli.budget.command",
        "Split one budget over the jobs of a CI matrix by signed leases, and merge their accounts.",
        (
            "agentctl budget split --total 3 --jobs 12 --bind github",
            "agentctl budget merge split.json book*.json",
        ),
    ),
    "ledger": (
        "agentctl.cli.ledger.command",
        "Verify the ledger, reconcile amounts in doubt, reprice past calls.",
        ("agentctl ledger check", "agentctl ledger reprice --since 7d"),
    ),
    "runs": (
        "agentctl.cli.runs.command",
        "List, inspect, watch, resume, compare, export and remove runs.",
        (
            "agentctl runs list",
            "agentctl runs show  # the last run",
            "agentctl runs resume --last",
            "agentctl runs export -o run.html",
        ),
    ),
    "cassette": (
        "agentctl.cli.cassette.command",
        "Show and check recorded runs.",
        ("agentctl cassette show run.cassette", "agentctl cassette check run.cassette"),
    ),
    "agents": (
        "agentctl.cli.agents.command",
        "List, inspect, write and check agents; route a task to one.",
        (
            "agentctl agents list",
            "agentctl agents show docker",
            "agentctl agents new reviewer",
            'agentctl agents route "Is the container web up?"',
        ),
    ),
    "tools": (
        "agentctl.cli.tools",
        "List and inspect the tools that a model can call.",
        ("agentctl tools list", "agentctl tools show docker_restart"),
    ),
    "mcp": (
        "agentctl.cli.mcp.command",
        "List, inspect, add and remove MCP servers.",
        ("agentctl mcp list", "agentctl mcp add git -- mcp-server-git"),
    ),
    "policy": (
        "agentctl.cli.policy",
        "Check whether a tool call would be allowed.",
        ("agentctl policy check 'docker_restart(name=web)'",),
    ),
    "providers": (
        "agentctl.cli.providers.command",
        "List and test providers; manage API keys.",
        ("agentctl providers list", "agentctl providers set-key openai"),
    ),
    "config": (
        "agentctl.cli.config",
        "Show, set and check the settings.",
        ("agentctl config show", "agentctl config set max_cost_per_task 0.25"),
    ),
}


class _Root(Group):
    """The root group; lists its commands in the order of ``_ORDER``."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the command names in the order of ``_ORDER``."""
        return sorted(super().list_commands(ctx), key=_ORDER.index)


class _LazyGroup(Group):
    """A group that imports the module of its commands when one of them is looked up."""

    _found: dict[str, Any] | None = None

    @property
    def commands(self) -> dict[str, Any]:
        """The commands by name, imported on the first access."""
        if self._found is None:
            commands = import_module(_GROUPS[self.name or ""][0]).COMMANDS
            self._found = dict(
                vars(typer.main.get_command(new_group("", _print_help, commands, kind=Group)))["commands"]
            )
        return self._found

    @commands.setter
    def commands(self, given: object) -> None:
        """Ignore the value that the base class sets; it is always empty."""


def _version(context: typer.Context, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:  # as for a shell that asks for words
        from agentctl.core.version import __version__

        print(f"agentctl {__version__}")
        raise typer.Exit


def _print_help(context: typer.Context) -> None:
    """Print the help, unless a command was given."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("-V", "--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    _print_help(context)


def build_app(*, only_run: bool = False) -> typer.Typer:
    """Return the application; a command imports its own modules when called. ``only_run``: register ``run`` alone."""
    if only_run:
        return new_group(_HELP, _root, {"run": run}, kind=_Root)
    from agentctl.cli.completion.command import completion
    from agentctl.cli.costs.command import costs
    from agentctl.cli.doctor.command import doctor
    from agentctl.cli.help.command import help
    from agentctl.cli.providers.models import models
    from agentctl.cli.schema.command import schema
    from agentctl.cli.trust import trust

    app = new_group(_HELP, _root, {"run": run, "costs": costs}, kind=_Root)
    for name, (_, about, examples) in _GROUPS.items():
        help_text = "\n    ".join([f"{about}\n\nExamples:", *examples])
        app.add_typer(new_group(help_text, _print_help, {}, kind=_LazyGroup), name=name)
    add_command(app, "models", models)
    add_command(app, "trust", trust)
    add_command(app, "doctor", doctor)
    add_command(app, "schema", schema)
    add_command(app, "completion", completion)
    add_command(app, "help", help)
    return app


def main(argv: Sequence[str] | None = None, *, assemble: Assemble | None = None) -> int:
    """Run the command line and return its exit code; ``assemble`` replaces the real parts of a run."""
    from agentctl.cli.signals import handle_signals, let_output_end
    from agentctl.cli.streams import own_streams

    call = Invocation(tuple(sys.argv[1:] if argv is None else argv), assemble, [])
    with own_streams(), handle_signals():
        try:
            code = _run_command(call)
            let_output_end()
            sys.stdout.flush()
        except AgentctlError as error:
            let_output_end()
            code = _report(error, call)
            with contextlib.suppress(AgentctlError):  # already reported
                sys.stdout.flush()
        sys.stderr.flush()
    return code


def _report(error: AgentctlError, call: Invocation) -> int:
    """Print the error, tell a CI system of it if it ended a run, and return the exit code."""
    if call.ended or not (call.command == "run" or call.argv[:2] == ("runs", "resume")):
        return _print_error(error, call)
    from agentctl.cli.ci.ci_flags import open_early
    from agentctl.cli.documents import error_info

    reports = open_early(call.argv)
    code = _print_error(error, call)
    if reports is not None:
        reports.fail(*error_info(error))
        reports.finish()
    return code


def _print_error(error: AgentctlError, call: Invocation) -> int:
    """Print the error and return the exit code; nothing is said of a Ctrl-C, unless JSON was asked for."""
    from agentctl.cli.error_output import report_error

    form = call.form
    if isinstance(error, Interrupted):
        if form == "text" and error.cause == "Ctrl-C":
            return 130
        if getattr(sys.stdout, "is_used", False):  # in the middle of a document: a second one would not mend it
            form = "text"
    return report_error(error, form=form, command=call.command)


@cache
def _parser(*, only_run: bool) -> TyperGroup:
    if not only_run:
        for shell in ("bash", "zsh", "fish"):
            add_completion_class(cast("type[ShellComplete]", partial(_shell, shell)), shell)
    return cast("TyperGroup", typer.main.get_command(build_app(only_run=only_run)))


def _shell(name: str, *words: Any) -> ShellComplete:  # noqa: ANN401 - as Typer calls a shell's class
    from agentctl.cli.completion.shells import SHELLS

    return SHELLS[name](*words)


def _run_command(call: Invocation) -> int:
    try:
        command = _parser(only_run=call.argv[:1] == ("run",))
        ended = command.main(list(call.argv), prog_name="agentctl", standalone_mode=False, obj=call)
    except typer.TyperException as error:
        from agentctl.cli.error_output import translate_parser_error

        raise translate_parser_error(error, call.argv) from error
    except AgentctlError:
        raise
    except (KeyboardInterrupt, typer.Abort) as error:
        from agentctl.cli.signals import interruption

        raise interruption() from error
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0
    except Exception as error:
        from agentctl.cli.error_output import record_crash
        from agentctl.cli.signals import interruption, is_interruption

        raise interruption() if is_interruption(error) else record_crash(error) from error
    code = ended if isinstance(ended, int) else 0
    if code == 130:  # also what the parser makes of every KeyboardInterrupt
        from agentctl.cli.signals import interruption

        stopped = interruption()
        if stopped.cause != "Ctrl-C" or not getattr(sys.stdout, "is_used", False):
            raise stopped
    return code
