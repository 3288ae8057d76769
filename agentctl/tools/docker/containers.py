"""Which container is meant: a name or an id becomes the true name and the id before anybody decides about it."""

from __future__ import annotations

import re
from typing import TypeVar
from urllib.parse import quote

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.core.targets import Target
from agentctl.tools.docker.engine import EngineNotFound
from agentctl.tools.docker.responses import Doc, document, documents, names_of, nearest, text
from agentctl.tools.tables import cell
from agentctl.tools.tool import ToolContext
from agentctl.tools.typed import Arguments, TargetLookup

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class OnContainer(Arguments):
    """Which container. ``id`` is ours, not the model's: what ``name`` meant when the call was looked at."""

    name: str = Field(description="name or id")
    id: SkipJsonSchema[str | None] = None


C = TypeVar("C", bound=OnContainer)


async def resolve_container(context: ToolContext, arguments: C) -> C:
    """Return the arguments with the container's true name (no slash) and the first 12 characters of its id.

    Raises:
        EngineUnavailable: there is none of this name, with the nearest one.
        ToolError: an ``id`` was given that is not this container's.
    """
    known = await inspect(context, arguments.name)
    name, identity = text(known, "Name").removeprefix("/"), text(known, "Id")[:12]
    if arguments.id is not None and arguments.id[:12] != identity:
        raise ToolError(f"{cell(name)} has the id {identity}, not {cell(arguments.id, 20)}", hint="leave the id out")
    return arguments.model_copy(update={"name": name or identity, "id": identity})


async def inspect_resolved(context: ToolContext, arguments: OnContainer) -> Doc:
    """Return what the engine knows about the container that was looked at, and about no other of the same name.

    Raises:
        EngineUnavailable: there is none, or the engine cannot be asked.
        ToolError: it is gone or has another name by now.
    """
    if arguments.id is None:
        return await inspect(context, arguments.name)
    name = cell(arguments.name)
    look = "nothing was done; look with docker_ps(all=true) what is there now, and ask again"
    if re.fullmatch(r"[0-9a-f]{12,64}", arguments.id) is None:
        raise ToolError(f"{cell(arguments.id, 20)!r} is no container's id", hint="leave the id out")
    try:
        known = await _by_id(context, arguments.id)
    except EngineNotFound as error:
        raise ToolError(f"{name} ({arguments.id}) is gone: it was removed after this was asked", hint=look) from error
    if text(known, "Name").removeprefix("/") != arguments.name and not text(known, "Id").startswith(arguments.name):
        raise ToolError(f"{name} ({arguments.id}) has got another name: {cell(text(known, 'Name')[1:])}", hint=look)
    return known


async def inspect(context: ToolContext, container: str) -> Doc:
    """Return what the engine knows about one container.

    Raises:
        EngineUnavailable: there is none of this name, with the nearest one; or the engine cannot be asked.
    """
    if _NAME.fullmatch(container):
        try:
            return document(await context.engine.get(f"containers/{quote(container.removeprefix('/'))}/json"))
        except EngineNotFound:
            pass
    names = [
        name for entry in documents(await context.engine.get("containers/json", all="1")) for name in names_of(entry)
    ]
    sentence = f"No such container: {cell(container, 80)}."
    if near := nearest(container, names):
        sentence += f" D{near[1:]}"
    there = f"there are: {', '.join(sorted(names)[:20])}" if names else "there are no containers at all"
    raise EngineUnavailable(sentence, hint=f"{there}{', …' if len(names) > 20 else ''}   (docker ps -a)")


async def _by_id(context: ToolContext, identity: str) -> Doc:
    """Return the container whose id begins with ``identity``, also where another one has that as its name.

    Raises:
        NotThere: there is none.
    """
    known = document(await context.engine.get(f"containers/{quote(identity)}/json"))
    if text(known, "Id").startswith(identity):
        return known
    # The engine looks for names before it looks for the beginnings of ids: a name may be made to look like one.
    for entry in documents(await context.engine.get("containers/json", all="1")):
        if text(entry, "Id").startswith(identity):
            return document(await context.engine.get(f"containers/{quote(text(entry, 'Id'))}/json"))
    raise EngineNotFound(f"No container has the id {identity}.", code=404, said="no such id")


async def _names(context: ToolContext, arguments: OnContainer) -> Target:
    """Return the names of a container that was resolved."""
    return Target("container", (arguments.name,), arguments.id or "")


CONTAINER = TargetLookup("name", "container", _names)


def path_of(known: Doc, *more: str) -> str:
    """Return the engine's path of a container, by its whole id."""
    return "/".join(["containers", quote(text(known, "Id"), safe=""), *more])


__all__ = ["CONTAINER", "OnContainer", "inspect", "inspect_resolved", "path_of", "resolve_container"]
