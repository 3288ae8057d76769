"""Parts of the tests of the loop: small tools, a toolbox, and an observer that records."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import anyio.lowlevel

from agentctl.core.errors import ToolError
from agentctl.core.events import Event, Record
from agentctl.core.messages import Completion, ToolCall, ToolSpec, Usage
from agentctl.protocols import Effect, Tool

E = TypeVar("E")
Act = Callable[[Mapping[str, object]], "str | Awaitable[str]"]
USED = Usage(200, 20)  # without usage an answer is in doubt, and two doubts in a row make a provider rest


@dataclass(slots=True)
class Deed:
    """A tool made of a function; ``given`` remembers the arguments of each call."""

    name: str
    act: Act
    effect: Effect = "read"
    given: list[Mapping[str, object]] = field(default_factory=list)
    contained: bool = False
    parameters: Mapping[str, object] = field(default_factory=lambda: {"type": "object"})

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(self.name, f"Does {self.name}.", self.parameters)

    async def prepare(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        return arguments

    async def __call__(self, arguments: Mapping[str, object]) -> str:
        self.given.append(arguments)
        said = self.act(arguments)
        return await said if inspect.isawaitable(said) else said


class Box:
    """A toolbox of deeds; ``closed`` counts how often it was closed."""

    def __init__(self, *deeds: Tool) -> None:
        self._deeds = {deed.spec.name: deed for deed in deeds}
        self.closed = 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._deeds)

    def get(self, name: str) -> Tool:
        if name not in self._deeds:
            raise ToolError(f'there is no tool "{name}" here', hint=f"there are: {', '.join(self._deeds)}")
        return self._deeds[name]

    async def aclose(self) -> None:
        self.closed += 1


class Diary:
    """An observer that keeps every record, and every event that is emitted to it directly."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.events: list[Event] = []

    async def observe(self, record: Record) -> None:
        self.records.append(record)
        await self.emit(record.event)

    async def emit(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


def call(name: str, call_id: str = "", /, **arguments: object) -> ToolCall:
    """A tool call; without an id its name is its id."""
    return ToolCall(call_id or name, name, arguments)


def asks(*calls: ToolCall, text: str = "") -> Completion:
    """An answer that asks for tools."""
    return Completion(text=text, tool_calls=calls, stop="tool_calls", usage=USED)


def says(text: str) -> Completion:
    """An answer in words."""
    return Completion(text=text, usage=USED)


def fails(error: Exception) -> Act:
    """What a tool does that always fails."""

    def act(arguments: Mapping[str, object]) -> str:
        raise error

    return act
