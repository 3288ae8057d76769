"""The Typer application: parses the command line, runs a command and returns its exit code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup, TyperOption

from agentctl.cli.invocation import Assemble, Invocation
from agentctl.cli.options import Command, Group, canonical
from agentctl.cli.run.command import run
from agentctl.core.errors import AgentctlError, Interrupted

_HELP = """Run a task with a language model and tools, within a budget that it cannot exceed.

Try: agentctl run "How much disk is free?"
"""
_CONTEXT = {"help_option_names": ["-h", "--help"], "token_normalize_func": canonical}


_ORDER = (
    *("run", "costs", "ledger", "runs", "agents", "tools", "policy", "providers", "models"),
    *("config", "trust", "doctor", "completion", "help"),
)
#: The groups: the module of each one's commands, and its help.
_GROUPS = {
    "ledger": ("agentctl.cli.ledger.command", "Verify the ledger, reconcile amounts in doubt, reprice past calls."),
    "runs": ("agentctl.cli.runs.command", "List and inspect past runs."),
    "agents": ("agentctl.cli.agents", "List and inspect agents."),
    "tools": ("agentctl.cli.tools", "List and inspect the tools that a model can call."),
    "policy": ("agentctl.cli.policy", "Check whether a tool call would be allowed."),
    "providers": ("agentctl.cli.providers.command", "List and test providers; manage API keys."),
    "config": ("agentctl.cli.config", "Show, set and check the settings."),
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
            self._found = dict(vars(typer.main.get_command(_group("", _print_help, commands)))["commands"])
        return self._found

    @commands.setter
    def commands(self, given: object) -> None:
        """Ignore the value that the base class sets; it is always empty."""


def _version(wanted: bool) -> None:
    if wanted:
        from agentctl.core.version import __version__

        print(f"agentctl {__version__}")
        raise typer.Exit


def _print_help(context: typer.Context) -> None:
    """Print the help on stderr and exit with 2, unless a command was given."""
    if context.invoked_subcommand is None:
        with contextlib.redirect_stdout(sys.stderr):
            text = context.get_help()
            if text:
                print(text)
        raise typer.Exit(2)


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("-V", "--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    _print_help(context)


def _group(
    help: str,
    callback: Callable[..., None],
    commands: Mapping[str, Callable[..., None]],
    *,
    kind: type[Group] = Group,
) -> typer.Typer:
    """Return a Typer group of ``commands``."""
    group = typer.Typer(
        cls=kind,
        help=help,
        callback=callback,
        invoke_without_command=True,
        context_settings=_CONTEXT,
        pretty_exceptions_enable=False,
        suggest_commands=False,
    )
    for name, command in commands.items():
        group.command(name, cls=Command, context_settings=_CONTEXT)(command)
    return group


def build_app(*, only_run: bool = False) -> typer.Typer:
    """Return the application; a command imports its own modules when called. ``only_run``: register ``run`` alone."""
    if only_run:
        return _group(_HELP, _root, {"run": run}, kind=_Root)
    from agentctl.cli.costs.command import costs
    from agentctl.cli.doctor.command import doctor
    from agentctl.cli.help.command import completion, help
    from agentctl.cli.providers.models import models
    from agentctl.cli.trust import trust

    app = _group(_HELP, _root, {"run": run, "costs": costs}, kind=_Root)
    for name, (_, about) in _GROUPS.items():
        app.add_typer(_group(about, _print_help, {}, kind=_LazyGroup), name=name)
    app.command("models", cls=Command, context_settings=_CONTEXT)(models)
    app.command("trust", cls=Command, context_settings=_CONTEXT)(trust)
    app.command("doctor", cls=Command, context_settings=_CONTEXT)(doctor)
    app.command("completion", cls=Command, context_settings=_CONTEXT)(completion)
    app.command("help", cls=Command, context_settings=_CONTEXT)(help)
    return app


def main(argv: Sequence[str] | None = None, *, assemble: Assemble | None = None) -> int:
    """Run the command line and return its exit code; ``assemble`` replaces the real parts of a run."""
    from agentctl.cli.signals import handle_signals, let_output_end
    from agentctl.cli.streams import own_streams

    call = Invocation(tuple(sys.argv[1:] if argv is None else argv), assemble)
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
    command = cast("TyperGroup", typer.main.get_command(build_app(only_run=only_run)))
    for param in command.params:
        if isinstance(param, TyperOption) and param.name in ("install_completion", "show_completion"):
            param.hidden = True  # `agentctl completion` replaces them, but needs them registered
    return command


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
