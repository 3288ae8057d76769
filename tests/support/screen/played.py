"""Tools and a model to look at: they take their time, or wait to be let on.

``STORY_PACE`` is the seconds of one beat, ``STORY_MODEL`` the name of the model; the prices are those of gpt-4-turbo.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio

from agentctl.core.errors import ToolError
from agentctl.core.messages import Completion, Delta, Request, ToolCall, Usage
from agentctl.core.pricing import ModelFacts, Price
from agentctl.protocols import Tool
from agentctl.tools.docker.client import DockerEngine
from agentctl.tools.tool import Arguments, define_tool
from agentctl.tools.toolbox import ToolContext

PACE = float(os.environ.get("STORY_PACE", "0"))
FACTS = ModelFacts(
    provider="openai",
    model=os.environ.get("STORY_MODEL", "gpt-4o-mini"),
    price=Price(Decimal(10), Decimal(30), source="story"),
    context_window=128_000,
    output_ceiling=16_384,
)
HOSTILE = 'web\x1b[2J\u202e"\n\nMay docker_ps run?\nAllow it? y' + " x" * 300
SAID = (
    "I looked at the four containers. Three of them are healthy; **web** is not: it stopped answering its health "
    "check four minutes ago, and its log repeats `connection refused` to the database since then.\n\n"
    "A restart opens its connections anew."
)
FOUND = (
    "I looked at the four containers. Three of them are healthy; web is not: it stopped answering its health "
    "check four minutes ago, and since then its log repeats that the database refuses connections."
)
DONE = """\
**web** is healthy again.

| container | before    | now     |
|-----------|-----------|---------|
| web       | unhealthy | healthy |
| db        | healthy   | healthy |

- It had lost its connection to `db:5432`.
- If it comes back: `docker logs --since 10m web`
"""
HALF = DONE.index("unhealthy")


class Look(Arguments):
    all: bool = False
    since: int = 0


class Named(Arguments):
    name: str


@define_tool(Look)
async def docker_ps(context: ToolContext, given: Look) -> str:
    """List containers."""
    await anyio.sleep(20 * PACE)
    return "NAME  STATE\nweb   running (unhealthy)\ndb    running (healthy)"


@define_tool(Named, effect="write")
async def docker_restart(context: ToolContext, given: Named) -> str:
    """Restart a container."""
    await anyio.sleep(20 * PACE)
    (context.workspace / "restarted").touch()
    return f"{given.name} restarted"


@define_tool(Named, effect="destructive")
async def docker_rm(context: ToolContext, given: Named) -> str:
    """Remove a container."""
    (context.workspace / "removed").touch()
    return f"{given.name} removed"


@define_tool(Look)
async def wait(context: ToolContext, given: Look) -> str:
    """Wait until somebody makes the file ``go``."""
    await until_let_on()
    return "waited"


async def until_let_on() -> None:
    """Report that this point is reached, and wait for permission to go on."""
    Path("reached").touch()
    while not Path("go").exists():  # noqa: ASYNC110 - another process makes it
        await anyio.sleep(0.01)


async def gate(request: Request) -> None:
    await until_let_on()


async def stand_fast(request: Request) -> None:
    """Report the cancellation, and go on."""
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        Path("unmoved").touch()
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()
        raise


class Box:
    """A toolbox of these."""

    def __init__(self, workspace: Path) -> None:
        context = ToolContext(workspace, DockerEngine(None, named_by="DOCKER_HOST"), lambda: datetime.now(UTC))
        tools = (docker_ps, docker_restart, docker_rm, wait)
        self._tools: dict[str, Tool] = {tool.name: tool.at(context) for tool in tools}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tools)

    def get(self, name: str) -> Tool:
        if name not in self._tools:
            raise ToolError(f"there is no tool {name}")
        return self._tools[name]

    async def aclose(self) -> None:
        return None


async def beat(request: Request) -> None:
    await anyio.sleep(PACE)


def streamed(text: str, *calls: ToolCall, tokens: tuple[int, int, int] = (2100, 160, 0)) -> Sequence[Any]:
    """Return a step that streams ``text`` word by word, a beat between two, and then makes its calls."""

    def pieces() -> Iterator[Any]:
        for word in text.split(" "):
            yield Delta(word + " ")
            yield beat

    usage = Usage(tokens[0], tokens[1], cached_input_tokens=tokens[2])
    return (*pieces(), Completion(text=text, tool_calls=calls, usage=usage, stop="tool_calls" if calls else "stop"))


def call(name: str, /, **arguments: object) -> ToolCall:
    return ToolCall(f"call-{name}", name, arguments)


RESTART = [
    streamed("Let me look at the containers first.", call("docker_ps", all=True)),
    streamed(SAID, call("docker_restart", name="web"), tokens=(2700, 310, 2048)),
    streamed(DONE, tokens=(3300, 220, 2560)),
]
STORIES: dict[str, list[Any]] = {
    "restart": RESTART,
    "again": [*RESTART[:2], streamed("Once more.", call("docker_restart", name="web")), streamed("Twice restarted.")],
    "busy": [
        streamed("Let me look at the containers first.", call("docker_ps", all=True)),
        streamed(FOUND, call("docker_restart", name="web"), tokens=(2700, 310, 2048)),
        streamed(DONE, tokens=(3300, 220, 2560)),
    ],
    "remove": [streamed("", call("docker_rm", name="web-old")), streamed("It is gone.")],
    "hostile": [streamed("", call("docker_rm", name=HOSTILE)), streamed("Tried.")],
    "waiting": [streamed("", call("wait")), streamed("", call("docker_restart", name="web")), streamed("Done.")],
    "streaming": [(Delta("The first half\n"), gate, Completion("The first half\nand the rest", usage=Usage(100, 10)))],
    "halfway": [(Delta(DONE[:HALF]), gate, Delta(DONE[HALF:]), Completion(DONE, usage=Usage(100, 10)))],
    "stuck": [(Delta("The first half\n"), gate)],
    "stubborn": [(Delta("The first half\n"), stand_fast)],
    "costly": [streamed(f"Step {n}.", call("docker_ps", since=n), tokens=(6000 + n, 400, 512)) for n in range(40)],
    "markdown": [streamed(DONE)],
    "plain": [streamed("42 containers\nof which 7 run")],
}
