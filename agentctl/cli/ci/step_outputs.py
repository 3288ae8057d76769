"""A run as values for the jobs and steps after it: GitHub's outputs, and GitLab's dotenv report."""

from __future__ import annotations

import os
from collections.abc import Mapping

from agentctl.cli.ci.run_end import RunEnd
from agentctl.core.pricing import to_usd

_MOST_BYTES = 100_000  # of one value: an environment variable, as the next step reads it, has at most 128 kB
_MOST_DOTENV = 4096  # bytes of a value; GitLab takes 5 kB in all


def output_values(end: RunEnd) -> dict[str, str]:
    """Return the outputs of a step.

    As on stdout, ``answer`` is empty unless the exit code is 0. An unknown cost is empty, and so is a ``structured``
    that is too long: a cut one would be no JSON.
    """
    cost = "" if end.cost_nano is None else f"{to_usd(end.cost_nano).normalize():f}"
    return {
        "status": end.shown,
        "exit_code": str(end.status.value),
        "run_id": end.run_id,
        "cost_usd": cost,
        "answer": _cut(end.answer, end.run_id) if end.is_done else "",
        "structured": end.structured if end.is_done and len(end.structured.encode()) <= _MOST_BYTES else "",
    }


def output_block(values: Mapping[str, str]) -> str:
    """Return the lines of ``$GITHUB_OUTPUT`` that set ``values``: each ends with a delimiter that none of them holds.

    The delimiter is random, so that no text can be written to hold it.
    """
    held = "\n".join(values.values())
    while (delimiter := f"agentctl_{os.urandom(16).hex()}") in held:
        pass
    return "".join(f"{name}<<{delimiter}\n{value}\n{delimiter}\n" for name, value in values.items())


def _cut(text: str, run_id: str) -> str:
    data = text.rstrip("\n").encode()
    if len(data) <= _MOST_BYTES:
        return data.decode()
    note = f"\n[cut, {len(data):,} bytes in all: agentctl runs show {run_id}]"
    return data[: _MOST_BYTES - len(note)].decode("utf-8", "ignore") + note


def dotenv_report(end: RunEnd) -> str:
    """Return the lines of a dotenv report of GitLab's: one value a line, no quotes, at most 5 kB in all.

    GitLab would replace ``$NAME`` in a value, so that there is no text of a model here but ``structured``, whose ``$``
    is escaped; it is empty if it is too long. The names must not be settings of agentctl's: later jobs have them.
    """
    values = output_values(end)
    values.pop("answer")
    structured = values["structured"].replace("$", "\\u0024")
    values["structured"] = structured if len(structured.encode()) <= _MOST_DOTENV else ""
    return "".join(f"AGENT_{name.upper()}={value}\n" for name, value in values.items())
