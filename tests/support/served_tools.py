"""Tools as servers publish them, each made of a function: their schemas check the arguments before anything runs."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agentctl.core.errors import ToolError
from agentctl.core.messages import ToolSpec
from agentctl.core.schema_validation import find_problems
from agentctl.permissions.decision import Permissions
from agentctl.protocols import Effect, OpenToolbox, Tool
from agentctl.tools.deferred import defer_tools
from agentctl.tools.tool_index import IndexedTool
from agentctl.tools.toolbox import SEPARATOR
from tests.support.loop import Box

PUBLISHED = Path(__file__).parent / "published_tools.txt"
_READS = ("get", "list", "read", "search", "find", "show", "log", "status", "count", "describe", "retrieve", "query")


def published_tools() -> Iterator[IndexedTool]:
    """Yield the tools of published servers, by their names and parameters; all parameters are texts."""
    server = ""
    for line in PUBLISHED.read_text().splitlines():
        if line.startswith("["):
            server = line[1:-1]
        elif not line.startswith("#"):
            name, description, *parameters = line.split(" | ")
            names = " ".join(parameters).split()
            schema: dict[str, object] = {
                "type": "object",
                "properties": {one: {"type": "string"} for one in names},
                "required": names[:1],
                "additionalProperties": False,
            }
            yield IndexedTool(ToolSpec(f"{server}{SEPARATOR}{name}", description, schema), server)


@dataclass(slots=True)
class ServedTool:
    """A tool that returns ``result``; ``given`` remembers the arguments of each call."""

    spec: ToolSpec
    effect: Effect
    result: str = "done"
    contained: bool = False
    given: list[Mapping[str, object]] = field(default_factory=list)

    async def prepare(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        problems = find_problems(json.dumps(self.spec.parameters), json.loads(json.dumps(arguments)))
        if problems:
            raise ToolError(f"{self.spec.name}: {problems[0][1]}", hint="as its parameters say")
        return arguments

    async def __call__(self, arguments: Mapping[str, object]) -> str:
        self.given.append(arguments)
        return self.result


def served_tools(servers: Collection[str] = ()) -> list[ServedTool]:
    """Return a tool for each one that is published, of some servers (none: of all); its name tells what it does."""

    def make(tool: IndexedTool) -> ServedTool:
        words = tool.spec.name.replace("-", "_").split("_")
        return ServedTool(tool.spec, "read" if set(words) & set(_READS) else "destructive")

    return [make(tool) for tool in published_tools() if not servers or tool.server in servers]


def deferring(
    *tools: Tool, task: str = "", permissions: Permissions | None = None, first: Collection[str] = ()
) -> OpenToolbox:
    """Return tools as a run has them: those that are too many are deferred."""
    box, rules = Box(*tools), permissions or Permissions()
    return defer_tools(
        box,
        task=task,
        servers={name: name.partition(SEPARATOR)[0] if SEPARATOR in name else "agentctl" for name in box.names},
        is_usable=lambda tool: rules.why_withheld(tool.spec.name, tool.effect) is None,
        first=first,
    )
