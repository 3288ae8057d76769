"""A real client that is stopped (SIGSTOP) between a hold and the first byte, and wakes too late or in time.

The model is a real server of HTTP, which counts what it hears. ``--full`` waits as long as a lease and the time to send
are; else the server's clock is set forward, and the client's boot clock is, as after a suspend.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentctl.budget.conclusions import Charge
from agentctl.budget.rules import Hold, Wait
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Usage
from agentctl.ledger.postgres import PostgresLedger
from agentctl.ledger.postgres.ddl import LEASE_US
from agentctl.ledger.postgres.fleet_session import SEND_WITHIN_S
from tests.support.bill.parts import FOUR_CENTS, KEY, PAID, TASK, reaching
from tests.support.ledger.parts import ask
from tests.support.postgres.fleet import Fleet
from tests.support.postgres.proxy import Proxy
from tests.support.postgres.server import RUNNER
from tests.support.postgres.stopped_client import PATIENCE_S, Point, Watch, started, wait_until_stopped
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import WireServer

LEASE_S = LEASE_US / 1_000_000
HOUR = "0.20"
STEPS_OF_ONE = ["held", "sent", "settled"]


@dataclass
class Stopped:
    """A client that stands still; ``wake`` lets it go on, and waits for its end."""

    fleet: Fleet
    model: WireServer
    watch: Watch
    asleep: Path
    process: Any

    def sleep(self, seconds: float, *, really: bool) -> None:
        """Let the client's machine sleep so long."""
        if really:
            time.sleep(seconds)
        else:
            self.asleep.write_text(json.dumps(seconds))

    def wake(self) -> int:
        """Return the exit code."""
        os.kill(self.process.pid, signal.SIGCONT)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        self.said = f"{out}{err}"
        code: int = self.process.returncode
        return code

    @property
    def steps(self) -> list[str]:
        return [str(phase) for _, phase, _, _ in self.fleet.entries()]


@contextmanager
def stopped_at(point: Point, fleet: Fleet, wire: OpenWire, folder: Path) -> Iterator[Stopped]:
    paid = PAID["openai"]
    model = wire(paid.answer("Half of it is used."), rates=paid.rates, keys=[KEY], repeat=True)
    watch = Watch(fleet, model, {"hold": ["held"], "mark": ["held", "sent"], "first byte": []}[point] or ["never"])
    words = ("run", TASK, "--json", "--llm-timeout", "5m", "--max-cost-per-hour", HOUR)
    with Proxy(fleet.server.port) as proxy:
        proxy.before_answer = watch
        url = fleet.server.dsn(fleet.database, user=RUNNER, port=proxy.port)
        environ = {**reaching(model, "openai"), "AGENTCTL_LEDGER": url, "AGENTCTL_SANDBOX": "none"}
        asleep = folder / "asleep"
        with started(asleep, point, *words, cwd=folder, environ=environ) as process:
            if point == "first byte":
                wait_until_stopped(process.pid)
            else:
                watch.stop(process.pid)
            yield Stopped(fleet, model, watch, asleep, process)


async def test_client_stopped_before_its_mark_sends_nothing_once_another_has_its_room(
    own_fleet: Fleet, wire: OpenWire, tmp_path: Path, is_full: bool
) -> None:
    own_fleet.turn_clock(0)
    with stopped_at("hold", own_fleet, wire, tmp_path) as client:
        other = PostgresLedger(own_fleet.address(tmp_path / "other"))
        await other.open_run("other", CostLimit(), task="t", agent="a", labels={})
        wanted = ask("taken", "other", tokens=190, hour=Decimal(HOUR))
        assert isinstance(await other.reserve(wanted), Wait)
        if is_full:
            await anyio.sleep(LEASE_S + 1)
        else:
            own_fleet.turn_clock(LEASE_S + 1)
        assert isinstance(await other.reserve(wanted), Hold)
        assert await other.mark_sent("taken")
        await other.settle("taken", Charge(Usage(10, 190), 190_000_000, "m"))
        await other.aclose()
        assert client.wake() == 3, client.said
        assert client.model.books.chat_requests == ()
        assert client.steps == ["held", "void", "held", "sent", "settled"]


@pytest.mark.parametrize("point", ["mark", "first byte"])
def test_client_that_slept_too_long_after_its_mark_voids_it_and_asks_anew(
    own_fleet: Fleet, wire: OpenWire, tmp_path: Path, is_full: bool, point: Point
) -> None:
    with stopped_at(point, own_fleet, wire, tmp_path) as client:
        assert client.steps == ["held", "sent"]
        client.sleep(SEND_WITHIN_S + 1, really=is_full)
        assert client.wake() == 0, client.said
        assert client.steps == ["held", "sent", "void", *STEPS_OF_ONE]
        before = [requests for steps, requests in client.watch.steps if steps[2:5] != ["void", "held", "sent"]]
        assert set(before) == {0}
        assert client.model.books.billed_nano == FOUR_CENTS
        assert len(client.model.books.chat_requests) == 1


@pytest.mark.parametrize("point", ["mark", "first byte"])
def test_client_that_slept_shortly_after_its_mark_sends_it(
    own_fleet: Fleet, wire: OpenWire, tmp_path: Path, is_full: bool, point: Point
) -> None:
    with stopped_at(point, own_fleet, wire, tmp_path) as client:
        client.sleep(1.0, really=is_full)
        assert client.wake() == 0, client.said
        assert client.steps == STEPS_OF_ONE
        assert len(client.model.books.chat_requests) == 1
