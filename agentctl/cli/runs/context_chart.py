"""Show how full the context of a run was: a bar for each turn with the cuts in between, or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agentctl.cli.documents import Document, usd
from agentctl.cli.runs.context_usage import ContextTurn, ContextUsage, TurnCharge, local_time
from agentctl.cli.ui.cells import bar, wrap
from agentctl.cli.ui.format import money, plural
from agentctl.cli.ui.lines import describe_cut, describe_pruning
from agentctl.core.events import ContextPruned
from agentctl.core.text import safe_text
from agentctl.core.version import __version__

SCHEMA = "agentctl.context/1"

_WIDEST_BAR, _NARROWEST_BAR = 60, 4
_WIDE = 80  # without a terminal
_INDENT = "      "
_MOST_WAYS = 3  # counting methods: with more, changes of the method are not shown

_NO_END = "the run has not ended: it is still running, or its process died"


def render_chart(found: ContextUsage, *, run_id: str, width: int | None, blocks: bool) -> Iterator[str]:
    """Yield the lines of the chart. ``width`` is that of the terminal, None without one; only bars shrink to it."""
    wide, dot = width or _WIDE, " · " if blocks else ", "
    who = f"{found.provider}/{found.model}" if found.model else found.provider
    yield from wrap(safe_text(dot.join(part for part in (f"run {run_id}", local_time(found.at), who) if part)), wide)
    if not found.measured and not found.cuts:
        yield _why_empty(found)
        return
    ways = list(dict.fromkeys(turn.counted_by for turn in found.measured if turn.counted_by))
    if ways:
        more = f" and {len(ways) - 1} other methods" if len(ways) > _MOST_WAYS else ""
        said = f"tokens are estimates by {safe_text(ways[0])}{more}"
        yield from wrap(f"{said}; tool schemas are included", wide)
    yield ""
    yield from _turns(found, ways, wide, blocks=blocks)
    yield ""
    for line in _totals(found, dot):
        yield from wrap(line, wide)


def _why_empty(found: ContextUsage) -> str:
    if not found.metered:
        return "no model was used, so there is no context to show"
    return "nothing was sent" if not found.turns else "the journal does not record how full the context was"


def _turns(found: ContextUsage, ways: Sequence[str], wide: int, *, blocks: bool) -> Iterator[str]:
    heads, rows = _columns(found.turns)
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    limits = [turn.limit for turn in found.measured]
    head = "  ".join(word.rjust(width) for word, width in zip(heads, widths, strict=True))
    full = f"of {limits[0]:,}" if limits and len(set(limits)) == 1 else ""
    room = min(_WIDEST_BAR, wide - len(head) - 4 - len(" 100 %"))
    if room < _NARROWEST_BAR:
        room = 0
    yield f"{head}  {full}".rstrip()
    way = ways[0] if ways else ""
    limit = limits[0] if limits else 0
    for turn, row in zip(found.turns, rows, strict=True):
        remarks = list(map(describe_pruning, turn.cuts))
        if turn.summaries:
            remarks.append(f"summarized: {_describe_summaries(turn.summaries)}")
        if turn.counted_by not in ("", way) and len(ways) <= _MOST_WAYS:
            way = turn.counted_by
            remarks.append(f"counted by {safe_text(way)} from here on")
        if turn.limit not in (0, limit):
            limit = turn.limit
            remarks.append(f"limit {limit:,} tokens from here on")
        for remark in remarks:
            yield from (_INDENT + line for line in wrap(remark, wide - len(_INDENT)))
        figures = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        if turn.tokens is None and not turn.charges:
            yield f"{figures}  not sent"
            continue
        drawn = bar(turn.tokens or 0, turn.limit, room, blocks=blocks).ljust(room) + "| " if room else ""
        percent = f"{turn.percent} %" if turn.limit else ""
        yield f"{figures}  {drawn}{percent:>5}".rstrip()


def _columns(turns: Sequence[ContextTurn]) -> tuple[list[str], list[list[str]]]:
    """Return the headers and the cells of each turn, without empty columns."""
    reported = any(turn.own.input_tokens for turn in turns)
    cached = any(turn.own.cached for turn in turns)
    heads = ["turn", "tokens", *(["reported"] if reported else []), *(["cached"] if cached else [])]
    rows = []
    for turn in turns:
        own = turn.own
        row = [str(turn.number), "" if turn.tokens is None else f"{turn.tokens:,}"]
        row += [("" if own.input_tokens is None else f"{own.input_tokens:,}")] if reported else []
        row += [_share(own)] if cached else []
        rows.append(row)
    return heads, rows


def _share(charge: TurnCharge) -> str:
    return f"{100 * charge.cached // charge.input_tokens} %" if charge.input_tokens else ""


def _totals(found: ContextUsage, dot: str) -> Iterator[str]:
    """Yield the totals over all turns."""
    cuts = found.cuts
    gone, short = sum(cut.messages_cut for cut in cuts), sum(cut.messages_shortened for cut in cuts)
    if cuts:
        parts = [plural(len(cuts), "cut"), describe_cut(gone, short)]
        cost = _cost_of(cuts)
        parts.append(f"about {_tokens_saved(cuts):,} fewer tokens to send")
        parts += [f"cost about {money(cost)}"] if cost else []
        yield dot.join(parts)
    else:
        yield "no message was cut"
    if found.summaries:
        yield f"summaries by the model: {_describe_summaries(found.summaries)}"
    if (largest := found.largest) is not None:
        yield f"largest request: turn {largest.number}, {largest.tokens:,} of {largest.limit:,} tokens"
    if found.results_cut:
        kept = f" ({found.results_kept:,} saved in full in files of the run)" if found.results_kept else ""
        yield f"{plural(found.results_cut, 'tool result')} cut{kept}"
    sent = sum(turn.own.input_tokens or 0 for turn in found.turns)
    if cached := sum(turn.own.cached for turn in found.turns):
        yield f"cached: {cached:,} of {sent:,} tokens sent, {100 * cached // sent} %"
    shares = [100 * own // tokens for tokens, own in _counted_by_both(found)]
    if shares:
        least, most = min(shares), max(shares)
        yield f"the provider's own counts: {least} %{f' to {most} %' if most > least else ''} of ours"
    if found.status is None:
        yield _NO_END


def _counted_by_both(found: ContextUsage) -> list[tuple[int, int]]:
    """Return pairs of our count and that of the provider, where both are known."""
    both = ((turn.tokens, turn.own.input_tokens) for turn in found.turns)
    return [(tokens, own) for tokens, own in both if tokens and own]


def _tokens_saved(cuts: Sequence[ContextPruned]) -> int:
    return sum(cut.tokens_before - cut.tokens_after for cut in cuts)


def _cost_of(cuts: Sequence[ContextPruned]) -> int | None:
    known = [cut.cost_nano for cut in cuts if cut.cost_nano is not None]
    return sum(known) if len(known) == len(cuts) else None


def _describe_summaries(charges: Sequence[TurnCharge]) -> str:
    nano = _cost(charges)
    return f"{plural(len(charges), 'call')}, {'cost unknown' if nano is None else money(nano)}"


def _cost(charges: Sequence[TurnCharge]) -> int | None:
    known = [charge.nano for charge in charges if charge.nano is not None]
    return sum(known) if len(known) == len(charges) else None


def context_document(found: ContextUsage, *, run_id: str) -> Document:
    """Return the document ``agentctl.context/1``; unknown values are null."""
    cuts, largest = found.cuts, found.largest
    return {
        "schema": SCHEMA,
        "version": __version__,
        "run_id": run_id,
        "status": found.status,
        "provider": found.provider or None,
        "model": found.model,
        "turns": [_turn(turn) for turn in found.turns],
        "totals": {
            "cuts": len(cuts),
            "messages_cut": sum(cut.messages_cut for cut in cuts),
            "messages_shortened": sum(cut.messages_shortened for cut in cuts),
            "tokens_saved": _tokens_saved(cuts),
            "cuts_cost": _dollars(_cost_of(cuts)),
            "summaries": len(found.summaries),
            "summaries_cost": _dollars(_cost(found.summaries)),
            "largest_turn": None if largest is None else largest.number,
            "largest_tokens": None if largest is None else largest.tokens,
            "results_cut": found.results_cut,
            "results_kept": found.results_kept,
        },
        "error": None,
    }


def _turn(turn: ContextTurn) -> Document:
    measured, own = turn.tokens is not None, turn.own
    return {
        "turn": turn.number,
        "messages": turn.messages if measured else None,
        "tokens": turn.tokens,
        "limit": turn.limit if measured else None,
        "percent": round(100 * turn.tokens / turn.limit, 1) if turn.tokens is not None and turn.limit else None,
        "counted_by": turn.counted_by or None,
        "reported_input_tokens": own.input_tokens,
        "cached_input_tokens": None if own.input_tokens is None else own.cached,
        "cost": _dollars(own.nano),
        "summaries": len(turn.summaries),
        "summaries_cost": _dollars(_cost(turn.summaries)),
        "cuts": [_cut(cut) for cut in turn.cuts],
    }


def _cut(cut: ContextPruned) -> Document:
    return {
        "tokens_before": cut.tokens_before,
        "tokens_after": cut.tokens_after,
        "messages_cut": cut.messages_cut,
        "messages_shortened": cut.messages_shortened,
        "summary": cut.summary,
        "cost": _dollars(cut.cost_nano),
        "saves_a_turn": _dollars(cut.saves_nano),
        "turns_expected": cut.turns,
    }


def _dollars(nano: int | None) -> Document:
    return {"usd": usd(nano), "nano_usd": nano}
