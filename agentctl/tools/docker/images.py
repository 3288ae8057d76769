"""Tools for images: parse names (``docker.io/library/nginx:latest`` is ``nginx``), resolve, pull and remove images."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from agentctl.core.errors import EngineUnavailable, ToolError
from agentctl.core.impact import Impact
from agentctl.core.targets import Target, image_spellings
from agentctl.tools.docker.client import EngineNotFound, EngineRefused
from agentctl.tools.docker.engine_impact import find_briefly, image_facts
from agentctl.tools.docker.responses import Doc, document, documents, nearest, number, text, texts
from agentctl.tools.tables import cell, plural, size
from agentctl.tools.tool import Arguments, TargetLookup, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

_HUB = "docker.io"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<domain>localhost(?::\d{{1,5}})?|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::\d{{1,5}})?|[A-Za-z0-9-]+:\d{{1,5}}"
    rf"|\[[0-9a-fA-F:]+\](?::\d{{1,5}})?)/)?(?P<path>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_IDENTITY = re.compile(r"(?:sha256:)?[0-9a-f]{4,64}")
_PATIENCE_S = 60.0
_SILENCE_S = 120.0  # the engine sends a line a second while data arrives; unpacking is silent
_MOST_LINE = 1024 * 1024
_NOT_REACHED = (
    *("no such host", "dial tcp", "i/o timeout", "network is unreachable", "connection refused", "server misbehaving"),
    *("temporary failure", "handshake timeout", "context deadline", "client.timeout", "no route to host", "eof"),
)


class Reference(NamedTuple):
    """A parsed image name; ``str()`` is the familiar form, ``name`` the same without tag and digest."""

    domain: str
    path: str
    tag: str
    digest: str = ""

    @property
    def name(self) -> str:
        """The repository, without ``docker.io/`` and ``library/``."""
        if self.domain != _HUB:
            return f"{self.domain}/{self.path}"
        return self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path

    def __str__(self) -> str:
        if self.digest:
            return f"{self.name}@{self.digest}"
        return self.name if self.tag == "latest" else f"{self.name}:{self.tag}"


def parse_reference(text: str) -> Reference:
    """Parse an image's name; without a tag it is ``latest``, and with a digest the tag is ignored.

    Raises:
        ToolError: it is not a valid image name.
    """
    match = _REFERENCE.fullmatch(text) if len(text) <= 500 else None
    if match is None or re.fullmatch(r"[0-9a-f]{64}", text):
        raise ToolError(
            f"{cell(text, 80)!r} is not a valid image name",
            hint="write it like nginx, redis:7 or ghcr.io/owner/app:1.2",
        )
    domain, path = match["domain"] or _HUB, match["path"]
    if domain == f"index.{_HUB}":
        domain = _HUB
    if domain == _HUB and "/" not in path:
        path = f"library/{path}"
    return Reference(domain, path, "" if match["digest"] else match["tag"] or "latest", match["digest"] or "")


def familiar_name(text: str) -> str:
    """Return an image's name in its usual short form, or ``text`` itself if it is not a valid name."""
    try:
        return str(parse_reference(text))
    except ToolError:
        return text


def is_identity(text: str) -> bool:
    """Return whether ``text`` may be an image's id or a prefix of one."""
    return _IDENTITY.fullmatch(text) is not None


class OnImage(Arguments):
    """The arguments of a tool for one image; agentctl sets ``id`` when it resolves ``image``, the model does not."""

    offered = offer_as(image="")

    image: str = Field(description="name or id")
    id: SkipJsonSchema[str | None] = None


class RemoveImage(OnImage):
    """The arguments of docker_rmi."""

    offered = offer_as(force="even if in use")

    force: bool = Field(False, description="also while containers use it")


M = TypeVar("M", bound=OnImage)


async def resolve_image(context: ToolContext, arguments: M) -> M:
    """Return the arguments with the image's familiar name and the first 12 characters of its id.

    Familiar: without ``docker.io/``, ``library/`` and ``:latest`` (``nginx``, ``redis:7``, ``ghcr.io/owner/app:1.2``).
    An id becomes the image's tag; an image without any tag is named by the first 12 characters of its id.

    Raises:
        EngineUnavailable: no image has this name (the hint has the nearest name), or the engine cannot be reached.
        ToolError: the name is invalid, it is an id of several tags, or the given ``id`` is another image's.
    """
    image = await find_image(context, arguments.image)
    identity = identity_of(image)
    if arguments.id is not None and arguments.id != identity:
        what = f"{cell(arguments.image, 80)} has the id {identity}, not {cell(arguments.id, 20)}"
        raise ToolError(what, hint="leave the id out")
    return arguments.model_copy(update={"image": _display_name(image, arguments.image), "id": identity})


async def inspect_resolved_image(context: ToolContext, arguments: OnImage) -> Doc:
    """Return the engine's data on the resolved image.

    Raises:
        EngineUnavailable: the image does not exist, or the engine cannot be reached.
        ToolError: the name refers to another image now.
    """
    image = await find_image(context, arguments.image)
    if arguments.id is not None and arguments.id != identity_of(image):
        raise ToolError(
            f"{cell(arguments.image, 80)} is another image now ({identity_of(image)}, not {cell(arguments.id, 20)})",
            hint="nothing was done; look with docker_images, and ask again",
        )
    return image


async def find_image(context: ToolContext, image: str) -> Doc:
    """Return the engine's data on an image.

    Raises:
        EngineUnavailable: no image has this name, or the engine cannot be reached.
        ToolError: the name is invalid.
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
    """Return every spelling of an image's name: with and without ``docker.io/``, ``library/`` and ``:latest``."""
    try:
        parsed = parse_reference(reference)
    except ToolError:
        return (reference,)
    if not parsed.digest:
        return image_spellings(parsed.domain, parsed.path, parsed.tag)
    return tuple(f"{name}@{parsed.digest}" for name in image_spellings(parsed.domain, parsed.path, ""))


def target_of(image: Doc) -> Target:
    """Return all names of a local image: its tags and digests, its id."""
    references = (*texts(image, "RepoTags"), *texts(image, "RepoDigests"))
    names = tuple(name for reference in references for name in spellings(reference))
    return Target("image", names, text(image, "Id").removeprefix("sha256:"))


async def look_up_image(context: ToolContext, arguments: OnImage) -> Target:
    """Return all names of a resolved image.

    Raises:
        EngineUnavailable: the image is gone, or the engine cannot be reached.
    """
    return target_of(await find_image(context, arguments.image))


IMAGE = TargetLookup("image", "image", look_up_image)


def identity_of(image: Doc) -> str:
    """Return the first 12 characters of an image's id."""
    return text(image, "Id").removeprefix("sha256:")[:12]


async def _impact_of_removal(context: ToolContext, arguments: RemoveImage) -> Impact:
    image, why = await find_briefly(context, f"images/{quote(arguments.id or arguments.image)}/json")
    if image is None:
        return Impact(f"removes the image {arguments.image}", dangers=(f"the image could not be looked at: {why}",))
    tags = [tag for tag in map(familiar_name, texts(image, "RepoTags")) if tag != arguments.image]
    also = (f"only this name goes, the image stays as {cell(', '.join(tags), 300)}",) if tags else ()
    facts = f"{image_facts(image, context)}, {size(number(image, 'Size'))}"
    forced = ("removes it even if containers use it",) if arguments.force else ()
    return Impact(f"removes the image {arguments.image} ({facts})", (*also, *forced))


@define_tool(RemoveImage, effect="destructive", resolve=resolve_image, target=IMAGE, impact=_impact_of_removal)
async def docker_rmi(context: ToolContext, arguments: RemoveImage) -> str:
    """Remove an image."""
    await inspect_resolved_image(context, arguments)
    path = f"images/{quote(arguments.image)}"
    try:
        _, answer = await context.engine.change("DELETE", path, patience=_PATIENCE_S, force=str(int(arguments.force)))
    except EngineNotFound:
        return f"{arguments.image} is gone: it was already removed."
    except EngineRefused as error:
        if error.code != 409:
            raise
        hint = "remove the containers that use it first: docker_ps(all=true), docker_rm"
        raise ToolError(f"{arguments.image} was not removed: {cell(error.reason, 250)}", hint=hint) from error
    entries = documents(answer)
    deleted = sum(1 for entry in entries if text(entry, "Deleted"))
    if not deleted:
        return f"The name {arguments.image} was removed; the image stays, as another name or a container holds it."
    return f"{arguments.image} was removed, with {plural(deleted, 'layer')}."


def _display_name(image: Doc, given: str) -> str:
    tags = [familiar_name(tag) for tag in texts(image, "RepoTags")]
    asked = familiar_name(given)
    if asked in tags:
        return asked
    if not is_identity(given) and "@" in asked:
        return asked
    if len(tags) > 1:
        raise ToolError(
            f"{cell(given, 80)} is an image with {len(tags)} names: {', '.join(tags[:10])}",
            hint="give one of the names",
        )
    return tags[0] if tags else identity_of(image)


class PullImage(Arguments):
    """The arguments of docker_pull."""

    image: str = Field(description="like redis:7")


async def resolve_reference(_: ToolContext, arguments: PullImage) -> PullImage:
    """Return the image's familiar name: without ``docker.io/``, ``library/`` and ``:latest``; a digest stays.

    Raises:
        ToolError: the name is invalid.
    """
    return arguments.model_copy(update={"image": str(parse_reference(arguments.image))})


async def _names(context: ToolContext, arguments: PullImage) -> Target:
    """Return all names of the image to pull; a digest that is not local may be any tag of its repository."""
    wanted = parse_reference(arguments.image)
    names = spellings(arguments.image)
    if not wanted.digest:
        return Target("image", names)
    try:
        target = target_of(await find_image(context, str(wanted)))
    except EngineUnavailable:
        return Target("image", names, repository=f"{wanted.domain}/{wanted.path}")
    return target._replace(names=(*names, *target.names), repository=f"{wanted.domain}/{wanted.path}")


async def _impact_of_pull(context: ToolContext, arguments: PullImage) -> Impact:
    wanted = parse_reference(arguments.image)
    image, _ = await find_briefly(context, f"images/{quote(str(wanted))}/json")
    here = (
        ()
        if image is None
        else (f"the name is here already, and may move to another image ({image_facts(image, context)})",)
    )
    return Impact(f"fetches the image {wanted} from {wanted.domain}", here)


@define_tool(
    PullImage,
    effect="network",
    resolve=resolve_reference,
    target=TargetLookup("image", "image", _names),
    impact=_impact_of_pull,
)
async def docker_pull(context: ToolContext, arguments: PullImage) -> str:
    """Fetch an image from its registry."""
    wanted = parse_reference(arguments.image)
    asked = {"fromImage": f"{wanted.domain}/{wanted.path}", "tag": wanted.digest or wanted.tag}
    before = await _identity_here(context, wanted)
    try:
        async with context.engine.request(
            "POST", "images/create", asked, patience=_SILENCE_S, silence_only=True
        ) as answer:
            async for line in progress(answer.pieces):
                if said := text(line, "error") or text(line, "errorDetail", "message"):
                    raise _pull_error(wanted, said, context.engine.product.program)
    except EngineRefused as error:
        raise _pull_error(wanted, error.reason, context.engine.product.program) from error
    image = await find_image(context, str(wanted))
    digests = [digest for digest in texts(image, "RepoDigests") if digest.startswith(f"{wanted.name}@")]
    digest = digests[0].partition("@")[2] if digests else "none"
    deed = "was already up to date" if identity_of(image) == before else "was pulled"
    return f"{wanted} {deed}.\ndigest: {digest}\nid: {identity_of(image)}\nsize: {size(number(image, 'Size'))}"


async def _identity_here(context: ToolContext, wanted: Reference) -> str:
    try:
        return identity_of(document(await context.engine.get(f"images/{quote(str(wanted))}/json")))
    except EngineNotFound:
        return ""


async def progress(pieces: AsyncIterator[bytes]) -> AsyncIterator[Doc]:
    """Yield the objects in a stream of lines; any other line becomes an empty object.

    Raises:
        EngineUnavailable: a line is too long.
    """
    held = bytearray()
    async for piece in pieces:
        held += piece
        *whole, rest = bytes(held).split(b"\n")
        held = bytearray(rest)
        if len(held) > _MOST_LINE:
            raise EngineUnavailable("The container engine's progress is malformed (a line without an end).")
        for line in whole:
            yield _parse_line(line)
    yield _parse_line(bytes(held))


def _parse_line(line: bytes) -> Doc:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _pull_error(wanted: Reference, said: str, program: str) -> ToolError:
    """Return the error and the hint for a message of the engine."""
    words, why = said.lower(), cell(" ".join(said.split()), 250)
    if "toomanyrequests" in words or "rate limit" in words:
        return ToolError(
            f"{wanted} was not pulled: {wanted.domain} limits the rate of pulls: {why}",
            hint=f"wait, or {program} login",
        )
    if "no matching manifest" in words:
        return ToolError(f"{wanted} has no image for this platform: {why}", hint="choose another tag or image")
    if "no space left" in words:
        return ToolError(
            f"{wanted} was not pulled: the disk is full", hint="docker_system_df shows what could be freed"
        )
    if any(reason in words for reason in ("denied", "unauthorized", "authentication required", "no basic auth")):
        return ToolError(
            f"{wanted} was not pulled: {wanted.domain} has no such public image, or requires a login: {why}",
            hint=f"check the name; for a private one, by hand: {program} login {wanted.domain} && "
            f"{program} pull {wanted}",
        )
    if "manifest unknown" in words or "not found" in words or "does not exist" in words:
        return ToolError(f"{wanted.domain} has no image {wanted}: {why}", hint="check the name and the tag")
    if any(reason in words for reason in _NOT_REACHED):
        return ToolError(
            f"{wanted} was not pulled: the engine cannot reach {wanted.domain}: {why}",
            hint="check the machine's network, DNS and the engine's proxy; docker_images shows what is here already",
        )
    return ToolError(f"{wanted} was not pulled: {why}")
