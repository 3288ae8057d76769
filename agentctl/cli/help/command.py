"""``agentctl help``: print a topic or the list of topics."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer


def help(
    context: typer.Context,
    topic: Annotated[
        list[str] | None, typer.Argument(metavar="TOPIC", help="A topic, or a command: runs list.")
    ] = None,
) -> None:
    """Print a help topic; without TOPIC, list the topics.

    Examples:
        agentctl help
        agentctl help setup
        agentctl help exit-codes
        agentctl help runs list
    """
    if not topic:
        _print_list()
        return
    print(_text(context, topic).rstrip())


def _print_list() -> None:
    from agentctl.cli.help.pages import page_title, topics
    from agentctl.cli.ui.columns import stdout_page

    rows = [(f"agentctl help {name}", page_title(page)) for name, page in topics().items()]
    print(stdout_page().fields([*rows, ("agentctl COMMAND -h", "what a command does")]))


def _text(context: typer.Context, words: list[str]) -> str:
    from agentctl.cli.help.pages import TOPIC_MEANINGS, find_page, page_text, topics
    from agentctl.core.errors import UsageError
    from agentctl.core.text import did_you_mean

    topic = " ".join(words)
    name = "-".join(topic.lower().replace("_", "-").split())
    pages = topics()
    if name in pages:
        return _rendered(page_text(pages[name]))
    inner: Any = context.find_root()
    commands: dict[str, Any] = {}
    for number, word in enumerate(words):
        commands = {name: found for name, found in _commands(inner).items() if not found.hidden}
        given = word.lower().replace("_", "-")
        if given not in commands:
            if number:
                raise UsageError(
                    f'no help on "{topic}"',
                    hint=did_you_mean(given, commands) or f"agentctl help {' '.join(words[:number])}",
                )
            break
        inner = typer.Context(commands[given], info_name=given, parent=inner)
    else:
        return str(inner.get_help())
    page = find_page(name)
    if page is not None:
        return _rendered(page_text(page))
    raise UsageError(
        f'no help topic "{topic}"', hint=did_you_mean(name, [*pages, *commands], TOPIC_MEANINGS) or "agentctl help"
    )


def _commands(context: Any) -> dict[str, Any]:  # noqa: ANN401 - of Typer or of Click
    return dict(getattr(context.command, "commands", {}))


def _rendered(text: str) -> str:
    """Return a page's Markdown as it is or, on a terminal that shows styles, rendered for its width."""
    from agentctl.cli.ui.terminal import is_terminal

    if not is_terminal(sys.stdout) or not _shows_styles():
        return text
    from agentctl.cli.ui.markdown import render_markdown

    with suppress(OSError):
        width = os.get_terminal_size(sys.stdout.fileno()).columns
        # Each table by itself: one that is too wide stays as it is, and the rest of the page is rendered.
        parts = re.split(r"(?m)((?:^\|.*\n)+)", re.sub(r"<!--.*?-->\n+", "", text))
        return "\n\n".join(
            render_markdown(part.strip(), width=width, joins_lines=True) for part in parts if part.strip()
        )
    return text


def _shows_styles() -> bool:
    """Return whether terminal and settings allow styles; settings that cannot be loaded do not stop the help."""
    from agentctl.core.errors import AgentctlError
    from agentctl.settings import load_settings
    from agentctl.settings.host import is_dumb

    with suppress(AgentctlError):
        return not is_dumb() and load_settings(flags={}, remember=False, needs=()).settings.color != "never"
    return False
