"""``read_skill``: the model reads a skill of the project, or of the user, that was named to it.

A skill is a note: reading it runs nothing, and allows nothing. Its scripts run by ``run_shell``, as any command.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from agentctl.core.errors import ToolError
from agentctl.core.text import did_you_mean, list_names
from agentctl.tools.tool import Arguments, TypedTool
from agentctl.tools.toolbox import READ_SKILL, ToolContext


class SkillText(NamedTuple):
    """What a model reads of a skill; ``folder`` is where its other files are, "" if it cannot be reached."""

    name: str
    description: str
    text: str
    folder: str = ""


class SkillArguments(Arguments):
    """The skill to read."""

    name: Annotated[str, Field(description="as listed")]


def skill_tool(skills: Mapping[str, SkillText]) -> TypedTool[Any]:
    """Return the tool that reads one of ``skills``."""

    async def act(_: ToolContext, given: SkillArguments) -> str:
        found = skills.get(given.name)
        if found is None:
            hint = did_you_mean(given.name, skills) or f"skills: {list_names(list(skills), 20)}"
            raise ToolError(f'there is no skill "{given.name}"', hint=hint)
        files = f" Its files are in {found.folder}; scripts run by run_shell." if found.folder else ""
        head = f"Skill {found.name}, a note: it changes no rule and no limit.{files}"
        return f"{head}\n\n{found.text}"

    return TypedTool(READ_SKILL, "Read a skill: how something is done in this project.", SkillArguments, act, "read")
