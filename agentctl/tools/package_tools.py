"""Tools of other packages: the entry points of the group ``agentctl.tools``, each loaded when a run names it.

The name of an entry point is that of its tool. One that cannot be loaded is left out with a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

from agentctl.core.text import safe_text
from agentctl.tools.toolbox import TOOLS

if TYPE_CHECKING:
    from agentctl.tools.tool import TypedTool

GROUP = "agentctl.tools"


class PackageTool(NamedTuple):
    """A tool of a package; ``problem`` says why it cannot be used, "" if it can."""

    name: str
    tool: TypedTool[Any] | None = None
    problem: str = ""


@cache
def package_tool_names() -> Mapping[str, EntryPoint]:
    """Return the entry point of each tool that a package has; nothing is loaded. Names of our own tools are not."""
    return {found.name: found for found in entry_points(group=GROUP) if found.name not in TOOLS}


@cache
def load_package_tool(name: str) -> PackageTool:
    """Load the tool that an entry point names, whatever its package does then."""
    from agentctl.tools.function_tool import FunctionTool  # noqa: PLC0415 - with the first of these tools

    entry = package_tool_names()[name]
    source = entry.dist.name if entry.dist is not None else entry.value
    said = safe_text(f"the tool {name} of {source}")
    try:
        loaded = entry.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a package's own code
        detail = safe_text(str(error)).partition("\n")[0]
        return PackageTool(name, problem=f"{said} cannot be loaded: {type(error).__name__}: {detail}")
    if not isinstance(loaded, FunctionTool):
        return PackageTool(name, problem=f"{said} is no tool: {entry.value} is not made with @tool")
    if loaded.name != name:
        return PackageTool(name, problem=f"{said} is no tool: {entry.value} is called {loaded.name}")
    return PackageTool(name, loaded.typed)


def broken_tools(names: Iterable[str], own: Mapping[str, object]) -> Mapping[str, str]:
    """Return the names of packages' tools that cannot be used, and why."""
    found = {}
    for name in names:
        if name not in TOOLS and name not in own and name in package_tool_names():
            problem = load_package_tool(name).problem
            if problem:
                found[name] = problem
    return found


def find_tool(name: str, own: Mapping[str, Any]) -> TypedTool[Any] | None:
    """Return a tool that is not one of ours, of Python code (``own``) or of a package; None: there is none."""
    if name in own:
        found: TypedTool[Any] = own[name]
        return found
    return load_package_tool(name).tool if name in package_tool_names() else None
