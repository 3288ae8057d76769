"""Tell the CI system of a run: masks before anything else, sections meanwhile, files and an annotation at its end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agentctl.cli.ci.ci_flags import CiFlags
from agentctl.cli.ci.log_commands import (
    annotation,
    command,
    is_step_log,
    mask_commands,
    section_end,
    section_start,
    without_headings,
)
from agentctl.cli.ci.report_files import append_whole, replace_whole
from agentctl.cli.ci.run_end import RunEnd, end_of, end_of_error
from agentctl.cli.ci.step_outputs import dotenv_report, output_block, output_values
from agentctl.cli.exit_codes import ExitStatus
from agentctl.core.events import Record, TurnStarted
from agentctl.core.redaction import redact
from agentctl.core.results import ErrorInfo, RunResult
from agentctl.core.text import safe_text
from agentctl.settings.ci_system import CiSystem

if TYPE_CHECKING:
    from agentctl.cli.ui.meter import Meter


class RunReports:
    """What a CI system gets of one run.

    Call ``mask`` with each secret before anything is printed, ``take`` with the result of the run, or ``fail`` with
    the error that ended it, and at last ``finish``.
    """

    def __init__(self, system: CiSystem, flags: CiFlags) -> None:
        self._system, self._flags = system, flags
        self._has_sections = flags.verbose and not flags.quiet and system.name in ("github", "gitlab")
        self._secrets: tuple[str, ...] = ()
        self._section = ""
        self._make: Callable[[], RunEnd] | None = None

    def mask(self, secrets: Iterable[str]) -> None:
        """Have GitHub blank the secrets in the log, each once, if stderr is the log; redact them in the reports."""
        new = tuple(secret for secret in dict.fromkeys(secrets) if secret not in self._secrets)
        self._secrets += new
        if self._system.name == "github" and new and self._is_log():
            self._write(line for secret in new for line in mask_commands(secret))

    async def observe(self, record: Record) -> None:
        """Begin a section of the log with each turn; ``close`` ends the last one."""
        if isinstance(record.event, TurnStarted):
            turn = record.event.turn
            self.close()
            self._open(f"turn {turn}", f"agentctl_{record.run_id}_turn_{turn}")

    @property
    def observes(self) -> bool:
        """Whether the log gets sections."""
        return self._has_sections

    def close(self) -> None:
        """End the section that is open."""
        if self._section:
            ends = command("endgroup") if self._system.name == "github" else section_end(self._section, at=_now())
            self._section = ""
            self._write([ends])

    def for_log(self, text: str) -> str:
        """Return whole lines for the log, without a heading of Buildkite's."""
        return without_headings(text) if self._system.name == "buildkite" else text

    def for_stdout(self, answer: str) -> str:
        """Return an answer as stdout gets it: as the log does only if that is the same file as stderr.

        Into a file or a pipe of its own it goes as it is: a heading is also a line of a diff.
        """
        return self.for_log(answer) if _is_one_file() else answer

    def take(self, result: RunResult, *, meter: Meter, steps: Sequence[str]) -> None:
        """Take the result of a run; ``steps`` are what to do about its error."""

        def make() -> RunEnd:
            from agentctl.cli.error_output import PLAIN
            from agentctl.cli.ui.run_table import describe_failure, render_run_table

            table = render_run_table(result, meter, PLAIN) if self._system.summary else ""
            message = describe_failure(result) if result.error is not None else ""
            return end_of(result, message=message, steps=steps, table=table, clean=self._clean)

        self._make = make

    def fail(
        self, error: ErrorInfo, status: str, past: Mapping[str, object] | None = None, *, task: str | None = None
    ) -> None:
        """Take the error that ended the command; ``past`` are the facts of a run that was to go on."""
        before = self._make

        def make() -> RunEnd:
            known = _end_of_past(past or {}, self._clean(task or "")) if before is None else before()
            return end_of_error(error, status, clean=self._clean, before=known)

        self._make = make

    def finish(self) -> None:
        """Write the reports and the annotation, once; without a result or an error nothing.

        Raises nothing: no report changes how a run ends.
        """
        make, self._make = self._make, None
        self.close()
        if make is None:
            return
        try:
            end = make()
            failed = [f"{what}: {said}" for what, said in self._write_files(end)]
            said = self._annotation(end) if self._system.name == "github" else ""
        except Exception as error:  # noqa: BLE001 - a bug here must not end a run that is done
            failed, said = [f"reports: {type(error).__name__}"], ""
        if failed and not self._flags.quiet:
            self._write([safe_text(f"warning: not written: {'; '.join(failed)}")])
        if said:
            self._write([said])

    def _write_files(self, end: RunEnd) -> Iterator[tuple[str, str]]:
        """Write each report; yield the name of one that cannot be written, and why."""
        for what, place, write in (
            ("GITHUB_OUTPUT", self._system.outputs, _write_outputs),
            ("GITHUB_STEP_SUMMARY", self._system.summary, _write_summary),
            ("--dotenv", self._flags.dotenv, _write_dotenv),
            ("--junit", self._flags.junit, _write_junit),
        ):
            if place:
                try:
                    write(place, end)
                except (OSError, ValueError) as error:
                    said = (error.strerror if isinstance(error, OSError) else "") or "not a file name"
                    yield f"{what} {place}", said.lower()

    def _annotation(self, end: RunEnd) -> str:
        """Return the annotation of the run; "" if there is nothing to say."""
        title = f"agentctl: {end.shown}"
        if end.is_done:
            said = "\n".join(end.remarks)
            return annotation("warning", title, said) if said and not self._flags.quiet else ""
        level = "warning" if end.shown == ExitStatus.interrupted.shown else "error"
        said = "\n".join([end.message or end.shown, *(f"hint: {step}" for step in end.steps), *_run_line(end)])
        return annotation(level, title, said)

    def _open(self, title: str, name: str) -> None:
        self._section = name
        is_github = self._system.name == "github"
        self._write([command("group", title) if is_github else section_start(name, title, at=_now())])

    def _is_log(self) -> bool:
        try:
            number = sys.stderr.fileno()
        except (OSError, ValueError, AttributeError):
            return True  # in memory
        return is_step_log(number)

    def _write(self, lines: Iterable[str]) -> None:
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()

    def _clean(self, text: str) -> str:
        return safe_text(redact(text, self._secrets))


def _end_of_past(past: Mapping[str, object], task: str) -> RunEnd:
    """Return the end of a run that did not begin, or did not go on: then ``past`` has its id and its cost."""
    if not past:
        return RunEnd(ExitStatus.internal, task=task)
    cost = past.get("cost")
    nano = cost.get("nano_usd") if isinstance(cost, Mapping) else None
    run_id = str(past.get("run_id") or "")
    return RunEnd(ExitStatus.internal, run_id=run_id, task=task, cost_nano=nano if isinstance(nano, int) else None)


def _is_one_file() -> bool:
    """Return whether stdout and stderr are the same file, pipe or terminal."""
    try:
        return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False


def _now() -> int:
    return int(time.time())


def _run_line(end: RunEnd) -> tuple[str, ...]:
    return (" · ".join(end.figures),) if end.figures else ()


def _write_outputs(path: str, end: RunEnd) -> None:
    block = output_block(output_values(end)).encode()
    append_whole(path, lambda size: block)


def _write_summary(path: str, end: RunEnd) -> None:
    from agentctl.cli.ci.step_summary import summary_block

    append_whole(path, lambda size: summary_block(end, size=size))


def _write_dotenv(path: str, end: RunEnd) -> None:
    replace_whole(Path(path), dotenv_report(end))


def _write_junit(path: str, end: RunEnd) -> None:
    from agentctl.cli.ci.junit import junit_report

    replace_whole(Path(path), junit_report(end, now=datetime.now(UTC)))
