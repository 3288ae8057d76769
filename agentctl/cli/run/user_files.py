"""Read the user's own files for a run: agents, notes and skills. Say what is left out of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from agentctl.core.errors import UsageError
from agentctl.core.text import safe_text
from agentctl.runner.agent_catalog import load_catalog
from agentctl.runner.agent_choice import AgentChoice, choose_own_agent
from agentctl.runner.project_notes import NO_NOTES, ProjectNotes, load_notes
from agentctl.settings.untrusted_files import NoticeMemory
from agentctl.tools.skills import skill_tool
from agentctl.tools.toolbox import READ_SKILL

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


def read_notes(
    loaded: Loaded, request: RunRequest, notify: Callable[[str], None]
) -> tuple[Loaded, ProjectNotes | None]:
    """Return the notes of the run, and its settings with the tool that reads its skills.

    What is left out is said once for each content of its file, and each time if the user named it.

    Raises:
        UsageError: a file of ``--notes`` cannot be used.
    """
    if NO_NOTES in request.notes:
        if len(request.notes) > 1:
            raise UsageError("--notes none cannot be combined with a file", hint="give one of them")
        return loaded, None
    # about a quarter of what the context holds, at four bytes a token
    notes = load_notes(loaded, request.notes, most=loaded.settings.max_context_tokens)
    memory = NoticeMemory(loaded.settings.state_dir)
    for said, digest in notes.warnings:
        if not digest or not memory.knows(digest):
            notify(safe_text(f"warning: {said}"))
            if digest and not request.estimate:
                memory.remember(digest)
    if notes.skills:
        loaded = replace(loaded, own_tools={**loaded.own_tools, READ_SKILL: skill_tool(notes.skills)})
    return loaded, notes if notes.text else None
