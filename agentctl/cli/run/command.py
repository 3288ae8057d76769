"""``agentctl run``: every flag of a run."""

# No postponed annotations here: evaluating them as text at every start would cost 3 ms.

import gc
from typing import Annotated, Literal

import typer

from agentctl.cli.options import (
    OUTPUT,
    CutPercent,
    KeepAssistant,
    KeepUser,
    MaxContextTokens,
    MaxResultTokens,
    Summaries,
    SummaryTokens,
    WarnPercent,
)

Form = Literal["text", "json", "jsonl"]
Colour = Literal["auto", "always", "never"]
Approve = Literal["ask", "deny", "all"]
Sandbox = Literal["auto", "bwrap", "none"]

_WHO, _LIMITS, _REACH, _INPUT = "Who answers", "Limits", "What it may touch", "Input"


def run(
    context: typer.Context,
    task: Annotated[
        list[str] | None,
        typer.Argument(metavar="TASK", help="What to do; words are joined. Without it a pipe is read."),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option("--agent", metavar="NAME", help="docker or system (default: by the task).", rich_help_panel=_WHO),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(
            "--provider", metavar="NAME", help="Who answers: openai, anthropic, ollama, builtin …", rich_help_panel=_WHO
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", metavar="NAME", help="The model, or provider/model.", rich_help_panel=_WHO),
    ] = None,
    max_cost_per_task: Annotated[
        str | None,
        typer.Option(
            "--max-cost-per-task",
            metavar="USD",
            help="Or --max-cost. Default 0.50; none lifts it.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    max_cost_per_hour: Annotated[
        str | None,
        typer.Option(
            "--max-cost-per-hour",
            metavar="USD",
            help="All runs together. Default 10; none lifts it.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    max_tokens_per_task: Annotated[
        str | None,
        typer.Option(
            "--max-tokens-per-task",
            metavar="N",
            help="Or --max-tokens; in and out. Default 100000.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    max_cost_per_minute: Annotated[
        str | None,
        typer.Option("--max-cost-per-minute", metavar="USD", help="All runs together.", rich_help_panel=_LIMITS),
    ] = None,
    max_cost_per_day: Annotated[
        str | None,
        typer.Option("--max-cost-per-day", metavar="USD", help="In any 24 hours.", rich_help_panel=_LIMITS),
    ] = None,
    max_cost_per_month: Annotated[
        str | None,
        typer.Option("--max-cost-per-month", metavar="USD", help="In any 30 days.", rich_help_panel=_LIMITS),
    ] = None,
    max_calls_per_minute: Annotated[
        str | None,
        typer.Option("--max-calls-per-minute", metavar="N", help="Requests of this run.", rich_help_panel=_LIMITS),
    ] = None,
    max_identical_calls: Annotated[
        str | None,
        typer.Option(
            "--max-identical-calls",
            metavar="N",
            help="The same tool call in a row. Default 3.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    max_output_tokens: Annotated[
        str | None,
        typer.Option(
            "--max-output-tokens", metavar="N", help="Of one answer (default: as a run needs).", rich_help_panel=_LIMITS
        ),
    ] = None,
    max_turns: Annotated[
        str | None, typer.Option("--max-turns", metavar="N", help="Default 30.", rich_help_panel=_LIMITS)
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout", metavar="TIME", help="Of the whole run: 30s, 5m, 2h. Default 30m.", rich_help_panel=_LIMITS
        ),
    ] = None,
    llm_timeout: Annotated[
        str | None,
        typer.Option(
            "--llm-timeout", metavar="TIME", help="Silence within a model call. Default 60s.", rich_help_panel=_LIMITS
        ),
    ] = None,
    budget_wait: Annotated[
        str | None,
        typer.Option(
            "--budget-wait",
            metavar="TIME",
            help="Wait for what other runs hold. Default 60s.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Or --dry-run: say what it could cost; nothing is sent.", rich_help_panel=_LIMITS
        ),
    ] = False,
    max_context_tokens: MaxContextTokens = None,
    keep_last_n_user_messages: KeepUser = None,
    keep_last_n_assistant_messages: KeepAssistant = None,
    max_result_tokens: MaxResultTokens = None,
    context_cut_percent: CutPercent = None,
    context_warn_percent: WarnPercent = None,
    summaries: Summaries = None,
    summary_tokens: SummaryTokens = None,
    workdir: Annotated[
        str | None,
        typer.Option("--workdir", metavar="DIR", help="Where files are read. Default: here.", rich_help_panel=_REACH),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Allow nothing but reads.", rich_help_panel=_REACH)
    ] = False,
    tools: Annotated[
        list[str] | None,
        typer.Option("--tools", metavar="A,B", help="Only these tools.", rich_help_panel=_REACH),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="RULE", help="Without asking: 'docker_restart(name=web)'.", rich_help_panel=_REACH
        ),
    ] = None,
    deny: Annotated[
        list[str] | None,
        typer.Option("--deny", metavar="RULE", help="Never: a tool, or 'docker_rm(name=db*)'.", rich_help_panel=_REACH),
    ] = None,
    approve: Annotated[
        Approve | None,
        typer.Option("--approve", help="Changes: ask (default), deny or all.", rich_help_panel=_REACH),
    ] = None,
    yes: Annotated[
        bool, typer.Option("-y", "--yes", help="Same as --approve all; deny rules hold.", rich_help_panel=_REACH)
    ] = False,
    sandbox: Annotated[
        Sandbox | None,
        typer.Option("--sandbox", help="Of shell commands (default auto: bwrap or none run).", rich_help_panel=_REACH),
    ] = None,
    network: Annotated[
        bool | None,
        typer.Option("--network/--no-network", help="For shell commands. Default: none.", rich_help_panel=_REACH),
    ] = None,
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
    output: Annotated[
        Form | None,
        typer.Option("-o", "--output", help="What stdout gets (default text: the answer).", rich_help_panel=OUTPUT),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Same as -o json.", rich_help_panel=OUTPUT)] = False,
    color: Annotated[
        Colour | None, typer.Option("--color", help="Colour on stderr (default auto).", rich_help_panel=OUTPUT)
    ] = None,
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

    flags: dict[str, object] = {
        "agent": agent,
        "llm_provider": provider,
        "llm_model": model,
        "max_cost_per_task": max_cost_per_task,
        "max_cost_per_hour": max_cost_per_hour,
        "max_tokens_per_task": max_tokens_per_task,
        "max_cost_per_minute": max_cost_per_minute,
        "max_cost_per_day": max_cost_per_day,
        "max_cost_per_month": max_cost_per_month,
        "max_calls_per_minute": max_calls_per_minute,
        "max_identical_calls": max_identical_calls,
        "max_output_tokens": max_output_tokens,
        "max_turns": max_turns,
        "timeout": timeout,
        "llm_timeout": llm_timeout,
        "budget_wait": budget_wait,
        "max_context_tokens": max_context_tokens,
        "keep_last_n_user_messages": keep_last_n_user_messages,
        "keep_last_n_assistant_messages": keep_last_n_assistant_messages,
        "max_result_tokens": max_result_tokens,
        "context_cut_percent": context_cut_percent,
        "context_warn_percent": context_warn_percent,
        "summaries": summaries,
        "summary_tokens": summary_tokens,
        "workdir": workdir,
        "read_only": read_only or None,
        "tools": tools or None,
        "allow": allow or None,
        "deny": deny or None,
        "approve": approval_mode(approve, yes=yes),
        "sandbox": sandbox,
        "network": network,
        "output": output_form(output, json=json),
        "color": color,
    }
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
