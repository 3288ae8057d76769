"""Notes and errors on stderr, error documents on stdout, and the log of a crash."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agentctl.cli.documents import as_json, error_document, error_info, finished_line, unstarted_document
from agentctl.cli.exit_codes import status_named
from agentctl.cli.invocation import Form
from agentctl.cli.ui.format import Paint, painter
from agentctl.cli.ui.terminal import terminal_width
from agentctl.core.errors import AgentctlError, InternalError
from agentctl.core.files import hand_over, make_folder
from agentctl.core.redaction import redact
from agentctl.core.text import safe_text

if TYPE_CHECKING:
    from agentctl.settings import Loaded

PLAIN: Paint = painter("never", terminal=False)
_GROUPS = {"ledger", "runs", "providers", "config", "agents", "tools", "policy", "mcp"}


def print_stderr(text: str) -> None:
    """Print a line on stderr."""
    sys.stderr.write(text + "\n")


def print_warning(text: str) -> None:
    """Print a warning on stderr; on a terminal one without a command to paste is wrapped."""
    print_stderr(f"warning: {_wrapped('warning: ', text)}")


def waiting_notice(what: str) -> Callable[[int], None]:
    """Return a function that says on stderr that ``what`` is waited for, or its end once bytes of it have come."""

    def late(size: int) -> None:
        print_stderr(safe_text(f"still waiting for {'the end of ' if size else ''}{what}"))

    return late


def print_error(message: str, hint: str, paint: Paint = PLAIN) -> None:
    """Print an error and its hint on stderr; on a terminal those without a command to paste are wrapped."""
    print_stderr(f"{paint('error:', 'red')} {_wrapped('error: ', message)}")
    if hint:
        print_stderr(f"hint: {_wrapped('hint: ', hint)}")


def _wrapped(lead: str, text: str) -> str:
    """Return ``text`` as it follows ``lead`` on stderr."""
    text = safe_text(text)
    width = terminal_width(sys.stderr)
    if "agentctl " in text or width is None or len(lead) + len(text) <= width:
        return text
    from agentctl.cli.ui.columns import page_of

    return page_of(sys.stderr).prose(f"{lead}{text}").removeprefix(lead)


def report_settings(*needs: str) -> Loaded:
    """Load the settings for a report: it needs the paths of the ledger and the journals, and ``needs``.

    Prints a warning for each invalid value that the report does not need.

    Raises:
        UsageError: a value that the report needs is invalid.
    """
    from agentctl.settings import load_settings

    loaded = load_settings(flags={}, remember=False, needs=("report", *needs))
    for warning in loaded.warnings:
        print_stderr(safe_text(warning))
    return loaded


def report_error(
    error: AgentctlError,
    *,
    form: Form,
    command: str | None,
    task: str | None = None,
    past: Mapping[str, object] | None = None,
    paint: Paint = PLAIN,
) -> int:
    """Print the error that ended a command, as text and, if requested, as JSON; return the exit code.

    ``past`` are fields of the document of a run that was to go on.
    """
    info, status = error_info(error)
    print_error(error.message, error.hint, paint)
    if form != "text":
        document: Mapping[str, object]
        if command == "run":
            document = {**unstarted_document(info, status, task=task), **(past or {})}
        else:
            document = error_document(info, status)
        if form == "jsonl" and command == "run":
            document = finished_line(document, seq=1, at=datetime.now(UTC))
        sys.stdout.write(as_json(document, line=form == "jsonl") + "\n")
        sys.stdout.flush()
    return status_named(status).value


def translate_parser_error(error: Exception, argv: tuple[str, ...]) -> AgentctlError:
    """Return an error of Typer's parser as a UsageError, with the nearest valid word as its hint."""
    from agentctl.cli.meanings import command_hint, flag_hint
    from agentctl.cli.options import FLAG_SYNONYMS
    from agentctl.core.errors import UsageError

    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", None)
    commands = getattr(getattr(context, "command", None), "commands", None) or {}
    option = getattr(error, "option_name", "")
    behind = next((word for word in (*argv, "run") if word in commands), "") if option else ""
    if behind and any(option in found.opts for found in getattr(commands.get(behind), "params", ())):
        message, hint = f"{option} is placed before the command", f"put it after the command: {path} {behind} {option}"
    elif option and hasattr(error, "possibilities"):
        command = commands.get(behind) or getattr(context, "command", None)
        flags = [flag for param in getattr(command, "params", ()) if not param.hidden for flag in _flags_of(param)]
        place = behind or str(path).removeprefix("agentctl ")
        message = f"No such option: {option}"
        hint = flag_hint(option, place, [*flags, "--help"], FLAG_SYNONYMS) or f"{path} {behind}".rstrip() + " --help"
    else:
        format_message = getattr(error, "format_message", None)
        message = str(format_message() if callable(format_message) else error).replace(": Value error, ", ": ")
        hint = f"{path or _command_path(argv)} --help"
    if commands and message.startswith("No such command"):
        word = message.split("'")[1] if "'" in message else ""
        known = [name for name, found in commands.items() if not found.hidden]
        group = str(path).removeprefix("agentctl").strip()
        hint = command_hint(word, group, [each for each in argv if not each.startswith("-")], known) or hint
    return UsageError(" ".join(message.split()).removesuffix("."), hint=hint)


def _flags_of(param: object) -> list[str]:
    found = (*getattr(param, "opts", ()), *getattr(param, "secondary_opts", ()))
    return [flag for flag in found if flag.startswith("-")]


def _command_path(argv: tuple[str, ...]) -> str:
    """Return the command at the beginning of ``argv``, for an error that does not name it."""
    words = ["agentctl"]
    for word in argv:
        most = 2 if words[-1] in _GROUPS else 1
        if word.startswith("-") or not word.isalpha() or len(words) > most:
            break
        words.append(word)
    return " ".join(words)


def record_crash(error: Exception) -> AgentctlError:
    """Write the traceback of a bug to a file that only the user can read; return the error that names the file."""
    import traceback

    text = redact("".join(traceback.format_exception(error)), ())
    what = f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]
    try:
        path = _log_path()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            hand_over(file.fileno(), path.parent)
            file.write(text)
    except OSError:
        sys.stderr.write(safe_text(text))
        return InternalError(f"internal error: {what}", hint="report the traceback above; the log could not be written")
    return InternalError(f"internal error: {what}", hint=f"report this bug with the log {path}")


def _log_path() -> Path:
    from agentctl.settings import load_settings

    name = f"crash-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    try:
        folder = load_settings(flags={}, remember=False, needs=("state_dir",)).settings.state_dir
        make_folder(folder)
    except (AgentctlError, OSError):
        import tempfile

        folder = Path(tempfile.gettempdir())
    return folder / name
