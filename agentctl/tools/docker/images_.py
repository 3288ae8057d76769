"""Which image is meant, and its removal."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import quote

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.core.targets import Target, image_spellings
from agentctl.tools.docker.engine import EngineNotFound, EngineRefused
from agentctl.tools.docker.images import familiar_name, is_identity, parse_reference
from agentctl.tools.docker.responses import Doc, document, documents, nearest, text, texts
from agentctl.tools.tables import cell, counted
from agentctl.tools.tool import ToolContext
from agentctl.tools.typed import Arguments, TargetLookup, define_tool

_PATIENCE_S = 60.0


class OnImage(Arguments):
    """Which image. ``id`` is ours, not the model's: what ``image`` meant when the call was looked at."""

    image: str = Field(description="name or id")
    id: SkipJsonSchema[str | None] = None


class RemoveImage(OnImage):
    """Which image."""

    force: bool = Field(False, description="also while containers use it")


M = TypeVar("M", bound=OnImage)


async def resolve_image(context: ToolContext, arguments: M) -> M:
    """Return the arguments with the image's familiar name and the first 12 characters of its id.

    Familiar: without ``docker.io/``, ``library/`` and ``:latest`` (``nginx``, ``redis:7``, ``ghcr.io/owner/app:1.2``).
    An id becomes the image's tag; an image without any tag is named by the first 12 characters of its id.

    Raises:
        EngineUnavailable: there is none of this name, with the nearest one, or the engine cannot be asked.
        ToolError: this is no image's name, an id of several tags, or an ``id`` was given that is not this image's.
    """
    known = await find_image(context, arguments.image)
    identity = identity_of(known)
    if arguments.id is not None and arguments.id != identity:
        raise ToolError(f"{cell(arguments.image, 80)} has the id {identity}", hint="leave the id out")
    return arguments.model_copy(update={"image": _called(known, arguments.image), "id": identity})


async def inspect_resolved_image(context: ToolContext, arguments: OnImage) -> Doc:
    """Return what the engine knows about the image that was looked at.

    Raises:
        EngineUnavailable: there is none, or the engine cannot be asked.
        ToolError: its name means another image by now.
    """
    known = await find_image(context, arguments.image)
    if arguments.id is not None and arguments.id != identity_of(known):
        raise ToolError(
            f"{cell(arguments.image, 80)} is another image now ({identity_of(known)}, not {cell(arguments.id, 20)})",
            hint="nothing was done; look with docker_images, and ask again",
        )
    return known


async def find_image(context: ToolContext, image: str) -> Doc:
    """Return what the engine knows about an image.

    Raises:
        EngineUnavailable: there is none of this name; or the engine cannot be asked.
        ToolError: this is no image's name.
    """
    wanted = image if is_identity(image) else str(parse_reference(image))
    try:
        return document(await context.engine.get(f"images/{quote(wanted)}/json"))
    except EngineNotFound:
        pass
    listed = documents(await context.engine.get("images/json"))
    names = sorted({familiar_name(tag) for entry in listed for tag in texts(entry, "RepoTags")})
    near = nearest(wanted, names)
    there = f"there are: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}" if names else "there are none"
    raise EngineUnavailable(
        f"No such image here: {cell(wanted, 80)}." + (f" D{near[1:]}" if near else ""),
        hint=f"to fetch it: docker_pull(image={cell(wanted, 80)}); {there}",
    )


def spellings(reference: str) -> tuple[str, ...]:
    """Return every way to write an image's name: with and without ``docker.io/``, ``library/`` and ``:latest``."""
    try:
        parsed = parse_reference(reference)
    except ToolError:
        return (reference,)
    if not parsed.digest:
        return image_spellings(parsed.domain, parsed.path, parsed.tag)
    return tuple(f"{name}@{parsed.digest}" for name in image_spellings(parsed.domain, parsed.path, ""))


def target_of(known: Doc) -> Target:
    """Return all names of an image that is here: its tags and digests, its id."""
    references = (*texts(known, "RepoTags"), *texts(known, "RepoDigests"))
    names = tuple(name for reference in references for name in spellings(reference))
    return Target("image", names, text(known, "Id").removeprefix("sha256:"))


async def look_up_image(context: ToolContext, arguments: OnImage) -> Target:
    """Return all names of an image that was resolved.

    Raises:
        EngineUnavailable: it is gone, or the engine cannot be asked.
    """
    return target_of(await find_image(context, arguments.image))


IMAGE = TargetLookup("image", "image", look_up_image)


def identity_of(known: Doc) -> str:
    """Return the first 12 characters of an image's id."""
    return text(known, "Id").removeprefix("sha256:")[:12]


@define_tool(RemoveImage, effect="destructive", resolve=resolve_image, target=IMAGE)
async def docker_rmi(context: ToolContext, arguments: RemoveImage) -> str:
    """Remove an image."""
    await inspect_resolved_image(context, arguments)
    path = f"images/{quote(arguments.image)}"
    try:
        _, answer = await context.engine.change("DELETE", path, patience=_PATIENCE_S, force=str(int(arguments.force)))
    except EngineNotFound:
        return f"{arguments.image} is gone: somebody else removed it."
    except EngineRefused as error:
        if error.code != 409:
            raise
        hint = "docker_ps(all=true) shows who uses it; docker_rm that first"
        raise ToolError(f"{arguments.image} was not removed: {cell(error.said, 250)}", hint=hint) from error
    entries = documents(answer)
    deleted = sum(1 for entry in entries if text(entry, "Deleted"))
    if not deleted:
        return f"The name {arguments.image} was removed; the image stays, as another name or a container holds it."
    return f"{arguments.image} was removed, with {counted(deleted, 'layer')}."


def _called(known: Doc, given: str) -> str:
    tags = [familiar_name(tag) for tag in texts(known, "RepoTags")]
    asked = familiar_name(given)
    if asked in tags:
        return asked
    if not is_identity(given) and "@" in asked:
        return asked
    if len(tags) > 1:
        raise ToolError(
            f"{cell(given, 80)} is an image of {len(tags)} names: {', '.join(tags[:10])}", hint="give one of the names"
        )
    return tags[0] if tags else identity_of(known)


__all__ = [
    "IMAGE",
    "OnImage",
    "docker_rmi",
    "find_image",
    "identity_of",
    "inspect_resolved_image",
    "resolve_image",
    "spellings",
    "target_of",
]
