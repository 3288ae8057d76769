"""How quickly holds are made and settled on PostgreSQL, and how long ``costs`` reads a long ledger there.

``python tests/benchmarks/postgres.py [SECONDS]``: 64 processes on a server of their own on loopback, with ``fsync``:
first at a model's pace, one turn in two seconds each, then saturated under an hourly limit that they reach. What is to
be reached: 99 % of reserve + settle below 50 ms at a model's pace; saturated none fails, and nothing is over. All begin
when each is connected. What bounds the figures stands beside them: the time of an fsync on that disk before, the
load of the machine, and in what the server's sessions are, on average: waiting for the ledger, in an fsync, or at work.
On a machine that does other things, too, ``chrt -r 1`` before the command keeps those out of its CPUs.

``python tests/benchmarks/postgres.py --rows 1000000 [ROUNDS]``: ``costs --last-hour`` in a ledger with so many calls,
one a minute, against an empty one. What is to be reached: 1.2. No test asserts a time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from agentctl.budget.conclusions import Charge  # noqa: E402 - the tests are no package of the path
from agentctl.budget.rules import Ask, Hold, Wait  # noqa: E402
from agentctl.core.errors import LedgerBusy, Verdict  # noqa: E402
from agentctl.core.messages import Usage  # noqa: E402
from agentctl.ledger.postgres.fleet_database import FleetDatabase  # noqa: E402
from agentctl.ledger.postgres.fleet_session import FleetSession  # noqa: E402
from tests.support.ledger.spender import BOUND, FACTS, INPUT_NANO, LEAST, MOST, OUTPUT_NANO  # noqa: E402
from tests.support.postgres.clients import FREE_HAND, billed_nano, wrongs  # noqa: E402
from tests.support.postgres.fleet import Fleet, new_fleet  # noqa: E402
from tests.support.postgres.server import RUNNER, Server  # noqa: E402

CLIENTS = 64
PACE_S = 2.0
WITHIN_S = 0.05


Said = dict[str, Any]


class Waits(NamedTuple):
    """How many sessions of the clients wait for the ledger, are in an fsync, or work, on average."""

    ledger: float
    fsync: float
    working: float


class Worker:
    """One process; ``turns`` has the seconds of each reserve and settle together, ``marks`` those of each mark."""

    def __init__(self, fleet: Fleet, folder: Path, number: int, hour_nano: int) -> None:
        self.folder, self.hour_nano, self.run = folder, hour_nano, f"run-{number}"
        self.dice = random.Random(number)
        self.turns: list[float] = []
        self.marks: list[float] = []
        self.refused = self.retried = 0
        self.session = FleetSession(FleetDatabase(fleet.address(folder)), owner_id=os.urandom(8).hex(), pause_s=0.0)
        self.certain(lambda: self.session.open_run(self.run, FREE_HAND, task="", agent="", labels={}))

    def certain(self, deed: Callable[[], object]) -> object:
        """Do it, again while others are in the way, as ``PostgresLedger`` does."""
        while True:
            try:
                return deed()
            except LedgerBusy:
                self.retried += 1
                time.sleep(self.dice.uniform(0.005, 0.02))

    def turn(self, model_s: float) -> None:
        """Hold, mark, wait for the model, be billed, settle."""
        began = time.perf_counter()
        asked = Ask(os.urandom(16).hex(), self.run, FACTS, BOUND, LEAST, MOST, self.hour_nano)
        while isinstance(hold := self.certain(lambda: self.session.reserve(asked)), Wait):
            time.sleep(min(hold.seconds, 0.02))
            began = time.perf_counter()
        if isinstance(hold, Verdict):
            self.refused += 1
            return
        assert isinstance(hold, Hold)
        held_s, began = time.perf_counter() - began, time.perf_counter()
        if not self.certain(lambda: self.session.mark_sent(hold.id)):
            raise AssertionError("a mark was refused")
        self.marks.append(time.perf_counter() - began)
        used = Usage(self.dice.randint(1, BOUND), self.dice.randint(1, hold.granted_output))
        nano = used.input_tokens * INPUT_NANO + used.output_tokens * OUTPUT_NANO
        with (self.folder / "bills").open("a") as bills:
            bills.write(f"{hold.id} {nano} {used.total_tokens} {time.time_ns() // 1000}\n")
        time.sleep(model_s)
        began = time.perf_counter()
        self.certain(lambda: self.session.settle(hold.id, Charge(used, nano, "m")))
        self.turns.append(held_s + time.perf_counter() - began)


class Start:
    """Lets all processes begin at once, when each is connected."""

    def __init__(self) -> None:
        self._ready, self._go = os.pipe(), os.pipe()

    def wait(self) -> None:
        """Say that this process is ready, and wait for the others."""
        os.close(self._go[1])
        os.write(self._ready[1], b".")
        os.read(self._go[0], 1)

    def give(self) -> None:
        """Wait until all are ready, and let them begin."""
        os.close(self._ready[1])  # the end of one that fails is seen, too
        ready = 0
        while ready < CLIENTS and (more := os.read(self._ready[0], CLIENTS)):
            ready += len(more)
        for end in (self._ready[0], *self._go):
            os.close(end)


def spend(fleet: Fleet, folder: Path, seconds: float, pace_s: float, hour_nano: int) -> tuple[list[Said], Waits]:
    """Let all processes spend for a while; return what each of them says, but for those that failed."""
    children, start = [], Start()
    for number in range(CLIENTS):
        if (pid := os.fork()) == 0:
            os._exit(_follow(fleet, folder, number, seconds, pace_s, hour_nano, start))
        children.append(pid)
    start.give()
    waits = _sampled(fleet, seconds, folder)
    failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in children)
    said = [json.loads(path.read_text()) for path in folder.glob("said-*")]
    assert len(said) + failed == CLIENTS
    return said, waits


_SESSIONS = """
SELECT count(*) FILTER (WHERE wait_event_type = 'Lock'), count(*) FILTER (WHERE wait_event = 'WALSync'),
    count(*) FILTER (WHERE wait_event IS NULL) FROM pg_stat_activity WHERE state = 'active' AND usename = %s
"""


def _sampled(fleet: Fleet, seconds: float, folder: Path) -> Waits:
    """Look at the sessions ten times a second while all spend; return in what they were, on average."""
    ends, seen = time.monotonic() + seconds, [(0, 0, 0)]
    with fleet.server.connect(fleet.database) as db:
        while time.monotonic() < ends and not any(folder.glob("said-*")):
            seen.append(db.execute(_SESSIONS, (RUNNER,)).fetchall()[0])  # type: ignore[arg-type]
            time.sleep(0.1)
    return Waits(*(sum(one) / len(seen) for one in zip(*seen, strict=True)))


def fsync_ms(folder: Path, count: int = 100) -> list[float]:
    """Return the milliseconds of each of so many small appends with an fsync, in order of size."""
    took = []
    with (folder / "fsync").open("ab", buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(bytes(8192))
            os.fdatasync(file)
            took.append(1000 * (time.perf_counter() - began))
    (folder / "fsync").unlink()
    return sorted(took)


def _follow(
    fleet: Fleet, folder: Path, number: int, seconds: float, pace_s: float, hour_nano: int, start: Start
) -> int:
    try:
        worker = Worker(fleet, folder, number, hour_nano)
        start.wait()
        ends = (started := time.monotonic()) + seconds
        time.sleep(worker.dice.uniform(0, pace_s))
        while (began := time.monotonic()) < ends and not worker.refused:
            worker.turn(pace_s / 2)
            time.sleep(max(0.0, pace_s - (time.monotonic() - began)))
        said = {
            "turns": worker.turns,
            "marks": worker.marks,
            "retried": worker.retried,
            "seconds": time.monotonic() - started,
        }
        worker.session.close()
        (folder / f"said-{number}").write_text(json.dumps(said))
    except BaseException as error:  # noqa: BLE001 - counted as a failure, whatever it was
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def with_clients(seconds: float) -> None:
    """Print the figures of both paces."""
    for title, pace_s, hour in (("at a model's pace", PACE_S, 10**15), ("saturated", 0.0, 20 * 10**9)):
        with tempfile.TemporaryDirectory() as name, Server(durable=True) as server:
            fleet, folder = new_fleet(server), Path(name)
            disk = fsync_ms(server.folder)
            said, waits = spend(fleet, folder, seconds, pace_s, hour)
            turns, marks = ([took for one in said for took in one[what]] for what in ("turns", "marks"))
            wrong, bills = wrongs(fleet, folder, limit=hour), billed_nano(folder)
            lasted = min(seconds, max(one["seconds"] for one in said))
            within = sum(took < WITHIN_S for took in turns) / len(turns)
            print(
                f"{CLIENTS} clients {title}: {len(turns) / lasted:.1f} turns/s",
                f"  reserve + settle {_figures(turns)}, below 50 ms {100 * within:.1f} %; mark {_figures(marks)}",
                f"  failed {CLIENTS - len(said)}, tried again {sum(one['retried'] for one in said)}; billed"
                f" ${bills / 10**9:.2f}, over ${max(0, bills - hour) / 10**9:.2f}, wrong {len(wrong)}",
                f"  fsync p50 {disk[len(disk) // 2]:.1f} ms, p99 {disk[-2]:.1f} ms; load {os.getloadavg()[0]:.1f} on"
                f" {os.cpu_count()} CPUs; sessions waiting {waits.ledger:.2f}, in fsync {waits.fsync:.2f},"
                f" working {waits.working:.2f}",
                *wrong[:5],
                sep="\n",
                flush=True,
            )


def _figures(seconds: list[float]) -> str:
    return (
        f"p50 {1000 * statistics.median(seconds):.1f} ms, p99 {1000 * statistics.quantiles(seconds, n=100)[98]:.1f} ms"
    )


_FILL = """
SET session_replication_role = replica;  -- no triggers: the sub-totals are added up below
INSERT INTO owners (id, pid, host, boot_id, started_us, ended_us) VALUES ('owner', 1, 'host', 'boot', 0, 1);
INSERT INTO scopes (id, kind, task, agent, labels, opened_us, closed_us, status)
    SELECT lpad(to_hex(n), 12, '0'), 'run', 'a task', CASE n % 2 WHEN 0 THEN 'docker' ELSE 'system' END,
        '{{"team": "team ' || n % 10 || '"}}', 0, 1, 'done' FROM generate_series(0, {rows} / 5) AS n;
INSERT INTO scope_paths SELECT id, id, 0 FROM scopes;
INSERT INTO attempts (id, run_id, owner_id, purpose, phase, provider, model, input_bound, granted_output, hold_nano,
    hold_tokens, ceiling_nano, ceiling_tokens, nano, tokens, admitted, held_us, sent_us, deadline_us, ended_us,
    leaves_hour_us, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, settled_by)
    SELECT lpad(to_hex(n), 32, '0'), lpad(to_hex(n / 5), 12, '0'), 'owner', 'turn', 'settled', 'openai', 'gpt-4o', 4000,
        4096, 90000000, 8096, 90000000, 8096, 1000 + n % 5000, 4200, '{{}}', at - 2000000, at - 1000000, at + 600000000,
        at, at + 3600000000, 4000, 1000, 200, 0, 'usage'
    FROM (SELECT n, server_time_us() - n::bigint * 60000000 AS at FROM generate_series(0, {rows} - 1) AS n) AS calls;
INSERT INTO scope_totals SELECT run_id, phase, sum(nano >> 32), sum(nano & 4294967295), sum(tokens >> 32),
    sum(tokens & 4294967295) FROM attempts GROUP BY 1, 2;
INSERT INTO window_totals SELECT w.width_us, a.leaves_hour_us / w.width_us, a.phase, sum(a.nano >> 32),
    sum(a.nano & 4294967295) FROM attempts AS a CROSS JOIN widths AS w WHERE w.width_us > 0 GROUP BY 1, 2, 3;
ANALYZE;
"""


def with_many_rows(rows: int, rounds: int) -> None:
    """Print what ``costs --last-hour`` takes in a long ledger and in an empty one."""
    with tempfile.TemporaryDirectory() as name, Server(durable=True) as server:
        empty, long = new_fleet(server), new_fleet(server)
        began = time.perf_counter()
        with server.connect(long.database) as db:
            db.execute("SET search_path = agentctl, pg_catalog")
            db.execute(_FILL.format(rows=rows).encode())
        print(f"made {rows:,} rows in {time.perf_counter() - began:.0f} s")
        taken: dict[Fleet, list[float]] = {empty: [], long: []}
        for _ in range(rounds + 1):  # in turns, so that a machine that changes its speed changes it for both
            for fleet, times in taken.items():
                times.append(_costs(fleet, Path(name)))
        few, many = (statistics.median(times[1:]) for times in taken.values())
        print(
            f"costs --last-hour  empty {1000 * few:.0f} ms  {rows:,} rows {1000 * many:.0f} ms  ratio {many / few:.2f}"
        )


def _costs(fleet: Fleet, home: Path) -> float:
    url = fleet.server.dsn(fleet.database, user=RUNNER)
    folders = {
        "HOME": str(home),
        "AGENTCTL_STATE_DIR": str(home / "state"),
        "AGENTCTL_CONFIG_DIR": str(home / "config"),
    }
    environ = {**folders, "AGENTCTL_LEDGER": url, "PATH": os.environ.get("PATH", os.defpath)}
    began = time.perf_counter()
    command = [sys.executable, "-m", "agentctl", "costs", "--last-hour"]
    subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("number", nargs="?", type=int, default=20, help="seconds, or with --rows rounds")
    parser.add_argument("--rows", type=int, default=None, help="measure costs in a ledger with so many calls")
    given = parser.parse_args()
    if given.rows is None:
        with_clients(given.number)
    else:
        with_many_rows(given.rows, given.number)
