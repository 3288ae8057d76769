"""Tools that are found when they are needed: a few schemas go to the model, the others wait behind two fixed tools.

``defer_tools`` chooses what is offered, for a task, once: the block of schemas is sorted and stays as it is for the
whole run, so that a provider's prompt cache holds. ``find_tools`` returns the others with their schemas as a result;
``call_tool`` calls one of them. A call of ``call_tool`` is turned into a call of the real tool (``real_call``) before
anything judges, records or shows it: rules, ``--tools``, ``--read-only`` and the check of the arguments are those of
the real tool. What may never run here is not found.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING

from agentctl.core.errors import ToolError
from agentctl.core.messages import ToolCall, ToolSpec
from agentctl.core.text import did_you_mean, safe_text
from agentctl.protocols import Effect, OfferAware, OpenToolbox, Tool, Toolbox
from agentctl.tools.toolbox import CALL_TOOL, FIND_TOOLS, SEPARATOR, real_name

if TYPE_CHECKING:  # a run with few tools searches for none
    from agentctl.tools.tool_index import IndexedTool, ToolIndex

MOST_OFFERED, MOST_BYTES = 8, 6_000  # with the two fixed tools
_FOUND, _WITH_SCHEMA = 5, 3
_LONGEST_SCHEMA, _LONGEST_LINE = 4_000, 300  # characters
_MOST_SERVERS = 20  # that the system message names

FIND_SPEC = ToolSpec(
    FIND_TOOLS,
    "Look for more tools by what they should do. Returns five names, and how the best three are called.",
    MappingProxyType(
        {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": 'in English, like "create a branch"'},
                "server": {"type": "string", "description": "only tools from here"},
            },
            "required": ["query"],
        }
    ),
)
CALL_SPEC = ToolSpec(
    CALL_TOOL,
    "Call a tool that find_tools returned.",
    MappingProxyType(
        {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "arguments": {"type": "object", "description": "as its parameters say"},
            },
            "required": ["name", "arguments"],
        }
    ),
)


def defer_tools(
    toolbox: OpenToolbox,
    *,
    task: str,
    servers: Mapping[str, str],
    is_usable: Callable[[Tool], bool],
    first: Collection[str] = (),
    later: Collection[str] = (),
) -> OpenToolbox:
    """Return the tools with those deferred that are too many for a model; ``toolbox`` itself if they all fit.

    ``servers`` maps each tool to the server, or the agent, that it comes from. ``first`` are offered before others, as
    far as they fit; then those come that fit ``task`` best, then the others in the order of the toolbox. Those of
    ``later`` are never offered, only found. What is not ``is_usable`` is neither offered nor found.
    """
    from agentctl.tools.tool_index import IndexedTool, ToolIndex  # noqa: PLC0415 - only with servers

    tools = {name: tool for name in toolbox.names if is_usable(tool := toolbox.get(name))}
    if (
        not any(name in later for name in tools)
        and len(tools) <= MOST_OFFERED
        and sum(map(_size, tools.values())) <= MOST_BYTES
    ):
        return toolbox
    indexed = {name: IndexedTool(tool.spec, servers.get(name, "")) for name, tool in tools.items()}
    index = ToolIndex(indexed.values())
    fitting = [found.spec.name for found in index.find(task, len(tools))]
    offered: list[str] = []
    left = MOST_BYTES - _bytes_of(FIND_SPEC) - _bytes_of(CALL_SPEC)
    for name in dict.fromkeys((*(name for name in first if name in tools), *fitting, *tools)):
        if name in later:
            continue
        if len(offered) < MOST_OFFERED - 2 and (size := _size(tools[name])) <= left:
            offered.append(name)
            left -= size
    deferred = {name: tool for name, tool in indexed.items() if name not in offered}
    return DeferringToolbox(toolbox, offered, FindTools(deferred, index))


def note_of(toolbox: Toolbox) -> str:
    """Return what the system message says of deferred tools, behind the instructions; "" if there are none."""
    return f"\n\n{toolbox.note}" if isinstance(toolbox, DeferringToolbox) else ""


class DeferringToolbox:
    """A toolbox that offers some of its tools, and the two fixed ones for the others."""

    def __init__(self, whole: OpenToolbox, offered: Collection[str], find: FindTools) -> None:
        self._whole, self._find = whole, find
        self.offered = tuple(sorted((*offered, CALL_TOOL, FIND_TOOLS)))
        self._call = CallTool(self)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tools, those that are offered first."""
        return (*self.offered, *(name for name in self._whole.names if name not in self.offered))

    @property
    def note(self) -> str:
        """The line for the model that says how many more tools there are, and where they are from."""
        counts = self._find.servers
        listed = [f"{safe_text(server)} ({count})" for server, count in counts.items()]
        if len(listed) > _MOST_SERVERS:
            listed[_MOST_SERVERS:] = [f"{len(listed) - _MOST_SERVERS} others"]
        return f"{sum(counts.values())} more tools from: {', '.join(listed)}: {FIND_TOOLS}"

    def get(self, name: str) -> Tool:
        """Return the tool.

        Raises:
            ToolError: no such tool here, with the nearest name.
        """
        if name == FIND_TOOLS:
            return self._find
        if name == CALL_TOOL:
            return self._call
        if name not in self._whole.names:
            raise ToolError(f'there is no tool "{safe_text(name)}" here', hint=self.nearest(name))
        return self._whole.get(name)

    def nearest(self, name: str) -> str:
        """Return the hint for a name that no tool has."""
        return did_you_mean(name, self.names) or f"{FIND_TOOLS} looks for tools by what they do"

    def real_call(self, call: ToolCall) -> ToolCall:
        """Return the call that a call of ``call_tool`` means; any other one, and one that means none, is unchanged."""
        if call.name != CALL_TOOL or not isinstance(written := call.arguments.get("name"), str):
            return call
        name, arguments = self._resolve(written), _read_arguments(call.arguments)
        if name is None or arguments is None:
            return call
        return replace(call, name=name, arguments=arguments)

    def _resolve(self, written: str) -> str | None:
        """Return the tool that a model means: by its name, or by a server's own name if only one server has it."""
        known = self.names
        name = real_name(written, known)
        if name in known:
            return None if name == CALL_TOOL else name
        of_servers = [one for one in known if one.partition(SEPARATOR)[2] == name]
        return of_servers[0] if len(of_servers) == 1 else None

    async def aclose(self) -> None:
        """Close the tools."""
        await self._whole.aclose()


class FindTools:
    """The tool that finds those ``deferred``, by name; ``servers`` counts them by where they come from."""

    spec = FIND_SPEC
    effect: Effect = "read"
    contained = True

    def __init__(self, deferred: Mapping[str, IndexedTool], index: ToolIndex) -> None:
        self._deferred, self._index = deferred, index
        self.servers: Mapping[str, int] = Counter(sorted(tool.server for tool in deferred.values()))

    async def prepare(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """Return the arguments, with a server's name as it is.

        Raises:
            ToolError: there is no query, or no such server.
        """
        query, server = arguments.get("query"), arguments.get("server")
        if not isinstance(query, str) or not query.strip():
            raise ToolError(f'{FIND_TOOLS} needs "query", a text', hint='for example {"query": "create a branch"}')
        if not isinstance(server, str) or not server.strip():
            return {"query": query}
        same = next((name for name in self.servers if name.lower() == server.strip().lower()), None)
        if same is None:
            hint = did_you_mean(server, self.servers) or f"tools are from: {', '.join(map(safe_text, self.servers))}"
            raise ToolError(f'no tools are from "{safe_text(server)}"', hint=hint)
        return {"query": query, "server": same}

    async def __call__(self, arguments: Mapping[str, object]) -> str:
        """Return the tools that fit best, with the schemas of the first few.

        Raises:
            ToolError: there is no query, or no such server.
        """
        given = await self.prepare(arguments)
        query, server = str(given["query"]).strip(), given.get("server")
        among = [name for name, tool in self._deferred.items() if server is None or tool.server == server]
        found = dict.fromkeys(tool.spec.name for tool in self._index.find(query, _FOUND, among=frozenset(among)))
        if query in self._deferred:  # its name is known already
            found = {query: None, **found}
        if not found:
            return f"no tool fits {query!r}; say in other words what it should do, or name a server"
        lines = [
            _describe(self._deferred[name].spec, with_schema=place < _WITH_SCHEMA)
            for place, name in enumerate(islice(found, _FOUND))
        ]
        return "\n".join((*lines, f"Call one with {CALL_TOOL}(name, arguments)."))


class CallTool:
    """The tool that models call others by; a call that reaches it means none of them, and only tells so."""

    spec = CALL_SPEC
    effect: Effect = "read"
    contained = True

    def __init__(self, box: DeferringToolbox) -> None:
        self._box = box

    async def prepare(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """Raise ToolError, which says what is wrong with the call."""
        name = arguments.get("name")
        if not isinstance(name, str) or not name.strip():
            raise ToolError(f'{CALL_TOOL} needs "name", that of a tool', hint=f"{FIND_TOOLS} looks for tools")
        if name in self._box.names and name != CALL_TOOL:
            raise ToolError(f'{CALL_TOOL}: "arguments" must be an object', hint=f"as the parameters of {name} say")
        raise ToolError(f'{CALL_TOOL}: there is no tool "{safe_text(name)}"', hint=self._box.nearest(name))

    async def __call__(self, arguments: Mapping[str, object]) -> str:
        """Raise ToolError, as ``prepare`` does."""
        await self.prepare(arguments)
        raise ToolError(f"{CALL_TOOL}: nothing was called", hint=f"{FIND_TOOLS} looks for tools")


def _read_arguments(given: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return the arguments for the real tool, None if they are no object; they may be JSON text, or beside the name."""
    if "arguments" not in given:
        return {name: value for name, value in given.items() if name != "name"}
    found = given["arguments"]
    if isinstance(found, str):
        try:
            found = json.loads(found) if found.strip() else {}
        except (ValueError, RecursionError):
            return None
    if found is None:
        return {}
    return found if isinstance(found, Mapping) else None


def _describe(spec: ToolSpec, *, with_schema: bool) -> str:
    """Return a found tool as the lines that a model reads."""
    said = " ".join(safe_text(spec.description).split())
    line = f"{spec.name}: {said if len(said) <= _LONGEST_LINE else f'{said[: _LONGEST_LINE - 1]}…'}"
    return f"{line}\n  parameters: {_schema_text(spec.parameters)}" if with_schema else line


def _schema_text(schema: Mapping[str, object]) -> str:
    """Return a schema as JSON; of one that is too long, only what its properties are called and which are required."""
    text = safe_text(_json(schema))
    if len(text) <= _LONGEST_SCHEMA:
        return text
    properties, required = schema.get("properties"), schema.get("required")
    names = list(properties) if isinstance(properties, Mapping) else []
    short = safe_text(_json({"properties": names, "required": required or []}))[:_LONGEST_SCHEMA]
    return f"{short} (names only: the schema has {len(text)} characters)"


def _size(tool: Tool) -> int:
    """Return the bytes that the offer of a tool takes of a request."""
    return _bytes_of(tool.offer if isinstance(tool, OfferAware) else tool.spec)


def _bytes_of(spec: ToolSpec) -> int:
    return len(_json(spec._asdict()).encode())


def _json(value: object) -> str:
    return json.dumps(value, default=lambda item: dict(item) if isinstance(item, Mapping) else str(item))
