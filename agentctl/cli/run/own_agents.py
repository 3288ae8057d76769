"""Choose the agent of a run among those of the user's own, and say what of their files has no effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agentctl.core.text import safe_text
from agentctl.runner.agent_catalog import load_catalog
from agentctl.runner.agent_choice import AgentChoice, choose_own_agent
from agentctl.settings.untrusted_files import NoticeMemory

if TYPE_CHECKING:
    from agentctl.cli.run.run_request import RunRequest
    from agentctl.settings import Loaded


def choose_agent(
    loaded: Loaded, request: RunRequest, task: str, resumed: str | None, notify: Callable[[str], None]
) -> AgentChoice:
    """Return the agent for ``task``, with the settings of its run; ``resumed`` is the agent of a run that goes on.

    A file that is left out is said once for each content of it, and by the agent that it describes as an error.

    Raises:
        UsageError: the agent is unknown, its file cannot be used, or a parameter has no value or no place.
    """
    catalog = load_catalog(loaded, file=request.agent_file)
    chosen = choose_own_agent(loaded, catalog, task, params=request.params, resumed=resumed)
    memory = None if request.estimate else NoticeMemory(loaded.settings.state_dir)
    for note in (*catalog.notes(memory), *chosen.notes):
        notify(safe_text(note))
    return chosen
