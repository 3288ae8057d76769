"""How the book would answer the first call of a run: judged by the same rule, and not a byte of it changed.

What runs of the same kind came to: a guess at what the next one will cost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from agentctl.budget.rules import Ask, LimitState, Wait, WorstCase, ceiling_of
from agentctl.core.errors import StateError, Verdict
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.pricing import ModelFacts, Price
from agentctl.ledger import provider_health as substitution
from agentctl.ledger import runs as nesting
from agentctl.ledger.attempts import plain
from agentctl.ledger.clock import ReadClock, as_datetime, system_clock
from agentctl.ledger.database import Transaction, translate_errors
from agentctl.ledger.errors import refuse_remnant
from agentctl.ledger.inspection import tick_of
from agentctl.ledger.locks import liveness
from agentctl.ledger.provider_health import provider_health, uncleared_overrun
from agentctl.ledger.reserve import add_free_time, judge_by_count
from agentctl.ledger.schema import MIGRATIONS, migrate, schema_version
from agentctl.ledger.sums import exact_sum, limits_of, whole
from agentctl.ledger.transactions import PAUSE_S

T = TypeVar("T")


class Forecast(NamedTuple):
    """What stands against a call now. ``rest_s``: its provider is left in peace so long first, after failed calls.

    ``price`` is what it would be held at: that of a model that has answered in its place, if that is dearer.
    ``input_bound`` is the bound by which it was judged, in tokens.
    """

    as_of: datetime
    rooms: tuple[LimitState, ...]
    answer: WorstCase | Wait | Verdict
    rest_s: float
    alike: RunStatistics
    price: Price | None
    input_bound: int = 0


def forecast_first_call(
    path: Path,
    ask: Ask,
    limits: CostLimit,
    *,
    agent: str,
    parent: Parent | None = None,
    clock: ReadClock | None = None,
    pause_s: float = PAUSE_S,
) -> Forecast:
    """Return how ``ask``, the first of a run with these limits, would be answered; no ledger yet is an empty one.

    ``parent`` is the run that it would belong to, if any. Holds of processes that died unseen still count here; a real
    call would bury them first.

    Raises:
        ActionDenied: no run may be opened below that parent.
        UnknownPrice: a run above has a dollar limit, and there is no price or no bound for the model; or under a dollar
            limit, a model of unknown price has answered in the place of this one.
        StateError: the ledger cannot be read, is foreign, or newer than this program.
    """
    owners = path.with_suffix(".owners")

    def look(tx: Transaction) -> Forecast:
        alike = likeness(tx, ask.facts, agent) if ask.facts.metered else RunStatistics()
        if parent is not None:
            refused = nesting.refusal(tx, parent, lambda owner_id: liveness(owners, owner_id) is not True, path)
            if refused is not None:
                raise refused
        _open_unseen(tx, ask, limits, parent)
        wanted = substitution.at_dearest_price(tx, ask) if ask.facts.metered else ask
        price = wanted.facts.price
        rooms, rest = limits_of(tx, ask), 0.0
        nesting.refuse_the_unbounded(wanted, rooms)
        if ask.facts.metered:
            health = provider_health(tx, wanted.facts, pause_s=pause_s)
            if health is not True:
                wanted = replace(wanted, most=ask.least, purpose="probe")
            rest = health.seconds if isinstance(health, Wait) else 0.0
        seen = uncleared_overrun(tx, ask)
        wanted = replace(wanted, seen=seen)
        wanted, answer, _, _ = judge_by_count(tx, wanted, rooms, None, at_ceiling=seen is not None)
        if isinstance(answer, Verdict):
            answer = add_free_time(tx, wanted, answer)
        elif isinstance(answer, Wait) and answer.verdict is not None:
            answer = replace(answer, verdict=add_free_time(tx, wanted, answer.verdict))
        return Forecast(as_datetime(tx.wall_us), rooms, answer, rest, alike, price, wanted.input_bound)

    return _as_it_lies(path, look, clock or system_clock())


def _open_unseen(tx: Transaction, ask: Ask, limits: CostLimit, parent: Parent | None) -> None:
    """Open the run in tables of this connection alone, which hide the ledger's own: the sums find it there.

    Beside it stand the runs above it, and what is below those.
    """
    above = "(SELECT above_id FROM scope_paths WHERE scope_id = ?1)"
    run_id, parent_id = ask.run_id, "" if parent is None else parent.run_id
    tx.db.execute(f"CREATE TEMP TABLE unseen AS SELECT * FROM scopes WHERE id IN {above}", (parent_id,))  # noqa: S608
    below = f"SELECT scope_id, above_id, depth FROM scope_paths WHERE above_id IN {above}"  # noqa: S608 - our own names
    own = "SELECT ?2, above_id, depth + 1 FROM scope_paths WHERE scope_id = ?1 UNION ALL SELECT ?2, ?2, 0"
    tx.db.execute(f"CREATE TEMP TABLE unseen_paths AS {below} UNION ALL {own}", (parent_id, run_id))
    for name, unseen in (("scopes", "unseen"), ("scope_paths", "unseen_paths")):
        tx.db.execute(f"DROP VIEW IF EXISTS temp.{name}")  # of an older schema
        tx.db.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM temp.{unseen}")  # noqa: S608 - our own names
    tx.db.execute(
        "INSERT INTO temp.scopes (id, kind, limit_nano, limit_tokens, limits, opened_us)"
        " VALUES (?, 'run', ?, ?, '{}', ?)",
        (run_id, ceiling_of(limits, "max_cost_per_task"), limits.max_tokens_per_task, tx.now_us),
    )


def _as_it_lies(path: Path, look: Callable[[Transaction], T], clock: ReadClock) -> T:
    """Read without a trace. A reader joins a write-ahead log where there is one, else it would make one: then the
    file is read by itself, and again if somebody wrote meanwhile.
    """
    with translate_errors(path):
        refuse_remnant(path)
        before = _stamp(path)
        if before is None:
            return _empty(look, clock)
        address = f"{path.absolute().as_uri()}?mode=ro"
        if not before[-1]:
            try:
                found = _opened(f"{address}&immutable=1", path, look, clock)
            except (sqlite3.Error, StateError):
                if _stamp(path) == before:
                    raise
            else:
                if _stamp(path) == before:
                    return found
        return _opened(address, path, look, clock)


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    """Return what changes when somebody writes: of the file, and the length of its log; None if there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    try:
        log = path.with_name(f"{path.name}-wal").stat().st_size
    except FileNotFoundError:
        log = 0
    return found.st_ino, found.st_mtime_ns, found.st_size, log


def _opened(address: str, path: Path, look: Callable[[Transaction], T], clock: ReadClock) -> T:
    with closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=5.0)) as db:
        db.execute("PRAGMA temp_store=MEMORY")
        db.execute("BEGIN")  # one view: another process may be making the ledger
        version = schema_version(db, path)
        if version:
            return look(tick_of(db, version, clock))
    return _empty(look, clock)


def _empty(look: Callable[[Transaction], T], clock: ReadClock) -> T:
    with closing(migrate(sqlite3.connect(":memory:", isolation_level=None))) as db:
        return look(tick_of(db, len(MIGRATIONS), clock))


DAYS = 90
LEAST_RUNS = 5
_MOST_CALLS = 20_000  # the latest; whoever made more has enough runs among them
_MOST_RUNS = 2_000

#: The index attempts_provider finds the calls, attempts_run adds up their runs.
_SQL = """
WITH calls AS (
    SELECT run_id, model FROM attempts
    WHERE provider = :provider AND phase IN ('settled', 'doubt') AND ended_us > :since
    ORDER BY ended_us DESC LIMIT :calls
), runs AS (
    SELECT DISTINCT run_id FROM calls WHERE model IS :model LIMIT :runs
)
SELECT max(a.nano IS NULL), {nano}, {tokens}
FROM runs JOIN scopes AS s ON s.id = runs.run_id AND s.agent = :agent AND s.status = 'done'
JOIN attempts AS a ON a.run_id = s.id AND a.phase <> 'void'
GROUP BY s.id
""".replace("{nano}", exact_sum("a.nano")).replace("{tokens}", exact_sum("a.tokens"))


class Percentiles(NamedTuple):
    """What half of the runs, and what nine of ten, came to at most."""

    p50: int
    p90: int


class RunStatistics(NamedTuple):
    """The finished runs of the same agent and model in the last 90 days: nano-dollars and tokens, in doubt included.

    None where fewer than five are known.
    """

    runs: int = 0
    nano: Percentiles | None = None
    tokens: Percentiles | None = None


def likeness(tx: Transaction, facts: ModelFacts, agent: str) -> RunStatistics:
    """Return what the runs of ``agent`` with this model came to, of the latest calls in the book."""
    wanted = {
        "provider": plain(facts.provider),
        "model": None if facts.model is None else plain(facts.model),
        "agent": plain(agent),
        "since": tx.now_us - DAYS * 86_400 * 1_000_000,
        "calls": _MOST_CALLS,
        "runs": _MOST_RUNS,
    }
    found = tx.db.execute(_SQL, wanted).fetchall()
    return RunStatistics(
        len(found),
        percentiles([whole(*nano) for unknown, *nano, _, _ in found if not unknown]),
        percentiles([whole(*tokens) for _, _, _, *tokens in found]),
    )


def percentiles(amounts: Sequence[int]) -> Percentiles | None:
    """Return P50 and P90 by the nearest rank: amounts that were really spent."""
    if len(amounts) < LEAST_RUNS:
        return None
    ranked = sorted(amounts)
    return Percentiles(*(ranked[-(-len(ranked) * part // 100) - 1] for part in (50, 90)))
