"""Compose what a run's first message says behind the task, so that two runs of one agent begin with the same bytes.

The system message is the agent's instructions, and the tools come in the agent's own order: neither depends on the
run, so a provider's prompt cache holds across runs up to the task. What differs from run to run follows the task and
its data, in one line: the clock, the workspace, and advice that only some tasks need.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime

from agentctl.core.text import safe_text
from agentctl.runner.agent_spec import AgentSpec
from agentctl.runner.plan import Plan
from agentctl.runner.routing import words

_FILE_TOOLS = frozenset(("read_file", "list_files", "search_files", "write_file", "run_shell", "git_status"))
_ASKS_WHY = re.compile(
    r"\b(?:why|how come|caused?|causes|reasons?|wrong|what happened|diagnos\w+|debug|troubleshoot|investigat\w+)\b",
    re.IGNORECASE,
)
_ASKS_WHERE = re.compile(
    r"\b(?:where|folders?|director(?:y|ies)|paths?|workspace|here|this (?:repo|repository|project)|mount\w*)\b"
    r"|(?:^|[\s\"'`(=])[~/]\S",
    re.IGNORECASE,
)
_LONGEST_PATH = 200


def circumstances(agent: AgentSpec, plan: Plan, task: str, at: datetime, *, tools: Collection[str]) -> str:
    """Return the line that follows the task and its data in a run that starts ``at`` and offers ``tools``.

    Paths are said to be relative to the workspace; its own path is named only if the task asks for a place, as models
    copy it into every argument otherwise. The agent's advice for causes is added if the task asks why.
    """
    said = [f"It is {at:%Y-%m-%d %H:%M} UTC."]
    if _ASKS_WHERE.search(task):
        said.append(f'The workspace is "{_one_line(plan.workdir)}"; give paths relative to it.')
    elif not _FILE_TOOLS.isdisjoint(tools):
        said.append("Paths are relative to the workspace.")
    about = words(" ".join(agent.why_about))
    if agent.why and _ASKS_WHY.search(task) and (not about or about & words(task)):
        said.append(" ".join(agent.why.split()))
    notes = plan.notes.text if plan.notes else ""
    return f"{notes}\n\n[{' '.join(said)}]"


def _one_line(path: str) -> str:
    """Return a path that cannot pose as another line of the message."""
    line = " ".join(safe_text(path).split())
    return line if len(line) <= _LONGEST_PATH else f"…{line[-_LONGEST_PATH:]}"
