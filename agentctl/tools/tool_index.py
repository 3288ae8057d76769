"""Find tools by what they are for: an index over their names, descriptions, parameters and servers. Pure.

The synonyms are loaded with the first search, as a run with few tools needs none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from agentctl.core.messages import ToolSpec
from agentctl.core.ranking import Field, Ranker, split_name

_NAME, _DESCRIPTION, _PARAMETERS, _SERVER = 3.0, 1.5, 0.6, 2.0
_MOST_READ = 1_024  # characters of a description, and of the words about parameters
_LONGEST_QUERY = 400


class IndexedTool(NamedTuple):
    """A tool and the server, or the agent, that it comes from."""

    spec: ToolSpec
    server: str


class ToolIndex:
    """Finds tools by a query in plain words, the best first."""

    def __init__(self, tools: Iterable[IndexedTool]) -> None:
        self._tools = tuple(tools)
        self._ranker: Ranker | None = None

    def find(self, query: str, most: int, *, among: Collection[str] | None = None) -> tuple[IndexedTool, ...]:
        """Return at most ``most`` tools that fit ``query``; with ``among``, only those of these names."""
        if self._ranker is None:
            from agentctl.core.synonyms import MEANINGS  # noqa: PLC0415 - few runs search for tools

            self._ranker = Ranker(map(_fields, self._tools), meanings=MEANINGS)
        ranked = (self._tools[found.place] for found in self._ranker.rank(query[:_LONGEST_QUERY]))
        return tuple(islice((tool for tool in ranked if among is None or tool.spec.name in among), most))


def _fields(tool: IndexedTool) -> Sequence[Field]:
    name, description, parameters = tool.spec
    own_name = name.removeprefix(f"{tool.server}__")
    return (
        Field(split_name(own_name), _NAME),
        Field(description[:_MOST_READ], _DESCRIPTION),
        Field(_words_about(parameters)[:_MOST_READ], _PARAMETERS),
        Field(split_name(tool.server), _SERVER),
    )


def _words_about(parameters: Mapping[str, object]) -> str:
    """Return the names and descriptions of a schema's parameters."""
    properties = parameters.get("properties")
    if not isinstance(properties, Mapping):
        return ""
    said = [entry.get("description", "") if isinstance(entry, Mapping) else "" for entry in properties.values()]
    return " ".join((*map(split_name, map(str, properties)), *(text for text in said if isinstance(text, str))))
