"""Tools are found by what they are for: measured on the tools of published servers with labelled queries.

``tests/support/published_tools.txt`` has names and parameters as they are published, with descriptions in our own
words. Each line of ``tool_queries.tsv`` is a query and the tools that answer it (one of them is enough). The ranker's
weights and the synonyms were fitted to the queries marked ``tune``; those marked ``held`` are only measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from agentctl.tools.tool_index import ToolIndex
from tests.support.served_tools import published_tools

HERE = Path(__file__).parent


class Query(NamedTuple):
    half: str
    text: str
    answers: frozenset[str]


def queries() -> Iterator[Query]:
    for line in (HERE / "tool_queries.tsv").read_text().splitlines():
        half, text, answers = line.split("\t")
        yield Query(half, text, frozenset(answers.split()))


@cache
def index() -> ToolIndex:
    return ToolIndex(published_tools())


def found(query: str, among: frozenset[str] | None = None) -> list[str]:
    return [tool.spec.name.partition("__")[2] for tool in index().find(query, 5, among=among)]


def misses(half: str) -> tuple[list[Query], int]:
    asked = [query for query in queries() if query.half == half]
    return [query for query in asked if query.answers.isdisjoint(found(query.text))], len(asked)


def test_the_set_is_large_enough_and_its_answers_exist() -> None:
    names = [tool.spec.name.partition("__")[2] for tool in published_tools()]
    asked = list(queries())
    assert len(names) == len(set(names)) >= 150
    assert len(asked) == len({query.text for query in asked}) >= 240
    assert sum(query.half == "held" for query in asked) >= 100
    assert frozenset().union(*(query.answers for query in asked)) <= set(names)


@pytest.mark.parametrize("half", ["tune", "held"])
def test_nine_of_ten_queries_find_their_tool_among_the_first_five(half: str) -> None:
    missed, asked = misses(half)
    assert len(missed) <= asked // 10, missed


def test_names_restrict_what_is_found() -> None:
    slack = frozenset(tool.spec.name for tool in published_tools() if tool.server == "slack")
    assert len(found("list all users and channels", slack)) == 5
    assert all(name.startswith("slack_") for name in found("list all users and channels", slack))
    assert found("create branch", frozenset()) == []
