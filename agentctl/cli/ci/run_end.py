"""How a run ended, as the reports of a CI system tell it: every text is redacted and safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from agentctl.cli.exit_codes import ExitStatus, status_named
from agentctl.cli.ui.format import amount, limit, money, plural, seconds
from agentctl.cli.ui.summary import short_id
from agentctl.core.results import ErrorInfo, LimitUse, RunResult, ToolCount

Clean = Callable[[str], str]


class LimitRow(NamedTuple):
    """A limit, its ceiling and its use, in words."""

    name: str
    ceiling: str
    used: str


class RunEnd(NamedTuple):
    """The end of a run, or of what never became one: then ``run_id`` is "" unless a run was to go on.

    ``steps`` are what to do, as hints: a command to paste may be behind words. ``answer`` is whole only if
    ``is_complete``. ``structured`` is JSON on one line, or "". ``cost_nano`` is None if unknown. ``table`` is the table
    of ``run -v``.
    """

    status: ExitStatus
    message: str = ""
    kind: str = ""
    steps: tuple[str, ...] = ()
    run_id: str = ""
    task: str = ""
    agent: str = ""
    model: str = ""
    answer: str = ""
    is_complete: bool = False
    structured: str = ""
    cost_nano: int | None = 0
    in_doubt_nano: int | None = 0
    turns: int = 0
    duration_s: float = 0.0
    started_at: datetime | None = None
    limits: tuple[LimitRow, ...] = ()
    tools: tuple[ToolCount, ...] = ()
    denied: tuple[str, ...] = ()
    changed_files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    metered: bool = True
    table: str = ""

    @property
    def shown(self) -> str:
        """The status as the document of a run has it."""
        return self.status.shown

    @property
    def is_done(self) -> bool:
        """Whether the exit code is 0."""
        return self.status is ExitStatus.done

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is worth a look although the run is done."""
        found = [f"denied: {', '.join(self.denied)}"] if self.denied else []
        if self.changed_files:
            found.append(f"changed files that other programs run later: {', '.join(self.changed_files)}")
        found += [f"{money(self.in_doubt_nano)} in doubt"] if self.in_doubt_nano else []
        return (*found, *self.warnings)

    @property
    def figures(self) -> tuple[str, ...]:
        """Turns, cost, time and run, as far as they are known."""
        spent = "cost unknown" if self.cost_nano is None else money(self.cost_nano)
        ceiling = next((row.ceiling for row in self.limits if row.name == "max_cost_per_task"), "none")
        found = [plural(self.turns, "turn"), spent + ("" if ceiling == "none" else f" of {ceiling}")]
        found = found if self.metered and self.run_id else []
        found += [seconds(self.duration_s)] if self.started_at is not None else []
        return (*found, *([f"run {short_id(self.run_id)}"] if self.run_id else ()))


def end_of(result: RunResult, *, message: str, steps: Sequence[str], table: str, clean: Clean) -> RunEnd:
    """Return the end of a run; ``message`` says why it stopped."""
    model = f"{result.provider}/{result.model}" if result.model else result.provider
    return RunEnd(
        status_named(result.status),
        message=clean(message) if result.error is not None else "",
        kind="" if result.error is None else result.error.kind,
        steps=tuple(map(clean, steps)) if result.error is not None else (),
        run_id=result.run_id,
        task=clean(result.task),
        agent=clean(result.agent),
        model=clean(model),
        answer=clean(result.answer),
        is_complete=result.complete,
        structured="" if result.structured is None else clean(result.answer),
        cost_nano=result.cost_nano,
        in_doubt_nano=result.in_doubt_nano,
        turns=result.turns,
        duration_s=result.duration_s,
        started_at=result.started_at,
        limits=tuple(map(_limit_row, result.limits)) if result.metered else (),
        tools=tuple(tool._replace(name=clean(tool.name)) for tool in result.tools),
        denied=tuple(map(clean, result.denied)),
        changed_files=tuple(clean(notice.path) for notice in result.changed_files_run_later),
        warnings=tuple(map(clean, result.warnings)),
        labels=tuple((clean(name), clean(value)) for name, value in result.labels.items()),
        metered=result.metered,
        table=clean(table),
    )


def end_of_error(error: ErrorInfo, status: str, *, clean: Clean, before: RunEnd) -> RunEnd:
    """Return the end that an error made of ``before``, which is that of a run whose output then failed, or of none."""
    return before._replace(
        status=status_named(status),
        message=clean(error.message),
        kind=error.kind,
        steps=(clean(error.hint),) if error.hint else (),
    )


def _limit_row(use: LimitUse) -> LimitRow:
    return LimitRow(use.name, limit(use.ceiling, use.unit), amount(use.used, use.unit))
