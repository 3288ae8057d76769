"""The full table of a run: calls, limits and tools; and the line that says which limit stopped it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agentctl.cli.ui.columns import Column, Page
from agentctl.cli.ui.format import Paint, amount, limit, money, plural
from agentctl.cli.ui.meter import Meter, MeteredCall
from agentctl.cli.ui.summary import round_amounts, short_id
from agentctl.core.results import BreakerInfo, LimitUse, RunResult

_OWN_SHARE = 8  # a run itself holds at most an eighth of a limit, for its last answer
_MOST_CALLS = 20  # rows of calls: the first and the last half of them
_PIPE = Page()
_CALLS = (
    *(Column("call"), Column("model", "name", drop=2), Column("in", drop=1, right=True)),
    *(Column("cached", drop=4, right=True), Column("out", drop=1, right=True), Column("cost", right=True)),
    *(Column("held", drop=3, right=True), Column("", "text")),
)
_LIMITS = (Column("limit"), Column("ceiling", right=True), Column("used", right=True), Column("", "text"))


def render_run_table(result: RunResult, meter: Meter, paint: Paint, *, page: Page = _PIPE) -> str:
    """Return the parts of the table, separated by blank lines.

    After a breaker tripped it is dim and leaves out what the error and the summary say: the amounts of that limit, the
    run's id.
    """
    parts = []
    if result.metered:
        parts += [_calls(result, meter, page)] if meter.attempts else []
        parts.append(_limits(result, page))
    if result.tools:
        rows = [(tool.name, f"{tool.calls:,}", f"{tool.failed:,}") for tool in result.tools]
        parts.append(page.table((Column("tool"), Column("calls", right=True), Column("failed", right=True)), rows))
    parts.append(page.fields(_rest(result), whole=("show",), margin=9))
    table = "\n\n".join(parts)
    if result.breaker is None:
        return table
    return "\n".join(paint(line, "dim") if line else "" for line in table.split("\n"))


def _calls(result: RunResult, meter: Meter, page: Page) -> str:
    """Return a row per call and a total; of many calls only the first and the last ones."""
    rows = [_call(number, attempt) for number, attempt in enumerate(meter.attempts, 1)]
    if len(rows) > _MOST_CALLS:
        half = _MOST_CALLS // 2
        between = ("…", f"{len(rows) - 2 * half:,} more calls", "", "", "", "", "", "")
        rows = [*rows[:half], between, *rows[-half:]]
    cost = "unknown" if result.cost_nano is None else money(result.cost_nano)
    open_ = [f"{money(meter.held_nano)} still held"] if meter.held_nano else []
    open_ += [f"{money(result.in_doubt_nano)} in doubt"] if result.in_doubt_nano else []
    usage = result.usage
    tokens = (f"{usage.input_tokens:,}", f"{usage.cached_input_tokens:,}", f"{usage.output_tokens:,}")
    total = (*tokens, cost, "", ", ".join(open_))
    if len(rows) > 1 or open_:
        rows.append(("all", plural(len(meter.attempts), "call"), *total))
    return page.table(_CALLS, rows)


def _call(number: int, attempt: MeteredCall) -> tuple[str, ...]:
    model, usage, held = attempt.model or "", attempt.usage, attempt.held_nano
    tokens: tuple[str, ...] = ("", "", "")
    cost = ""
    if attempt.state == "settled":
        tokens = (f"{usage.input_tokens:,}", f"{usage.cached_input_tokens:,}", f"{usage.output_tokens:,}")
    if attempt.state in ("settled", "in doubt"):
        cost = "unknown" if attempt.nano is None else money(attempt.nano)
    return (str(number), model, *tokens, cost, "" if held is None else money(held), attempt.state)


def _limits(result: RunResult, page: Page) -> str:
    tripped = result.breaker.limit if result.breaker is not None and not result.breaker.run_id else ""
    return page.table(_LIMITS, [_limit(use, tripped=use.name == tripped) for use in result.limits])


def _limit(use: LimitUse, *, tripped: bool) -> tuple[str, ...]:
    """Return the row of a limit; the amounts of the one that tripped stand in the error."""
    if tripped:
        return (use.name, "", "", "tripped")
    remarks = [f"{100 * use.used // use.ceiling} %"] if use.ceiling else []
    remarks += [f"set by {use.set_by}"] if use.set_by else []
    return (use.name, limit(use.ceiling, use.unit), amount(use.used, use.unit), ", ".join(remarks))


def describe_failure(result: RunResult) -> str:
    """Return the error of a run, or which limit stopped it."""
    message, breaker = "" if result.error is None else result.error.message, result.breaker
    if breaker is None:
        return message
    return describe_trip(breaker, result.limits) if breaker.charge is None else round_amounts(message)


def describe_trip(breaker: BreakerInfo, uses: Sequence[LimitUse] = ()) -> str:
    """Return the limit that refused a call, what counts against it, and what the call could have made of that.

    ``uses`` are the limits at the end of the run: its last answer may have cost something after the refusal.
    """
    unit = breaker.unit
    used = next((use.used for use in uses if use.name == breaker.limit and not breaker.run_id), breaker.spent)
    name = f"{breaker.limit} of run {breaker.run_id}" if breaker.run_id else breaker.limit
    spent = f"{amount(used, unit)} {'spent' if unit == 'nano_usd' else 'used'}"
    by_others = breaker.held * _OWN_SHARE > (breaker.ceiling or 0)
    held = f", {amount(breaker.held, unit)} held" if breaker.held and by_others else ""
    would_be = amount(breaker.would_be, unit)
    return f"{name} is {limit(breaker.ceiling, unit)}: {spent}{held}, the next call could make it {would_be}"


def _rest(result: RunResult) -> Iterator[tuple[str, str]]:
    """Yield denied and left-out tools, sandbox, agent, run, and the command that shows it."""
    if result.denied:
        yield "denied", ", ".join(result.denied)
    if result.left_out:
        yield "left out", ", ".join(result.left_out)
    if result.sandbox is not None:
        why = "; ".join(f"not {failure.tier}: {failure.reason}" for failure in result.sandbox_failures)
        yield "sandbox", f"{result.sandbox} ({why})" if why else result.sandbox
    yield "agent", result.agent
    if result.breaker is None:
        yield "run", result.run_id
    yield "show", f"agentctl runs show {short_id(result.run_id)}"
