"""Check what an agent of Python code is made of: a name, instructions, and tools.

A tool is a function made with ``@tool``, or the name of one of agentctl's own or of a package's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentctl.core.errors import UsageError


def own_spec(name: object, instructions: object, tools: object) -> tuple[Any, Mapping[str, Any]]:
    """Return the ``AgentSpec`` of an agent, and the tools (``TypedTool``) that are functions, by name.

    Raises:
        UsageError: the name is none, there are no instructions, or a tool is none.
    """
    from agentctl.runner.agent_spec import MOST_TOOLS, NAME, AgentSpec  # noqa: PLC0415 - importing loads nothing
    from agentctl.tools.function_tool import FunctionTool  # noqa: PLC0415
    from agentctl.tools.toolbox import is_tool, nearest_tool  # noqa: PLC0415

    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for an agent", hint="use up to 64 letters, digits, hyphens and underscores"
        )
    if not isinstance(instructions, str) or not instructions.strip():
        raise UsageError(f"the instructions cannot be {instructions!r}", hint="say in words what the agent is for")
    if isinstance(tools, str) or not isinstance(tools, Sequence):
        raise UsageError(f"tools must be a list, not {tools!r}", hint='for example: tools=["read_file", my_tool]')
    found: dict[str, Any] = {}
    for one in tools:
        if isinstance(one, FunctionTool):
            if one.name in found:
                raise UsageError(
                    f"two tools are called {one.name}", hint='name one: @tool(effect="read", name="other")'
                )
            found[one.name] = one.typed
        elif not isinstance(one, str):
            raise UsageError(f"{one!r} is no tool", hint='put @tool(effect="read") before its def')
        elif not is_tool(one):
            raise UsageError(f"there is no tool {one!r}", hint=nearest_tool(one))
        else:
            found.setdefault(one, None)
    if len(found) > MOST_TOOLS:
        raise UsageError(f"{len(found)} tools; an agent has at most {MOST_TOOLS}", hint="make two agents of it")
    place = f"Agent({name!r})"
    spec = AgentSpec(name, name, instructions.strip(), tools=tuple(found), origin="file", place=place)
    return spec, {named: typed for named, typed in found.items() if typed is not None}
