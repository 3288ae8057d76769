"""List the settings with value and source (``MEANINGS``: what each is), the files and the folders; never a key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from pydantic import SecretStr

from agentctl.settings.merge import format_value
from agentctl.settings.model import Loaded
from agentctl.settings.names import ENV_NAMES, KEY_NAMES, TABLE_FIELDS
from agentctl.settings.sources import is_there

#: Field -> its meaning; every field that a variable can hold has one (a test holds that).
MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "llm_provider": "who answers (agentctl providers list); unset: the one that is set up",
        "llm_model": "the model, or provider/model; unset: the provider's own default",
        "max_cost_per_task": "dollars that one run may spend; none lifts it",
        "max_cost_per_hour": "dollars that all runs together may spend in any 60 minutes; none lifts it",
        "max_tokens_per_task": "tokens that one run may use, in and out; none lifts it",
        "max_cost_per_minute": "dollars that all runs together may spend in any 60 seconds; unset: no such limit",
        "max_cost_per_day": "dollars that all runs together may spend in any 24 hours; unset: no such limit",
        "max_cost_per_month": "dollars that all runs together may spend in any 30 days; unset: no such limit",
        "max_calls_per_minute": "requests that one run may send in any 60 seconds; unset: no such limit",
        "max_identical_calls": "how often a model may ask for the same tool call in a row",
        "max_context_tokens": "tokens of conversation that are sent at most, the tools' schemas included",
        "keep_last_n_user_messages": "messages of the user that are never cut from it",
        "keep_last_n_assistant_messages": "messages of the model that are never cut from it",
        "max_result_tokens": "tokens of one tool's result at most; unset: an eighth of max_context_tokens",
        "context_cut_percent": "how full the conversation still is, in percent, after a cut",
        "context_warn_percent": "how full it is, in percent, when one line tells of it",
        "summaries": "who sums up what is cut: auto (the model, where that pays), always (the model) or never",
        "summary_tokens": "tokens of a summary by the model at most",
        **{name.lower(): f"the key of {provider}" for provider, name in KEY_NAMES.items()},
        "openai_base_url": "another server that speaks OpenAI's format",
        "anthropic_base_url": "another server that speaks Anthropic's format",
        "ollama_host": "where Ollama listens",
        "docker_host": "the container engine, unix://… or tcp://…; unset: docker's current context",
        "cost_history_file": "a JSON file that mirrors the last 1000 charges; unset: none",
        "agent": "which agent takes the task; unset: chosen by the task's words",
        "max_output_tokens": "tokens of one answer at most; unset: 4096 (reasoning 16384) or what a run needs",
        "max_turns": "model calls of one run at most",
        "timeout": "how long a run may take",
        "llm_timeout": "how long a model may be silent within a call",
        "budget_wait": "how long to wait for what other runs hold",
        "workdir": "the folder that the tools work in; unset: the current one",
        "read_only": "true: nothing but reads",
        "sandbox": "the boundary of shell commands: auto, bwrap or none",
        "network": "true: shell commands may use the network",
        "tools": "only these tools, with commas between them; unset: all",
        "approve": "how questions about changes are answered: ask, deny or all",
        "allow": "rules for what runs without asking",
        "ask": "rules for what is always asked about",
        "deny": "rules for what never runs",
        "auto_labels": "false: no run is labelled with its repo, ref, job and workdir",
        "doubt": "strict: also count a refused call as in doubt",
        "output": "what stdout gets: text, json or jsonl",
        "color": "colour on the terminal: auto, always or never",
        "state_dir": "where ledger and journals lie",
        "config_dir": "where config.toml and the user's .env lie",
        "cache_dir": "where what can be made again lies",
    }
)

#: Variables that are heeded, too, and are no settings.
ALSO_READ: Mapping[str, str] = MappingProxyType(
    {
        "NO_COLOR": "set: no colour (where AGENTCTL_COLOR is unset)",
        "CLICOLOR_FORCE, FORCE_COLOR": "set: colour without a terminal, too",
        "TERM": "dumb: plain lines instead of the live view",
        "CI": "set: without a choice or a key no run starts (exit 77)",
        "AGENTCTL_PARENT_RUN": "set by a run for its commands: the run that runs started here belong to",
        "AGENTCTL_PARENT_CAPABILITY": "set beside it: the secret that lets them draw on its limits",
        "DOCKER_CONTEXT, DOCKER_CONFIG": "which of docker's contexts names the engine",
        "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY": "the way to providers; never to this host",
        "SSL_CERT_FILE": "certificates to trust beside the usual ones",
        "TOGETHERAI_API_KEY and the like": "keys of litellm's other providers, under litellm's own names",
    }
)


MASK = "********"
_LIFTED = ("max_cost_per_task", "max_cost_per_hour", "max_tokens_per_task")


class SettingRow(NamedTuple):
    """One setting: its name, its value as it may be shown ("" if unset), and where it came from."""

    name: str
    value: str
    source: str


class Place(NamedTuple):
    """One file or folder of ours, and whether it is there."""

    name: str
    path: Path
    exists: bool


def explain(loaded: Loaded) -> tuple[SettingRow, ...]:
    """Return every setting in the order of the documentation; keys are masked."""
    return tuple(
        SettingRow(name, _value(name, getattr(loaded.settings, name)), str(loaded.sources[name]))
        for name in (*ENV_NAMES, *TABLE_FIELDS)
    )


def _value(name: str, value: object) -> str:
    if value is None:
        return "none" if name in _LIFTED else ""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        return f"{value:g} s" if value < 1e6 else f"{value:.0f} s"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {line}" for name, line in value.items())
    return str(value) if isinstance(value, Path) else format_value(value)


def format_for_set(name: str, value: object) -> str | None:
    """Return a value as ``config set`` takes it, whole; None if it is unset. Passwords in addresses are masked."""
    if value is None and name not in _LIFTED:
        return None
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else f"{value:.0f}"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, str):
        return re.sub(r"//\S*@", "//***@", value)
    return _value(name, value)


def paths(loaded: Loaded) -> Sequence[Place]:
    """Return where everything lies, there or not."""
    settings = loaded.settings
    return tuple(
        Place(name, path, is_there(path))
        for name, path in (
            ("config file", loaded.config_file),
            (".env", settings.config_dir / ".env"),
            ("config folder", settings.config_dir),
            ("state folder", settings.state_dir),
            ("ledger", settings.ledger_path),
            ("runs", settings.runs_dir),
            ("cache", settings.cache_dir),
        )
    )
