"""``agentctl runs export``: write a run as Markdown, HTML or JSON, or its spans as OTLP JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agentctl.cli.options import OUTPUT, refuse_id_with_last

if TYPE_CHECKING:
    from pathlib import Path

    from agentctl.cli.runs.export.document import TurnRange
    from agentctl.cli.runs.run_documents import TranscriptDocument

ExportForm = Literal["md", "html", "json", "otlp"]

_BY_SUFFIX: dict[str, ExportForm] = {".md": "md", ".markdown": "md", ".html": "html", ".htm": "html", ".json": "json"}
_TURNS = re.compile(r"(?P<first>\d{1,9})?(?P<to>-)?(?P<last>\d{1,9})?")


def export(
    run_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Id of the run, or a prefix of it (default: the last run).")
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="Export the last run, as without an ID.")] = False,
    format: Annotated[
        ExportForm | None,
        typer.Option("--format", help="Format (default: by FILE's suffix, else md).", rich_help_panel=OUTPUT),
    ] = None,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE|-", help="Write to a file (default: stdout).")
    ] = "-",
    turns: Annotated[
        str | None, typer.Option("--turns", metavar="A-B", help="Only these turns: 3, 3-7, 3- or -7.")
    ] = None,
    no_results: Annotated[bool, typer.Option("--no-results", help="Leave out what tools returned.")] = False,
    redact: Annotated[
        str | None,
        typer.Option("--redact", metavar="REGEX", help="Replace what matches (Python's syntax) by [redacted]."),
    ] = None,
) -> None:
    """Export a run as one file: Markdown, HTML or JSON, or its OpenTelemetry spans (otlp).

    A fork has the turns of the run that it goes on from, too, marked as such.
    HTML is one file without scripts and without requests, below 2 MB. JSON is agentctl.transcript/1.
    otlp is OTLP JSON on one line, with the spans of the run itself.

    Examples:
        agentctl runs export -o run.html
        agentctl runs export 01KB2 --turns 3-7 --no-results
        agentctl runs export --format json --redact 'db-\\d+'
        agentctl runs export --format otlp -o spans.json
    """
    from pathlib import Path

    form = format or _BY_SUFFIX.get(Path(output).suffix.lower(), "md")
    refuse_id_with_last(run_id, last=last)
    if form == "otlp":
        if turns is not None or no_results:
            flag = "--no-results" if turns is None else "--turns"
            raise _not_with_otlp(flag)
        from agentctl.cli.runs.export.span_export import export_spans

        written, cut = export_spans(run_id, _pattern(redact)), ""
    else:
        written, cut = _write(_document(run_id, turns, results=not no_results, redact=redact), form)
    if output == "-":
        print(written, end="" if written.endswith("\n") else "\n")
    else:
        _write_file(Path(output), written)
    if cut:
        from agentctl.cli.error_output import print_warning

        print_warning(f"{cut} to keep the page below 2 MB; --format json has everything")


def _not_with_otlp(flag: str) -> Exception:
    from agentctl.core.errors import UsageError

    return UsageError(
        f"{flag} cannot be combined with --format otlp",
        hint=f"leave {flag} out: spans have no texts of the run, unless OpenTelemetry's own switch says so",
    )


def _document(run_id: str | None, turns: str | None, *, results: bool, redact: str | None) -> TranscriptDocument:
    """Return the document of a run.

    Raises:
        UsageError: no such run or turn, or an invalid value of a flag.
    """
    from agentctl.cli.error_output import print_warning, report_settings
    from agentctl.cli.runs.export.document import transcript_document
    from agentctl.cli.runs.export.pattern_redaction import PatternRedactor
    from agentctl.core.errors import UsageError
    from agentctl.journal.reader import find_journal, read_with_origin

    chosen, pattern = _turn_range(turns), _pattern(redact)
    path = find_journal(report_settings().settings.runs_dir, run_id)
    document = transcript_document(
        read_with_origin(path, warn=print_warning),
        run_id=path.stem,
        turns=chosen,
        results=results,
        redact=PatternRedactor(pattern),
    )
    if turns is not None and not document["turns"]:
        last = document["turns_in_all"]
        raise UsageError(f"--turns {turns} has no turn of the run", hint=f"name turns from 1 to {last}")
    return document


def _turn_range(given: str | None) -> TurnRange:
    from agentctl.cli.runs.export.document import TurnRange
    from agentctl.core.errors import UsageError

    if given is None:
        return TurnRange()
    match = _TURNS.fullmatch(given.strip())
    if match is None or not (match["first"] or match["last"]):
        raise UsageError(f"--turns {given!r} is not a range of turns", hint="for example: --turns 3-7")
    first = int(match["first"] or 1)
    last = int(match["last"]) if match["last"] else None if match["to"] else first
    if first < 1 or (last is not None and last < first):
        raise UsageError(f"--turns {given!r} has no turn", hint="for example: --turns 3-7")
    return TurnRange(first, last)


def _pattern(given: str | None) -> re.Pattern[str] | None:
    from agentctl.core.errors import UsageError

    if given is None:
        return None
    try:
        return re.compile(given)
    except re.error as exc:
        raise UsageError(
            f"--redact {given!r} is not a regular expression: {exc}",
            hint="quote it for the shell: --redact 'db-[0-9]+'",
        ) from exc


def _write(document: TranscriptDocument, form: ExportForm) -> tuple[str, str]:
    """Return the text of the export, and what was cut of it."""
    if form == "json":
        from agentctl.cli.documents import as_json

        return as_json(document), ""
    if form == "html":
        from agentctl.cli.runs.export.html_page import html_page

        return html_page(document)
    from agentctl.cli.runs.export.markdown_page import markdown_page

    return markdown_page(document), ""


def _write_file(path: Path, written: str) -> None:
    """Write the file in one step, for its owner only; a device or a pipe is written to.

    Raises:
        UsageError: there is no such folder, or it is not writable.
        StateError: the disk is full or read-only.
    """
    import errno

    from agentctl.core.errors import StateError, UsageError
    from agentctl.core.files import write_output

    data = written if written.endswith("\n") else f"{written}\n"
    try:
        target = path.resolve()
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        write_output(path if path.exists() and not target.exists() else target, data)  # an open pipe has no path
    except OSError as exc:
        kind = StateError if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO) else UsageError
        raise kind(
            f"{path} cannot be written: {exc.strerror or exc}", hint="name another file with -o, or - for stdout"
        ) from exc
