"""An image fetched from its registry: progress read with bounds, failures told with their cure."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from pydantic import Field

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.core.targets import Target
from agentctl.tools.docker.engine import EngineRefused
from agentctl.tools.docker.images import Reference, parse_reference
from agentctl.tools.docker.images_ import find_image, identity_of, spellings, target_of
from agentctl.tools.docker.responses import Doc, number, text, texts
from agentctl.tools.tables import cell, size
from agentctl.tools.tool import ToolContext
from agentctl.tools.typed import Arguments, TargetLookup, define_tool

_SILENCE_S = 120.0  # the engine writes a line a second while anything arrives; unpacking is silent
_MOST_LINE = 1024 * 1024
_NOT_REACHED = (
    *("no such host", "dial tcp", "i/o timeout", "network is unreachable", "connection refused", "server misbehaving"),
    *("temporary failure", "handshake timeout", "context deadline", "client.timeout", "no route to host", "eof"),
)


class Pull(Arguments):
    """Which image."""

    image: str = Field(description="like redis:7")


async def resolve_reference(_: ToolContext, arguments: Pull) -> Pull:
    """Return the image's familiar name: without ``docker.io/``, ``library/`` and ``:latest``; a digest stays.

    Raises:
        ToolError: this is no image's name.
    """
    return arguments.model_copy(update={"image": str(parse_reference(arguments.image))})


async def _names(context: ToolContext, arguments: Pull) -> Target:
    """Return all names of the image to fetch; a digest that is not here may be any tag of its repository."""
    wanted = parse_reference(arguments.image)
    names = spellings(arguments.image)
    if not wanted.digest:
        return Target("image", names)
    try:
        known = target_of(await find_image(context, str(wanted)))
    except EngineUnavailable:
        return Target("image", names, repository=f"{wanted.domain}/{wanted.path}")
    return known._replace(names=(*names, *known.names), repository=f"{wanted.domain}/{wanted.path}")


@define_tool(Pull, effect="network", resolve=resolve_reference, target=TargetLookup("image", "image", _names))
async def docker_pull(context: ToolContext, arguments: Pull) -> str:
    """Fetch an image from its registry."""
    wanted = parse_reference(arguments.image)
    asked = {"fromImage": f"{wanted.domain}/{wanted.path}", "tag": wanted.digest or wanted.tag}
    last = ""
    try:
        async with context.engine.asking(
            "POST", "images/create", asked, patience=_SILENCE_S, silence_only=True
        ) as answer:
            async for line in progress(answer.pieces):
                if said := text(line, "error") or text(line, "errorDetail", "message"):
                    raise _failed(wanted, said)
                last = text(line, "status") or last
    except EngineRefused as error:
        raise _failed(wanted, error.said) from error
    known = await find_image(context, str(wanted))
    digests = [digest for digest in texts(known, "RepoDigests") if digest.startswith(f"{wanted.name}@")]
    digest = digests[0].partition("@")[2] if digests else "none"
    deed = "was already up to date" if "up to date" in last else "was pulled"
    return f"{wanted} {deed}.\ndigest: {digest}\nid: {identity_of(known)}\nsize: {size(number(known, 'Size'))}"


async def progress(pieces: AsyncIterator[bytes]) -> AsyncIterator[Doc]:
    """Yield the objects of a stream of lines; what is none becomes an empty one.

    Raises:
        EngineUnavailable: a line has no end.
    """
    held = bytearray()
    async for piece in pieces:
        held += piece
        *whole, rest = bytes(held).split(b"\n")
        held = bytearray(rest)
        if len(held) > _MOST_LINE:
            raise EngineUnavailable("The container engine's progress is not understood (a line without an end).")
        for line in whole:
            yield _parsed(line)
    yield _parsed(bytes(held))


def _parsed(line: bytes) -> Doc:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _failed(wanted: Reference, said: str) -> ToolError:
    """Return what went wrong and the cure, from the engine's own words."""
    words, why = said.lower(), cell(" ".join(said.split()), 250)
    if "toomanyrequests" in words or "rate limit" in words:
        return ToolError(
            f"{wanted} was not pulled: {wanted.domain} refuses for now: {why}", hint="wait, or docker login"
        )
    if "no matching manifest" in words:
        return ToolError(f"{wanted} does not exist for this machine: {why}", hint="choose another tag or image")
    if "no space left" in words:
        return ToolError(
            f"{wanted} was not pulled: the disk is full", hint="docker_system_df shows what could be freed"
        )
    if any(reason in words for reason in ("denied", "unauthorized", "authentication required", "no basic auth")):
        return ToolError(
            f"{wanted} was not pulled: {wanted.domain} has no such public image, or wants a login: {why}",
            hint=f"check the name; for a private one, by hand: docker login {wanted.domain} && docker pull {wanted}",
        )
    if "manifest unknown" in words or "not found" in words or "does not exist" in words:
        return ToolError(f"{wanted.domain} has no image {wanted}: {why}", hint="check the name and the tag")
    if any(reason in words for reason in _NOT_REACHED):
        return ToolError(
            f"{wanted} was not pulled: the engine does not reach {wanted.domain}: {why}",
            hint="check the machine's network, DNS and the engine's proxy; docker_images shows what is here already",
        )
    return ToolError(f"{wanted} was not pulled: {why}")


__all__ = ["docker_pull", "progress", "resolve_reference"]
