"""``agentctl run --estimate``: print what a run would cost, as a table or as JSON (``agentctl.estimate/1``)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from functools import partial
from typing import TYPE_CHECKING

from agentctl.budget.rules import LimitState, Wait, WorstCase
from agentctl.cli.documents import Document, as_json, breaker_document, error_info, in_unit, moment, usd
from agentctl.cli.error_output import print_error, print_stderr
from agentctl.cli.exit_codes import exit_status, status_named
from agentctl.cli.invocation import Form
from agentctl.cli.ui.columns import Column, Page, stdout_page
from agentctl.cli.ui.format import Paint, amount, limit, money, seconds
from agentctl.cli.ui.summary import is_retry_hint, retry_command
from agentctl.core.answer_schema import AnswerSchema
from agentctl.core.errors import Unit
from agentctl.core.limits import WINDOWS
from agentctl.core.pricing import ModelFacts, Price
from agentctl.core.version import __version__
from agentctl.ledger.forecast import DAYS, LEAST_RUNS, Percentiles, RunStatistics
from agentctl.runner.estimate import RUN, Estimate, remaining_of
from agentctl.settings import Loaded, ProviderChoice

if TYPE_CHECKING:
    from agentctl.runner.agent_choice import AgentChoice
    from agentctl.runner.project_notes import ProjectNotes

SCHEMA = "agentctl.estimate/1"
_ROOMS = (
    *(Column("limit"), Column("ceiling", right=True), Column("spent", drop=1, right=True)),
    *(Column("in doubt", drop=2, right=True), Column("held", drop=3, right=True), Column("left", right=True)),
    Column("", "text", drop=4),
)


def print_estimate(
    loaded: Loaded,
    choice: ProviderChoice,
    task: str,
    *,
    data: str = "",
    labels: Mapping[str, str],
    schema: AnswerSchema | None = None,
    chosen: AgentChoice | None = None,
    notes: ProjectNotes | None = None,
    form: Form,
    paint: Paint,
    command: Sequence[str] = (),
) -> int:
    """Print the estimate; return 0, or the exit code of the refusal if the first call would be refused now.

    ``command`` is the command line that would repeat it.
    """
    from agentctl.cli.signals import run_cancellable
    from agentctl.runner.assemble import estimate_run, fallbacks_of, plan_of

    found = run_cancellable(
        partial(estimate_run, loaded, choice, task, data=data, labels=labels, schema=schema, chosen=chosen, notes=notes)
    )
    usable, unusable = fallbacks_of(loaded, choice, plan_of(loaded, choice, labels={}).limits)
    fallbacks = [fallback.provider.facts for fallback in usable]
    for said in unusable:
        print_stderr(f"warning: {said}")
    if form == "text":
        print(_text(found, choice, fallbacks, stdout_page()))
    else:
        document = _document(found, fallbacks)
        print(as_json({"event": "run_estimated", **document} if form == "jsonl" else document, line=form == "jsonl"))
    sys.stdout.flush()
    if found.refusal is None:
        return 0
    again = command and found.breaker is not None and is_retry_hint(found.refusal.hint)
    hint = retry_command(command, found.breaker) if again and found.breaker else found.refusal.hint
    print_error(found.refusal.message, hint, paint)
    return exit_status(found.refusal).value


def _text(found: Estimate, choice: ProviderChoice, fallbacks: Sequence[ModelFacts], page: Page) -> str:
    at = f"{found.forecast.as_of.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    others = (("" if place else "fallbacks", f"{one.name}: {_price(one.price)}") for place, one in enumerate(fallbacks))
    rows = [line for line in (*_who(found, choice), *others, *_what(found)) if line[1]]
    parts = [page.prose(f"Estimate as of {at}; nothing was sent or spent."), page.fields(rows)]
    if found.facts.metered:
        parts.append(_headroom(found, page))
        parts += map(page.prose, _remarks(found))
    return "\n\n".join(parts)


def _who(found: Estimate, choice: ProviderChoice) -> Iterator[tuple[str, str]]:
    facts = found.facts
    yield "agent", f"{found.agent} ({found.agent_chosen_by})"
    default = "default, " if choice.default_model else ""
    model = f"{facts.provider}/{facts.model}" if facts.model else facts.provider
    yield "model", f"{model} ({default}{found.provider_chosen_by})"
    if not facts.metered:
        yield "cost", "free: no language model is used"
        return
    yield "price", _price(facts.price)


def _price(price: Price | None) -> str:
    if price is None:
        return "unknown"
    if price.is_free:
        return f"free ({price.source})"
    cached = "" if price.cached_input is None else f", ${_plain(price.cached_input)} cached"
    said = f"${_plain(price.input)} in{cached}, ${_plain(price.output)} out per million tokens"
    tiers = "".join(f"; higher above {tier.above:,} tokens" for tier in price.tiers[:1])
    return f"{said}{tiers} ({price.source})"


def _plain(value: Decimal) -> str:
    whole, _, digits = f"{value.normalize():f}".partition(".")
    return f"{whole}.{digits.ljust(2, '0')}" if digits else whole


def _what(found: Estimate) -> Iterator[tuple[str, str]]:
    if not found.facts.metered:
        return
    yield "tools", ", ".join(found.tools) or "none"
    yield "left out", ", ".join(found.left_out)
    yield "sandbox", found.sandbox or ""
    answer = found.forecast.answer
    granted, held = (answer.output, answer.nano) if isinstance(answer, WorstCase) else (found.output.most, None)
    yield "first call", f"about {found.likely:,} tokens in, {found.most:,} at most"
    yield "", f"{found.output.least:,} to {granted:,} tokens out" + (f"; {money(held)} is held for it" if held else "")
    yield "floor", _floor(found)
    yield "ceiling", _ceiling(found)
    yield from _like_runs(found.forecast.statistics)


def _floor(found: Estimate) -> str:
    if found.cost.floor is None:
        return "unknown"
    return f"{money(found.cost.floor)} (one call with {found.output.least:,} tokens out)"


def _ceiling(found: Estimate) -> str:
    ceiling, by = found.cost.ceiling, found.cost.ceiling_by
    if ceiling is None:
        return "none: no limit that bounds the cost is set"
    now = ", as of now" if by in WINDOWS else ""  # charges leave the window and free room
    return f"{money(ceiling, rounding=ROUND_DOWN)} ({by or 'the model is free'}{now})"


def _like_runs(statistics: RunStatistics) -> Iterator[tuple[str, str]]:
    few = "" if statistics.tokens else f"; a forecast needs {LEAST_RUNS}"
    yield "past runs", f"{statistics.runs:,} of this agent and model finished in the last {DAYS} days{few}"
    if statistics.tokens is not None:
        for name in ("p50", "p90"):
            cost = "" if statistics.nano is None else f"{money(getattr(statistics.nano, name))}, "
            yield f"  {name.upper()}", f"{cost}{getattr(statistics.tokens, name):,} tokens"


def _headroom(found: Estimate, page: Page) -> str:
    """Return a table of the limits: what counts against each now, and what is left."""
    rows = [
        _room(room, None if _is_above(room) else found.limits_set_by.get(room.limit)) for room in found.forecast.rooms
    ]
    return page.table(_ROOMS, rows)


def _room(room: LimitState, set_by: str | None) -> tuple[str, ...]:
    used = (amount(value, room.unit) for value in room.amounts)
    return (
        f"{room.limit} of run {room.run_id}" if _is_above(room) else room.limit,
        limit(room.ceiling, room.unit),
        *used,
        _left(room),
        f"set by {set_by}" if set_by else "",
    )


def _is_above(room: LimitState) -> bool:
    """Return whether the limit belongs to a run above this one."""
    return room.run_id not in ("", RUN)


def _left(room: LimitState) -> str:
    rest = remaining_of(room)
    if rest is None:
        return ""
    return money(rest, rounding=ROUND_DOWN) if room.unit == "nano_usd" else f"{rest:,}"


def _remarks(found: Estimate) -> Iterator[str]:
    """Yield sentences about what would delay or refuse the first call."""
    answer = found.forecast.answer
    if found.forecast.pause_s:
        name = found.facts.name_and_address
        yield f"{name} is paused after failed calls: the first call would wait {seconds(found.forecast.pause_s)}."
    if found.forecast.price != found.facts.price:
        yield "Another model has answered instead: calls are held at the highest price seen there."
    if found.unstarted:
        names = ", ".join(found.unstarted)
        yield f"MCP servers are not started for an estimate ({names}); their tools count at their largest."
    if found.breaker is not None:
        whose = f" of run {found.breaker.run_id}" if found.breaker.run_id else ""
        yield f"The first call would be refused now: {found.breaker.limit}{whose}."
    elif found.refusal is not None:
        yield "The first call would be refused now: amounts in doubt use up the limit."
    elif isinstance(answer, Wait):
        yield "The first call would wait for amounts that other runs hold."


def _document(found: Estimate, fallbacks: Sequence[ModelFacts]) -> Document:
    facts, forecast, cost, answer = found.facts, found.forecast, found.cost, found.forecast.answer
    error, status = (None, "done") if found.refusal is None else error_info(found.refusal)
    above = [{"run_id": one.run_id, "name": one.limit, **_limit(one)} for one in forecast.rooms if _is_above(one)]
    return {
        "schema": SCHEMA,
        "version": __version__,
        "status": status_named(status).shown,
        "exit_code": status_named(status).value,
        "as_of": moment(forecast.as_of),
        "task": found.task,
        "agent": found.agent,
        "agent_chosen_by": found.agent_chosen_by,
        "provider": facts.provider,
        "provider_chosen_by": found.provider_chosen_by,
        "model": facts.model,
        "fallbacks": [
            {
                "provider": one.provider,
                "model": one.model,
                "price": None if one.price is None else _price_document(one.price),
            }
            for one in fallbacks
        ],
        "labels": dict(found.labels),
        "price": None if facts.price is None else _price_document(facts.price),
        **({"held_at_price": _price_document(forecast.price)} if forecast.price not in (None, facts.price) else {}),
        "first_call": {
            "tools": list(found.tools),
            "likely_input_tokens": found.likely,
            "most_input_tokens": found.most,
            "least_output_tokens": found.output.least,
            "most_output_tokens": found.output.most,
            "granted_output_tokens": answer.output if isinstance(answer, WorstCase) else None,
            "most_usd": usd(answer.nano) if isinstance(answer, WorstCase) else None,
            "waits_for": "provider" if forecast.pause_s else "holds" if isinstance(answer, Wait) else None,
            "wait_s": round(forecast.pause_s, 3),
        },
        "cost": {
            "floor_usd": usd(cost.floor),
            "floor_nano_usd": cost.floor,
            "ceiling_usd": usd(cost.ceiling),
            "ceiling_nano_usd": cost.ceiling,
            "ceiling_by": cost.ceiling_by or None,
        },
        "like_runs": {
            "days": DAYS,
            "runs": forecast.statistics.runs,
            "needed": LEAST_RUNS,
            "usd": _percentiles(forecast.statistics.nano, "nano_usd"),
            "tokens": _percentiles(forecast.statistics.tokens, "tokens"),
        },
        "limits": {room.limit: _limit(room) for room in forecast.rooms if not _is_above(room)},
        **({"limits_above": above} if above else {}),
        "ledger": {"scope": "machine"},
        "sandbox": found.sandbox,
        "left_out": list(found.left_out),
        "mcp_servers": list(found.unstarted),
        "breaker": None if found.breaker is None else breaker_document(found.breaker),
        "error": None if error is None else error._asdict(),
    }


def _price_document(price: Price) -> Document:
    """Return the price in dollars per million tokens, as exact strings, with its source."""
    return {**price.as_row(), "source": price.source, "version": price.version, "digest": price.digest}


def _percentiles(found: Percentiles | None, unit: Unit) -> Document | None:
    return None if found is None else {"p50": in_unit(found.p50, unit), "p90": in_unit(found.p90, unit)}


def _limit(room: LimitState) -> Document:
    amounts = {name: in_unit(value, room.unit) for name, value in room.amounts._asdict().items()}
    return {"limit": in_unit(room.ceiling, room.unit), **amounts, "left": in_unit(remaining_of(room), room.unit)}
