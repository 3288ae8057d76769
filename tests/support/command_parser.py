"""The command line's own parser, to check a line without running it."""

from __future__ import annotations

import typer  # noqa: TID251 - its parser is what reads the lines

from agentctl.cli.app import build_app

ROOT_COMMAND = typer.main.get_command(build_app())


def parse_command(words: list[str]) -> dict[str, object]:
    """Parse as ``main`` would, without running anything; return the last command's parameters."""
    command, context, rest = ROOT_COMMAND, None, list(words)
    while True:
        context = command.make_context(command.name or "agentctl", rest, parent=context)
        inner = getattr(command, "commands", None)
        if inner is None:
            return dict(context.params)
        name, rest = rest[0], rest[1:]
        command = inner[name]
