"""``agentctl runs resume``: go on with a run that stopped, or say something more to one that ended."""

# No postponed annotations here: the flags are taken from a table at run time.

from typing import Annotated, Any

import typer

from agentctl.cli.options import (
    COMMON,
    INPUT,
    OUTPUT,
    Dotenv,
    Junit,
    NoCi,
    Schema,
    approval_mode,
    output_form,
    with_setting_flags,
)

_FLAGS = (
    *("max_cost_per_task", "max_tokens_per_task", "max_turns", "schema_retries"),
    *("lease", "timeout", "allow", "approve", "output"),
)


def _resume(
    context: typer.Context,
    flags: dict[str, Any],
    run_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Id of the run, or a prefix of it (default: the last run).")
    ] = None,
    more: Annotated[
        list[str] | None, typer.Argument(metavar="MORE", help="What you say next (default: nothing).")
    ] = None,
    last: Annotated[
        bool,
        typer.Option("--last", help="Resume the last run; all words are what you say next.", rich_help_panel=COMMON),
    ] = False,
    fork: Annotated[
        bool, typer.Option("--fork", help="Go on in a new run with limits of its own.", rich_help_panel=COMMON)
    ] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="Go on although tools, agent, model or prices have changed.",
            rich_help_panel=COMMON,
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("-y", "--yes", help="Same as --approve all; deny rules apply.", rich_help_panel=COMMON)
    ] = False,
    input_: Annotated[
        str | None,
        typer.Option(
            "-i",
            "--input",
            metavar="FILE|-|none",
            help="Read data for MORE from FILE or stdin (-).",
            rich_help_panel=INPUT,
        ),
    ] = None,
    schema: Schema = None,
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
    no_ci: NoCi = False,
    junit: Junit = None,
    dotenv: Dotenv = None,
) -> None:
    """Go on with a run: after a limit, Ctrl-C, a timeout, a denial or a crash, or with more words.

    Limits are totals: what the run has spent and has in doubt counts. All flags of a run: agentctl run --resume ID

    Examples:
        agentctl runs resume --last --max-cost 1
        agentctl runs resume 01KB2 --allow docker_restart
        agentctl runs resume 01KB2 "And since when?"

    More: agentctl help resume
    """
    from agentctl.cli.ci.ci_flags import CiFlags
    from agentctl.cli.run.resumed import ResumeRequest
    from agentctl.cli.run.run_request import RunRequest
    from agentctl.cli.run.session import perform

    words = list(more or ())
    if last and run_id is not None:
        words, run_id = [run_id, *words], None
    flags["approve"] = approval_mode(flags.get("approve"), yes=yes)
    flags["output"] = output_form(flags.get("output"), json=json)
    request = RunRequest(
        words=tuple(words),
        flags={name: value for name, value in flags.items() if value is not None},
        labels={},
        input=input_,
        env_files=(),
        config=None,
        quiet=quiet,
        verbose=verbose,
        schema=schema,
        resume=ResumeRequest(run_id, is_fork=fork, accepts=accept_changes),
        ci=CiFlags(no_ci, junit, dotenv, quiet=quiet, verbose=verbose),
    )
    raise typer.Exit(perform(context.obj, request))


resume = with_setting_flags(_resume, _FLAGS)
