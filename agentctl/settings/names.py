"""The names of each setting in the environment, on the command line and in TOML: tables derived from the model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from agentctl.settings.declaration import Declaration, declaration_of
from agentctl.settings.model import Settings

#: The mark on every command of a run, by which its processes are found and ended; not a setting.
CHILD_MARK = "AGENTCTL_CHILD"
NO_RUN = "-no-run"  # the end of the mark on a command without a run: run_shell_async called directly

#: The id of the parent run and the secret that opens its budget, which make a run its child; not settings.
PARENT_RUN = "AGENTCTL_PARENT_RUN"
PARENT_CAPABILITY = "AGENTCTL_PARENT_CAPABILITY"

#: The token that hosts of ``agentctl mcp serve --http`` show; not a setting.
SERVE_TOKEN = "AGENTCTL_MCP_SERVE_TOKEN"  # noqa: S105 - the name of a variable

#: The place of a job in the matrix of its workflow, from 0: the workflow sets it for leases; not a setting.
JOB_INDEX = "AGENTCTL_JOB_INDEX"

LEAST_SECRET = 8
#: How the text of a lease and that of a key that signs leases begin: a variable that holds one is a secret.
LEASE_BEGINS = ("agentctl-lease-1.", "agentctl-lease-private-")

DECLARED: Mapping[str, Declaration] = MappingProxyType(
    {name: declaration_of(field) for name, field in Settings.model_fields.items()}
)

#: Field -> its variables, the strongest first.
ENV_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {name: declared.variables for name, declared in DECLARED.items() if declared.variables}
)

#: The variables as the documentation names them: without the prefix where that is optional.
DOCUMENTED_NAMES: tuple[str, ...] = tuple(name for declared in DECLARED.values() for name in declared.documented)

#: Providers that need a key, and the variable that holds it.
KEY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        name.removesuffix("_api_key"): declared.documented[0]
        for name, declared in DECLARED.items()
        if declared.section == "keys"
    }
)
SECRET_FIELDS: Mapping[str, str] = MappingProxyType({name.lower(): provider for provider, name in KEY_NAMES.items()})

DIR_FIELDS = tuple(name for name, declared in DECLARED.items() if declared.section == "folders")

#: Settings that are tables: only a TOML file can set them.
TABLE_FIELDS = tuple(name for name, declared in DECLARED.items() if not declared.variables)

#: What the lines of a table [sandbox] set.
SANDBOX_LINES: Mapping[str, str] = MappingProxyType(
    {"mode": "sandbox", "read": "sandbox_read", "write": "sandbox_write", "env": "sandbox_env"}
)

#: The fields allowed in a TOML file: no keys (they live in the environment or the user's .env), no folders of our own.
TOML_FIELDS: tuple[str, ...] = tuple(name for name, declared in DECLARED.items() if declared.in_toml)

#: What users of other tools call a setting; no setting that widens what a run may do.
SETTING_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("budget", "max_cost", "cost_limit", "max_budget", "max_budget_usd"), "max_cost_per_task"),
        **dict.fromkeys(("max_cost_usd", "spend_limit", "limit"), "max_cost_per_task"),
        **dict.fromkeys(("max_tokens", "token_limit", "token_budget"), "max_tokens_per_task"),
        **dict.fromkeys(("hourly_limit", "hourly_budget", "max_cost_hourly"), "max_cost_per_hour"),
        **dict.fromkeys(("daily_limit", "daily_budget", "max_cost_daily", "daily_usd"), "max_cost_per_day"),
        **dict.fromkeys(("monthly_limit", "monthly_budget", "max_cost_monthly", "monthly_usd"), "max_cost_per_month"),
        **dict.fromkeys(("model", "model_name", "default_model"), "llm_model"),
        **dict.fromkeys(("provider", "model_provider", "default_provider", "backend"), "llm_provider"),
        **dict.fromkeys(("max_steps", "max_iterations", "turns", "step_limit"), "max_turns"),
        **dict.fromkeys(("max_time", "time_limit", "wall_time_limit"), "timeout"),
        **dict.fromkeys(("context_window", "max_context", "context_limit"), "max_context_tokens"),
        **dict.fromkeys(("cwd", "working_dir", "working_directory", "dir"), "workdir"),
        **dict.fromkeys(("output_format", "format"), "output"),
        **dict.fromkeys(("colour", "colors", "no_color"), "color"),
        **dict.fromkeys(("pricing", "price"), "prices"),
        **dict.fromkeys(("ollama_url", "ollama_base_url", "ollama_api_base"), "ollama_host"),
        **dict.fromkeys(("openai_url", "openai_endpoint"), "openai_base_url"),
        **dict.fromkeys(("disallowed_tools", "denied_tools"), "deny"),
    }
)

#: What a command can need: a field, or a group of fields that a declaration names.
NEEDS = frozenset({*DECLARED, *(need for declared in DECLARED.values() for need in declared.needed_by)})


def flag_name(field: str) -> str:
    """Return the flag that sets ``field``, as messages name it."""
    flag = DECLARED[field].flag
    if flag is not None and (flag.synonym or flag.spellings):
        return flag.synonym or flag.spellings[-1]
    return "--" + field.replace("_", "-")
