"""What a compose file says about its services, as far as it can be told without compose: names, images, numbers.

The file is parsed into its nodes only, so that no tag makes an object and no alias multiplies: what YAML merges
(``<<``) is looked up on the way. Variables are not filled in, and files that it includes or extends are not read; what
depends on them is None, which means unknown.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from agentctl.core.errors import ToolError
from agentctl.tools.files.paths import find_hidden, real_relative, refuse_private
from agentctl.tools.files.walk import open_for_reading
from agentctl.tools.tables import cell
from agentctl.tools.toolbox import ToolContext

if TYPE_CHECKING:
    from yaml import Node

MOST_BYTES = 128 * 1024
_MOST_FILES = 8
_MOST_MERGES = 16
_DEFAULT_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")


class FileService(NamedTuple):
    """A service of a file: its image and number of containers, None if not known.

    ``is_optional``: it may have no container, as it is in a profile, or extends another one, which may be in one.
    """

    image: str | None = None
    replicas: int | None = None
    is_optional: bool = False


class ComposeFile(NamedTuple):
    """The services of a project's files. Not ``is_whole`` if they include other files, which are not read."""

    paths: tuple[str, ...]
    services: Mapping[str, FileService]
    is_whole: bool = True


def read_compose_files(context: ToolContext, paths: Sequence[str]) -> ComposeFile:
    """Return what compose files of the workspace say together; a later one adds to and overrides an earlier one.

    Raises:
        ToolError: one is outside the workspace, cannot be read, or is no compose file.
    """
    services: dict[str, FileService] = {}
    names: list[str] = []
    is_whole = True
    if len(paths) > _MOST_FILES:
        raise ToolError(f"there are {len(paths)} compose files, and at most {_MOST_FILES} are compared")
    for path in paths:
        relative = real_relative(context.workspace, path)
        refuse_private(context.workspace, context.private, relative)
        names.append(relative)
        with open_for_reading(context.workspace, relative, find_hidden(context)) as (handle, _):
            data = handle.read(MOST_BYTES + 1)
        found = parse_compose_file(data, cell(relative))
        is_whole = is_whole and found.is_whole
        for name, service in found.services.items():
            before = services.get(name, FileService())
            image = before.image if service.image is None else service.image
            replicas = before.replicas if service.replicas is None else service.replicas
            services[name] = FileService(image, replicas, before.is_optional or service.is_optional)
    return ComposeFile(tuple(names), services, is_whole)


def default_file(context: ToolContext, folder: str) -> str | None:
    """Return the compose file in a project's ``folder`` if that is in the workspace, None without one."""
    for name in _DEFAULT_NAMES:
        path = os.path.join(folder, name)  # noqa: PTH118
        try:
            relative = real_relative(context.workspace, path)
        except ToolError:
            return None
        if (context.workspace / relative).is_file():
            return relative
    return None


def parse_compose_file(data: bytes, name: str) -> ComposeFile:
    """Parse a compose file called ``name``.

    Raises:
        ToolError: it is too long, no YAML, or has no services.
    """
    import yaml  # noqa: PLC0415 - for this alone

    if len(data) > MOST_BYTES:
        raise ToolError(f"{name} is longer than {MOST_BYTES // 1024} KB: it is not compared")
    try:
        # The parser in Python: that in C has no limit of its own for how deep a document is nested.
        top = yaml.compose(data.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        said = cell(" ".join(str(error).split()), 160)
        raise ToolError(f"{name} cannot be read as YAML: {said}") from error
    listed = _value(top, "services")
    if not isinstance(listed, yaml.MappingNode):
        raise ToolError(f"{name} has no services: it is no compose file of version 2 or later")
    services = {key: _service(node) for key, node in _items(listed)}
    return ComposeFile((name,), services, _value(top, "include") is None)


def _service(node: Node) -> FileService:
    image = _text(_value(node, "image"))
    replicas = _number(_value(_value(node, "deploy"), "replicas"))
    replicas = _number(_value(node, "scale")) if replicas is None else replicas
    is_optional = _value(node, "profiles") is not None or _value(node, "extends") is not None
    return FileService(None if image is None or "$" in image else image, replicas, is_optional)


def _items(node: Node | None, depth: int = 0) -> Iterator[tuple[str, Node]]:
    """Yield the keys and values of a mapping, what it merges first, so that its own come last and win."""
    from yaml import MappingNode, ScalarNode, SequenceNode  # noqa: PLC0415 - for this alone

    if not isinstance(node, MappingNode):
        return
    if depth < _MOST_MERGES:
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == "<<":
                # Of several, an earlier one wins; only the first few are looked at.
                merged = value.value[:_MOST_MERGES][::-1] if isinstance(value, SequenceNode) else [value]
                for one in merged[-1:] if depth else merged:
                    yield from _items(one, depth + 1)
    for key, value in node.value:
        if isinstance(key, ScalarNode) and key.value != "<<":
            yield str(key.value), value


def _value(node: Node | None, wanted: str) -> Node | None:
    found = None
    for key, value in _items(node):
        found = value if key == wanted else found
    return found


def _text(node: Node | None) -> str | None:
    from yaml import ScalarNode  # noqa: PLC0415 - for this alone

    return str(node.value) or None if isinstance(node, ScalarNode) else None


def _number(node: Node | None) -> int | None:
    said = _text(node) or ""
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 7 else None
