"""``agentctl doctor``: check whether a run would work here, and what to do if not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl.cli.options import Config, EnvFile, Json, Output, wants_json

if TYPE_CHECKING:
    from agentctl.cli.doctor.findings import DoctorReport, Finding, State
    from agentctl.cli.documents import Document
    from agentctl.cli.ui.columns import Page
    from agentctl.cli.ui.format import Paint, Style
    from agentctl.settings import Loaded

SCHEMA = "agentctl.doctor/1"
_WIDE = 13
_STYLES: dict[State, Style] = {"ok": "green", "warning": "yellow", "lack": "red"}
_WORDS: dict[State, str] = {"ok": "ok", "warning": "warning", "lack": "problem"}


def doctor(
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="NAME", help="Check a run with this provider.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", metavar="NAME", help="Check a run with this model, or provider/model."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Make no request beyond this host.")] = False,
    config: Config = None,
    env_file: EnvFile = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Check the set-up: what a run would use, and every problem with its fix.

    Makes no paid call. Exit 0: a run would work; 1: it would not.

    Examples:
        agentctl doctor
        agentctl doctor --model openai/gpt-4o-mini
        agentctl doctor --offline --json
    """
    import sys
    from datetime import UTC, datetime

    from agentctl.cli.doctor.examination import examine
    from agentctl.cli.ui.format import painter
    from agentctl.runner.assemble import check_startable
    from agentctl.settings import check_settings

    as_json = wants_json(output, json=json)
    checked = check_settings(
        flags={"llm_provider": provider, "llm_model": model}, config=config, env_files=env_file or ()
    )
    loaded = checked.incomplete
    caller_findings = (*_telemetry(loaded), _terminal(loaded), _versions())
    report = examine(
        checked,
        check_startable=check_startable,
        caller_findings=caller_findings,
        today=datetime.now(UTC).date(),
        offline=offline,
    )
    secrets = () if loaded is None else loaded.secrets
    if as_json:
        from agentctl.cli.documents import as_json as dumped
        from agentctl.cli.documents import redact_document

        print(dumped(redact_document(_document(report), secrets)))
    else:
        from agentctl.cli.ui.columns import stdout_page
        from agentctl.core.redaction import redact
        from agentctl.settings.host import is_dumb

        colour = "never" if loaded is None else loaded.settings.color
        paint = painter(colour, terminal=sys.stdout.isatty() and not is_dumb())
        for line in _lines(report, paint, lambda text: redact(text, secrets), stdout_page()):
            print(line)
    raise typer.Exit(0 if report.runs else 1)


def _lines(report: DoctorReport, paint: Paint, clean: Callable[[str], str], page: Page) -> Iterator[str]:
    """Yield the headline, its hint if there is one, and the findings, each with its hint."""
    from agentctl.core.text import safe_text

    yield page.prose(_one_line(clean(report.headline)))
    if report.hint:
        yield f"  {safe_text(clean(report.hint))}"
    yield ""
    fields = []
    for finding in report.findings:
        fields.append((f"{_WORDS[finding.state]:7}  {finding.subject:{_WIDE}}", _one_line(clean(finding.message))))
        fields += [("", line) for line in clean(finding.hint).splitlines()]  # whole: it may be pasted
        fields += [(" ", clean(line)) for line in finding.details]
    styles = {_WORDS[state]: style for state, style in _STYLES.items()}
    for line in page.fields(fields, whole=("",)).split("\n"):
        word = line[:7].rstrip()
        yield paint(line[:7], styles[word]) + line[7:] if word in styles else line
    stopping = [finding.subject for finding in report.findings if finding.stops]
    if report.would_use is not None and stopping:
        yield "\n" + page.prose(f"`run` would not work because of: {', '.join(dict.fromkeys(stopping))}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _document(report: DoctorReport) -> Document:
    from agentctl.core.version import __version__

    return {
        "schema": SCHEMA,
        "version": __version__,
        "ok": report.runs,
        "exit_code": 0 if report.runs else 1,
        "headline": report.headline,
        "would_use": report.would_use,
        "because": report.why if report.would_use is not None else None,
        "cure": report.hint or None,
        "checks": [
            {
                "about": finding.subject,
                "state": finding.state,
                "said": finding.message,
                "cure": finding.hint or None,
                "stops_run": finding.stops,
                "details": list(finding.details),
            }
            for finding in report.findings
        ],
        "error": None,
    }


def _telemetry(loaded: Loaded | None) -> Iterator[Finding]:
    """Report where spans and metrics are sent and what prevents it; nothing if they are not asked for."""
    found = None if loaded is None else loaded.telemetry
    if found is None:
        return
    from agentctl.cli.doctor.findings import ok, warning
    from agentctl.settings.telemetry import INSTALL, has_extra

    for problem in found.problems:
        yield warning("telemetry", problem, "agentctl help telemetry")
    if found.sends and not has_extra():
        yield warning("telemetry", "nothing is sent: the extra otel is not installed", INSTALL)
    elif found.sends:
        places = ", ".join(f"{signal} to {address}" for signal, address in found.endpoints.items())
        yield ok("telemetry", f"{places}; texts of a run are {'sent, too' if found.with_content else 'not sent'}")


def _terminal(loaded: Loaded | None) -> Finding:
    """Report what the terminal supports: questions, the live view, colours."""
    import sys

    from agentctl.cli.doctor.findings import ok
    from agentctl.settings.host import is_dumb

    asks, screen = sys.stdin.isatty() and sys.stderr.isatty(), sys.stderr.isatty()
    questions = "questions can be asked" if asks else "calls that need approval are denied"
    capable = screen and not is_dumb()
    view = "live view" if capable else "plain lines, no live view"
    choice = "auto" if loaded is None else loaded.settings.color
    coloured = choice == "always" or (choice == "auto" and capable)
    where = "" if loaded is None or choice == "auto" else f" ({loaded.sources['color']})"
    colours = f"{'colours' if coloured else 'no colours'}{where}"
    return ok("terminal", f"{'a terminal' if screen else 'no terminal'}: {questions}; {view}; {colours}")


def _versions() -> Finding:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from agentctl.cli.doctor.findings import missing, ok, warning
    from agentctl.core.version import __version__
    from agentctl.providers.wires.model_parameters import checked_litellm

    try:
        litellm = version("litellm")
    except PackageNotFoundError:
        return missing("versions", f"agentctl {__version__}: litellm is not installed", "reinstall agentctl")
    message = f"agentctl {__version__}, litellm {litellm}, Python {platform.python_version()}"
    message += f", {platform.system()} {platform.release()}"
    if litellm != (checked := checked_litellm()):
        told = f"{message}: the lean client was compared with litellm {checked}, not with this one"
        return warning("versions", told, f"pip install litellm=={checked}")
    return ok("versions", message)
