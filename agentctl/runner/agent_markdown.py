"""Read an agent from a Markdown file with front matter, as other hosts write them: the body is the instructions.

The front matter is a small part of YAML: ``key: value`` lines, quoted texts, lists in brackets or with hyphens, and
blocks (``|``, ``>``). Anchors, aliases, tags and merged documents are no values here, so nothing in it can grow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.text import list_names, safe_text
from agentctl.runner.agent_spec import MOST_TOOLS, AgentSpec, AgentTerms, Origin
from agentctl.tools.toolbox import is_tool, real_name

_USED = ("name", "description", "tools", "model")
_LINE = re.compile(r"([A-Za-z_][\w.-]*):(?:[ \t]+(.*))?")
_BLOCK = re.compile(r"[|>][+-]?\d?[+-]?")
#: Names of other hosts for a tool that does the same, besides the aliases of tools that models write.
_SAME: Mapping[str, str] = {"glob": "list_files", "execute": "run_shell", "grep_search": "search_files"}
#: What other hosts call a model without naming one.
_NO_MODELS = frozenset(("inherit", "default", "auto", "fast", "sonnet", "opus", "haiku", "best"))


class MarkdownAgent(NamedTuple):
    """An agent, and a sentence about each thing of its file that has no effect here."""

    agent: AgentSpec
    notes: tuple[str, ...] = ()


def parse_markdown_agent(
    text: str, file: Path, *, origin: Origin, place: str = "", defaults: AgentSpec | None = None
) -> MarkdownAgent:
    """Return the agent that the text of a Markdown file describes; ``place`` names the file in messages.

    Without ``tools`` it has those of ``defaults``. ``name`` is the file's name where it is left out.

    Raises:
        UsageError: there is no front matter, a value in it cannot be read, or there are no instructions.
    """
    said = place or str(file)
    fields, body = split_front_matter(text, said)
    name = _one(fields, "name", said) or file.stem.removesuffix(".agent")
    description = " ".join((_one(fields, "description", said) or name).split())
    if not (instructions := body.strip()):
        raise UsageError(f"{said}: there are no instructions below the front matter")
    notes = []
    if others := [key for key in fields if key not in _USED]:
        have = "has" if len(others) == 1 else "have"
        notes.append(f"{said}: {safe_text(list_names(others))} {have} no effect here")
    tools: tuple[str, ...] = () if defaults is None else defaults.tools
    more: Mapping[str, tuple[str, ...]] = {} if defaults is None else defaults.more
    if "tools" in fields and fields["tools"] not in ("*", ["*"]):
        wanted, missing = _known_tools(_many(fields, "tools", said))
        tools, more = wanted[:MOST_TOOLS], dict.fromkeys(wanted[MOST_TOOLS:], ())
        if missing:
            named = safe_text(list_names(missing, 8))
            notes.append(f"{said}: agentctl has no tool like {named}: left out (agentctl tools list)")
    model: str | None = _one(fields, "model", said) or None
    if model and model.lower() in _NO_MODELS:
        if model.lower() != "inherit":
            notes.append(f'{said}: model "{safe_text(model)}" names no model here; the one of the run is used')
        model = None
    terms = AgentTerms(model=model)
    agent = AgentSpec(name, description, instructions, tools=tools, more=more, terms=terms, origin=origin, place=place)
    return MarkdownAgent(agent, tuple(notes))


def _known_tools(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return our tools that mean the same as ``names``, and the names that mean none of them.

    One with an argument, ``Bash(git:*)``, allows less than our tool does, so it is none.
    """
    found: dict[str, None] = {}
    missing = []
    for name in names:
        ours = _SAME.get(name.lower(), real_name(name)) if "(" not in name else name
        if is_tool(ours):
            found[ours] = None
        else:
            missing.append(name)
    return tuple(found), tuple(missing)


def split_front_matter(text: str, said: str) -> tuple[dict[str, str | list[str]], str]:
    """Return the fields of a file's front matter, and the text below it.

    Raises:
        UsageError: there is none, it has no end, or a value in it cannot be read.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[0].rstrip() != "---":
        raise UsageError(
            f"{said}: there is no front matter", hint="begin with a line ---, then name: and description:, then ---"
        )
    end = next((at for at, line in enumerate(lines) if at and line.rstrip() in ("---", "...")), None)
    if end is None:
        raise UsageError(f"{said}: the front matter has no end", hint="end it with a line ---")
    fields: dict[str, str | list[str]] = {}
    at = 1
    while at < end:
        line = lines[at].rstrip()
        at += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise UsageError(f"{said} line {at}: it is not KEY: VALUE", hint="quote a value that has a line break")
        key, value = match[1], (match[2] or "").strip()
        if key in fields:
            raise UsageError(f"{said} line {at}: {key} is given twice")
        below = at
        while at < end and (not lines[at].strip() or lines[at][0] in " \t" or _is_item(lines[at], value)):
            at += 1
        fields[key] = _value(key, value, lines[below:at], f"{said} line {below}")
    return fields, "\n".join(lines[end + 1 :])


def _is_item(line: str, value: str) -> bool:
    return not value and line.startswith("- ")


def _value(key: str, value: str, below: Sequence[str], said: str) -> str | list[str]:
    """Return a value with the lines below that belong to it; a table that we do not use is an empty text."""
    if _BLOCK.fullmatch(value):
        rows = [line.strip() for line in below]
        return ("\n" if value[0] == "|" else " ").join(rows).strip()
    if value[:1] in ("&", "*", "!", "%", "@", "`") and value != "*":
        if key in _USED:
            raise UsageError(f"{said}: {key} is no plain text", hint="anchors, aliases and tags are not read here")
        return ""
    if value.startswith("["):
        inside = " ".join((value, *(line.strip() for line in below))).strip()
        if not inside.endswith("]"):
            raise UsageError(f"{said}: the list of {key} has no end", hint="end it with ]")
        return [_unquoted(item, said) for item in _split(inside[1:-1]) if item]
    if not value:
        rows = [line.strip() for line in below if line.strip()]
        if rows and all(row.startswith("- ") for row in rows):
            return [_unquoted(row[2:].strip(), said) for row in rows]
        if rows and key in _USED:
            raise UsageError(f"{said}: {key} is a table, not a text or a list")
        return ""
    rest = [line.strip() for line in below if line.strip()]
    return _unquoted(" ".join((value, *rest)), said)


def _split(text: str) -> list[str]:
    """Return the parts between the commas of a text, those in quotes or brackets whole."""
    return [part.strip() for part in re.findall(r"(?:\"[^\"]*\"|'[^']*'|\([^)]*\)|[^,])+", text)]


def _unquoted(value: str, said: str) -> str:
    if value[:1] in ("'", '"'):
        if len(value) < 2 or value[-1] != value[0]:
            raise UsageError(f"{said}: a quote has no end")
        inner = value[1:-1]
        if value[0] == "'":
            return inner.replace("''", "'")
        return inner.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
    return re.sub(r"\s#.*\Z", "", value)


def _one(fields: Mapping[str, str | list[str]], key: str, said: str) -> str:
    value = fields.get(key, "")
    if isinstance(value, list):
        raise UsageError(f"{said}: {key} is a list, not a text")
    return value.strip()


def _many(fields: Mapping[str, str | list[str]], key: str, said: str) -> list[str]:
    value = fields.get(key, "")
    return value if isinstance(value, list) else _split(value)
