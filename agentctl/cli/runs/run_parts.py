"""Read from a journal the parts of a run that was resumed or forked: when, by what words, with what limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from agentctl.cli.documents import Document, in_unit
from agentctl.cli.runs.context_usage import Fields, local_time, number, text
from agentctl.cli.ui.format import amount, limit, plural
from agentctl.core.ledger_address import LedgerAddress
from agentctl.core.text import safe_text
from agentctl.core.version import __version__

if TYPE_CHECKING:
    from agentctl.cli.runs.run_documents import RunPartFields

SCHEMA = "agentctl.runs/1"


class PartLimit(NamedTuple):
    """A limit of a part, a total: its ceiling (None: no limit) and what was used when the part began."""

    name: str
    unit: str
    ceiling: int | None
    used: int


class RunPart(NamedTuple):
    """A part that goes on after ``turns`` whole turns of the run ``source``, which is the same run unless it is a fork.

    ``words`` are what the user said, "" for nothing; ``changes`` what differed from before.
    """

    at: str
    source: str
    is_fork: bool
    turns: int
    words: str
    limits: tuple[PartLimit, ...]
    changes: tuple[str, ...]


def read_part(record: Fields, run_id: str) -> RunPart:
    """Return a ``run_resumed`` record of the run as a part; fields of another type count as absent."""
    source, changes = text(record, "source") or run_id, record.get("changes")
    return RunPart(
        text(record, "at"),
        source,
        source != run_id,
        number(record, "turns"),
        text(record, "words"),
        tuple(read_limits(record)),
        tuple(str(change) for change in changes) if isinstance(changes, list) else (),
    )


def read_limits(record: Fields) -> Iterator[PartLimit]:
    """Yield the limits of a record that has them."""
    given = record.get("limits")
    for use in given if isinstance(given, list) else ():
        if isinstance(use, dict) and text(use, "name"):
            ceiling = use.get("ceiling")
            most = ceiling if isinstance(ceiling, int) else None
            yield PartLimit(text(use, "name"), text(use, "unit"), most, number(use, "used"))


def part_lines(part: RunPart) -> Iterator[str]:
    """Yield a part as lines: when and from where it goes on, by what words, and its limits."""
    turns = f"after {plural(part.turns, 'turn')}"
    if part.is_fork:
        yield f"\n--- forked from run {safe_text(part.source)} {turns} · {local_time(part.at)}"
        yield f"its turns: agentctl runs show {safe_text(part.source)}"
    else:
        yield f"\n--- resumed {turns} · {local_time(part.at)}"
    if part.words:
        yield f"words: {safe_text(part.words)}"
    yield from (safe_text(f"limit: {one.name} {_limit_text(one)}") for one in part.limits if one.ceiling is not None)
    yield from (f"changed: {safe_text(change)}" for change in part.changes)


def _limit_text(one: PartLimit) -> str:
    used = f" ({amount(one.used, one.unit)} used)" if one.used else ""
    return f"{limit(one.ceiling, one.unit)}{used}"


def part_document(part: RunPart) -> RunPartFields:
    """Return a part as JSON documents have it."""
    return {
        "at": part.at or None,
        "source": part.source,
        "fork": part.is_fork,
        "turns": part.turns,
        "words": part.words,
        "limits": {
            one.name: {"limit": in_unit(one.ceiling, one.unit), "used": in_unit(one.used, one.unit)}
            for one in part.limits
        },
        "changes": list(part.changes),
    }


def records_document(records: Iterable[Document], run_id: str, ledger_path: LedgerAddress) -> Document:
    """Return the document of one run: its records, its parts if it was resumed, and the tree that it belongs to."""
    from agentctl.cli.runs.run_tree import find_tree, tree_node

    found = list(records)
    document: Document = {"schema": SCHEMA, "version": __version__, "run_id": run_id, "records": found}
    if parts := [part_document(read_part(one, run_id)) for one in found if one.get("event") == "run_resumed"]:
        document["parts"] = parts
    if tree := find_tree(ledger_path, run_id):
        document["tree"] = [tree_node(branch) for branch in tree]
    return {**document, "error": None}
