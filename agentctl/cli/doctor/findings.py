"""The findings and the report of ``agentctl doctor``, and a runner for checks in parallel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from agentctl.core.errors import AgentctlError

State = Literal["ok", "warning", "lack"]


class Finding(NamedTuple):
    """The result of one check. ``hint`` is a command to paste, or ""; ``stops``: it keeps ``run`` from working.

    ``details`` are further lines below it.
    """

    subject: str
    state: State
    message: str
    hint: str = ""
    stops: bool = False
    details: tuple[str, ...] = ()


def ok(subject: str, message: str, details: tuple[str, ...] = ()) -> Finding:
    """Return a finding without a problem."""
    return Finding(subject, "ok", message, details=details)


def warning(subject: str, message: str, hint: str = "", details: tuple[str, ...] = ()) -> Finding:
    """Return a finding about a problem that does not stop a run."""
    return Finding(subject, "warning", message, hint, details=details)


def missing(subject: str, message: str, hint: str = "", *, stops: bool = False) -> Finding:
    """Return a finding that something is missing; ``stops``: a run would not work without it."""
    return Finding(subject, "lack", message, hint, stops)


class DoctorReport(NamedTuple):
    """All findings in order, and which provider a run would use (None: it would not start) and why."""

    would_use: str | None
    why: str
    hint: str
    findings: tuple[Finding, ...]

    @property
    def headline(self) -> str:
        """The first line of the report."""
        if self.would_use is None:
            return f"`run` would not start: {self.why}"
        return f"`run` would use {self.would_use} because {self.why}"

    @property
    def runs(self) -> bool:
        """Whether a run would work."""
        return self.would_use is not None and not any(finding.stops for finding in self.findings)


#: Added to the time limit of a check: loading its libraries takes that long on a busy machine.
GRACE_S = 3.0


class DoctorCheck(NamedTuple):
    """A check to run: its subject, its function, and its time limit in seconds."""

    subject: str
    ask: Callable[[], Sequence[Finding]]
    patience_s: float


def run_checks(checks: Sequence[DoctorCheck]) -> tuple[Finding, ...]:
    """Run all checks in parallel, each in a thread, and return their findings in the order of ``checks``.

    A check that hangs is reported and left in its thread, which does not keep the process alive. A check that raises
    is reported as a finding.
    """
    found: list[Sequence[Finding] | None] = [None] * len(checks)

    def run(place: int, check: DoctorCheck) -> None:
        try:
            found[place] = check.ask()
        except AgentctlError as error:
            found[place] = (missing(check.subject, error.message, error.hint),)
        except Exception as error:  # noqa: BLE001 - a bug in one check must not hide the findings of the others
            found[place] = (warning(check.subject, f"the check failed: {type(error).__name__}: {error}"),)

    began = time.monotonic()
    threads = [
        threading.Thread(target=run, args=(place, check), name=f"doctor {check.subject}", daemon=True)
        for place, check in enumerate(checks)
    ]
    for thread in threads:
        thread.start()
    for thread, check in zip(threads, checks, strict=True):
        thread.join(max(0.0, began + check.patience_s - time.monotonic()))
    return tuple(
        finding
        for result, check in zip(found, checks, strict=True)
        for finding in (result if result is not None else (_hung_finding(check),))
    )


def _hung_finding(check: DoctorCheck) -> Finding:
    return warning(check.subject, f"the check did not end within {check.patience_s:g} s")
