"""One provider name, several servers: a failure at one address does not delay another, and waits are reported."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from agentctl.core.events import CallWaited, Record
from tests.support.bill.parts import KEY, PAID, PENNY, Document, Here, reaching
from tests.support.command_line import Ended
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Fault, WireServer

PAID_ONE = PAID["openai"]
#: It leaves the call in doubt, and asks for more patience than a retry has.
DOWN = Fault(503, headers=(("retry-after", "120"),))


class Waits:
    """Records what each run waited for."""

    def __init__(self) -> None:
        self.seen: list[CallWaited] = []

    async def observe(self, record: Record) -> None:
        if isinstance(record.event, CallWaited):
            self.seen.append(record.event)


def at(server: WireServer, **more: str) -> Mapping[str, str]:
    return reaching(server, "openai") | more


def addresses(state: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(state / "ledger.db")) as db:
        return db.execute("SELECT DISTINCT provider, base_url, model FROM attempts ORDER BY rowid").fetchall()


async def test_a_failing_server_delays_neither_another_address_nor_another_model(
    tmp_path: Path, wire: OpenWire
) -> None:
    failing, sound = (wire(DOWN, keys=[KEY]), wire(PAID_ONE.brief, keys=[KEY]))
    waits = Waits()
    user = Here(tmp_path / "user", (waits,))

    async def run(environ: Mapping[str, str]) -> tuple[int, int]:
        before = len(waits.seen)
        document: Document = await user.run(environ, max_cost_per_task="1")
        return document["exit_code"], len(waits.seen) - before

    assert [await run(at(failing)) for _ in range(2)] == [(4, 0), (4, 0)]
    assert await run(at(sound)) == (0, 0)
    failing.play(PENNY.brief)
    assert await run(at(failing, LLM_MODEL=PENNY.model)) == (0, 0)
    failing.play(PAID_ONE.brief)
    assert await run(at(failing)) == (0, 1)
    (waited,) = waits.seen
    assert (waited.reason, waited.provider, waited.model) == ("provider", "openai", PAID_ONE.model)
    assert (waited.base_url, round(waited.at_most_s or 0, -1)) == (failing.openai_url, 600)
    assert [one.purpose for one in user.book.sent].count("probe") == 1
    assert addresses(user.state) == [
        ("openai", failing.openai_url, PAID_ONE.model),
        ("openai", sound.openai_url, PAID_ONE.model),
        ("openai", failing.openai_url, PENNY.model),
    ]


def test_wait_is_reported_on_stderr_with_the_address_and_without_credentials(
    command: Callable[..., Ended], state: Path, wire: OpenWire
) -> None:
    server = wire(DOWN)  # any key is right: the client sends the address's own instead
    plain = at(server)
    credentials = dict(plain, OPENAI_BASE_URL=f"http://me:hunter2hunter2@127.0.0.1:{server.port}/v1/")
    failed = [command(env=environ) for environ in (plain, credentials)]
    assert [one.code for one in failed] == [4, 4]
    server.play(PAID_ONE.brief)
    ended = command(env=credentials)
    assert (ended.code, ended.out) == (0, "Half of it is used.\n"), ended.err
    waited = [line for line in ended.err.splitlines() if line.startswith("waiting for ")]
    name = f"openai/{PAID_ONE.model} at {server.openai_url}"
    assert [line.partition(",")[0] for line in waited] == [f"waiting for {name} to recover from failed calls"]
    assert waited[0].endswith(" s at most")
    assert addresses(state) == [("openai", server.openai_url, PAID_ONE.model)]
    assert not [said for one in (*failed, ended) for said in (one.out, one.err) if "hunter2" in said]
