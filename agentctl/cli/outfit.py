"""Every tool that there is, at its bench, as a run of the current settings would find it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentctl.core.errors import SandboxUnavailable
    from agentctl.permissions.decision import Permissions
    from agentctl.permissions.preview import CallPreview
    from agentctl.protocols import Tool
    from agentctl.settings import Loaded


@dataclass(frozen=True, slots=True)
class ToolCatalog:
    """The tools by name, what may be done with them, and those that a boundary is missing for."""

    tools: Mapping[str, Tool]
    permissions: Permissions
    left_out: Mapping[str, SandboxUnavailable]
    loaded: Loaded

    def prospect(self, tool: Tool, arguments: Mapping[str, object] | None = None) -> CallPreview:
        """Return what would happen to a call of the tool."""
        from agentctl.permissions.preview import preview_call

        missing = self.left_out.get(tool.spec.name)
        return preview_call(self.permissions, self.loaded.settings.approve, tool, arguments, missing=missing)


def outfit(loaded: Loaded) -> ToolCatalog:
    """Look at every tool; a sandbox is tried out where one of them needs it, no engine is asked.

    Raises:
        UsageError: the settings name a tool or an argument that does not exist.
    """
    from functools import partial
    from pathlib import Path

    import anyio

    from agentctl.permissions.decision import Permissions
    from agentctl.permissions.rulebook import permissions_of
    from agentctl.runner.equipment import equipment
    from agentctl.tools.toolbox import TOOLS, toolbox

    permissions = permissions_of(loaded)
    equip = partial(equipment(loaded, Permissions(), insist=False), list(TOOLS), len(TOOLS))
    kit = anyio.run(equip)
    bare = toolbox(workspace=loaded.settings.workdir or Path.cwd(), names=list(kit.left_out))
    tools = {name: (bare if name in kit.left_out else kit.toolbox).get(name) for name in TOOLS}
    return ToolCatalog(tools, permissions, kit.left_out, loaded)
