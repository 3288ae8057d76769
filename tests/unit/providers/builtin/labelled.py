"""The labelled tasks: ``expected<TAB>task``; fresh.tsv was written before the table and is never used for tuning.

Expected is one or more calls parted by " | ", ``change``, ``abstain``, or ``facts CALL`` (the call is allowed, with the
note that explaining needs a model). examples.tsv has the examples of the agents' own files.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from agentctl.core.errors import ActionDenied, TaskFailed
from agentctl.providers.builtin.provider import choose_lookup

HERE = Path(__file__).parent
NOW = datetime(2026, 3, 29, 10, tzinfo=UTC)  # in Europe/Berlin the day on which summer time began
# What an argument means when it is left out; leaving it out and giving this are the same call.
DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "docker_ps": {"all": False},
    "docker_logs": {"tail": 100},
    "compose_logs": {"tail": 100},
    "journal_tail": {"tail": 100},
    "system_processes": {"sort": "cpu", "limit": 10},
    "system_info": {"about": "all"},
    "read_file": {"count_lines": False},
    "list_files": {
        "path": ".",
        "pattern": "*",
        "recursive": True,
        "kind": "file",
        "sort": "name",
        "limit": 50,
    },
    "search_files": {"path": ".", "pattern": "*", "regex": False, "ignore_case": False, "limit": 50},
    "git_status": {"path": "."},
}


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call without the arguments that say the default."""

    tool: str
    arguments: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A task, what kind of task it is, and the calls that would be right."""

    task: str
    kind: Literal["read", "change", "other"]
    calls: tuple[Call, ...]
    may_abstain: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What builtin did with a task."""

    did: Literal["act", "deny", "abstain"]
    call: Call | None = None
    is_cause: bool = False


def call_of(tool: str, arguments: Mapping[str, object]) -> Call:
    """Return the call without its defaults, arguments in order."""
    usual = DEFAULTS.get(tool, {})
    told = {name: value for name, value in arguments.items() if name not in usual or usual[name] != value}
    return Call(tool, tuple(sorted(told.items())))


def _parse(text: str) -> Call:
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    return call_of(node.func.id, {str(word.arg): ast.literal_eval(word.value) for word in node.keywords})


def load(name: str) -> tuple[Labelled, ...]:
    """Read one half of the list."""
    tasks: list[Labelled] = []
    for line in (HERE / f"{name}.tsv").read_text(encoding="utf-8").splitlines():
        expected, _, task = line.partition("\t")
        parts = [part.strip().removeprefix("facts ") for part in expected.split(" | ")]
        calls = tuple(_parse(part) for part in parts if "(" in part)
        kind: Literal["read", "change", "other"] = "read"
        if parts[0] == "change":
            kind = "change"
        elif parts[0] == "abstain" or expected.startswith("facts "):
            kind = "other"
        tasks.append(Labelled(task, kind, calls, "abstain" in parts or expected.startswith("facts ")))
    return tuple(tasks)


def outcome(task: str) -> Outcome:
    """Ask builtin."""
    try:
        match = choose_lookup(task, NOW)
    except ActionDenied:
        return Outcome("deny")
    except TaskFailed:
        return Outcome("abstain")
    return Outcome("act", call_of(match.lookup.tool, match.arguments), match.is_cause)
