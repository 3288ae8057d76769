"""``agentctl run``: its own flags; those of the settings are in `setting_flags`."""

# No postponed annotations here: evaluating them as text at every start would cost 3 ms.

import gc
from typing import Annotated, Any, Literal

import typer

from agentctl.cli.options import COMMON, INPUT, LIMITS, OUTPUT, Dotenv, Junit, NoCi, Schema, with_setting_flags


@with_setting_flags
def run(
    context: typer.Context,
    flags: dict[str, Any],
    task: Annotated[
        list[str] | None,
        typer.Argument(metavar="TASK", help="Task for the agent (default: read from a pipe)."),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option("--estimate", help="Print what it could cost, and send nothing.", rich_help_panel=LIMITS),
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
            help="Read data from FILE or stdin (-); none in a while-read loop (default: pipe or file on stdin).",
            rich_help_panel=COMMON,
        ),
    ] = None,
    task_file: Annotated[
        str | None,
        typer.Option(
            "-f",
            "--task-file",
            metavar="FILE|-",
            help="Read the task from a file, at most 1 MiB.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    schema: Schema = None,
    agent_file: Annotated[
        str | None,
        typer.Option(
            "--agent-file",
            metavar="FILE",
            help="Use the agent of this file.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", metavar="K=V", help="Fill {{K}} in the task and its agent with V.", rich_help_panel=INPUT
        ),
    ] = None,
    notes: Annotated[
        list[str] | None,
        typer.Option("--notes", metavar="FILE|none", help="Read notes, or a SKILL.md.", rich_help_panel=INPUT),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="ID", help="Go on with this run, TASK is what you say next.", rich_help_panel=INPUT
        ),
    ] = None,
    go_on: Annotated[
        bool,
        typer.Option("-c", "--continue", help="Go on with the last run of this folder.", rich_help_panel=INPUT),
    ] = False,
    fork: Annotated[
        bool,
        typer.Option("--fork", help="Go on in a new run with limits of its own.", rich_help_panel=INPUT),
    ] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="Go on although tools, agent or model changed.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    record: Annotated[
        str | None,
        typer.Option(
            "--record", metavar="FILE", help="Record requests and answers to a new cassette.", rich_help_panel=INPUT
        ),
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option(
            "--replay",
            metavar="FILE",
            help="Answer from a cassette; nothing is sent.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    replay_time: Annotated[
        Literal["real", "none"] | None,
        typer.Option(
            "--replay-time", help="Wait as the recording did (default none).", show_default=False, rich_help_panel=INPUT
        ),
    ] = None,
    replay_tools: Annotated[
        bool,
        typer.Option("--replay-tools", help="Take the results of tools from it, too.", rich_help_panel=INPUT),
    ] = False,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="K=V", help="Label the run (may be repeated).", rich_help_panel=INPUT),
    ] = None,
    env_file: Annotated[
        list[str] | None,
        typer.Option(
            "--env-file",
            metavar="FILE",
            help="Also read this .env file (may be repeated).",
            rich_help_panel=INPUT,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="FILE", help="Read this TOML file instead of config.toml.", rich_help_panel=INPUT
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Same as -o json.", rich_help_panel=COMMON)] = False,
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
    """Run one task and print its answer.

    Examples:
        agentctl run "How much disk is free?"
        docker logs web 2>&1 | agentctl run "Why did it crash?"
        agentctl run --max-cost 0.10 -i app.log "What failed?"
        agentctl run --allow 'docker_restart(name=web)' "Fix web"
        agentctl run --estimate "Which containers are unhealthy?"
        agentctl run --json -y "Prune old images" | jq .cost
        agentctl run --schema n:int "How many images are there?"

    Exit codes: agentctl help exit-codes
    Permissions: agentctl help permission
    """
    gc.disable()  # until all imports are done: collecting earlier costs more than it frees
    from agentctl.cli.ci.ci_flags import CiFlags
    from agentctl.cli.options import approval_mode, output_form, parse_labels, parse_params, resume_request
    from agentctl.cli.run.run_request import RunRequest
    from agentctl.cli.run.session import perform

    flags["approve"] = approval_mode(flags.get("approve"), yes=yes)
    flags["output"] = output_form(flags.get("output"), json=json)
    resumed = resume_request(resume, go_on=go_on, fork=fork, accept_changes=accept_changes)
    cassette = None
    if (record, replay, replay_time, replay_tools) != (None, None, None, False):
        from agentctl.cli.run.cassette_flags import cassette_request

        cassette = cassette_request(
            record, replay, timing=replay_time, with_tools=replay_tools, estimate=estimate, resume=resumed
        )
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
        schema=schema,
        agent_file=agent_file,
        params=parse_params(param),
        notes=tuple(notes or ()),
        resume=resumed,
        ci=CiFlags(no_ci, junit, dotenv, quiet=quiet, verbose=verbose),
        cassette=cassette,
    )
    raise typer.Exit(perform(context.obj, request))
