"""The flags of ``agentctl run`` that set settings, by field: written by `python -m tests.support.settings_files`."""

# No postponed annotations here: evaluating them as text at every start would cost 3 ms.

from typing import Annotated, Any, Literal

import typer


def _flag(kind: Any, *spellings: str, help: str, panel: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return Annotated[kind, typer.Option(*spellings, metavar=metavar, help=help, rich_help_panel=panel)]


#: Another long form -> the flag that it stands for.
SYNONYMS = {"max-cost": "max-cost-per-task", "max-tokens": "max-tokens-per-task"}

#: Field -> the annotation of its parameter, whose default is None.
SETTING_FLAGS: dict[str, Any] = {
    "llm_provider": _flag(
        str | None,
        "--provider",
        metavar="NAME",
        panel="Model and agent",
        help="Provider to use (agentctl providers list); unset: the model's, or the one set up.",
    ),
    "llm_model": _flag(
        str | None,
        "-m",
        "--model",
        metavar="NAME",
        panel="Model and agent",
        help="Model to use, or provider/model (agentctl models); unset: the provider's default.",
    ),
    "max_cost_per_task": _flag(
        str | None,
        "--max-cost-per-task",
        metavar="USD",
        panel="Limits",
        help="Cost limit of one run in USD (alias --max-cost, default 0.50; 'none' disables).",
    ),
    "max_cost_per_hour": _flag(
        str | None,
        "--max-cost-per-hour",
        metavar="USD",
        panel="Limits",
        help="Cost limit of all runs together in any 60 minutes, in USD (default 10.0; 'none' disables).",
    ),
    "max_tokens_per_task": _flag(
        str | None,
        "--max-tokens-per-task",
        metavar="N",
        panel="Limits",
        help="Token limit of one run, input and output (alias --max-tokens, default 100000; 'none' disables).",
    ),
    "max_cost_per_minute": _flag(
        str | None,
        "--max-cost-per-minute",
        metavar="USD",
        panel="Limits",
        help="Cost limit of all runs together in any 60 seconds, in USD.",
    ),
    "max_cost_per_day": _flag(
        str | None,
        "--max-cost-per-day",
        metavar="USD",
        panel="Limits",
        help="Cost limit of all runs together in any 24 hours, in USD.",
    ),
    "max_cost_per_month": _flag(
        str | None,
        "--max-cost-per-month",
        metavar="USD",
        panel="Limits",
        help="Cost limit of all runs together in any 30 days, in USD.",
    ),
    "max_calls_per_minute": _flag(
        str | None,
        "--max-calls-per-minute",
        metavar="N",
        panel="Limits",
        help="Maximum requests of one run in any 60 seconds.",
    ),
    "budget_wait": _flag(
        str | None,
        "--budget-wait",
        metavar="TIME",
        panel="Limits",
        help="How long to wait for money that other runs hold (default 60s).",
    ),
    "max_context_tokens": _flag(
        str | None,
        "--max-context-tokens",
        metavar="N",
        panel="Context",
        help="Maximum tokens of conversation to send, tool schemas included (default 8000).",
    ),
    "keep_last_n_user_messages": _flag(
        str | None,
        "--keep-last-n-user-messages",
        metavar="N",
        panel="Context",
        help="How many of the latest user messages are never cut (default 3).",
    ),
    "keep_last_n_assistant_messages": _flag(
        str | None,
        "--keep-last-n-assistant-messages",
        metavar="N",
        panel="Context",
        help="How many of the latest model messages are never cut (default 3).",
    ),
    "max_result_tokens": _flag(
        str | None,
        "--max-result-tokens",
        metavar="N",
        panel="Context",
        help="Maximum tokens of one tool result; unset: an eighth of max_context_tokens.",
    ),
    "context_cut_percent": _flag(
        str | None,
        "--context-cut-percent",
        metavar="N",
        panel="Context",
        help="How full a cut leaves the context, in percent (default 50).",
    ),
    "context_warn_percent": _flag(
        str | None,
        "--context-warn-percent",
        metavar="N",
        panel="Context",
        help="Warn when the context is this full, in percent (default 80).",
    ),
    "summaries": _flag(
        Literal["auto", "always", "never"] | None,
        "--summaries",
        metavar="HOW",
        panel="Context",
        help="Let the model summarize what is cut: auto (where that pays off), always or never (default auto).",
    ),
    "summary_tokens": _flag(
        str | None,
        "--summary-tokens",
        metavar="N",
        panel="Context",
        help="Maximum tokens of a summary by the model (default 500).",
    ),
    "max_output_tokens": _flag(
        str | None,
        "--max-output-tokens",
        metavar="N",
        panel="Limits",
        help="Maximum tokens of one answer; unset: 4096 (reasoning 16384) at first, then by its answers.",
    ),
    "agent": _flag(
        str | None,
        "--agent",
        metavar="NAME",
        panel="Model and agent",
        help="Agent for the task; unset: chosen by the words of the task.",
    ),
    "max_turns": _flag(
        str | None, "--max-turns", metavar="N", panel="Limits", help="Maximum model calls of one run (default 30)."
    ),
    "max_identical_calls": _flag(
        str | None,
        "--max-identical-calls",
        metavar="N",
        panel="Limits",
        help="How often a model may repeat the same tool call in a row (default 3).",
    ),
    "timeout": _flag(
        str | None,
        "--timeout",
        metavar="TIME",
        panel="Limits",
        help="Maximum duration of a run: 30s, 5m, 2h (default 30m).",
    ),
    "llm_timeout": _flag(
        str | None,
        "--llm-timeout",
        metavar="TIME",
        panel="Limits",
        help="Maximum silence of a model within a call (default 60s).",
    ),
    "workdir": _flag(
        str | None,
        "--workdir",
        metavar="DIR",
        panel="Permissions",
        help="Folder that the tools work in; unset: the current folder.",
    ),
    "read_only": _flag(bool | None, "--read-only", panel="Permissions", help="Allow only reads."),
    "tools": _flag(
        list[str] | None,
        "--tools",
        metavar="A,B",
        panel="Permissions",
        help="Allow only these tools, comma-separated; unset: all (may be repeated).",
    ),
    "allow": _flag(
        list[str] | None,
        "--allow",
        metavar="RULE",
        panel="Permissions",
        help="Rules for calls that run without asking, such as 'docker_restart(name=web)' (may be repeated).",
    ),
    "deny": _flag(
        list[str] | None,
        "--deny",
        metavar="RULE",
        panel="Permissions",
        help="Rules for calls that never run: a tool, or 'docker_rm(name=db*)' (may be repeated).",
    ),
    "approve": _flag(
        Literal["ask", "deny", "all"] | None,
        "--approve",
        panel="Permissions",
        help="How to decide calls that need approval: ask, deny or all (default ask).",
    ),
    "sandbox": _flag(
        Literal["auto", "bwrap", "none"] | None,
        "--sandbox",
        panel="Permissions",
        help="Sandbox for shell commands: auto, bwrap or none (default auto).",
    ),
    "network": _flag(
        bool | None,
        "--network/--no-network",
        panel="Permissions",
        help="Let shell commands use the network (default --no-network).",
    ),
    "output": _flag(
        Literal["text", "json", "jsonl"] | None,
        "-o",
        "--output",
        panel="Output",
        help="Output format on stdout: text (the answer), json or jsonl (default text).",
    ),
    "color": _flag(
        Literal["auto", "always", "never"] | None,
        "--color",
        panel="Output",
        help="When to use colour: auto, always or never (default auto).",
    ),
}
