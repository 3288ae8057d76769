"""Read the notes and skills of a run's project, and say what of them is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from agentctl.core.errors import UsageError
from agentctl.core.text import safe_text
from agentctl.runner.project_notes import NO_NOTES, ProjectNotes, load_notes
from agentctl.settings.untrusted_files import NoticeMemory
from agentctl.tools.skills import skill_tool
from agentctl.tools.toolbox import READ_SKILL

if TYPE_CHECKING:
    from agentctl.cli.run.run_request import RunRequest
    from agentctl.settings import Loaded


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
