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
        panel="Common options",
        help="Use this provider (default: the model's, or the one set up).",
    ),
    "llm_model": _flag(
        str | None,
        "-m",
        "--model",
        metavar="NAME",
        panel="Common options",
        help="Use this model, or provider/model (agentctl models; default: the provider's default).",
    ),
    "llm_client": _flag(
        Literal["auto", "lean", "litellm"] | None,
        "--via",
        panel="Context",
        help="Call models by this client (default auto).",
    ),
    "fallbacks": _flag(
        list[str] | None,
        "--fallbacks",
        metavar="A,B",
        panel="Context",
        help="Models that take over from a failed provider, in order (may be repeated).",
    ),
    "temperature": _flag(
        str | None,
        "--temperature",
        metavar="N",
        panel="Limits",
        help="Send this temperature (0 to 2) or none; auto: 0 to servers on this host (default auto).",
    ),
    "max_cost_per_task": _flag(
        str | None,
        "--max-cost-per-task",
        metavar="USD",
        panel="Common options",
        help="Limit the cost of one run (alias --max-cost, default 0.50; 'none' disables).",
    ),
    "max_cost_per_hour": _flag(
        str | None,
        "--max-cost-per-hour",
        metavar="USD",
        panel="Limits",
        help="Limit the cost of all runs in any 60 minutes (default 10.0; 'none' disables).",
    ),
    "max_tokens_per_task": _flag(
        str | None,
        "--max-tokens-per-task",
        metavar="N",
        panel="Limits",
        help="Limit the tokens of one run (alias --max-tokens, default 100000; 'none' disables).",
    ),
    "max_cost_per_minute": _flag(
        str | None,
        "--max-cost-per-minute",
        metavar="USD",
        panel="Limits",
        help="Limit the cost of all runs in any 60 seconds.",
    ),
    "max_cost_per_day": _flag(
        str | None,
        "--max-cost-per-day",
        metavar="USD",
        panel="Limits",
        help="Limit the cost of all runs in any 24 hours.",
    ),
    "max_cost_per_month": _flag(
        str | None,
        "--max-cost-per-month",
        metavar="USD",
        panel="Limits",
        help="Limit the cost of all runs in any 30 days.",
    ),
    "max_calls_per_minute": _flag(
        str | None,
        "--max-calls-per-minute",
        metavar="N",
        panel="Limits",
        help="Limit the requests of one run in any 60 seconds.",
    ),
    "budget_wait": _flag(
        str | None,
        "--budget-wait",
        metavar="TIME",
        panel="Limits",
        help="Wait for money held by other runs (default 60s).",
    ),
    "lease": _flag(
        str | None, "--lease", metavar="TEXT|FILE|env:NAME", panel="Limits", help="Draw on this lease (default: none)."
    ),
    "require_lease": _flag(bool | None, "--require-lease", panel="Limits", help="Start no run without a lease."),
    "max_context_tokens": _flag(
        str | None,
        "--max-context-tokens",
        metavar="N",
        panel="Context",
        help="Limit the tokens of a request (default 8000).",
    ),
    "keep_last_n_user_messages": _flag(
        str | None,
        "--keep-last-n-user-messages",
        metavar="N",
        panel="Context",
        help="Keep the latest N user messages (default 3).",
    ),
    "keep_last_n_assistant_messages": _flag(
        str | None,
        "--keep-last-n-assistant-messages",
        metavar="N",
        panel="Context",
        help="Keep the latest N model messages (default 3).",
    ),
    "max_result_tokens": _flag(
        str | None,
        "--max-result-tokens",
        metavar="N",
        panel="Context",
        help="Limit the tokens of a tool result (default: an eighth of max_context_tokens).",
    ),
    "context_cut_percent": _flag(
        str | None,
        "--context-cut-percent",
        metavar="N",
        panel="Context",
        help="Cut a full context to N percent (default 50).",
    ),
    "context_warn_percent": _flag(
        str | None,
        "--context-warn-percent",
        metavar="N",
        panel="Context",
        help="Warn at N percent of the context (default 80).",
    ),
    "summaries": _flag(
        Literal["auto", "always", "never"] | None,
        "--summaries",
        metavar="HOW",
        panel="Context",
        help="Summarize what is cut: auto (if it pays off), always or never (default auto).",
    ),
    "summary_tokens": _flag(
        str | None,
        "--summary-tokens",
        metavar="N",
        panel="Context",
        help="Limit the tokens of a summary (default 500).",
    ),
    "max_output_tokens": _flag(
        str | None,
        "--max-output-tokens",
        metavar="N",
        panel="Limits",
        help="Limit the tokens of one answer (default: 4096, or 16384 for reasoning, then adapted).",
    ),
    "agent": _flag(
        str | None,
        "--agent",
        metavar="NAME",
        panel="Common options",
        help="Use this agent (default: chosen by the task).",
    ),
    "max_turns": _flag(
        str | None, "--max-turns", metavar="N", panel="Limits", help="Limit the turns of one run (default 30)."
    ),
    "max_identical_calls": _flag(
        str | None,
        "--max-identical-calls",
        metavar="N",
        panel="Limits",
        help="Limit repeats of the same tool call (default 3).",
    ),
    "schema_retries": _flag(
        str | None,
        "--schema-retries",
        metavar="N",
        panel="Limits",
        help="Send an answer that is not valid by its schema back N times (default 2).",
    ),
    "timeout": _flag(
        str | None, "--timeout", metavar="TIME", panel="Limits", help="Limit the duration of a run (default 30m)."
    ),
    "llm_timeout": _flag(
        str | None,
        "--llm-timeout",
        metavar="TIME",
        panel="Limits",
        help="Limit the time a model is silent (default 60s).",
    ),
    "workdir": _flag(
        str | None,
        "--workdir",
        metavar="DIR",
        panel="Common options",
        help="Work in this folder (default: the current one).",
    ),
    "read_only": _flag(bool | None, "--read-only", panel="Common options", help="Allow only reads."),
    "tools": _flag(
        list[str] | None,
        "--tools",
        metavar="A,B",
        panel="Permissions",
        help="Allow only these tools, comma-separated (default: all, may be repeated).",
    ),
    "allow": _flag(
        list[str] | None,
        "--allow",
        metavar="RULE",
        panel="Common options",
        help="Run matching calls without asking, such as 'docker_restart(name=web)' (may be repeated).",
    ),
    "deny": _flag(
        list[str] | None,
        "--deny",
        metavar="RULE",
        panel="Permissions",
        help="Never run matching calls: a tool, or 'docker_rm(name=db*)' (may be repeated).",
    ),
    "approve": _flag(
        Literal["ask", "deny", "all", "defer"] | None,
        "--approve",
        panel="Permissions",
        help="Decide calls that need approval (default ask).",
    ),
    "sandbox": _flag(
        Literal["auto", "bwrap", "landlock", "none", "external"] | None,
        "--sandbox",
        panel="Permissions",
        help="Run shell commands in a sandbox (default auto).",
    ),
    "network": _flag(
        bool | None,
        "--network/--no-network",
        panel="Permissions",
        help="Let shell commands use the network (default no).",
    ),
    "mcp_config": _flag(
        list[str] | None,
        "--mcp-config",
        metavar="FILE|-|JSON",
        panel="Input",
        help="Use these MCP servers: a file, - or JSON (default: yours, may be repeated).",
    ),
    "mcp_also_user": _flag(bool | None, "--mcp-also-user", panel="Input", help="Use your own MCP servers, too."),
    "output": _flag(
        Literal["text", "json", "jsonl"] | None,
        "-o",
        "--output",
        metavar="FORMAT",
        panel="Output",
        help="Print text, json or jsonl (default text).",
    ),
    "color": _flag(
        Literal["auto", "always", "never"] | None, "--color", panel="Output", help="Use colour (default auto)."
    ),
}
