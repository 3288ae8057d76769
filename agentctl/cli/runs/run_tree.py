"""Draw the tree of nested runs: what each run cost alone, and with all runs below it."""

from __future__ import annotations

from collections.abc import Sequence

from agentctl.budget.rules import Amounts
from agentctl.cli.documents import Document, usd
from agentctl.cli.ui.columns import Column, Page
from agentctl.cli.ui.format import money
from agentctl.core.errors import StateError
from agentctl.core.ledger_address import LedgerAddress
from agentctl.ledger.report import RunNode, tree_of

_TASK_LINES = 2  # of a task on a terminal
_GAP = 2  # cells between two levels, none where a deep tree would take more than half of the width


def find_tree(ledger: LedgerAddress, run_id: str) -> Sequence[RunNode]:
    """Return the tree of a run that has a parent or children, else ()."""
    try:
        tree = tree_of(ledger, run_id)
    except StateError:  # show the journal anyway
        return ()
    return tree if len(tree) > 1 else ()


def draw_tree(tree: Sequence[RunNode], run_id: str, page: Page) -> str:
    """Return the tree as a table: the cost of each run alone, and with all runs below it."""

    def cost(amounts: Amounts, *, unknown: bool) -> str:
        said = "unknown" if unknown else money(amounts.spent)
        said += f" + {money(amounts.in_doubt)} in doubt" if amounts.in_doubt else ""
        return said + (f" + {money(amounts.held)} held" if amounts.held else "")

    deepest = max((_GAP + 1) * branch.depth + len(branch.run_id) for branch in tree)
    gap = 0 if page.width is not None and 2 * deepest > page.width else _GAP
    rows = [
        (
            f"{_lines_before(tree, place, gap=gap)}{branch.run_id}",
            branch.status,
            cost(branch.own, unknown=branch.own_unknown),
            cost(branch.whole, unknown=branch.whole_unknown),
            "none" if branch.limit_nano is None else money(branch.limit_nano),
            ("(this run) " if branch.run_id == run_id else "") + branch.task.strip(),
        )
        for place, branch in enumerate(tree)
    ]
    head = (
        *(Column("run"), Column("status", drop=3), Column("own", right=True), Column("with nested runs", right=True)),
        *(Column("limit", drop=2, right=True), Column("task", "text", drop=1, lines=_TASK_LINES)),
    )
    return page.table(head, rows)


def _lines_before(tree: Sequence[RunNode], place: int, *, gap: int) -> str:
    """Return the branches drawn before the run at ``place`` of the tree: ``│  └─ ``, or ``│└ `` without a ``gap``."""
    depth = tree[place].depth
    marks: list[str] = []
    for level in range(1, depth + 1):
        later = next((one.depth for one in tree[place + 1 :] if one.depth <= level), 0)
        goes_on = later == level
        if level < depth:
            marks.append(("│" if goes_on else " ") + gap * " ")
        else:
            marks.append(("├" if goes_on else "└") + ("─ " if gap else " "))
    return "".join(marks)


def tree_node(branch: RunNode) -> Document:
    """Return a run of the tree as the JSON document has it."""

    def cost(amounts: Amounts, *, unknown: bool) -> Document:
        spent = None if unknown else amounts.spent
        doubt, held = usd(amounts.in_doubt), usd(amounts.held)
        return {"usd": usd(spent), "nano_usd": spent, "in_doubt_usd": doubt, "held_usd": held}

    return {
        "run_id": branch.run_id,
        "parent_id": branch.parent_id,
        "depth": branch.depth,
        "status": branch.status,
        "task": branch.task,
        "agent": branch.agent,
        "limit_usd": usd(branch.limit_nano),
        "own": cost(branch.own, unknown=branch.own_unknown),
        "with_nested": cost(branch.whole, unknown=branch.whole_unknown),
    }
