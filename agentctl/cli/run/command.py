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
        typer.Argument(metavar="TASK", help="What to do; words are joined. Without it a pipe is read."),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Or --dry-run: say what it could cost; nothing is sent.", rich_help_panel=_LIMITS
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("-y", "--yes", help="Same as --approve all; deny rules hold.", rich_help_panel=_REACH)
    ] = False,
    input_: Annotated[
        str | None,
        typer.Option(
            "-i",
            "--input",
            metavar="FILE|-",
            help="Data beside the task, at most 1 MiB; - is stdin.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="K=V", help="Marks the run; may be repeated.", rich_help_panel=_INPUT),
    ] = None,
    env_file: Annotated[
        list[str] | None,
        typer.Option(
            "--env-file", metavar="FILE", help="Settings from a .env; may be repeated.", rich_help_panel=_INPUT
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help="This TOML instead of the user's.", rich_help_panel=_INPUT),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Same as -o json.", rich_help_panel=OUTPUT)] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Nothing on stderr but errors.", rich_help_panel=OUTPUT)
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Tools, holds and the whole table.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Run one task and print its answer.

    Exit codes: agentctl help exit-codes
    """
    gc.disable()  # until everything is imported: collecting then costs more than it frees
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
    )
    raise typer.Exit(perform(context.obj, request))
