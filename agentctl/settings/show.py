"""List the settings with value and source, the files and the folders, without keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from pydantic import SecretStr

from agentctl.core.ledger_address import shown
from agentctl.settings.declaration import Declaration
from agentctl.settings.loaded import Loaded
from agentctl.settings.merge import format_value
from agentctl.settings.model import Settings
from agentctl.settings.names import DECLARED
from agentctl.settings.own_files import is_there

#: Variables that agentctl obeys and that are not settings.
ALSO_READ: Mapping[str, str] = MappingProxyType(
    {
        "NO_COLOR": "set: disable colour (where AGENTCTL_COLOR is unset)",
        "CLICOLOR_FORCE, FORCE_COLOR": "set: use colour even without a terminal",
        "COLUMNS": "width of lists on a terminal that is wider, or whose width is not known",
        "TERM": "dumb or empty: no colour, and plain lines instead of the live view",
        "CI": "set: refuse to run without a key or a chosen provider (exit 77)",
        "GITHUB_ACTIONS, GITLAB_CI, BUILDKITE": "set: reports for the CI system (not with --no-ci)",
        "GITHUB_OUTPUT, GITHUB_STEP_SUMMARY": "files in which GitHub takes the outputs and the summary of a step",
        "AGENTCTL_PARENT_RUN": "id of the parent of runs started here; a run sets it for its commands",
        "AGENTCTL_PARENT_CAPABILITY": "secret that lets these runs draw on their parent's limits",
        "AGENTCTL_JOB_INDEX": "place of this job in its matrix, from 0; a workflow sets it for leases",
        "DOCKER_CONTEXT, DOCKER_CONFIG": "docker's context and configuration folder (where DOCKER_HOST is unset)",
        "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY": "proxies for requests to providers; never used for this host",
        "SSL_CERT_FILE": "certificates to trust in addition to the usual ones",
        "TOGETHERAI_API_KEY and the like": "keys of litellm's other providers, under litellm's own names",
    }
)


MASK = "********"
_LIFTED = ("max_cost_per_task", "max_cost_per_hour", "max_tokens_per_task")


class SettingRow(NamedTuple):
    """One setting: its section, its value for display ("" if unset), its source, and what holds where it is unset."""

    name: str
    section: str
    value: str
    source: str
    default: str
    is_set: bool


class Place(NamedTuple):
    """One file or folder of ours, and whether it exists."""

    name: str
    path: Path
    exists: bool


def explain(loaded: Loaded) -> tuple[SettingRow, ...]:
    """Return every setting in the order of the documentation, with keys masked."""
    plain = Settings()
    rows = []
    for name, declared in DECLARED.items():
        source = loaded.sources[name]
        default = _value(name, getattr(plain, name)) or _unset(declared)
        value = _value(name, getattr(loaded.settings, name))
        rows.append(SettingRow(name, declared.section, value, str(source), default, source.kind != "default"))
    return tuple(rows)


def _unset(declared: Declaration) -> str:
    """Return what holds while a setting without a default is unset, as its help says."""
    return declared.help.partition("; unset: ")[2] or ("not set" if declared.section == "keys" else "none")


def _value(name: str, value: object) -> str:
    if value is None:
        return "none" if name in _LIFTED else ""
    if isinstance(value, SecretStr):
        return MASK if name != "ledger" else shown(value.get_secret_value())
    if isinstance(value, str) and value.startswith("agentctl-lease-1."):
        return MASK
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        return f"{value:g} s" if value < 1e6 else f"{value:.0f} s"
    if name == "mcp_config" and isinstance(value, tuple):
        return ", ".join("JSON" if one.lstrip().startswith("{") else format_value(one) for one in value)
    if name == "mcp" and isinstance(value, Mapping):
        return format_value(", ".join(value.get("servers", ())))
    if isinstance(value, tuple):
        return ", ".join(value) if name != "hook" else "; ".join(format_value(str(one)) for one in value)
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {line}" for name, line in value.items())
    return str(value) if isinstance(value, Path) else format_value(value)


def format_for_set(name: str, value: object) -> str | None:
    """Return a value in the form ``config set`` accepts, uncut; None if it is unset. Passwords in addresses are
    masked.
    """
    if value is None and name not in _LIFTED:
        return None
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else f"{value:.0f}"
    if isinstance(value, tuple) and name != "mcp_config":
        return ",".join(value) if name != "hook" else "; ".join(map(str, value))
    if isinstance(value, str):
        return re.sub(r"//\S*@", "//***@", value)
    return _value(name, value)


def paths(loaded: Loaded) -> Sequence[Place]:
    """Return the paths of all files and folders, existing or not."""
    settings = loaded.settings
    return tuple(
        Place(name, path, is_there(path))
        for name, path in (
            ("config file", loaded.config_file),
            ("MCP servers", settings.config_dir / "mcp.json"),
            (".env", settings.config_dir / ".env"),
            ("config folder", settings.config_dir),
            ("state folder", settings.state_dir),
            *((("ledger", settings.ledger_path),) if settings.ledger is None else ()),
            ("runs", settings.runs_dir),
            ("cache", settings.cache_dir),
        )
    )
