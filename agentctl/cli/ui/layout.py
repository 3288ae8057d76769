"""The rows of the live region: a pure function of a meter, a time and a size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from agentctl.cli.ui.cells import cell_width, truncate, wrap
from agentctl.cli.ui.format import Style, amount, limit, money, seconds
from agentctl.cli.ui.lines import call_text
from agentctl.cli.ui.meter import Meter
from agentctl.core.errors import LimitName
from agentctl.core.results import LimitUse
from agentctl.core.text import safe_text

_TWO_COLUMNS = 96
_MOST_ANSWER = 8  # rows, or a third of the terminal
_MOST_TOOLS = 4
_LONG_S = 10  # a model that has not begun to answer by then may be loading, or reading a long prompt
_LOW = 12  # rows: a lower terminal shows only the figures
_SPINNER = "◐◓◑◒"
_SHORT_NAMES: Mapping[LimitName, str] = {
    "max_cost_per_task": "task",
    "max_cost_per_hour": "hour",
    "max_tokens_per_task": "tokens",
    "max_cost_per_minute": "minute",
    "max_cost_per_day": "day",
    "max_cost_per_month": "month",
    "max_calls_per_minute": "calls",
    "max_cost_per_lease": "lease",
}


class StyledText(NamedTuple):
    """A piece of a row in one style: ours, or one that rich reads."""

    text: str
    style: str | None = None


Row = tuple[StyledText, ...]
Clean = Callable[[str], str]
Draw = Callable[[str, int, int], Sequence[Row]]  # text, width, most rows: the last rows of the text


class UsageBar(NamedTuple):
    """The used and held amounts of one limit; ``shown`` is the same as text."""

    name: str
    shown: str
    used: int
    held: int
    ceiling: int | None
    alarming: bool = True

    @property
    def percent(self) -> int:
        """The used share, rounded down; 100 if something is used of a limit of 0."""
        if not self.ceiling:
            return 100 if self.used and self.ceiling == 0 else 0
        return 100 * self.used // self.ceiling

    @property
    def style(self) -> Style:
        """Green, yellow from 80 %, red from 95 % if ``alarming``."""
        if self.percent >= 95 and self.alarming:
            return "red"
        return "yellow" if self.percent >= 80 else "green"


def wrapped_rows(text: str, width: int, most: int) -> tuple[Row, ...]:
    """Return the last ``most`` rows of ``text`` wrapped at spaces, without empty ones."""
    found = [row for row in wrap(text, width) if row.strip()]
    return tuple((StyledText(row),) for row in found[-most:])


def region_rows(
    meter: Meter, now: datetime, *, width: int, height: int, clean: Clean = safe_text, draw: Draw = wrapped_rows
) -> tuple[Row, ...]:
    """Return at most ``height`` rows of at most ``width`` cells; ``clean`` makes untrusted text safe.

    ``draw`` lays out the streamed answer.
    """
    if meter.finished:
        return ()
    found = _rows(meter, now, width, height, clean, draw)[:height]
    return tuple(_crop(row, width) for row in found)


def _rows(meter: Meter, now: datetime, width: int, height: int, clean: Clean, draw: Draw) -> tuple[Row, ...]:
    busy = _busy(meter, now, width, clean)
    if not meter.metered:
        return busy
    low = height < _LOW
    figures = (*((_in_one_row(meter, width),) if low else _usage_rows(meter, width)), _foot(meter, now, width))
    head = _head(meter, width, clean)[: 1 if low else None]
    room = height - len(head) - len(busy) - len(figures) - (0 if low else 4)
    if low and room < 0:
        return (*busy[:1], *figures)
    answer = _answer(meter, width, min(max(_MOST_ANSWER, height // 3), room), clean, draw)
    groups = [group for group in (head, answer, busy, figures) if group]
    if low:
        return tuple(row for group in groups for row in group)
    spaced: list[Row] = [(StyledText("─" * width, "dim"),)]
    for group in groups[:-1]:
        spaced += [*group, ()]
    return (*spaced, *figures)


def _crop(row: Row, width: int) -> Row:
    """Return the row cut to ``width``; needed only on a terminal that is too narrow for the figures."""
    if sum(cell_width(span.text) for span in row) <= width:
        return row
    return (StyledText(truncate("".join(span.text for span in row), width)),)


def _head(meter: Meter, width: int, clean: Clean) -> tuple[Row, ...]:
    chosen = meter.chosen
    why = f" ({chosen.provider_chosen_by})" if chosen.provider_chosen_by else ""
    parts = [chosen.agent, f"{chosen.name}{why}", f"turn {meter.turn}" if meter.turn else ""]
    who = " · ".join(part for part in parts if part)
    return (
        (StyledText(truncate(clean(chosen.task), width), "bold"),),
        (StyledText(truncate(clean(who), width), "dim"),),
    )


def _busy(meter: Meter, now: datetime, width: int, clean: Clean) -> tuple[Row, ...]:
    """Return a row for each running tool, or one row for what the run waits for."""
    spin = _SPINNER[int(now.timestamp() * 5) % len(_SPINNER)]
    if meter.running:
        shown = meter.running if len(meter.running) <= _MOST_TOOLS else meter.running[: _MOST_TOOLS - 1]
        found = [_work(spin, clean(call_text(each.call)), each.since, now, width) for each in shown]
        more = len(meter.running) - len(shown)
        return (*found, *([(StyledText(f"  and {more} more", "dim"),)] if more else []))
    name = meter.chosen.model or meter.chosen.provider
    doing = {"asking": f"waiting for {name}", "answering": f"{name} is answering", "": "working"}.get(meter.doing)
    if meter.doing == "asking" and meter.since is not None and (waited := _elapsed(meter.since, now)) >= _LONG_S:
        return (_work(spin, f"waiting for the first token, {seconds(waited)}", None, now, width),)
    return (_work(spin, clean(doing or meter.doing), meter.since, now, width),)


def _work(spin: str, what: str, since: datetime | None, now: datetime, width: int) -> Row:
    time = f"  {seconds(_elapsed(since, now))}" if since is not None else ""
    return (StyledText(spin, "green"), StyledText(f" {truncate(what, width - 2 - len(time))}"), StyledText(time, "dim"))


def _elapsed(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())


def _answer(meter: Meter, width: int, most: int, clean: Clean, draw: Draw) -> tuple[Row, ...]:
    """Return the last rows of the streamed answer."""
    if most < 1 or width < 20 or not meter.answer.strip():
        return ()
    return tuple((StyledText("  "), *row) for row in draw(clean(meter.answer).strip("\n"), width - 2, most))


def _usage_rows(meter: Meter, width: int) -> tuple[Row, ...]:
    """Return the rows of the usage bars, one or two bars per row."""
    found = usage_bars(meter)
    if not found:
        return ()
    widest = max(cell_width(bar.shown) for bar in found)
    if width < _TWO_COLUMNS:
        return tuple(_usage_row(bar, widest, width)[:-1] for bar in found)
    half = (width - 4) // 2
    halves = [_usage_row(bar, widest, half) for bar in found]
    paired = [halves[place : place + 2] for place in range(0, len(halves), 2)]
    return tuple((*pair[0], StyledText("    "), *pair[1][:-1]) if len(pair) == 2 else pair[0][:-1] for pair in paired)


def usage_bars(meter: Meter) -> tuple[UsageBar, ...]:
    """Return the bars of task, hour, tokens, context and other limits; those without limit or value are left out."""
    uses = {use.name: use for use in meter.limits}
    found = []
    own: dict[LimitName, tuple[int, int]] = {
        "max_cost_per_task": (meter.cost_nano + meter.in_doubt_nano, meter.held_nano),
        "max_cost_per_hour": (0, meter.held_nano),
        "max_tokens_per_task": (meter.tokens, 0),
    }
    for use in meter.limits:
        own.setdefault(use.name, (0, meter.held_nano if use.unit == "nano_usd" else 0))
    for name, (counted, held) in own.items():
        use = uses.get(name) or LimitUse(name, "tokens" if "tokens" in name else "nano_usd", None, counted)
        used = max(use.used, counted)
        if use.ceiling is None and (name == "max_cost_per_hour" or not used):
            continue
        of = "" if use.ceiling is None else f" of {limit(use.ceiling, use.unit)}"
        known = meter.cost_known or name != "max_cost_per_task"
        shown = f"{amount(used, use.unit)}{of}" if known else f"unknown{of}"
        found.append(UsageBar(_SHORT_NAMES[name], shown, used, held, use.ceiling))
    filled, most = meter.context
    if most:
        found.append(UsageBar("context", f"{filled:,} of {most:,}", filled, 0, most, alarming=False))
    return tuple(found)


def _usage_row(bar: UsageBar, widest: int, width: int) -> Row:
    """Return one bar; its last span fills the row."""
    name, shown = f"{bar.name:<7}  ", f"{bar.shown:<{widest}}  "
    length = width - len(name) - cell_width(shown) - 6
    if bar.ceiling is None or length < 4:
        text = truncate(f"{name}{bar.shown}", width)
        return (StyledText(text), StyledText(" " * (width - cell_width(text))))
    full = min(length, -(-length * bar.used // bar.ceiling)) if bar.ceiling else (length if bar.used else 0)
    both = min(length, -(-length * (bar.used + bar.held) // bar.ceiling)) if bar.ceiling else full
    percent = f"{min(bar.percent, 999)} %".rjust(6)
    style = None if bar.style == "green" else bar.style
    rest = width - len(name) - cell_width(shown) - length - len(percent)
    return (
        StyledText(name, "dim"),
        StyledText(shown),
        StyledText("━" * full, bar.style),
        StyledText("╍" * (both - full), bar.style),
        StyledText("─" * (length - both), "dim"),
        StyledText(percent, style),
        StyledText(" " * max(0, rest)),
    )


def _in_one_row(meter: Meter, width: int) -> Row:
    return (StyledText(truncate(" · ".join(f"{bar.name} {bar.shown}" for bar in usage_bars(meter)), width)),)


def _foot(meter: Meter, now: datetime, width: int) -> Row:
    """Return the row of other figures: tokens in and out, time, spending rate, amounts held and in doubt."""
    usage, elapsed = meter.usage, _elapsed(meter.started_at or now, now)
    cached = f" ({usage.cached_input_tokens:,} cached)" if usage.cached_input_tokens else ""
    parts = [f"{usage.input_tokens:,} in{cached}", f"{usage.output_tokens:,} out", seconds(elapsed)]
    spent = meter.cost_nano + meter.in_doubt_nano
    if spent and elapsed >= 1:
        parts.append(f"{money(round(spent * 60 / elapsed))}/min")
    parts += [f"{money(meter.held_nano)} held"] if meter.held_nano else []
    parts += [f"{money(meter.in_doubt_nano)} in doubt"] if meter.in_doubt_nano else []
    return (StyledText(truncate(" · ".join(parts), width), "dim"),)
