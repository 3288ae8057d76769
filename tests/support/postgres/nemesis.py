"""Clients that spend while a nemesis kills and stops them, kills their server, and cuts and partitions their network.

``python -m tests.support.postgres.nemesis [SECONDS] [SEED]`` prints the figures; exit 1 if anything is wrong.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from agentctl.budget.rules import Ask
from agentctl.ledger.postgres.fleet_database import FleetDatabase
from agentctl.ledger.postgres.fleet_session import FleetSession
from tests.support.ledger.spender import BOUND, FACTS, INPUT_NANO, LEAST, OUTPUT_NANO
from tests.support.postgres.clients import FREE_HAND, WORST, Plan, as_words, billed_nano, bills_of, wrongs
from tests.support.postgres.fleet import Fleet, new_fleet
from tests.support.postgres.proxy import Proxy
from tests.support.postgres.server import RUNNER, Server

ROOT = Path(__file__).parents[3]
WORKERS = 8
DEEDS = ("kill a client", "stop a client", "kill the server", "partition", "cut")
TIGHT = 40 * WORST
LEAST_WORST = BOUND * INPUT_NANO + LEAST * OUTPUT_NANO  # with less, no call is granted
_END_S = 120.0


class Report(NamedTuple):
    """What came of a run: ``deeds`` of the nemesis, ``outcomes`` of the clients' calls, and what is wrong."""

    deeds: Counter[str]
    outcomes: Counter[str]
    calls: int
    billed: int
    limit: int
    longest_s: float
    phases: Counter[str]
    wrong: list[str]


class Nemesis:
    """A server, a proxy before it, and clients behind that; each deed is one thing that goes wrong."""

    def __init__(
        self,
        server: Server,
        fleet: Fleet,
        proxy: Proxy,
        folder: Path,
        *,
        limit: int,
        seed: int,
        workers: int,
        brief: bool,
    ) -> None:
        self.server, self.proxy, self.folder = server, proxy, folder
        self.pauses_s = (0.2,) if brief else (0.5, 2.0, 7.0)
        self.dice, self.deeds, self.started = random.Random(seed), Counter[str](), 0
        url = server.dsn(fleet.database, user=RUNNER, port=proxy.port)
        self.plan = Plan("", url, "", str(folder), limit, pace_s=0.1, budget_wait_s=10.0)
        self.living: dict[int, subprocess.Popen[bytes]] = {}
        self.stopped: dict[int, float] = {}
        for _ in range(workers):
            self.start_client()

    def start_client(self) -> None:
        """Start one more client; each on a machine of its own, by its state folder."""
        self.started += 1
        name = f"run-{self.started}"
        plan = replace(self.plan, name=name, state_dir=str(self.folder / f"state-{name}"))
        self.living[self.started] = subprocess.Popen(as_words(plan), cwd=ROOT, stdin=subprocess.DEVNULL)

    def act(self, deed: str) -> None:
        """Do one deed."""
        self.deeds[deed] += 1
        match deed:
            case "kill a client":
                number = self.dice.choice(list(self.living))
                client = self.living.pop(number)
                self.stopped.pop(number, None)
                client.kill()
                client.wait()
                self.start_client()
            case "stop a client":
                number = self.dice.choice(list(self.living))
                self.living[number].send_signal(signal.SIGSTOP)
                self.stopped[number] = time.monotonic() + self.dice.choice(self.pauses_s)
            case "kill the server":
                self.server.kill()
                time.sleep(min(self.dice.choice(self.pauses_s), 2.0))
                self.server.start()
            case "partition":
                self.proxy.pause()
                time.sleep(self.dice.choice(self.pauses_s))
                self.proxy.resume()
            case _:
                self.proxy.cut_all()

    def await_that(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for something."""
        gives_up = time.monotonic() + _END_S
        while not holds():
            assert time.monotonic() < gives_up, what
            time.sleep(0.05)

    def wake(self, *, everybody: bool = False) -> None:
        """Let those clients go on whose time has come."""
        for number, until in list(self.stopped.items()):
            if everybody or time.monotonic() > until:
                del self.stopped[number]
                self.living[number].send_signal(signal.SIGCONT)

    def rage(self, seconds: float) -> None:
        """Do every deed in turn, and then any, until the time is over."""
        ends, todo = time.monotonic() + seconds, list(DEEDS)
        while time.monotonic() < ends:
            time.sleep(self.dice.uniform(0.1, 0.5))
            self.act(todo.pop() if todo else self.dice.choice(DEEDS))
            self.wake()
        self.wake(everybody=True)

    def leave(self) -> None:
        """Kill the clients that are still there, such as after an error."""
        for client in self.living.values():
            client.kill()
            client.wait()

    def end(self) -> list[str]:
        """Tell the clients to stop; return which of them failed."""
        (self.folder / "stop").touch()
        codes = {number: client.wait(_END_S) for number, client in self.living.items()}
        return [f"client {number} ended with {code}" for number, code in codes.items() if code]


def counted_nano(fleet: Fleet) -> int:
    """Return what counts against the limit."""
    ((nano,),) = fleet.query("SELECT coalesce(sum(nano), 0) FROM agentctl.attempts")
    return int(str(nano))


def bury(fleet: Fleet, folder: Path) -> None:
    """Let the leases of the killed expire, and each machine start once more: it writes what lies in its spool."""
    fleet.query("UPDATE agentctl.owners SET lease_until_us = 0")
    for state in (folder / "state-last", *folder.glob("state-*")):
        with closing(FleetSession(FleetDatabase(fleet.address(state)), owner_id=f"next-{state.name}")) as session:
            session.open_run(f"next-{state.name}", FREE_HAND, task="", agent="", labels={})
            session.reserve(Ask(state.name, f"next-{state.name}", FACTS, 1, 1, 1, None))


def run(seconds: float, *, seed: int, workers: int = WORKERS, limit: int = TIGHT, brief: bool = False) -> Report:
    """Let the nemesis rage and the clients end, and check the books; the limit is reached, unless it is ``brief``."""
    with (
        tempfile.TemporaryDirectory() as name,
        Server(durable=not brief) as server,
        Proxy(server.port) as proxy,
        ExitStack() as stack,
    ):
        folder, fleet = Path(name), new_fleet(server)
        nemesis = Nemesis(server, fleet, proxy, folder, limit=limit, seed=seed, workers=workers, brief=brief)
        stack.callback(nemesis.leave)
        nemesis.await_that(lambda: len(bills_of(folder)) >= workers, "no calls")
        nemesis.rage(seconds)
        if not brief:
            nemesis.await_that(lambda: counted_nano(fleet) > limit - LEAST_WORST, "the limit is not reached")
        failed = nemesis.end()
        bury(fleet, folder)
        told = [json.loads(line) for line in (folder / "outcomes").read_text().splitlines()]
        return Report(
            deeds=nemesis.deeds,
            outcomes=sum((Counter(one["outcomes"]) for one in told), Counter()),
            calls=len(bills_of(folder)),
            billed=billed_nano(folder),
            limit=limit,
            longest_s=max(one["longest_s"] for one in told),
            phases=Counter(map(str, fleet.phases().values())),
            wrong=[*failed, *wrongs(fleet, folder, limit=limit)],
        )


def main() -> int:
    """Print what came of it."""
    given = [int(word) for word in sys.argv[1:]]
    seconds, seed = given[0] if given else 60, given[1] if len(given) > 1 else int(time.time())
    said = run(seconds, seed=seed)
    print(
        f"nemesis, {seconds} s, seed {seed}: {dict(said.deeds)}; {said.calls} calls, billed ${said.billed / 10**9:.2f}"
        f" of ${said.limit / 10**9:.2f}, over ${max(0, said.billed - said.limit) / 10**9:.2f}; clients"
        f" {dict(said.outcomes)}, longest {said.longest_s:.1f} s; rows {dict(said.phases)}; wrong {len(said.wrong)}",
        *said.wrong[:20],
        sep="\n",
    )
    return bool(said.wrong)


if __name__ == "__main__":
    sys.exit(main())
