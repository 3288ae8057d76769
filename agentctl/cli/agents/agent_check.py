"""Check the files that describe agents, and say what of them has no effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agentctl.cli.options import Json, Output, wants_json

if TYPE_CHECKING:
    from agentctl.cli.documents import Document
    from agentctl.runner.agent_catalog import AgentFile
    from agentctl.settings import Loaded


def check(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Agent, or file, to check (default: every file).", show_default=False),
    ] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Check the files of agents: what a run would refuse, and what has no effect. Exit 2 if one cannot be used.

    Examples:
        agentctl agents check
        agentctl agents check docker
        agentctl agents check ./reviewer.md
    """
    from pathlib import Path

    from agentctl.cli.agents.agent_document import SCHEMA
    from agentctl.cli.documents import print_document
    from agentctl.core.errors import UsageError
    from agentctl.runner.agent_catalog import load_catalog
    from agentctl.settings import load_settings

    as_json = wants_json(output, json=json)
    loaded = load_settings(flags={}, remember=False, needs=("config_dir",))
    is_file = name is not None and ("/" in name or Path(name).suffix in (".toml", ".md"))
    catalog = load_catalog(loaded, file=name if is_file else None, strict=False)
    files = catalog.files if name is None else tuple(file for file in catalog.files if file.name == name)
    if is_file:
        files = catalog.files[-1:]
    if name is not None and not files:
        catalog.find(name)  # an unknown name is an error here
    found = [_result(file, loaded) for file in files]
    wrong = [one for one in found if not one["ok"]]
    if as_json and not wrong:
        print_document(SCHEMA, {"checked": found})
        return
    if not as_json:
        for line in _lines(found) or ["no files of agents: agentctl's own need no check (agentctl agents new NAME)"]:
            print(line)
    if wrong:
        first = wrong[0]
        said = f"{len(wrong)} files of agents cannot be used" if len(wrong) > 1 else str(first["error"])
        raise UsageError(said, hint=str(first["hint"]) if len(wrong) == 1 else "agentctl agents check")


def _result(file: AgentFile, loaded: Loaded) -> Document:
    from agentctl.runner.agent_choice import with_terms

    notes = list(file.notes)
    if file.agent is not None:
        notes += with_terms(loaded, file.agent)[1]
    error = file.error
    return {
        "file": file.place,
        "agent": file.name,
        "origin": file.origin,
        "ok": error is None,
        "notes": notes,
        "error": None if error is None else error.message,
        "hint": "" if error is None else error.hint,
    }


def _lines(found: list[Document]) -> list[str]:
    from agentctl.core.text import safe_text

    lines = []
    for one in found:
        notes = one["notes"] if isinstance(one["notes"], list) else []
        lines.append(f"{'ok' if one['ok'] else 'wrong'}  {one['agent']}  {one['file']}")
        lines += [f"    {note}" for note in notes]
        if not one["ok"]:
            lines.append(f"    {one['error']}")
            lines += [f"    hint: {one['hint']}"] if one["hint"] else []
    return [safe_text(line) for line in lines]
