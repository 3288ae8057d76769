"""The targets of a tool call, with every name that a rule may use for them. Pure.

A deny or ask rule and a model may name the same thing in different ways. A ``Target`` has all names of the thing: a
container's true name and id, an image's tags and digests, a file's paths. A rule that matches one of them matches the
call. Allow rules match only the true name (``Rule.permits``).
"""

from __future__ import annotations

import os.path
import re
import unicodedata
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from agentctl.core.tool_rules import Rule, glob, is_pattern

Kind = Literal["text", "path", "container", "image"]

HIDING_TOOLS = ("read_file", "list_files", "search_files")
"""A deny rule on the path of one of these tools hides the path from every tool and from sandboxed commands."""
PATH_TOOLS = (*HIDING_TOOLS, "git_status", "write_file", "compose_drift")

_HEXADECIMAL = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")
_SHORT_ID = 12


class Target(NamedTuple):
    """All names of one thing. ``roots`` are the workspace's absolute names; only paths have them."""

    kind: Kind
    names: tuple[str, ...]
    identity: str = ""
    roots: tuple[str, ...] = ()
    repository: str = ""

    def fits(self, pattern: str) -> bool:
        """Return whether a rule's ``pattern`` matches this thing."""
        match self.kind:
            case "path":
                return any(_path_fits(pattern, name, self.roots) for name in self.names)
            case "container":
                plain = pattern.removeprefix("/")
                return _any_fits(plain, self.names) or _is_id(plain, self.identity)
            case "image":
                if _any_fits(pattern, self.names) or _is_id(pattern, self.identity):
                    return True
                # A digest that is not local may belong to any tag of its repository, so a deny rule denies.
                return bool(self.repository) and _any_fits(_without_tag(pattern), _spellings_of(self.repository))
            case "text":
                return _any_fits(pattern, self.names)


class Subject(NamedTuple):
    """One call as rules see it: its arguments with the defaults filled in, and the names of its targets."""

    arguments: Mapping[str, object]
    targets: Mapping[str, Target] = MappingProxyType({})

    def with_names(self, other: Subject) -> Subject:
        """Return this subject with the names that the targets of ``other`` have, too."""
        more = {name: target.names for name, target in other.targets.items()}
        named = {
            name: target._replace(names=(*target.names, *more.get(name, ()))) for name, target in self.targets.items()
        }
        return self._replace(targets=named)


def fits(rule: Rule, tool: str, given: Mapping[str, object], subject: Subject) -> bool:
    """Return whether a deny or ask rule matches the call ``tool(given)`` with the resolved ``subject``."""
    if not rule.covers(tool):
        return False
    for argument, pattern in rule.arguments:
        one = Rule(rule.tool, ((argument, pattern),))
        target = subject.targets.get(argument)
        if target is not None and target.fits(pattern):
            continue
        if one.forbids(tool, given) or one.forbids(tool, subject.arguments):
            continue
        return False
    return True


def hidden_pattern(rule: Rule) -> str | None:
    """Return the path pattern that a deny rule hides from all tools, or None.

    A rule with further arguments is only about that kind of call, and hides nothing.
    """
    return _path_pattern(rule, HIDING_TOOLS)


def frozen_pattern(rule: Rule) -> str | None:
    """Return the path pattern that a deny rule protects from writing, or None."""
    return _path_pattern(rule, ("write_file",))


def _path_pattern(rule: Rule, tools: tuple[str, ...]) -> str | None:
    if len(rule.arguments) != 1 or rule.arguments[0][0] != "path" or not any(map(rule.covers, tools)):
        return None
    pattern = rule.arguments[0][1]
    return None if pattern.startswith("run:") else pattern


def fold_case(text: str) -> str:
    """Fold the case and the Unicode form of a text."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def canonical_path(path: str) -> str:
    """Normalize a path as rules compare it: NFC, case folded, no ``.``, doubled or trailing slashes, ``..`` taken out.

    Case and Unicode form are ignored on every file system: otherwise a file system that ignores them would bypass
    rules.
    """
    text = fold_case(path)
    parts: list[str] = []
    for part in text.split("/"):
        if part == ".." and parts and parts[-1] != ".." and not is_pattern(parts[-1]):
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    joined = "/".join(parts)
    return f"/{joined}" if text.startswith("/") else joined or "."


def patterns_of(pattern: str) -> tuple[str, ...]:
    """Return the canonical forms of a rule's path pattern: ``~`` as the home folder, ``**/`` also as nothing."""
    whole = canonical_path(os.path.expanduser(pattern))  # noqa: PTH111 - a pattern is not a path
    flat = whole.replace("**/", "")
    return (whole,) if flat == whole or not flat else (whole, flat)


def ancestors(path: str) -> Iterator[str]:
    """Yield a canonical path and its parent folders, up to the workspace, which is left out."""
    yield path
    while "/" in path:
        path = path.rpartition("/")[0]
        if path:
            yield path


def _path_fits(pattern: str, name: str, roots: tuple[str, ...]) -> bool:
    """Return whether a pattern matches a path: a folder matches all paths in it, the workspace only by its own name."""
    path = canonical_path(name)
    for one in patterns_of(pattern):
        if one.startswith("/"):
            tops = [canonical_path(root).rstrip("/") for root in roots]
            places = [path] if path.startswith("/") else [top if path == "." else f"{top}/{path}" for top in tops]
            if any(glob(one).fullmatch(above) for place in places for above in ancestors(place) if above not in tops):
                return True
            if any(place in tops and glob(one).fullmatch(place) for place in places):
                return True
        elif any(glob(one).fullmatch(above) for above in ancestors(path)):
            return True
    return False


def _any_fits(pattern: str, names: tuple[str, ...]) -> bool:
    expression = glob(pattern)
    return any(expression.fullmatch(name) for name in names)


def _is_id(pattern: str, identity: str) -> bool:
    """Return whether ``pattern`` is a hexadecimal id and one of it and ``identity`` begins with the other.

    ``identity`` is a full id or its first 12 characters; a shorter one never matches.
    """
    found = _HEXADECIMAL.fullmatch(pattern)
    if found is None or len(identity) < _SHORT_ID:
        return False
    return identity.startswith(found[1]) or found[1].startswith(identity)


def _without_tag(pattern: str) -> str:
    head, colon, tag = pattern.rpartition(":")
    return head if colon and "/" not in tag and "@" not in head else pattern.partition("@")[0]


def image_spellings(domain: str, path: str, tag: str) -> tuple[str, ...]:
    """Return the spellings of the image ``domain/path:tag``; one at ``docker.io`` has several."""
    tags = ("", ":latest") if tag == "latest" else (f":{tag}",) if tag else ("",)
    return tuple(f"{name}{suffix}" for name in _repositories(domain, path) for suffix in tags)


def _repositories(domain: str, path: str) -> tuple[str, ...]:
    if domain != "docker.io":
        return (f"{domain}/{path}",)
    short = path.removeprefix("library/") if path.count("/") == 1 else path
    paths = dict.fromkeys((short, path))
    return tuple(f"{host}{one}" for host in ("", "docker.io/", "index.docker.io/") for one in paths)


def _spellings_of(repository: str) -> tuple[str, ...]:
    domain, _, path = repository.partition("/")
    return _repositories(domain, path)
