"""One look at what was spent: put on stdout in the form asked for, and the reason of a closed gate on stderr."""

from __future__ import annotations

from typing import NamedTuple, TextIO

from agentctl.cli.costs.document import LimitStatus, SpendGate
from agentctl.cli.exit_codes import ExitStatus
from agentctl.ledger.report import CostQuery, CostReport


class CostView(NamedTuple):
    """What was found in a window, and how it was asked for; ``notes`` say how words were taken."""

    report: CostReport
    query: CostQuery
    title: str
    notes: tuple[str, ...]
    statuses: tuple[LimitStatus, ...]
    gate: SpendGate | None

    @property
    def code(self) -> int:
        """The exit code it comes to."""
        return ExitStatus.done.value if self.gate is None or self.gate.passed else ExitStatus.budget.value


def show(view: CostView, form: str, out: TextIO) -> int:
    """Print the view once; return the exit code."""
    note(view)
    out.write(render(view, form, out))
    out.flush()
    return report_gate(view)


def note(view: CostView) -> None:
    """Say on stderr how a time was taken that could have been another."""
    from agentctl.cli.error_output import say

    for text in view.notes:
        say(f"note: {text}")


def report_gate(view: CostView) -> int:
    """Say on stderr why the gate is closed, if it is; return the exit code."""
    if view.gate is not None and not view.gate.passed:
        from agentctl.cli.error_output import tell

        tell(view.gate.message, view.gate.hint)
    return view.code


def render(view: CostView, form: str, out: TextIO, *, line: bool = False) -> str:
    """Return what goes to stdout, with its last newline; ``line`` puts JSON on one."""
    if form == "csv":
        from agentctl.cli.costs.document import as_csv

        return as_csv(view.report, view.query)
    if form == "json":
        from agentctl.cli.costs.document import document
        from agentctl.cli.documents import as_json

        found = document(view.report, view.query, statuses=view.statuses, gate=view.gate)
        return as_json(found, line=line) + "\n"
    from agentctl.cli.costs.table import text
    from agentctl.cli.ui.bars import has_blocks
    from agentctl.cli.ui.terminal import columns_of

    width, blocks = columns_of(out), has_blocks(out.encoding)
    return text(view.report, view.query, view.title, view.statuses, width=width, blocks=blocks) + "\n"
