"""Does what one turn asked for: each tool call becomes a result, or the reason why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import anyio

from agentctl.admission import Admission
from agentctl.context import cut_middle
from agentctl.errors import ActionDenied, AgentctlError, InternalError, SandboxUnavailable, ToolError
from agentctl.events import Emit, ToolDenied, ToolFinished, ToolStarted
from agentctl.messages import ToolCall, ToolSpec
from agentctl.policy import LoopLimits
from agentctl.protocols import Tool, Toolbox
from agentctl.results import ErrorInfo, ToolCount

Result = str | AgentctlError


def told(result: Result) -> str:
    """Return what the model reads about a call."""
    if isinstance(result, str):
        return result
    word = "denied" if isinstance(result, ActionDenied) else "error"
    return f"{word}: {result.message}" + (f"\nhint: {result.hint}" if result.hint else "")


class Dispatch:
    """The tools of one run behind their door; counts what was called, failed and denied.

    ``left_out`` says why a tool is not there that a boundary here would have brought.
    """

    def __init__(
        self,
        *,
        toolbox: Toolbox,
        admission: Admission,
        emit: Emit,
        limits: LoopLimits,
        left_out: Mapping[str, SandboxUnavailable] | None = None,
    ) -> None:
        self._toolbox, self._admission, self._emit, self._limits = toolbox, admission, emit, limits
        self._left_out = left_out or {}
        self._called, self._failed, self._denied = Counter[str](), Counter[str](), Counter[str]()

    @property
    def counts(self) -> tuple[ToolCount, ...]:
        """How often each tool was called, refusals aside."""
        return tuple(ToolCount(name, times, self._failed[name]) for name, times in self._called.items() if times)

    @property
    def denied(self) -> tuple[str, ...]:
        """The names that were refused."""
        return tuple(self._denied)

    def offered(self) -> tuple[ToolSpec, ...]:
        """Return what a model reads about the tools that it may use."""
        tools = [self._toolbox.get(name) for name in self._toolbox.names]
        return tuple(tool.spec for tool in tools if self._admission.offers(tool))

    async def run(self, calls: Sequence[ToolCall], refused: Mapping[str, str]) -> list[Result]:
        """Return the results in the order of the calls; reads run side by side, a turn with anything else in order.

        ``refused`` says why a call (by id) must not reach its tool. Only observers can make this raise.
        """
        for call in calls:
            self._called[call.name] += 0  # in the order of the calls, whichever begins first
        found = [self._find(call, refused.get(call.id)) for call in calls]
        if any(not isinstance(tool, AgentctlError) and tool.effect != "read" for tool in found):
            return [await self._one(call, tool) for call, tool in zip(calls, found, strict=True)]
        results: dict[int, Result] = {}
        broken: list[Exception] = []
        at_once = anyio.CapacityLimiter(self._limits.reads_at_once)

        async def one(place: int) -> None:
            try:
                async with at_once:
                    results[place] = await self._one(calls[place], found[place])
            except Exception as error:  # noqa: BLE001 - raised below, as itself and not in a group
                broken.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for place in range(len(calls)):
                group.start_soon(one, place)
        if broken:
            raise broken[0]
        return [results[place] for place in range(len(calls))]

    def _find(self, call: ToolCall, refusal: str | None) -> Tool | AgentctlError:
        if refusal:
            return ToolError(refusal)
        if call.name in self._left_out:
            return self._left_out[call.name]
        try:
            return self._toolbox.get(call.name)
        except ToolError as error:
            return error

    async def _one(self, asked: ToolCall, tool: Tool | AgentctlError) -> Result:
        admitted = tool if isinstance(tool, AgentctlError) else await self._admission.admit(asked, tool)
        if isinstance(admitted, ActionDenied):
            self._denied[asked.name] += 1
            await self._emit(ToolDenied(asked, admitted.message))
            return admitted
        call = asked if isinstance(admitted, AgentctlError) else admitted
        self._called[call.name] += 1
        await self._emit(ToolStarted(call))
        started = anyio.current_time()
        result = await _use(tool, admitted)
        error = None
        if isinstance(result, str):
            result = cut_middle(result, self._limits.result_tokens)
        else:
            self._failed[call.name] += 1
            error = ErrorInfo(result.kind, result.message, result.hint)
        await self._emit(ToolFinished(call, told(result), anyio.current_time() - started, error))
        return result


async def _use(tool: Tool | AgentctlError, call: ToolCall | AgentctlError) -> Result:
    if isinstance(tool, AgentctlError):
        return tool
    if isinstance(call, AgentctlError):
        return call
    try:
        return await tool(call.arguments)
    except AgentctlError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a tool's own bug is told to the model and stands in the event
        return InternalError(f"{call.name} failed inside: {type(error).__name__}: {error}", hint="do without it")
