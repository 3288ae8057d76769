"""Which container is meant: a name or an id becomes the true name and the id before anybody decides about it."""

from __future__ import annotations

import re
from typing import TypeVar
from urllib.parse import quote

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from agentctl.errors import ToolError
from agentctl.tools.answers import Doc, document, text
from agentctl.tools.bench import Bench
from agentctl.tools.container import inspect
from agentctl.tools.engine import NotThere
from agentctl.tools.table import cell
from agentctl.tools.typed import Arguments


class OnContainer(Arguments):
    """Which container. ``id`` is ours, not the model's: what ``name`` meant when the call was looked at."""

    name: str = Field(description="name or id")
    id: SkipJsonSchema[str | None] = None


C = TypeVar("C", bound=OnContainer)


async def the_container(bench: Bench, arguments: C) -> C:
    """Return the arguments with the container's true name (no slash) and the first 12 characters of its id.

    Raises:
        EngineUnavailable: there is none of this name, with the nearest one.
        ToolError: an ``id`` was given that is not this container's.
    """
    known = await inspect(bench, arguments.name)
    name, identity = text(known, "Name").removeprefix("/"), text(known, "Id")[:12]
    if arguments.id is not None and arguments.id[:12] != identity:
        raise ToolError(f"{cell(name)} has the id {identity}, not {cell(arguments.id, 20)}", hint="leave the id out")
    return arguments.model_copy(update={"name": name or identity, "id": identity})


async def the_very(bench: Bench, arguments: OnContainer) -> Doc:
    """Return what the engine knows about the container that was looked at, and about no other of the same name.

    Raises:
        EngineUnavailable: there is none, or the engine cannot be asked.
        ToolError: it is gone or has another name by now.
    """
    if arguments.id is None:
        return await inspect(bench, arguments.name)
    name = cell(arguments.name)
    look = "nothing was done; look with docker_ps(all=true) what is there now, and ask again"
    if re.fullmatch(r"[0-9a-f]{12,64}", arguments.id) is None:
        raise ToolError(f"{cell(arguments.id, 20)!r} is no container's id", hint="leave the id out")
    try:
        known = document(await bench.engine.get(f"containers/{quote(arguments.id)}/json"))
    except NotThere as error:
        raise ToolError(f"{name} ({arguments.id}) is gone: it was removed after this was asked", hint=look) from error
    if text(known, "Name").removeprefix("/") != arguments.name and not text(known, "Id").startswith(arguments.name):
        raise ToolError(f"{name} ({arguments.id}) has got another name: {cell(text(known, 'Name')[1:])}", hint=look)
    return known


def path_of(known: Doc, *more: str) -> str:
    """Return the engine's path of a container, by its whole id."""
    return "/".join(["containers", quote(text(known, "Id"), safe=""), *more])


__all__ = ["OnContainer", "path_of", "the_container", "the_very"]
