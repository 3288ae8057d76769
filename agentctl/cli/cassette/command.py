"""``agentctl cassette show`` and ``check``: what a cassette holds, and whether it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentctl.cli.options import OUTPUT, Json, Output, wants_json

if TYPE_CHECKING:
    from agentctl.cli.documents import Document
    from agentctl.cli.ui.columns import Page
    from agentctl.providers.cassettes.cassette_file import Cassette, Line

SCHEMA = "agentctl.cassettes/1"
_HASH_DIGITS = 8


def show(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Cassette that run --record wrote.")],
    attempt: Annotated[
        int | None,
        typer.Option(
            "--attempt", metavar="N", help="Print this request and its answer, as JSON.", min=1, rich_help_panel=OUTPUT
        ),
    ] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Show what is recorded in a cassette: the run, its requests and answers, its tools' results.

    Examples:
        agentctl cassette show run.cassette
        agentctl cassette show run.cassette --attempt 1 | jq .
    """
    from agentctl.cli.documents import as_json, print_document
    from agentctl.core.errors import UsageError
    from agentctl.providers.cassettes.cassette_file import read_cassette

    as_document = wants_json(output, json=json)
    cassette = read_cassette(file)
    if attempt is not None:
        attempts = list(cassette.of("attempt"))
        if attempt > len(attempts):
            raise UsageError(
                f"--attempt {attempt}: the cassette has {len(attempts)}", hint="agentctl cassette show FILE"
            )
        print(as_json(attempts[attempt - 1]))
    elif as_document:
        print_document(SCHEMA, {"cassettes": [_document(cassette)]})
    else:
        from agentctl.cli.ui.columns import stdout_page

        print("\n".join(_describe(cassette, stdout_page())))


def check(
    file: Annotated[list[str], typer.Argument(metavar="FILE", help="Cassettes to check.")],
    output: Output = None,
    json: Json = False,
) -> None:
    """Check cassettes: format, hashes, no keys, and that the recorded run has an end. Exit 4 for one that is cut off.

    Examples:
        agentctl cassette check run.cassette
        agentctl cassette check run.cassette --json
    """
    from agentctl.cli.documents import print_document
    from agentctl.core.text import safe_text
    from agentctl.providers.cassettes.cassette_file import CassetteError, read_cassette, shell_name

    as_document = wants_json(output, json=json)
    found = [read_cassette(name) for name in file]
    wrong = [one for one in found if one.flaw]
    if as_document and not wrong:
        print_document(SCHEMA, {"cassettes": [_document(one) for one in found]})
        return
    if not as_document:
        for one in found:
            count = sum(1 for _ in one.of("attempt"))
            state = f"cut off: {one.flaw}" if one.flaw else "ok"
            print(safe_text(f"{state}  {one.path}  ({count} {'request' if count == 1 else 'requests'})"))
    if wrong:
        raise CassetteError(
            f"the cassette {safe_text(str(wrong[0].path))} is cut off: {wrong[0].flaw}",
            hint=f"record it again: rm {shell_name(wrong[0].path)}   (a replay uses it up to there)",
        )


COMMANDS: dict[str, Callable[..., None]] = {"show": show, "check": check}


def _document(cassette: Cassette) -> Document:
    from agentctl.cli.documents import usd

    run, end = next(cassette.of("run"), {}), cassette.end or {}
    cost: Any = end.get("cost_nano")
    return {
        "file": str(cassette.path),
        "format": cassette.head.get("format"),
        "version": cassette.head.get("agentctl"),
        "recorded_at": cassette.head.get("recorded_at"),
        "task": run.get("task"),
        "agent": run.get("agent"),
        "status": end.get("status"),
        "cost_usd": usd(cost) if isinstance(cost, int) else None,
        "flaw": cassette.flaw or None,
        "providers": [_without(line) for line in cassette.of("provider")],
        "attempts": [_attempt(number, line) for number, line in enumerate(cassette.of("attempt"), 1)],
        "tools": [
            {name: line.get(name) for name in ("lane", "tool", "arguments", "error")} for line in cassette.of("tool")
        ],
    }


def _without(line: Line) -> Document:
    return {name: line.get(name) for name in ("lane", "provider", "model", "base_url", "client")}


def _attempt(number: int, line: Line) -> Document:
    from agentctl.providers.cassettes.cassette_file import chunks_of

    chunks = [chunk for chunk in chunks_of(line) if chunk is not None]
    return {
        "attempt": number,
        **{name: line.get(name) for name in ("lane", "provider", "model", "sha256", "status", "end")},
        "chunks": len(chunks),
        "bytes": sum(len(chunk.data) for chunk in chunks),
        "duration_ms": line.get("end_ms"),
        "error": _error_text(line.get("error")),
    }


def _error_text(error: object) -> str | None:
    return f"{error.get('type')}: {error.get('text')}" if isinstance(error, Mapping) else None


def _describe(cassette: Cassette, page: Page) -> Iterator[str]:
    from agentctl.cli.ui.columns import Column
    from agentctl.cli.ui.format import money, plural

    run, end = next(cassette.of("run"), {}), cassette.end
    cost: Any = None if end is None else end.get("cost_nano")
    ended = "unknown" if end is None else f"{end['status']}, {money(cost) if isinstance(cost, int) else 'unknown cost'}"
    first = next(cassette.of("provider"), {})
    tools = list(cassette.of("tool"))
    facts = [
        ("cassette", str(Path(cassette.path))),
        ("recorded", f"{cassette.head.get('recorded_at')} by agentctl {cassette.head.get('agentctl')}"),
        ("task", str(run.get("task", ""))),
        ("model", f"{first.get('provider')}/{first.get('model')}, by the {first.get('client')} client"),
        ("ended", f"cut off: {cassette.flaw}" if cassette.flaw else ended),
        ("tools", ", ".join(dict.fromkeys(str(line["tool"]) for line in tools)) or "none were called"),
    ]
    yield page.fields(facts)
    rows = [
        (
            str(one["attempt"]),
            str(one["lane"]) or "-",
            f"{one['provider']}/{one['model']}",
            str(one["sha256"])[:_HASH_DIGITS],
            str(one["status"] or ""),
            plural(int(str(one["chunks"])), "piece"),
            f"{one['duration_ms']} ms",
            str(one["error"] or {"closed": "its client went away"}.get(str(one["end"]), "")),
        )
        for one in (_attempt(number, line) for number, line in enumerate(cassette.of("attempt"), 1))
    ]
    columns = (
        *(Column("request", right=True), Column("lane", "name", drop=3), Column("model", "name", drop=2)),
        *(Column("hash", drop=4), Column("status"), Column("answer"), Column("time", drop=1, right=True)),
        Column("end", "text"),
    )
    if rows:
        yield ""
        yield page.table(columns, rows)
