"""``agentctl schema``: print the JSON Schema of a document or of an event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

SchemaName = Literal[
    "run",
    "events",
    "costs",
    "transcript",
    "runs-diff",
    "runs-removed",
    "agents",
    "mcp",
    "mcp-tools",
    "mcp-call",
    "pre-tool",
    "budget-keygen",
    "split",
    "account",
    "budget-merge",
    "error",
]

#: What prints a document that is valid by the schema.
PRINTED_BY = {
    "run": "run --json",
    "events": "each line of run, runs show and runs watch with -o jsonl",
    "costs": "costs --json",
    "transcript": "runs export --format json",
    "runs-diff": "runs diff --json",
    "runs-removed": "runs rm --json and runs prune --json",
    "agents": "agents list, show, new, check and route with --json",
    "mcp": "mcp list, show, add and rm, with --json",
    "mcp-tools": "mcp test, tools and pin, with --json",
    "mcp-call": "mcp call --json",
    "pre-tool": "stdin of a hook before a tool call",
    "budget-keygen": "budget keygen --json",
    "split": "budget split -o json, and its --save",
    "account": "budget close",
    "budget-merge": "budget merge --json",
    "error": "any other command with --json that failed",
}


def schema(
    name: Annotated[
        SchemaName | None,
        typer.Argument(metavar="NAME", help="Name of the schema (default: list them)."),
    ] = None,
) -> None:
    """Print the JSON Schema (2020-12) of a document or of an event.

    Examples:
        agentctl schema
        agentctl schema run
        agentctl schema events | jq '."$defs" | keys'
    """
    if name is not None:
        print(schema_text(name).rstrip("\n"))
        return
    from agentctl.cli.ui.columns import stdout_page

    rows = [(known, f"{_title(known)}: {what}") for known, what in PRINTED_BY.items()]
    print(stdout_page().fields(rows))


def schema_text(name: str) -> str:
    """Return the text of the schema with this name."""
    return Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8")


def _title(name: str) -> str:
    return str(json.loads(schema_text(name))["title"])
