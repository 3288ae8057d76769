"""The output of ``agentctl ledger check`` and ``reconcile``: tables, and JSON documents."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from agentctl.cli.documents import as_json, moment, usd
from agentctl.cli.ui.columns import Column, Page
from agentctl.cli.ui.format import money, plural, seconds
from agentctl.core.errors import StateError
from agentctl.core.ledger_address import LedgerAddress
from agentctl.core.text import safe_text
from agentctl.core.version import __version__
from agentctl.ledger.audit import WhyNot
from agentctl.ledger.check import InDoubt, LedgerCheck, ModelOverrun, OpenHold, SpooledConclusion
from agentctl.ledger.provider_health import ModelMiscount, ModelSubstitute
from agentctl.ledger.reconcile import ClockReset, Reconciliation

CHECK_SCHEMA = "agentctl.ledger-check/1"
RECONCILE_SCHEMA = "agentctl.ledger-reconcile/1"
MIGRATION_SCHEMA = "agentctl.ledger-migrate/1"
RESET_CLOCK = "agentctl ledger reconcile --clock"
_MOST_TOLD = 5
_PIPE = Page()
_OPEN = (
    *(Column("held", drop=3), Column("run"), Column("phase", drop=2), Column("model", "name", drop=4)),
    *(Column("amount", right=True), Column("for", drop=1, right=True), Column("process", "text")),
)
_DOUBTS = (
    *(Column("in doubt"), Column("provider", "name", drop=3), Column("attempts", drop=1, right=True)),
    *(Column("amount", right=True), Column("since", drop=2), Column("if nothing was billed", "line")),
)
_STATES = {True: "living", False: "dead", None: "unknown"}
_WHAT_THEN = {True: "", False: ": the next run ends it", None: ": its lock file cannot be opened"}


def damage_error(found: LedgerCheck, path: LedgerAddress) -> StateError | None:
    """Return the error for a damaged ledger, None for a sound one."""
    if not found.wrong:
        return None
    more = found.wrong_count - _MOST_TOLD
    return StateError(
        f"the ledger {path} is damaged: {'; '.join(found.wrong[:_MOST_TOLD])}"
        + (f"; and {more:,} more" if more > 0 else ""),
        hint="keep the file, move it aside and start a new ledger:"
        f" mv {shlex.quote(str(path))} {shlex.quote(f'{path}.damaged')}"
        if isinstance(path, Path)
        else "keep the database as it is, and name another one in AGENTCTL_LEDGER",
    )


def _give_back_command(one: InDoubt) -> str:
    return f"agentctl ledger reconcile --run {shlex.quote(one.run_id)} --actual 0"


def _clear_overrun_command(one: ModelOverrun) -> str:
    return f"agentctl ledger reconcile --clear-overrun {shlex.quote(_name(one))}"


def _clear_substitute_command(one: ModelSubstitute) -> str:
    return f"agentctl ledger reconcile --clear-substitute {shlex.quote(_name(one))}"


def _clear_miscount_command(one: ModelMiscount) -> str:
    return f"agentctl ledger reconcile --clear-miscount {shlex.quote(_name(one))}"


def _name(one: ModelOverrun | OpenHold | ModelSubstitute | ModelMiscount) -> str:
    return f"{one.provider}/{one.model}" if one.model else one.provider


def check_document(found: LedgerCheck, path: LedgerAddress, error: StateError | None) -> str:
    """Return the result of a check as JSON; ``wrong`` has the first problems, ``wrong_count`` counts all."""
    return as_json(
        {
            "schema": CHECK_SCHEMA,
            "version": __version__,
            "ok": error is None,
            "ledger": str(path),
            "exists": found.there,
            "attempts": found.attempts,
            "admissions": {
                "proved": found.proved,
                "without_limits": found.free,
                "kept": found.kept,
                "imported": found.imported,
            },
            "charges": {"recomputed": found.recomputed, "not_recomputed": dict(found.not_recomputed)},
            "wrong_count": found.wrong_count,
            "wrong": list(found.wrong),
            "open": [
                {
                    "attempt_id": one.attempt_id,
                    "run_id": one.run_id,
                    "phase": one.phase,
                    "provider": one.provider,
                    "model": one.model or None,
                    "held_usd": usd(one.nano),
                    "held_at": moment(one.held_at),
                    "owner": {"living": one.living, "state": _STATES[one.living], "pid": one.pid, "host": one.host},
                }
                for one in found.open
            ],
            "in_doubt": [
                {
                    "run_id": one.run_id,
                    "provider": one.provider,
                    "base_url": one.base_url or None,
                    "attempts": one.attempts,
                    "usd": usd(one.nano),
                    "since": moment(one.since),
                    "owner_living": one.living,
                    "hint": _give_back_command(one) if one.can_be_reconciled(found.now) else None,
                }
                for one in found.doubts
            ],
            "overruns": [
                {
                    "provider": one.provider,
                    "model": one.model or None,
                    "attempts": one.attempts,
                    "last_at": moment(one.last_at),
                    "hint": _clear_overrun_command(one),
                }
                for one in found.overruns
            ],
            "unsettled": [
                {
                    "attempt_id": one.attempt_id or None,
                    "run_id": one.run_id or None,
                    "file": str(one.file),
                    "conclusion": one.kind or None,
                    "usd": usd(one.nano),
                    "tokens": one.tokens,
                    "problem": one.problem or None,
                }
                for one in found.unsettled
            ],
            "clock": {
                "ledger": moment(found.now),
                "wall": moment(found.wall),
                "expected_wall": moment(found.expected_wall),
                "hint": RESET_CLOCK if found.is_wall_behind and isinstance(path, Path) else None,
            },
            "substitutes": [
                {
                    "provider": one.provider,
                    "base_url": one.base_url or None,
                    "model": one.model,
                    "answered_model": one.answered.model,
                    "service_tier": one.answered.tier or None,
                    "price": None if one.answered.price is None else one.answered.price.as_row(),
                    "since": moment(one.since),
                    "hint": _clear_substitute_command(one),
                }
                for one in found.substitutes
            ],
            "miscounts": [
                {
                    "provider": one.provider,
                    "base_url": one.base_url or None,
                    "model": one.model,
                    "attempts": one.attempts,
                    "last_at": moment(one.last_at),
                    "hint": _clear_miscount_command(one),
                }
                for one in found.miscounts
            ],
            "error": None if error is None else {"kind": error.kind, "message": error.message, "hint": error.hint},
        }
    )


def check_table(found: LedgerCheck, path: LedgerAddress, page: Page = _PIPE) -> str:
    """Return the result of a check as text."""
    if not found.there:
        return page.prose(f"no ledger yet; the first run creates {path}")
    return "\n".join(_check_lines(found, path, page))


def _check_lines(found: LedgerCheck, path: LedgerAddress, page: Page) -> Iterator[str]:
    intact = "the file is intact" if isinstance(path, Path) else f"the ledger {path} can be read"
    yield page.prose(intact + ("; rows and admissions are consistent" if not found.wrong else ""))
    free = f", {found.free:,} free or without a limit" if found.free else ""
    kept = f", {found.kept:,} reserved for last answers" if found.kept else ""
    replayed = f"{found.proved:,} replayed, admitted within their limits{free}{kept}"
    replayed += f", {found.imported:,} imported from files" if found.imported else ""
    yield page.prose(f"{plural(found.attempts, 'attempt')}: {replayed}")
    if found.recomputed or found.not_recomputed:
        charges = f"{plural(found.recomputed, 'charge')} recomputed from their token classes and prices"
        not_so = ", ".join(_not_recomputed(found.not_recomputed))
        yield page.prose(charges + (f"; not recomputed: {not_so}" if not_so else ""))
    yield from (page.prose(f"wrong: {said}") for said in found.wrong)
    if found.open:
        yield "\n" + page.table(_OPEN, [_open_cells(one, found) for one in found.open])
    if found.doubts:
        yield "\n" + page.table(_DOUBTS, [_doubt_cells(one, found) for one in found.doubts])
    else:
        yield "nothing is in doubt"
    for each in found.unsettled:
        yield f"\n{page.prose(_describe_unsettled(each))}\n  {safe_text(str(each.file))}"
    for said, command in _clearable(found):
        yield f"\n{page.prose(said)}\n  {safe_text(command)}"
    if found.is_wall_behind and found.wall is not None and found.expected_wall is not None:
        if not isinstance(path, Path):
            said = f"the server's clock is {_local(found.wall)}, but the ledger has already seen"
            yield f"\n{page.prose(f'{said} {_local(found.expected_wall)}: until then its time stands still')}"
            return
        wall = f"the wall clock is {_local(found.wall)}, but the ledger has already seen {_local(found.expected_wall)}."
        then = "Until then, time while this machine is off is not counted. If the clock is right now, run"
        yield f"\n{page.prose(f'{wall} {then}')}\n  {RESET_CLOCK}"


def _clearable(found: LedgerCheck) -> Iterator[tuple[str, str]]:
    """Yield why calls are held at more than usual, and the command that ends it."""
    for one in found.overruns:
        said = "cost more than its hold: calls are held at the model's ceiling until you run"
        yield f"{_name(one)} {said}", _clear_overrun_command(one)
    for answered in found.substitutes:
        yield _describe_substitute(answered), _clear_substitute_command(answered)
    for counted in found.miscounts:
        said = "reported more input than counted: calls are bound by bytes until you run"
        yield f"{_name(counted)} {said}", _clear_miscount_command(counted)


def _local(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def _describe_substitute(one: ModelSubstitute) -> str:
    """Return which model answered instead, its price, and the consequence, up to the command that ends it."""
    there, price = f" at {one.base_url}" if one.base_url else "", one.answered.price
    said = f"{_name(one)}{there} was answered by {one.answered.name}"
    if price is None:
        return f"{said}, whose price was unknown: without a price, calls are refused under a dollar limit until you run"
    amounts = f"${price.dearest_input:f} in, ${price.dearest_output:f} out per million tokens"
    return f"{said} ({amounts}): calls are held at the highest price seen there until you run"


WHY_NOT: Mapping[WhyNot, str] = MappingProxyType(
    {
        "in_doubt": "in doubt",
        "unknown_price": "without a known price",
        "unrecorded": "settled before prices were stored with them",
        "export": "settled by a provider's export",
        "hand": "settled manually",
    }
)


def _not_recomputed(counts: Mapping[WhyNot, int]) -> list[str]:
    """Return how many charges cannot be recomputed, a phrase for each reason."""
    return [f"{counts[why]:,} {said}" for why, said in WHY_NOT.items() if counts.get(why)]


def _describe_unsettled(one: SpooledConclusion) -> str:
    if one.problem:
        return f"not settled: {one.problem}, in"
    cost = {"charge": "unknown" if one.nano is None else money(one.nano), "void": "nothing"}.get(one.kind, "in doubt")
    return f"the next run settles attempt {one.attempt_id} of run {one.run_id} ({cost}), from"


def _open_cells(one: OpenHold, found: LedgerCheck) -> tuple[str, ...]:
    age = max(0.0, (found.now - one.held_at).total_seconds()) if found.now is not None else 0.0
    process = f"{one.pid} on {one.host}, {_STATES[one.living]}{_WHAT_THEN[one.living]}"
    amount = "unknown" if one.nano is None else money(one.nano)
    return (one.attempt_id[:12], one.run_id, one.phase, _name(one), amount, seconds(age), process)


def _doubt_cells(one: InDoubt, found: LedgerCheck) -> tuple[str, ...]:
    line = "(its process is alive)" if one.living else _give_back_command(one)
    if not one.living and not one.can_be_reconciled(found.now):
        line = "(its process may be alive until its deadline)"
    at = _local(one.since)
    whose = f"{one.provider} at {one.base_url}" if one.base_url else one.provider
    return (f"run {one.run_id}", whose, f"{one.attempts:,}", money(one.nano), at, line)


def reconcile_document(found: Reconciliation, *, dry_run: bool) -> str:
    """Return what was settled and what was left as JSON."""
    return as_json(
        {
            "schema": RECONCILE_SCHEMA,
            "version": __version__,
            "dry_run": dry_run,
            "reconciled": [
                {
                    "attempt_id": one.attempt_id,
                    "run_id": one.run_id,
                    "provider": one.provider,
                    "model": one.model or None,
                    "in_doubt_usd": usd(one.was_nano),
                    "usd": usd(one.now_nano),
                    "above_hold": one.is_above,
                }
                for one in found.done
            ],
            "given_back_usd": usd(found.freed_nano),
            "left": [one._asdict() for one in found.left],
            "unused_lines": found.unused,
            "error": None,
        }
    )


def reconcile_table(found: Reconciliation, *, dry_run: bool, page: Page = _PIPE) -> str:
    """Return what was settled and what was left as text."""
    lines = []
    for one in found.done:
        was = "unknown" if one.was_nano is None else money(one.was_nano)
        above = "   (above its hold)" if one.is_above else ""
        lines.append(f"{one.attempt_id}  run {one.run_id}  {was} → {money(one.now_nano)}{above}")
    lines += [f"{one.attempt_id}  run {one.run_id}  left: {one.why}" for one in found.left]
    if found.done:
        settled = f"{plural(len(found.done), 'attempt')} {'would be settled' if dry_run else 'settled'}"
        lines.append(f"{settled}, {money(found.freed_nano)} released")
    elif not found.left:
        lines.append("no attempt of these is in doubt")
    else:
        lines.append("nothing was settled")
    if found.unused:
        lines.append(f"{plural(found.unused, 'line')} of the export without a matching call in doubt")
    return "\n".join(map(page.prose, lines))


Clearable = Literal["overrun", "substitute", "miscount"]


def cleared_document(what: Clearable, name: str, *, done: bool, dry_run: bool) -> str:
    """Return as JSON that an overrun, a substitute or a miscount of a model was cleared."""
    head = {"schema": RECONCILE_SCHEMA, "version": __version__, "dry_run": dry_run}
    return as_json({**head, f"cleared_{what}": name if done else None, "error": None})


def clock_document(found: ClockReset, *, dry_run: bool) -> str:
    """Return a reset of the clock as JSON; ``clock`` is null if nothing was reset."""
    head = {"schema": RECONCILE_SCHEMA, "version": __version__, "dry_run": dry_run}
    clock = {"was": moment(found.was), "now": moment(found.now)} if found.done else None
    return as_json({**head, "clock": clock, "error": None})


def clock_table(found: ClockReset, *, dry_run: bool) -> str:
    """Return a reset of the clock as text."""
    if not found.done:
        return f"the wall clock ({_local(found.now)}) is not behind: nothing to reset"
    counts = "would count" if dry_run else "counts"
    return f"time {counts} again from {_local(found.now)} on, instead of from {_local(found.was)} on"


def migration_document(address: LedgerAddress, before: int, after: int) -> str:
    """Return the JSON document of a migration: the schema before (0: there was no ledger) and after."""
    return as_json(
        {
            "schema": MIGRATION_SCHEMA,
            "version": __version__,
            "ledger": str(address),
            "schema_before": before,
            "schema_after": after,
        }
    )
