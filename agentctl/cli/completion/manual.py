"""The manual page agentctl(1), in the markup of man, from the declarations of the commands and the exit codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from agentctl.cli.commands import HelpText, help_text, sections
from agentctl.cli.exit_codes import SENTENCES
from agentctl.core.version import __version__


def manual(context: Any) -> str:  # noqa: ANN401 - Typer's own type
    """Return the page of the root: every command with its examples and flags, the exit codes, and where to read on."""
    parts = help_text(context.command)
    lines = [
        f'.TH AGENTCTL 1 "" "agentctl {__version__}" "User Commands"',
        ".nh",  # words are cut nowhere, and stand without gaps
        ".ad l",
        ".SH NAME",
        rf"agentctl \- {_text(parts.about[0].lower() + parts.about[1:].removesuffix('.'))}",
        ".SH SYNOPSIS",
        r"\fBagentctl\fR \fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]",
        ".SH DESCRIPTION",
        _text(parts.about),
        *_examples(parts),
        ".SH COMMANDS",
        *(line for one in _contexts(context) for line in _command(one)),
        ".SH EXIT STATUS",
    ]
    for status, sentence in SENTENCES.items():
        lines += [".TP", rf"\fB{status.value}\fR ({status.shown})", _text(sentence)]
    lines += [
        ".SH ENVIRONMENT",
        _text("A variable for each setting, less than its flag: agentctl help environment"),
        ".SH FILES",
        _text("Where settings, ledger and journals are: agentctl config path"),
        ".SH SEE ALSO",
        _text("The topics: agentctl help"),
    ]
    return "\n".join(lines)


def _contexts(above: Any) -> Iterator[Any]:  # noqa: ANN401 - Typer's own types
    """Yield a context for each command below ``above``, in the order of the help; a group before its commands."""
    for name in above.command.list_commands(above):
        command = above.command.get_command(above, name)
        if command is None or command.hidden:
            continue
        inner = typer.Context(command, info_name=name, parent=above)
        yield inner
        if isinstance(command, TyperGroup):
            yield from _contexts(inner)


def _command(context: Any) -> Iterator[str]:  # noqa: ANN401 - Typer's own type
    command = context.command
    parts = help_text(command)
    yield f'.SS "{_text(context.command_path)}"'
    yield _text(parts.about)
    if isinstance(command, TyperGroup):
        return
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (".PP", rf"\fB{_text(context.command_path)}\fR {_text(usage)}")
    yield from _examples(parts)
    for paragraph in filter(None, [*parts.details.split("\n\n"), *parts.notes.splitlines()]):
        yield from (".PP", _text(" ".join(paragraph.split())))
    for title, rows in sections(command, context):
        yield from (".PP", rf"\fI{_text(title)}\fR")
        for name, text in rows:
            yield from (".TP", rf"\fB{_text(name)}\fR", _text(text))


def _examples(parts: HelpText) -> Iterator[str]:
    if parts.examples:
        yield from (".PP", ".RS 4", ".nf", *map(_text, parts.examples), ".fi", ".RE")


def _text(text: str) -> str:
    """Return a line with what is markup to man escaped; words keep their hyphens as they are typed."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    escaped = escaped.replace("'", r"\(aq").replace("`", r"\(ga").replace("^", r"\(ha").replace("~", r"\(ti")
    escaped = escaped.replace('"', r"\(dq")
    return re.sub(r"^(?=\.)", r"\\&", escaped)
