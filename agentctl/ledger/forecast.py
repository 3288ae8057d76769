"""Forecast the first call of a run: the ledger's answer now, and the cost of similar runs.

The request is judged by the rule of a real one, in a transaction that changes no byte of the ledger.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from agentctl.budget.rules import Ask, LimitState, Wait, WorstCase, ceiling_of
from agentctl.core.errors import StateError, Verdict
from agentctl.core.leases import Lease
from agentctl.core.ledger_address import LedgerAddress, PostgresAddress
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.pricing import ModelFacts, Price
from agentctl.ledger import lease_scopes, provider_health, runs
from agentctl.ledger.attempts import storable
from agentctl.ledger.clock import ReadClock, as_datetime, system_clock
from agentctl.ledger.errors import refuse_remnant, translate_errors
from agentctl.ledger.grants import add_free_time, judge_request
from agentctl.ledger.inspection import view_of
from agentctl.ledger.ledger_session import PAUSE_S
from agentctl.ledger.provider_health import pause_or_probe, uncleared_overrun
from agentctl.ledger.schema import MIGRATIONS, migrate, schema_version
from agentctl.ledger.sums import exact_sum, limits_of, whole
from agentctl.ledger.transaction import Transaction

T = TypeVar("T")
DAYS = 90
LEAST_RUNS = 5
_MOST_CALLS = 20_000  # the latest calls; in more than that there are enough runs
_MOST_RUNS = 2_000
#: The index attempts_provider finds the calls, attempts_run adds up their runs.
_COSTS_OF_RUNS = """
WITH calls AS (
    SELECT run_id, model FROM attempts
    WHERE provider = :provider AND phase IN ('settled', 'doubt') AND ended_us > :since
    ORDER BY ended_us DESC LIMIT :calls
), runs AS (
    SELECT DISTINCT run_id FROM calls WHERE model IS :model LIMIT :runs
)
SELECT max(CASE WHEN a.nano IS NULL THEN 1 ELSE 0 END), {nano}, {tokens}
FROM runs JOIN scopes AS s ON s.id = runs.run_id AND s.agent = :agent AND s.status = 'done'
JOIN attempts AS a ON a.run_id = s.id AND a.phase <> 'void'
GROUP BY s.id
""".replace("{nano}", exact_sum("a.nano")).replace("{tokens}", exact_sum("a.tokens"))


class Forecast(NamedTuple):
    """The limits and the answer that a call would get now. ``pause_s``: the remaining pause of its provider.

    ``price`` is the price it would be held at: that of a substitute of its model, if that is higher. ``input_bound`` is
    the bound in the judgement, in tokens. ``statistics`` are the finished runs of the same agent and model.
    """

    as_of: datetime
    rooms: tuple[LimitState, ...]
    answer: WorstCase | Wait | Verdict
    pause_s: float
    statistics: RunStatistics
    price: Price | None
    input_bound: int = 0


def forecast_first_call(
    path: LedgerAddress,
    ask: Ask,
    limits: CostLimit,
    *,
    agent: str,
    parent: Parent | Lease | None = None,
    clock: ReadClock | None = None,
    pause_s: float = PAUSE_S,
) -> Forecast:
    """Return the answer to ``ask`` as the first call of a run with these limits; a missing ledger counts as empty.

    ``parent`` is the run or the lease that it would belong to, if any. Holds of processes that were not yet found dead
    still count here; a real call would conclude them first.

    Raises:
        ActionDenied: no run may be opened below that parent. LeaseError: nor below that lease.
        UnknownPrice: a run above has a dollar limit, and there is no price or no bound for the model; or under a dollar
            limit, a model of unknown price has answered instead of this one.
        StateError: the ledger cannot be read, is foreign, or newer than this program.
    """

    def look(tx: Transaction) -> Forecast:
        statistics = run_statistics(tx, ask.facts, agent) if ask.facts.metered else RunStatistics()
        if parent is not None:
            refused = runs.refusal_below(tx, parent, lambda owner_id: tx.owners.liveness(owner_id) is not True, path)
            if refused is not None:
                raise refused
        if isinstance(path, PostgresAddress):
            _add_trial_run(tx, ask, limits, parent)
        else:
            _add_unsaved_run(tx, ask, limits, parent)
        wanted = provider_health.at_dearest_price(tx, ask) if ask.facts.metered else ask
        price = wanted.facts.price
        rooms, pause = limits_of(tx, ask), 0.0
        runs.require_bounded_cost(wanted, rooms)
        if ask.facts.metered:
            health = pause_or_probe(tx, wanted.facts, pause_s=pause_s)
            if health is not True:
                wanted = wanted._replace(most=ask.least, purpose="probe")
            pause = health.seconds if isinstance(health, Wait) else 0.0
        seen = uncleared_overrun(tx, ask)
        wanted = wanted._replace(seen=seen)
        wanted, answer, _, _ = judge_request(tx, wanted, rooms, None, at_ceiling=seen is not None)
        if isinstance(answer, Verdict):
            answer = add_free_time(tx, wanted, answer)
        elif isinstance(answer, Wait) and answer.verdict is not None:
            answer = answer._replace(verdict=add_free_time(tx, wanted, answer.verdict))
        return Forecast(as_datetime(tx.wall_us), rooms, answer, pause, statistics, price, wanted.input_bound)

    return _read_unchanged(path, look, clock or system_clock())


def _add_unsaved_run(tx: Transaction, ask: Ask, limits: CostLimit, parent: Parent | Lease | None) -> None:
    """Add the run to temporary tables of this connection, which hide the ledger's own from the sums.

    They hold the run, the runs above it, and all runs below those; and its lease, also before the first use.
    """
    above = "(SELECT above_id FROM scope_paths WHERE scope_id = :parent)"
    run_id, parent_id = ask.run_id, runs.parent_id_of(parent) or ""
    ids = {"run": run_id, "parent": parent_id}
    tx.db.execute(f"CREATE TEMP TABLE unseen AS SELECT * FROM scopes WHERE id IN {above}", ids)  # noqa: S608
    below = f"SELECT scope_id, above_id, depth FROM scope_paths WHERE above_id IN {above}"  # noqa: S608 - our own names
    own = "SELECT :run, above_id, depth + 1 FROM scope_paths WHERE scope_id = :parent UNION ALL SELECT :run, :run, 0"
    tx.db.execute(f"CREATE TEMP TABLE unseen_paths AS {below} UNION ALL {own}", ids)
    for name, unseen in (("scopes", "unseen"), ("scope_paths", "unseen_paths")):
        tx.db.execute(f"DROP VIEW IF EXISTS temp.{name}")  # of an older schema
        tx.db.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM temp.{unseen}")  # noqa: S608 - our own names
    tx.db.execute(
        "INSERT INTO temp.scopes (id, kind, limit_nano, limit_tokens, limits, opened_us)"
        " VALUES (?, 'run', ?, ?, '{}', ?)",
        (run_id, ceiling_of(limits, "max_cost_per_task"), limits.max_tokens_per_task, tx.now_us),
    )
    if isinstance(parent, Lease) and lease_scopes.find(tx, parent) is None:
        tx.db.execute(
            "INSERT INTO temp.scopes (id, kind, limit_nano, limits, opened_us) VALUES (?, 'lease', ?, '{}', ?)",
            (parent_id, parent.nano, tx.now_us),
        )
        tx.db.execute("INSERT INTO temp.scope_paths VALUES (?, ?, 1), (?, ?, 0)", (run_id, *(parent_id,) * 3))


def _add_trial_run(tx: Transaction, ask: Ask, limits: CostLimit, parent: Parent | Lease | None) -> None:
    """Add the run to a transaction that is rolled back."""
    runs.insert(tx, runs.NewRun(ask.run_id, "", "", "", {}, parent), limits)


def _read_unchanged(path: LedgerAddress, look: Callable[[Transaction], T], clock: ReadClock) -> T:
    """Read a ledger without creating a file.

    A reader uses the write-ahead log if there is one, and would create one otherwise: then the file is read alone, and
    read again if another process wrote meanwhile.
    """
    if isinstance(path, PostgresAddress):
        from agentctl.ledger.postgres.fleet_database import FleetDatabase  # noqa: PLC0415 - most ledgers are files

        with closing(FleetDatabase(path)) as database, database.trial() as tx:
            return look(tx)
    with translate_errors(path):
        refuse_remnant(path)
        before = _stamp(path)
        if before is None:
            return _read_empty(path, look, clock)
        address = f"{path.absolute().as_uri()}?mode=ro"
        if not before[-1]:
            try:
                found = _read_at(f"{address}&immutable=1", path, look, clock)
            except (sqlite3.Error, StateError):
                if _stamp(path) == before:
                    raise
            else:
                if _stamp(path) == before:
                    return found
        return _read_at(address, path, look, clock)


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    """Return values that a write changes: inode, time and size of the file, and the log's size; None if there is no
    file.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    try:
        log = path.with_name(f"{path.name}-wal").stat().st_size
    except FileNotFoundError:
        log = 0
    return found.st_ino, found.st_mtime_ns, found.st_size, log


def _read_at(address: str, path: Path, look: Callable[[Transaction], T], clock: ReadClock) -> T:
    with closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=5.0)) as db:
        db.execute("PRAGMA temp_store=MEMORY")
        db.execute("BEGIN")  # one view: another process may be creating the ledger
        version = schema_version(db, path)
        if version:
            return look(view_of(db, version, clock, path))
    return _read_empty(path, look, clock)


def _read_empty(path: Path, look: Callable[[Transaction], T], clock: ReadClock) -> T:
    with closing(migrate(sqlite3.connect(":memory:", isolation_level=None))) as db:
        return look(view_of(db, len(MIGRATIONS), clock, path))


class Percentiles(NamedTuple):
    """The amounts that half of the runs, and nine of ten runs, did not exceed."""

    p50: int
    p90: int


class RunStatistics(NamedTuple):
    """The finished runs of one agent and model in the last 90 days: nano-dollars and tokens, amounts in doubt included.

    None if fewer than five are known.
    """

    runs: int = 0
    nano: Percentiles | None = None
    tokens: Percentiles | None = None


def run_statistics(tx: Transaction, facts: ModelFacts, agent: str) -> RunStatistics:
    """Return the statistics of the runs of ``agent`` with this model, from the latest calls in the ledger."""
    wanted = {
        "provider": storable(facts.provider),
        "model": None if facts.model is None else storable(facts.model),
        "agent": storable(agent),
        "since": tx.now_us - DAYS * 86_400 * 1_000_000,
        "calls": _MOST_CALLS,
        "runs": _MOST_RUNS,
    }
    found = tx.db.execute(_COSTS_OF_RUNS, wanted).fetchall()
    return RunStatistics(
        len(found),
        percentiles([whole(*nano) for unknown, *nano, _, _ in found if not unknown]),
        percentiles([whole(*tokens) for _, _, _, *tokens in found]),
    )


def percentiles(amounts: Sequence[int]) -> Percentiles | None:
    """Return P50 and P90 by the nearest rank, None for fewer than five amounts."""
    if len(amounts) < LEAST_RUNS:
        return None
    ranked = sorted(amounts)
    return Percentiles(*(ranked[-(-len(ranked) * part // 100) - 1] for part in (50, 90)))
