"""Track what the runs of one program cost: their prices, limits and sums, for the Python face."""

from __future__ import annotations

import threading
from collections import deque
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Final

from agentctl.budget.breaker import format_amount
from agentctl.core.errors import UsageError
from agentctl.core.events import LimitWarned, Record
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.core.pricing import Price, to_usd
from agentctl.journal.cost_history import Expense, ExpenseCollector
from agentctl.settings.prices import LEAST_PRICE, MOST_PRICE

MOST_RECORDS: Final = 1000
_MOST_WARNINGS = 100
_PER_1K = 1000  # a million tokens are 1,000 times 1,000 tokens


class CostTracker:
    """Sets prices and limits for the runs of an agent, and adds up what they spent. Dollars are US dollars.

    ``cost_per_1k_input`` and ``cost_per_1k_output`` are dollars per 1,000 tokens, both or neither. They replace the
    price table for every token, cached and reasoning tokens included. ``limits`` None: those of the user's settings.
    Limits per task apply to each run; the limit per hour applies to all runs on the ledger, which is the user's unless
    ``ledger`` names another file. ``history_file`` mirrors the last 1000 calls as a JSON list, oldest first, with a
    lock file beside it. One tracker may serve several runs, also at once; its sums are over all of its runs.

    Raises:
        UsageError: a price is negative, not a number or in another unit, or only one of the two is given.

    >>> from agentctl import BuiltinProvider, CostLimit, CostTracker, DockerAgent
    >>> tracker = CostTracker(cost_per_1k_input=0.03, cost_per_1k_output=0.06, limits=CostLimit(max_cost_per_task=1.00))
    >>> agent = DockerAgent(BuiltinProvider(), cost_tracker=tracker)
    >>> tracker.cost, tracker.in_doubt, tracker.calls
    (Decimal('0'), Decimal('0'), 0)
    """

    def __init__(
        self,
        cost_per_1k_input: Decimal | float | str | None = None,
        cost_per_1k_output: Decimal | float | str | None = None,
        limits: CostLimit | None = None,
        history_file: str | PathLike[str] | None = None,
        ledger: str | PathLike[str] | None = None,
    ) -> None:
        if limits is not None and not isinstance(limits, CostLimit):
            hint = "pass CostLimit(max_cost_per_task=1.00)"
            raise UsageError(f"limits must be a CostLimit, not {limits!r}", hint=hint)
        self.limits = limits
        self.price = _price(cost_per_1k_input, cost_per_1k_output)
        self.history_file = _path("history_file", history_file)
        self.ledger = _path("ledger", ledger)
        self._lock = threading.Lock()
        self._reading = ExpenseCollector()
        self._records: deque[Expense] = deque(maxlen=MOST_RECORDS)
        self._warnings: deque[str] = deque(maxlen=_MOST_WARNINGS)
        self._usage = Usage()
        self._calls = 0
        self._cost: Decimal | None = Decimal(0)
        self._in_doubt: Decimal | None = Decimal(0)

    @property
    def cost(self) -> Decimal | None:
        """The dollars charged, without amounts in doubt; None once the price of a call was unknown.

        >>> CostTracker().cost
        Decimal('0')
        """
        return self._cost

    @property
    def in_doubt(self) -> Decimal | None:
        """The most that failed calls may have cost, in dollars; it counts as spent. None if a price was unknown.

        >>> CostTracker().in_doubt
        Decimal('0')
        """
        return self._in_doubt

    @property
    def input_tokens(self) -> int:
        """Tokens sent, cached ones included, as reported; calls in doubt report none.

        >>> CostTracker().input_tokens
        0
        """
        return self._usage.input_tokens

    @property
    def output_tokens(self) -> int:
        """Tokens received, reasoning included, as reported; calls in doubt report none.

        >>> CostTracker().output_tokens
        0
        """
        return self._usage.output_tokens

    @property
    def calls(self) -> int:
        """The number of calls that were charged (also at $0) or are in doubt; an answer of ``builtin`` counts too.

        >>> CostTracker().calls
        0
        """
        return self._calls

    @property
    def records(self) -> tuple[Expense, ...]:
        """The last 1000 calls, oldest first; amounts in nano-dollars (``nano``), times in UTC.

        >>> CostTracker().records
        ()
        """
        with self._lock:
            return tuple(self._records)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The last 100 warnings that 80 % of a limit is used, as sentences.

        >>> CostTracker().warnings
        ()
        """
        with self._lock:
            return tuple(self._warnings)

    async def observe(self, record: Record) -> None:
        """Receive one record of a run; ``DockerAgent`` calls this.

        >>> import anyio
        >>> from datetime import UTC, datetime
        >>> from agentctl.core.events import CallDoubted, Record
        >>> tracker = CostTracker()
        >>> lost = CallDoubted("attempt", nano=5_000_000, tokens=700, reason="timeout")
        >>> anyio.run(tracker.observe, Record("run", 1, datetime.now(UTC), lost))
        >>> tracker.calls, tracker.cost, tracker.in_doubt
        (1, Decimal('0'), Decimal('0.005'))
        """
        with self._lock:
            expense = self._reading.collect(record)
            if expense is not None:
                self._add(expense)
            elif isinstance(record.event, LimitWarned):
                use = record.event.use
                used, ceiling = format_amount(use.used, use.unit), format_amount(use.ceiling or 0, use.unit)
                self._warnings.append(f"{use.name}: {used} of {ceiling} used (run {record.run_id})")

    def _add(self, expense: Expense) -> None:
        self._records.append(expense)
        self._calls += 1
        self._usage += Usage(expense.input_tokens or 0, expense.output_tokens or 0, expense.cached_input_tokens or 0)
        if expense.in_doubt:
            self._in_doubt = _sum(self._in_doubt, expense.nano)
        else:
            self._cost = _sum(self._cost, expense.nano)

    def hourly_cost(self) -> Decimal:
        """Return the dollars that count now against the limit per hour: of all processes, amounts in doubt included.

        Raises:
            StateError: the ledger cannot be read.
            UsageError: a setting is invalid (without ``ledger``, the settings name the ledger).

        >>> CostTracker(ledger="nothing-spent-yet.db").hourly_cost()
        Decimal('0')
        """
        from agentctl.ledger.report import costs_window  # noqa: PLC0415 - it loads SQLite
        from agentctl.settings import load_settings  # noqa: PLC0415

        path = self.ledger or load_settings(flags={}, remember=False, needs=("report",)).settings.ledger_address
        hour = costs_window(path, seconds=3600).hour
        return to_usd(hour.spent + hour.in_doubt)

    def summary(self) -> str:
        """Return a summary in a few lines: calls, tokens, dollars, the last hour of all processes, warnings.

        Raises:
            StateError: the ledger cannot be read.
            UsageError: a setting is invalid.

        >>> print(CostTracker(ledger="nothing-spent-yet.db").summary())
        0 calls · 0 tokens in · 0 tokens out · $0.00
        the last hour, all processes: $0.00
        """
        with self._lock:
            calls, usage, cost, in_doubt = self._calls, self._usage, self._cost, self._in_doubt
            warnings = tuple(self._warnings)
        said = [
            f"{calls:,} call{'' if calls == 1 else 's'}",
            f"{usage.input_tokens:,} tokens in",
            f"{usage.output_tokens:,} tokens out",
            "cost unknown" if cost is None else _dollars(cost),
        ]
        if in_doubt != 0:
            said.append(f"in doubt {'an unknown amount' if in_doubt is None else _dollars(in_doubt)}")
        most = None if self.limits is None else self.limits.max_cost_per_hour
        hour = f"the last hour, all processes: {_dollars(self.hourly_cost())}"
        return "\n".join((" · ".join(said), hour if most is None else f"{hour} of {_dollars(most)}", *warnings))

    def __repr__(self) -> str:
        return f"CostTracker(calls={self._calls}, cost={self._cost}, in_doubt={self._in_doubt}, limits={self.limits})"


def _sum(before: Decimal | None, nano: int | None) -> Decimal | None:
    return None if before is None or nano is None else before + to_usd(nano)


def _dollars(amount: Decimal) -> str:
    return format_amount(int(amount * 10**9), "nano_usd")


def _path(name: str, value: object) -> Path | None:
    """Return the absolute path of a file, as the working directory may change before it is written."""
    if value is None:
        return None
    if not isinstance(value, (str, PathLike)) or not str(value).strip() or "\0" in str(value):
        raise UsageError(f"{name} must be a path, not {value!r}", hint="pass the path of a file")
    return Path(value).expanduser().absolute()


def _price(per_1k_input: object, per_1k_output: object) -> Price | None:
    if per_1k_input is None and per_1k_output is None:
        return None
    if per_1k_input is None or per_1k_output is None:
        missing = "cost_per_1k_input" if per_1k_input is None else "cost_per_1k_output"
        raise UsageError(
            f"{missing} is missing", hint="pass both prices, in dollars per 1,000 tokens (0 is free), or neither"
        )
    return Price(
        _per_million("cost_per_1k_input", per_1k_input),
        _per_million("cost_per_1k_output", per_1k_output),
        source="CostTracker",
    )


def _per_million(name: str, value: object) -> Decimal:
    """Return an exact price in dollars per million tokens.

    Raises:
        UsageError: it is not a number, or so small or large that it must be in another unit.
    """
    price: Decimal | None = None
    if isinstance(value, (int, float, str, Decimal)) and not isinstance(value, bool):
        try:
            price = Decimal(str(value)) * _PER_1K
        except ArithmeticError:
            price = None
    if price is None or not price.is_finite() or (price != 0 and not LEAST_PRICE <= price <= MOST_PRICE):
        most, least = MOST_PRICE / _PER_1K, LEAST_PRICE / _PER_1K
        raise UsageError(
            f"{name} cannot be {value!r}", hint=f"pass dollars per 1,000 tokens: 0 (free), or {least:f} to {most:f}"
        )
    return Decimal(f"{price.normalize():f}") if price else Decimal(0)
