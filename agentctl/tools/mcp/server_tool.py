"""One tool of an MCP server, as a run has it: its effect, the check of its arguments, its call."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, cast

from agentctl.core.errors import ToolError
from agentctl.core.schema_validation import find_problems
from agentctl.core.text import list_names, safe_text
from agentctl.protocols import Effect
from agentctl.settings.mcp_values import McpServer
from agentctl.tools.mcp.catalogue import CatalogueTool

if TYPE_CHECKING:
    from agentctl.core.json_values import JSON
    from agentctl.tools.mcp.server_session import ServerSession

_MOST_PROBLEMS = 3
_SEVERITY: tuple[Effect, ...] = ("read", "write", "network", "destructive")


def effect_of(server: McpServer, name: str, annotations: Mapping[str, object]) -> Effect:
    """Return the effect of a tool: what the user says of it, else destructive.

    The annotations are the server's own word. They may raise an effect; they lower one only if the user trusts them.
    """
    options = server.options
    claims_read = annotations.get("readOnlyHint") is True
    said = options.effects.get(name)
    if said is None:
        patterns = sorted((pattern for pattern in options.effects if fnmatchcase(name, pattern)), key=len, reverse=True)
        said = options.effects[patterns[0]] if patterns else None
    if said is None:
        return "read" if options.trust_annotations and server.is_users_own and claims_read else "destructive"
    claimed: Effect = "read"
    if annotations.get("readOnlyHint") is False:
        claimed = "destructive" if annotations.get("destructiveHint") is True else "write"
    return max(said, claimed, key=_SEVERITY.index)


class ServerTool:
    """A tool of a connected server. ``most_result`` is the most bytes of a result that a model reads."""

    contained = False  # what a server does is out of our sight

    def __init__(self, tool: CatalogueTool, session: ServerSession) -> None:
        self.spec, self._tool, self._session = tool.spec, tool, session
        self.effect: Effect = effect_of(session.server, tool.said.name, tool.said.annotations)
        self.most_result = session.server.options.max_result

    @property
    def own_name(self) -> str:
        """What the server calls it."""
        return self._tool.said.name

    @property
    def server(self) -> str:
        """The name of its server."""
        return self._session.server.name

    async def prepare(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """Return the arguments, without optional ones that are null.

        Raises:
            ToolError: they are not valid by the tool's schema.
        """
        required = self.spec.parameters.get("required")
        needed = required if isinstance(required, (list, tuple)) else ()
        given = {name: value for name, value in arguments.items() if value is not None or name in needed}
        problems = find_problems(self._tool.schema, cast("JSON", given))
        if problems:
            told = "; ".join(f"{pointer or 'arguments'}: {message}" for pointer, message in problems[:_MOST_PROBLEMS])
            raise ToolError(f"{self.spec.name}: {safe_text(told)}", hint=self._usage())
        return given

    async def __call__(self, arguments: Mapping[str, object]) -> str:
        """Call the tool and return the text of its result.

        Raises:
            ToolError: the tool or its server failed.
        """
        return await self._session.call(self._tool.said.name, arguments)

    def _usage(self) -> str:
        properties = self.spec.parameters.get("properties")
        names = list(properties) if isinstance(properties, Mapping) else []
        return f"{self.spec.name} takes: {list_names(names, 20) or 'no arguments'}"
