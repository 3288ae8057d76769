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
        panel="Who answers",
        help="Who answers (agentctl providers list); unset: the one that is set up.",
    ),
    "llm_model": _flag(
        str | None,
        "-m",
        "--model",
        metavar="NAME",
        panel="Who answers",
        help="The model, or provider/model; unset: the provider's own default.",
    ),
    "max_cost_per_task": _flag(
        str | None,
        "--max-cost-per-task",
        metavar="USD",
        panel="Limits",
        help="Dollars that one run may spend; none lifts it (or --max-cost, default 0.50).",
    ),
    "max_cost_per_hour": _flag(
        str | None,
        "--max-cost-per-hour",
        metavar="USD",
        panel="Limits",
        help="Dollars that all runs together may spend in any 60 minutes; none lifts it (default 10.0).",
    ),
    "max_tokens_per_task": _flag(
        str | None,
        "--max-tokens-per-task",
        metavar="N",
        panel="Limits",
        help="Tokens that one run may use, in and out; none lifts it (or --max-tokens, default 100000).",
    ),
    "max_cost_per_minute": _flag(
        str | None,
        "--max-cost-per-minute",
        metavar="USD",
        panel="Limits",
        help="Dollars that all runs together may spend in any 60 seconds.",
    ),
    "max_cost_per_day": _flag(
        str | None,
        "--max-cost-per-day",
        metavar="USD",
        panel="Limits",
        help="Dollars that all runs together may spend in any 24 hours.",
    ),
    "max_cost_per_month": _flag(
        str | None,
        "--max-cost-per-month",
        metavar="USD",
        panel="Limits",
        help="Dollars that all runs together may spend in any 30 days.",
    ),
    "max_calls_per_minute": _flag(
        str | None,
        "--max-calls-per-minute",
        metavar="N",
        panel="Limits",
        help="Requests that one run may send in any 60 seconds.",
    ),
    "budget_wait": _flag(
        str | None,
        "--budget-wait",
        metavar="TIME",
        panel="Limits",
        help="How long to wait for what other runs hold (default 60s).",
    ),
    "max_context_tokens": _flag(
        str | None,
        "--max-context-tokens",
        metavar="N",
        panel="Context",
        help="Tokens of conversation that are sent at most, the tools' schemas included (default 8000).",
    ),
    "keep_last_n_user_messages": _flag(
        str | None,
        "--keep-last-n-user-messages",
        metavar="N",
        panel="Context",
        help="Messages of the user that are never cut (default 3).",
    ),
    "keep_last_n_assistant_messages": _flag(
        str | None,
        "--keep-last-n-assistant-messages",
        metavar="N",
        panel="Context",
        help="Messages of the model that are never cut (default 3).",
    ),
    "max_result_tokens": _flag(
        str | None,
        "--max-result-tokens",
        metavar="N",
        panel="Context",
        help="Tokens of one tool's result at most; unset: an eighth of max_context_tokens.",
    ),
    "context_cut_percent": _flag(
        str | None,
        "--context-cut-percent",
        metavar="N",
        panel="Context",
        help="How full the conversation still is, in percent, after a cut (default 50).",
    ),
    "context_warn_percent": _flag(
        str | None,
        "--context-warn-percent",
        metavar="N",
        panel="Context",
        help="How full it is, in percent, when one line tells of it (default 80).",
    ),
    "summaries": _flag(
        Literal["auto", "always", "never"] | None,
        "--summaries",
        metavar="HOW",
        panel="Context",
        help="Who sums up what is cut: auto (the model, where that pays), always (it) or never (default auto).",
    ),
    "summary_tokens": _flag(
        str | None,
        "--summary-tokens",
        metavar="N",
        panel="Context",
        help="Tokens of a summary by the model at most (default 500).",
    ),
    "max_output_tokens": _flag(
        str | None,
        "--max-output-tokens",
        metavar="N",
        panel="Limits",
        help="Tokens of one answer at most; unset: 4096 (reasoning 16384) or what a run needs.",
    ),
    "agent": _flag(
        str | None,
        "--agent",
        metavar="NAME",
        panel="Who answers",
        help="Which agent takes the task; unset: chosen by the task's words.",
    ),
    "max_turns": _flag(
        str | None, "--max-turns", metavar="N", panel="Limits", help="Model calls of one run at most (default 30)."
    ),
    "max_identical_calls": _flag(
        str | None,
        "--max-identical-calls",
        metavar="N",
        panel="Limits",
        help="How often a model may ask for the same tool call in a row (default 3).",
    ),
    "timeout": _flag(
        str | None,
        "--timeout",
        metavar="TIME",
        panel="Limits",
        help="How long a run may take: 30s, 5m, 2h (default 30m).",
    ),
    "llm_timeout": _flag(
        str | None,
        "--llm-timeout",
        metavar="TIME",
        panel="Limits",
        help="How long a model may be silent within a call (default 60s).",
    ),
    "workdir": _flag(
        str | None,
        "--workdir",
        metavar="DIR",
        panel="What it may touch",
        help="The folder that the tools work in; unset: the current one.",
    ),
    "read_only": _flag(bool | None, "--read-only", panel="What it may touch", help="Nothing but reads."),
    "tools": _flag(
        list[str] | None,
        "--tools",
        metavar="A,B",
        panel="What it may touch",
        help="Only these tools, with commas between them; unset: all (may be repeated).",
    ),
    "allow": _flag(
        list[str] | None,
        "--allow",
        metavar="RULE",
        panel="What it may touch",
        help="Rules for what runs without asking: 'docker_restart(name=web)' (may be repeated).",
    ),
    "deny": _flag(
        list[str] | None,
        "--deny",
        metavar="RULE",
        panel="What it may touch",
        help="Rules for what never runs: a tool, or 'docker_rm(name=db*)' (may be repeated).",
    ),
    "approve": _flag(
        Literal["ask", "deny", "all"] | None,
        "--approve",
        panel="What it may touch",
        help="How questions about changes are answered: ask, deny or all (default ask).",
    ),
    "sandbox": _flag(
        Literal["auto", "bwrap", "none"] | None,
        "--sandbox",
        panel="What it may touch",
        help="The boundary of shell commands: auto, bwrap or none (default auto).",
    ),
    "network": _flag(
        bool | None, "--network/--no-network", panel="What it may touch", help="Shell commands may use the network."
    ),
    "output": _flag(
        Literal["text", "json", "jsonl"] | None,
        "-o",
        "--output",
        panel="Output",
        help="What stdout gets: text (the answer), json or jsonl (default text).",
    ),
    "color": _flag(
        Literal["auto", "always", "never"] | None,
        "--color",
        panel="Output",
        help="Colour on the terminal: auto, always or never (default auto).",
    ),
}
