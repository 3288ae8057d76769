"""``agentctl config``: what is set, by whom, and whether a run would start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl.cli.flags import Json, Output, wants_json

if TYPE_CHECKING:
    from agentctl.cli.document import Document

SCHEMA = "agentctl.config/1"

Config = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="Read this TOML instead of the user's config file.")
]
EnvFile = Annotated[
    list[str] | None, typer.Option("--env-file", metavar="FILE", help="Read this .env too; may be repeated.")
]


def show(config: Config = None, env_file: EnvFile = None, output: Output = None, json: Json = False) -> None:
    """Show each value and where it came from; keys are masked."""
    from agentctl.settings import load_settings
    from agentctl.settings.show import explain

    as_json = wants_json(output, json=json)
    loaded = load_settings(flags={}, config=config, env_files=env_file or (), remember=False)
    rows = explain(loaded)
    _notes(loaded.notes)
    if as_json:
        _print({"settings": {row.name: {"value": row.value, "source": row.source} for row in rows}})
        return
    from agentctl.text import safe_text
    from agentctl.ui.figures import columns

    cells = [(row.name, safe_text(row.value) or "-", safe_text(row.source)) for row in rows]
    print(columns(("setting", "value", "from"), cells))


def path(output: Output = None, json: Json = False) -> None:
    """Show where the files lie."""
    from agentctl.settings import load_settings
    from agentctl.settings.show import paths

    as_json = wants_json(output, json=json)
    places = paths(load_settings(flags={}, remember=False))
    if as_json:
        _print({"paths": {place.name: {"path": str(place.path), "exists": place.exists} for place in places}})
        return
    from agentctl.text import safe_text
    from agentctl.ui.figures import columns

    cells = [(place.name, safe_text(str(place.path)), "" if place.exists else "not there yet") for place in places]
    print(columns(("what", "path", ""), cells))


def check(config: Config = None, env_file: EnvFile = None, output: Output = None, json: Json = False) -> None:
    """Check the settings as a run would; exit 2 when something is wrong."""
    from agentctl.errors import AgentctlError
    from agentctl.settings import check_settings

    as_json = wants_json(output, json=json)
    checked = check_settings(flags={}, config=config, env_files=env_file or ())
    problems, chosen, code = list(checked.problems), "", 2
    if checked.loaded is not None:
        from agentctl.cli.exits import exit_status
        from agentctl.providers.here import choose_here
        from agentctl.wiring import assemble

        try:
            choice = choose_here(checked.loaded)
            assemble(checked.loaded, choice)  # opens nothing: what it refuses, a run would refuse
            chosen = f"{choice.provider}/{choice.model}" if choice.model else choice.provider
            chosen += f" ({choice.chosen_by})"
        except AgentctlError as error:
            problems.append(f"{error.message} ({error.hint})" if error.hint else error.message)
            code = exit_status(error).value
    if as_json:
        _print({"ok": not problems, "problems": problems, "notes": list(checked.notes), "provider": chosen or None})
    else:
        _notes(checked.notes)
        from agentctl.cli.failure import tell

        for problem in problems:
            tell(problem, "")
        if not problems:
            print(f"the settings are right; a run would use {chosen}")
    if problems:
        raise typer.Exit(code)


COMMANDS: dict[str, Callable[..., None]] = {"show": show, "path": path, "check": check}


def _notes(notes: tuple[str, ...]) -> None:
    from agentctl.cli.failure import say
    from agentctl.text import safe_text

    for note in notes:
        say(safe_text(note))


def _print(document: Document) -> None:
    from agentctl.cli.document import as_json
    from agentctl.version import __version__

    print(as_json({"schema": SCHEMA, "version": __version__, **document, "error": None}))
