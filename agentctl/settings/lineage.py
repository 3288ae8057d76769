"""Detect whether a run started this process, and hand a run's identity to its commands.

Every command of a run carries a mark. Without a sandbox it also carries the run's id and a secret (the capability): a
run that it starts with both is a child of that run. In a sandbox the ledger cannot be seen, so there both are missing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from agentctl.core.errors import ActionDenied
from agentctl.core.limits import Parent
from agentctl.settings.names import CHILD_MARK, NO_RUN, PARENT_CAPABILITY, PARENT_RUN

_BOTH = (PARENT_RUN, PARENT_CAPABILITY)


def is_inside_a_run(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether a run's command started this process: it carries the run's mark, id or capability."""
    environ = os.environ if environ is None else environ
    marked = CHILD_MARK in environ and not environ[CHILD_MARK].endswith(NO_RUN)
    return marked or any(environ.get(name) for name in _BOTH)


def find_parent(environ: Mapping[str, str]) -> Parent | None:
    """Return the run that this process belongs to, or None; missing parts of its identity are ""."""
    if not is_inside_a_run(environ):
        return None
    run_id, capability = (environ.get(name, "").strip() for name in _BOTH)
    return Parent(run_id, capability)


def refuse_incomplete(parent: Parent | None) -> None:
    """Refuse to run as a child whose parent's id or capability is missing.

    Raises:
        ActionDenied: a run started this process, but the id or capability for its budget is missing.
    """
    if parent is None or (parent.run_id and parent.capability):
        return
    if not parent.run_id and not parent.capability:
        raise ActionDenied(
            "no run can start inside the sandbox of another run, or in its hooks: its limits could not count it",
            hint="start the new run outside the other one, or start the other one with --sandbox none",
        )
    missing, has = reversed(_BOTH) if parent.run_id else _BOTH
    raise ActionDenied(
        f"{has} is set without {missing}: the parent of this run is unknown",
        hint=f"pass on {PARENT_RUN} and {PARENT_CAPABILITY} as the parent run set them",
    )


def inherited_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's variables that name its parent run, for a process that it starts."""
    environ = os.environ if environ is None else environ
    return {name: environ[name] for name in _BOTH if environ.get(name)}


def child_variables(run_id: str, capability: str, state_dir: Path) -> dict[str, str]:
    """Return the variables that a run adds for its commands, so that their runs are its children."""
    return {PARENT_RUN: run_id, PARENT_CAPABILITY: capability, "AGENTCTL_STATE_DIR": os.fspath(state_dir)}
