"""Hand a task to another agent: the tool by which a model starts a run below its own.

The tool itself changes nothing, so it counts as a read: what the other agent's tools do is judged there, by the same
rules and with the same person to ask. Whether a run has the tool at all is not the model's choice: its agent lists it,
and the run is not too deep below another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Protocol

from pydantic import Field, WithJsonSchema

from agentctl.core.errors import ToolError
from agentctl.core.limits import Dollars
from agentctl.core.results import DelegatedRun, FileNotice
from agentctl.core.text import did_you_mean
from agentctl.tools.tool import Arguments, BoundTool, TypedTool
from agentctl.tools.toolbox import ToolContext

_MOST_NAMED = 12  # agents whose descriptions a model reads with each request
_LONGEST = 100  # characters of a description


class Delegate(Protocol):
    """Runs the tasks of other agents, each as a run below the one that asks."""

    @property
    def agents(self) -> Mapping[str, str]:
        """The agents that take tasks, and what each is for."""
        ...

    def runs(self) -> tuple[DelegatedRun, ...]:
        """Return the runs so far that have ended."""
        ...

    def unreported(self) -> tuple[FileNotice, ...]:
        """Return the notices of runs that gave no result; each is returned once."""
        ...

    async def __call__(self, agent: str, task: str, max_cost: Decimal | None) -> str:
        """Run ``task`` and return the text that the model reads, with the notices of what it changed.

        Raises:
            ToolError: the run failed.
            ActionDenied: a call was denied that it needed.
        """
        ...


_Dollars = Annotated[
    Dollars,
    WithJsonSchema({"type": "number", "minimum": 0, "description": "in US dollars (default: what this run has left)"}),
]


class DelegateArguments(Arguments):
    """The arguments of ``delegate``."""

    agent: str
    task: Annotated[str, Field(description="all that the agent needs to know: it sees nothing else of this run")]
    max_cost: _Dollars | None = None


async def _delegate(context: ToolContext, arguments: DelegateArguments) -> str:
    """Hand a task to another agent, which works on it with its own tools, and return its answer."""
    if context.delegate is None:
        raise ToolError("this run cannot delegate: its agent does not list the tool delegate", hint="do it yourself")
    return await context.delegate(arguments.agent, arguments.task, arguments.max_cost)


async def _resolve(context: ToolContext, arguments: DelegateArguments) -> DelegateArguments:
    agents = {} if context.delegate is None else context.delegate.agents
    if context.delegate is not None and arguments.agent not in agents:
        hint = did_you_mean(arguments.agent, agents) or f"known agents: {', '.join(agents)}"
        raise ToolError(f'no agent is called "{arguments.agent[:80]}"', hint=hint)
    return arguments


class _DelegateTool(TypedTool[DelegateArguments]):
    """The tool, whose description names the agents that a run can delegate to."""

    __slots__ = ()

    def at(self, context: ToolContext) -> BoundTool[DelegateArguments]:
        """Return the tool bound to ``context``."""
        if context.delegate is None:
            return BoundTool(self, context)
        named = [
            f"{name} ({about[:_LONGEST]})" if place < _MOST_NAMED else name
            for place, (name, about) in enumerate(context.delegate.agents.items())
        ]
        return BoundTool(self._replace(description=f"{self.description} Agents: {', '.join(named)}."), context)


delegate = _DelegateTool(
    name="delegate",
    description=(_delegate.__doc__ or "").strip(),
    arguments=DelegateArguments,
    act=_delegate,
    effect="read",
    resolve=_resolve,
)
