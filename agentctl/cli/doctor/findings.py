"""What the doctor says: one line a question, and one about the main job before them all."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "warning", "lack"]


class Finding(NamedTuple):
    """The answer to one question. ``hint`` is a line to paste, or ""; ``stops``: without it ``run`` could not work."""

    about: str
    state: State
    said: str
    hint: str = ""
    stops: bool = False


def ok(about: str, said: str) -> Finding:
    """Return a finding of health."""
    return Finding(about, "ok", said)


def warning(about: str, said: str, hint: str = "") -> Finding:
    """Return a finding that does not stop a run."""
    return Finding(about, "warning", said, hint)


def missing(about: str, said: str, hint: str = "", *, stops: bool = False) -> Finding:
    """Return what is missing."""
    return Finding(about, "lack", said, hint, stops)


class DoctorReport(NamedTuple):
    """The whole: who would answer (None: nobody, a run would not start), why, and the findings in order."""

    answers: str | None
    why: str
    hint: str
    findings: tuple[Finding, ...]

    @property
    def headline(self) -> str:
        """The first line."""
        if self.answers is None:
            return f"`run` would not start: {self.why}"
        return f"`run` would use {self.answers} because {self.why}"

    @property
    def runs(self) -> bool:
        """Whether the main job could be done."""
        return self.answers is not None and not any(finding.stops for finding in self.findings)
