"""Find what a task names and an answer did not look at: a file of the workspace, or a container of the engine."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from typing import NamedTuple

from agentctl.core.targets import Subject, Target, hidden_pattern
from agentctl.runner.answer_gate import is_refusal
from agentctl.runner.orchestrator import ListContainers
from agentctl.runner.plan import Plan
from agentctl.runner.routing import read_signs

_FILE_LOOKS = ("read_file", "search_files", "list_files", "run_shell")
_CONTAINER_LOOKS = ("docker_inspect", "docker_logs", "docker_ps", "docker_stats")
_MAKES = r"(?:create|write|make|generate|save|touch|produce|export|dump|draft)"
_INPUT_WORDS = r"(?:of|from|for|about|in|with|on|and|then|using|than|like)"
_GENERAL = re.compile(
    r"\b(?:usually|typically|generally|normally|commonly|in general|by convention|in theory|stands? for|syntax)\b"
    r"|\A\W*how (?:to|(?:do|can|could|should|would|must) (?:i|you|we|one|people))\b",
    re.IGNORECASE,
)
_MOST_LINES = 3  # of a task: a longer one may bring the text that it names


class Unseen(NamedTuple):
    """What a task names and an answer has not looked at, in words, and the tool to look with."""

    name: str
    tool: str
    advice: str

    @property
    def request(self) -> str:
        """The message that sends the answer back."""
        return f"Look at {self.name} first: call {self.tool}, then answer from what it returns."


async def find_unseen(
    answer: str,
    usable: Collection[str],
    *,
    task: str,
    plan: Plan,
    list_containers: ListContainers | None,
) -> Unseen | None:
    """Return the first file of the workspace, or container of the engine, that ``task`` asks about, else None.

    ``usable`` are the offered tools that run without a question. A task that asks in general, or to make the file, or
    that brings its text along, needs no look; nor does an ``answer`` that refuses or asks back.
    """
    if is_refusal(answer.strip()) or answer.rstrip().endswith("?"):
        return None
    if _GENERAL.search(task) or "```" in task or len(task.strip().splitlines()) > _MOST_LINES:
        return None
    tool = next((tool for tool in _FILE_LOOKS if tool in usable), None)
    for name in read_signs(task).files if tool else ():
        if _is_asked_about(task, name) and _is_there(plan.workdir, name) and not _is_hidden(name, plan):
            return Unseen(name, str(tool), f"give it the data (--input {name})")
    looks = [tool for tool in _CONTAINER_LOOKS if tool in usable]
    if not looks or list_containers is None:
        return None
    words = set(re.findall(r"[A-Za-z0-9][\w.-]*", task))
    words |= {word.rstrip(".-") for word in words}
    for name in sorted(words & set(await list_containers()), key=task.find):
        allowed = [tool for tool in looks if plan.permissions.decide(tool, "read", {"name": name}).kind == "allow"]
        if allowed and _is_asked_about(task, name):
            return Unseen(f"the container {name}", allowed[0], "pass its log through a pipe")
    return None


def _is_asked_about(task: str, name: str) -> bool:
    """Return whether a task is about this very thing: it does not ask to make it, nor about things of that kind."""
    named = rf"[\"'`]?{re.escape(name)}\b"
    made = rf"\b{_MAKES}\s+(?:(?!{_INPUT_WORDS}\b)[\w\"'-]+\s+){{0,4}}{named}"
    made += rf"|\b(?:into|as)\s+{named}|\b{_MAKES}\b.*\bto\s+{named}"
    in_general = rf"\b(?:an?|any|every|each)\s+{named}|\A\W*what(?:'s| is| are)\s+{named}(?:\s+(?:used\s+)?for)?\W*\Z"
    return re.search(f"{made}|{in_general}", task, re.IGNORECASE) is None


def _is_there(workspace: str, name: str) -> bool:
    root = os.path.realpath(workspace)
    path = os.path.realpath(os.path.join(root, name))  # noqa: PTH118 - a model's word, maybe no path
    try:
        return path.startswith(f"{root.rstrip('/')}/") and os.path.isfile(path)  # noqa: PTH113
    except (OSError, ValueError):
        return False


def _is_hidden(name: str, plan: Plan) -> bool:
    """Return whether a rule hides a file, or a question comes before each look at it."""
    permissions = plan.permissions
    target = Target("path", (name,), roots=(plan.workdir,))
    subject = Subject({"path": name}, {"path": target})
    patterns = map(hidden_pattern, (*permissions.deny, *permissions.ask))
    hides = any(pattern is not None and target.fits(pattern) for pattern in patterns)
    return hides or (
        permissions.why_withheld("read_file", "read") is None
        and permissions.decide("read_file", "read", {"path": name}, subject=subject).kind != "allow"
    )
