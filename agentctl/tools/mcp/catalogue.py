"""What a server says of its tools: checked, bounded and named for models and rules. Pure.

What cannot be offered to a model, or checked before a call, is left out with a sentence.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from agentctl.core.json_schema import find_fault
from agentctl.core.json_values import JSON, write_json
from agentctl.core.messages import ToolSpec
from agentctl.core.text import list_names, map_texts, safe_text
from agentctl.settings.mcp_values import McpServer
from agentctl.tools.toolbox import SEPARATOR

MOST_TOOLS = 1_000  # of one server
MOST_DESCRIPTION_BYTES = 1_024
MOST_SCHEMA_BYTES = 64 * 1024
MOST_NAME = 64
_TAIL = 8  # digits that make a name unique
_MOST_NAMED = 5  # tools in a sentence


class SaidTool(NamedTuple):
    """A tool in a server's own words. ``annotations`` are its claims about the tool's effect."""

    name: str
    description: str
    schema: Mapping[str, JSON]
    annotations: Mapping[str, JSON]
    output_schema: Mapping[str, JSON] | None = None


class CatalogueTool(NamedTuple):
    """A tool as it is offered: ``spec.name`` is for models and rules, ``said.name`` for the server.

    ``schema`` is the document that arguments are held against.
    """

    spec: ToolSpec
    said: SaidTool
    schema: str


class Catalogue(NamedTuple):
    """The usable tools of a server, by their order, and sentences about those that are left out."""

    tools: tuple[CatalogueTool, ...] = ()
    left_out: tuple[str, ...] = ()


def make_catalogue(server: McpServer, said: Sequence[SaidTool], *, is_whole: bool = True) -> Catalogue:
    """Return the catalogue of a server; not ``is_whole``: it had more tools than are read."""
    left_out = [] if is_whole else [f"only the first {len(said):,} tools are used"]
    twice = [name for name, count in Counter(tool.name for tool in said).items() if count > 1]
    if twice:
        left_out.append(f"offered twice, and left out: {_listed(twice)}")
    chosen = [tool for tool in said if tool.name not in twice and is_chosen(server, tool.name)]
    faults: dict[str, list[str]] = {}
    tools: list[CatalogueTool] = []
    for tool, name in zip(chosen, clean_names(server.name, [tool.name for tool in chosen]), strict=True):
        schema = {**tool.schema, "type": "object"}
        schema.pop("$schema", None)  # most are of an older dialect, and say the same in this one
        if fault := _fault_of(schema):
            faults.setdefault(fault, []).append(tool.name)
            continue
        shown = map_texts(schema, safe_text)
        assert isinstance(shown, dict)  # noqa: S101 - as the schema is
        spec = ToolSpec(name, cut_description(tool.description), shown)
        tools.append(CatalogueTool(spec, tool, write_json(schema)))
    left_out += [f"left out: {_listed(names)} ({fault})" for fault, names in faults.items()]
    return Catalogue(tuple(tools), tuple(left_out))


def is_chosen(server: McpServer, name: str) -> bool:
    """Return whether the user wants the tool that the server calls ``name``."""
    options = server.options
    if any(fnmatchcase(name, pattern) for pattern in options.exclude):
        return False
    return options.tools is None or any(fnmatchcase(name, pattern) for pattern in options.tools)


def clean_names(server: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a server's tools for models and rules, each at most 64 characters and unique.

    A name that had to be changed, and is then too long or another tool's name, gets a tail that depends on nothing but
    the name: which tools stand beside it does not matter to a rule that a user has written.

    >>> clean_names("git", ["git_log", "git log", "git.log"])
    ('git__git_log', 'git__git_log_f6a4ee42', 'git__git_log_6f4cb8a7')
    """
    plain = [re.sub(r"[^A-Za-z0-9_-]", "_", name) or "_" for name in names]
    times = Counter(plain)
    found = []
    for name, clean in zip(names, plain, strict=True):
        whole = f"{server}{SEPARATOR}{clean}"
        if len(whole) > MOST_NAME or (times[clean] > 1 and clean != name):
            whole = with_tail(whole, name)
        found.append(whole)
    return tuple(found)


def with_tail(name: str, of: str) -> str:
    """Return a name with a tail that is made of another text."""
    digits = hashlib.sha256(of.encode(errors="replace")).hexdigest()[:_TAIL]
    return f"{name[: MOST_NAME - _TAIL - 1]}_{digits}"


def cut_description(text: str) -> str:
    """Return a description without escapes, cut to its bound in bytes."""
    data = safe_text(text[:MOST_DESCRIPTION_BYTES]).strip().encode()
    if len(data) <= MOST_DESCRIPTION_BYTES and len(text) <= MOST_DESCRIPTION_BYTES:
        return data.decode()
    return data[: MOST_DESCRIPTION_BYTES - 3].decode(errors="ignore") + "…"


def _fault_of(schema: Mapping[str, JSON]) -> str:
    """Return why a schema is refused, "" if it is fine."""
    try:
        text = json.dumps(schema)
    except RecursionError:
        return "its schema is nested too deeply"
    if len(text) > MOST_SCHEMA_BYTES:
        return f"its schema has more than {MOST_SCHEMA_BYTES // 1024} KiB"
    fault = find_fault(schema)
    if fault is not None:
        return f"its schema: {safe_text(fault.fact)[:120]}"
    properties = schema.get("properties")
    names = list(properties) if isinstance(properties, Mapping) else []
    if any(safe_text(name) != name for name in names):
        return "the name of a parameter has control characters"
    return ""


def _listed(names: Sequence[str]) -> str:
    return list_names([safe_text(name)[:MOST_NAME] for name in names], _MOST_NAMED)
