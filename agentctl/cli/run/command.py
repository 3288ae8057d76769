"""``agentctl run``: its own flags; those of the settings are in `setting_flags`."""

# No postponed annotations here: evaluating them as text at every start would cost 3 ms.

import gc
from typing import Annotated, Any

import typer

from agentctl.cli.options import OUTPUT, with_setting_flags

_LIMITS, _REACH, _INPUT = "Limits", "Permissions", "Input"


@with_setting_flags
def run(
    context: typer.Context,
    flags: dict[str, Any],
    task: Annotated[
        list[str] | None,
        typer.Argument(metavar="TASK", help="Task for the agent; words are joined (default: read from a pipe)."),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Print what the run could cost; send nothing (alias --dry-run).", rich_help_panel=_LIMITS
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("-y", "--yes", help="Same as --approve all; deny rules still apply.", rich_help_panel=_REACH)
    ] = False,
    input_: Annotated[
        str | None,
        typer.Option(
            "-i",
            "--input",
            metavar="FILE|-|none",
            help="Data for the task, at most 1 MiB: a file, - (stdin), or none, as in a while-read loop "
            "(default: a pipe or file on stdin).",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    task_file: Annotated[
        str | None,
        typer.Option(
            "-f",
            "--task-file",
            metavar="FILE|-",
            help="Read the task from a file, at most 1 MiB (- is stdin).",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="K=V", help="Label the run (may be repeated).", rich_help_panel=_INPUT),
    ] = None,
    env_file: Annotated[
        list[str] | None,
        typer.Option(
            "--env-file",
            metavar="FILE",
            help="Read settings from a .env file (may be repeated).",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="FILE", help="Read this TOML file instead of your config.toml.", rich_help_panel=_INPUT
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Same as -o json.", rich_help_panel=OUTPUT)] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print only errors on stderr.", rich_help_panel=OUTPUT)
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "-v", "--verbose", help="Print tool calls, holds and the table of limits.", rich_help_panel=OUTPUT
        ),
    ] = False,
) -> None:
    """Run one task and print its answer.

    Exit codes: agentctl help exit-codes
    """
    gc.disable()  # until all imports are done: collecting earlier costs more than it frees
    from agentctl.cli.options import approval_mode, output_form, parse_labels
    from agentctl.cli.run.session import RunRequest, perform

    flags["approve"] = approval_mode(flags.get("approve"), yes=yes)
    flags["output"] = output_form(flags.get("output"), json=json)
    request = RunRequest(
        words=tuple(task or ()),
        flags=flags,
        labels=parse_labels(label),
        input=input_,
        env_files=tuple(env_file or ()),
        config=config,
        quiet=quiet,
        verbose=verbose,
        estimate=estimate,
        task_file=task_file,
    )
    raise typer.Exit(perform(context.obj, request))
