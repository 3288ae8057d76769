"""Find out which CI system runs this process, where it takes reports, and which variables of it hold keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, NamedTuple

from agentctl.settings.names import ENV_NAMES, LEASE_BEGINS, LEAST_SECRET, PARENT_CAPABILITY, SECRET_FIELDS
from agentctl.settings.provider_names import SECRET_ENDINGS

CiName = Literal["github", "gitlab", "buildkite"]

_MARKS: Mapping[str, CiName] = {"GITHUB_ACTIONS": "github", "GITLAB_CI": "gitlab", "BUILDKITE": "buildkite"}


class CiSystem(NamedTuple):
    """A CI system whose log has commands or headings; ``name`` is None elsewhere.

    ``summary`` and ``outputs`` are the files in which a step of GitHub's takes its summary and its outputs, "" if it
    has named none.
    """

    name: CiName | None = None
    summary: str = ""
    outputs: str = ""


def ci_system(environ: Mapping[str, str] | None = None) -> CiSystem:
    """Return the CI system that the variables name; Gitea and Forgejo set those of GitHub."""
    environ = os.environ if environ is None else environ
    name = next((name for mark, name in _MARKS.items() if _is_set(environ.get(mark, ""))), None)
    if name != "github":
        return CiSystem(name)
    return CiSystem(name, environ.get("GITHUB_STEP_SUMMARY", ""), environ.get("GITHUB_OUTPUT", ""))


def _is_set(value: str) -> bool:
    return value.strip().lower() not in ("", "0", "false", "no")


def keys_in_environment(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the values of the variables that hold a key by their name, or a lease, before any settings are loaded."""
    environ = os.environ if environ is None else environ
    names = {PARENT_CAPABILITY, *(name for field in SECRET_FIELDS for name in ENV_NAMES[field])}
    found = (
        value.strip()
        for name, value in environ.items()
        if name in names or name.upper().endswith(SECRET_ENDINGS) or value.strip().startswith(LEASE_BEGINS)
    )
    return tuple(dict.fromkeys(value for value in found if len(value) >= LEAST_SECRET))
