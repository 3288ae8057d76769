"""What the doctor says: one line a question, and one about the main job before them all.

Questions asked side by side, each in a thread that nobody waits for longer than it may take.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from agentctl.core.errors import AgentctlError

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


#: On top of a question's own limit: what loading its libraries may take on a busy machine.
GRACE_S = 3.0


class DoctorCheck(NamedTuple):
    """What is asked, what about, and how many seconds it may take; its own limits come first."""

    about: str
    ask: Callable[[], Sequence[Finding]]
    patience_s: float


def answers(questions: Sequence[DoctorCheck]) -> tuple[Finding, ...]:
    """Ask all at once and return what was found, in the order of the questions.

    What hangs is left behind in its thread, which does not keep the process alive, and said. What fails is a finding.
    """
    found: list[Sequence[Finding] | None] = [None] * len(questions)

    def answer(place: int, question: DoctorCheck) -> None:
        try:
            found[place] = question.ask()
        except AgentctlError as error:
            found[place] = (missing(question.about, error.message, error.hint),)
        except Exception as error:  # noqa: BLE001 - one question's bug must not silence the others
            found[place] = (warning(question.about, f"could not be looked at: {type(error).__name__}: {error}"),)

    began = time.monotonic()
    threads = [
        threading.Thread(target=answer, args=(place, question), name=f"doctor {question.about}", daemon=True)
        for place, question in enumerate(questions)
    ]
    for thread in threads:
        thread.start()
    for thread, question in zip(threads, questions, strict=True):
        thread.join(max(0.0, began + question.patience_s - time.monotonic()))
    return tuple(
        finding
        for answered, question in zip(found, questions, strict=True)
        for finding in (answered if answered is not None else (_hung(question),))
    )


def _hung(question: DoctorCheck) -> Finding:
    return warning(question.about, f"no answer within {question.patience_s:g} s")
