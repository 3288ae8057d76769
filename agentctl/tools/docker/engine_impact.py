"""Describe what a change of a container or an image would do, by what the engine says at that moment.

The engine is asked with a short patience: a question must not wait for an engine that hangs. What it does not answer
is said as a danger, never left out. The container is the one that the call was resolved to, by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

import anyio

from agentctl.core.errors import EngineUnavailable
from agentctl.core.impact import Impact
from agentctl.tools.docker.containers import OnContainer, inspect_resolved
from agentctl.tools.docker.dangers import UNCHECKED, dangers_of, named_volumes
from agentctl.tools.docker.listings import ago, short_image
from agentctl.tools.docker.responses import Doc, document, fields, has_process, many, moment, text, texts
from agentctl.tools.tables import cell, span
from agentctl.tools.toolbox import ToolContext

PATIENCE_S = 3.0

More = Callable[[Doc], tuple[str, ...]]


async def container_impact(
    context: ToolContext,
    arguments: OnContainer,
    verb: str,
    *,
    details: More = lambda container: (),
    risky: bool = True,
) -> Impact:
    """Return the impact of a call on a resolved container: ``verb``, the container, ``details`` and its dangers.

    ``risky``: the call lets processes of the container run, so what they can do to the machine is told.

    Raises:
        ToolError: the container is gone, or its name has changed.
    """
    name = cell(arguments.name, 120)
    does = f"{verb} the container {name} (id {arguments.id or 'unknown'})"
    volumes: Mapping[str, Doc] = {}
    container: Doc | None = None
    try:
        with anyio.fail_after(PATIENCE_S):
            container = await inspect_resolved(context, arguments)
            if risky:
                volumes = await _volumes(context, container)
    except TimeoutError:
        why = f"the engine did not answer within {PATIENCE_S:g} s"
        if container is None:
            return Impact(does, dangers=(f"{UNCHECKED}: {why}",))
    except EngineUnavailable as error:
        return Impact(does, dangers=(f"{UNCHECKED}: {cell(error.message, 200).rstrip('.')}",))
    dangers = dangers_of(container, volumes, context.engine.address.path) if risky else ()
    return Impact(f"{verb} the container {describe(container, context)}", details(container), dangers)


async def _volumes(context: ToolContext, container: Doc) -> Mapping[str, Doc]:
    """Return the engine's data on the volumes that a container mounts; those that cannot be had are left out."""
    found: dict[str, Doc] = {}
    for name in named_volumes(container):
        try:
            found[name] = document(await context.engine.get(f"volumes/{quote(name, safe='')}"))
        except EngineUnavailable:
            continue
    return found


def describe(container: Doc, context: ToolContext) -> str:
    """Return a container's name with its id, image and state: ``web (id 3f2a…, image nginx:1.27, running for 4 d)``."""
    name = cell(text(container, "Name").removeprefix("/") or "-", 120)
    image, image_id = short_image(text(container, "Config", "Image")), text(container, "Image").removeprefix("sha256:")
    named = f"image {cell(image, 120)}" if image and not image_id.startswith(image) else "image"
    parts = [f"id {text(container, 'Id')[:12]}", f"{named} {image_id[:12]}".rstrip(), _state(container, context)]
    return f"{name} ({', '.join(parts)})"


def _state(container: Doc, context: ToolContext) -> str:
    state, now = fields(container, "State"), context.now()
    word = cell(text(state, "Status") or "in an unknown state", 40)
    if has_process(state):
        began = moment(state, "StartedAt")
        return f"{word} for {span((now - began).total_seconds())}" if began else word
    ended = moment(state, "FinishedAt")
    return f"{word}, ended {ago(ended, now)}" if ended else word


def removed_volumes(container: Doc, *, volumes: bool) -> tuple[str, ...]:
    """Return what a removal does to the volumes of a container: which are deleted, and which stay."""
    mounted = [text(entry, "Name") for entry in many(container, "Mounts") if text(entry, "Type") == "volume"]
    anonymous = [name for name in mounted if is_anonymous(name)]
    gone = anonymous if volumes else []
    kept = [name for name in mounted if name not in gone]
    said = [f"deletes its anonymous volumes: {', '.join(name[:12] for name in gone)}"] if gone else []
    said += [f"its volumes stay: {cell(', '.join(name[:40] for name in kept), 300)}"] if kept else []
    return tuple(said)


def is_anonymous(volume: str) -> bool:
    """Return whether the engine has chosen the name of a volume."""
    return len(volume) == 64 and all(letter in "0123456789abcdef" for letter in volume)


def image_facts(image: Doc, context: ToolContext) -> str:
    """Return an image's id, digest and age."""
    digests = [digest.partition("@")[2] for digest in texts(image, "RepoDigests") if "@" in digest]
    made = moment(image, "Created")
    parts = [f"id {text(image, 'Id').removeprefix('sha256:')[:12]}"]
    parts += [f"digest {cell(digests[0], 80)}"] if digests else []
    parts += [f"built {ago(made, context.now())}"] if made else []
    return ", ".join(parts)


async def find_briefly(context: ToolContext, path: str) -> tuple[Doc | None, str]:
    """Return what the engine says at ``path``, within a short time; or None and why not."""
    try:
        with anyio.fail_after(PATIENCE_S):
            return document(await context.engine.get(path)), ""
    except TimeoutError:
        return None, f"the engine did not answer within {PATIENCE_S:g} s"
    except EngineUnavailable as error:
        return None, cell(error.message, 200).rstrip(".")
