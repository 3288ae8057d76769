"""A server that was promoted, fenced off or restored: what was sent counts, and no hold that may be lost is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.budget.conclusions import Charge, Settlement
from agentctl.budget.rules import Hold
from agentctl.core.errors import LedgerGone, StateError
from agentctl.core.leases import Lease
from agentctl.core.ledger_address import PostgresAddress
from agentctl.core.limits import CostLimit, Parent
from agentctl.core.messages import Usage, boot_s
from agentctl.ledger.postgres import PostgresLedger, migrate
from agentctl.ledger.postgres.fleet_session import FleetSession
from agentctl.ledger.report import costs_window
from tests.support.ledger.parts import ask
from tests.support.postgres.fleet import Fleet, new_fleet
from tests.support.postgres.server import RUNNER, Server

CHARGE = Charge(Usage(10, 100), 100_000_000, "m")


@asynccontextmanager
async def opened(
    address: PostgresAddress, run: str = "run", parent: Parent | Lease | None = None, capability: str = ""
) -> AsyncIterator[PostgresLedger]:
    ledger = PostgresLedger(address, pause_s=0.0)
    try:
        limits = CostLimit(max_cost_per_task=Decimal(2))
        await ledger.open_run(run, limits, task="t", agent="a", labels={}, parent=parent, capability=capability)
        yield ledger
    finally:
        await ledger.aclose()


async def send(ledger: PostgresLedger, name: str, run: str = "run") -> None:
    assert isinstance(await ledger.reserve(ask(name, run)), Hold)
    assert await ledger.mark_sent(name)


def promote(ledger: PostgresLedger) -> None:
    """Let a ledger see a promotion within the test's own timeline."""
    session = ledger._session
    assert session is not None
    fence = session._database._fence  # type: ignore[attr-defined]
    fence._seen = fence._seen._replace(timeline="00000000")


def make_anew(fleet: Fleet) -> None:
    """Put an empty ledger in the place of one."""
    fleet.query("DROP SCHEMA agentctl CASCADE")
    migrate(PostgresAddress(fleet.server.dsn(fleet.database), Path("/nonexistent")), role=RUNNER)


@pytest.fixture
def fleet(postgres: Server) -> Iterator[Fleet]:
    found = new_fleet(postgres)
    yield found
    postgres.drop_database(found.database)


def seen(address: PostgresAddress) -> dict[str, object]:
    found: dict[str, object] = json.loads(address.beside.with_suffix(".seen").read_text())
    return found


async def test_a_server_that_ends_before_what_was_seen_is_refused_until_a_person_says_so(
    fleet: Fleet, tmp_path: Path
) -> None:
    address = fleet.address(tmp_path)
    async with opened(address) as ledger:
        await send(ledger, "a")
    file = address.beside.with_suffix(".seen")
    file.write_text(json.dumps(seen(address) | {"entry": 1_000_000}))
    with pytest.raises(StateError, match="has lost entries: it ends at entry"):
        async with opened(address, "later"):
            pass
    with pytest.raises(StateError, match="has lost entries: it ends at entry"):  # a gate must not pass on less
        costs_window(address, seconds=3600)
    file.unlink()
    async with opened(address, "later") as ledger:
        await send(ledger, "b", "later")


async def test_an_empty_ledger_in_place_of_the_one_seen_is_refused_until_a_person_says_so(
    fleet: Fleet, tmp_path: Path
) -> None:
    address = fleet.address(tmp_path)
    async with opened(address) as ledger:
        await send(ledger, "a")
        assert isinstance(await ledger.reserve(ask("b")), Hold)
        make_anew(fleet)
        for operation in (ledger.settle("a", CHARGE), ledger.mark_sent("b"), ledger.reserve(ask("c"))):
            with pytest.raises(LedgerGone, match="is another ledger than before"):
                await operation
    with pytest.raises(LedgerGone) as raised:
        async with opened(address, "later"):
            pass
    assert raised.value.hint.endswith(f"rm {address.beside.with_suffix('.seen')}")
    with pytest.raises(LedgerGone):
        costs_window(address, seconds=3600)
    address.beside.with_suffix(".seen").unlink()
    async with opened(address, "later") as ledger:
        await send(ledger, "d", "later")


async def test_what_was_seen_and_not_written_follows_the_ledger_to_another_address(
    fleet: Fleet, tmp_path: Path
) -> None:
    """After a fail-over a person names the new primary, often by another name."""
    address = fleet.address(tmp_path)
    other = replace(address, url=address.url.replace("127.0.0.1", "localhost"))
    async with opened(address) as ledger:
        await send(ledger, "a")
        await ledger.spool("a", CHARGE)
    async with opened(other, "later"):
        assert fleet.phases() == {"a": "settled"}
    file = address.beside.with_suffix(".seen")
    file.write_text(json.dumps(seen(address) | {"entry": 1_000_000}))
    with pytest.raises(StateError, match="has lost entries") as raised:
        async with opened(other, "last"):
            pass
    files = {file, other.beside.with_suffix(".seen")}
    assert raised.value.hint.endswith(f"rm {' '.join(map(str, sorted(files)))}")


async def test_the_primary_of_an_earlier_timeline_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    address = fleet.address(tmp_path)
    async with opened(address):
        pass
    file = address.beside.with_suffix(".seen")
    file.write_text(json.dumps(seen(address) | {"timeline": "FFFFFFFF"}))
    with pytest.raises(StateError, match="was primary before a fail-over"):
        async with opened(address, "later"):
            pass


async def test_where_a_commit_can_be_lost_nothing_is_spent_unless_that_is_accepted(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.query("UPDATE agentctl.ledger_info SET replicated = true")
    address = fleet.address(tmp_path)
    async with opened(address) as ledger:
        with pytest.raises(StateError, match="COMMIT does not wait for the standby"):
            await ledger.reserve(ask("a"))
    async with opened(replace(address, accept_lost_holds=True), "accepted") as ledger:
        await send(ledger, "b", "accepted")


async def test_what_was_sent_and_lost_by_a_promotion_is_in_doubt_before_anything_else(
    fleet: Fleet, tmp_path: Path
) -> None:
    address = replace(fleet.address(tmp_path), accept_lost_holds=True)
    async with opened(address) as ledger:
        await send(ledger, "a")
        await send(ledger, "b")
        # The standby had neither the mark of one call, nor anything of the other.
        fleet.query("ALTER TABLE agentctl.attempts DISABLE TRIGGER attempts_last")
        fleet.query("ALTER TABLE agentctl.entries DISABLE TRIGGER entries_stay")
        fleet.query("DELETE FROM agentctl.entries WHERE attempt_id = 'b' OR phase = 'sent'")
        fleet.query("UPDATE agentctl.attempts SET nano = 0, tokens = 0 WHERE id = 'b'")
        fleet.query("DELETE FROM agentctl.attempts WHERE id = 'b'")
        fleet.query("UPDATE agentctl.attempts SET phase = 'held', sent_us = NULL WHERE id = 'a'")
        promote(ledger)
        await ledger.reserve(ask("c"))
        assert fleet.phases() == {"a": "doubt", "b": "doubt", "c": "held"}
        assert (await ledger.spend("run")).run_nano.in_doubt == 2 * 256_000_000
        assert await ledger.settle("b", CHARGE) == Settlement("settled", 100_000_000, 110)


async def test_a_run_that_a_promotion_lost_counts_in_its_lease_again(fleet: Fleet, tmp_path: Path) -> None:
    address = replace(fleet.address(tmp_path), accept_lost_holds=True)
    lease = Lease("a1b2-3", 10**9, 0, 2**33 * 1_000_000, "digest")
    async with opened(address, parent=lease) as ledger:
        await send(ledger, "a")
        # The standby had nothing of the run, nor of its lease.
        fleet.query("ALTER TABLE agentctl.entries DISABLE TRIGGER entries_all")
        fleet.query("ALTER TABLE agentctl.attempts DISABLE TRIGGER attempts_all")
        tables = fleet.query(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'agentctl'"
            " AND tablename NOT IN ('clock', 'ledger_info', 'owners')"
        )
        names = ", ".join(f"agentctl.{name}" for (name,) in tables)
        fleet.query(f"TRUNCATE {names} CASCADE")
        session = ledger._session
        assert session is not None
        fence = session._database._fence  # type: ignore[attr-defined] # a promotion within the test's own timeline
        fence._seen = fence._seen._replace(timeline="00000000", entry=0)
        await ledger.reserve(ask("b"))
        spend = await ledger.spend("run", ["max_cost_per_lease"])
        assert spend.of("max_cost_per_lease").in_doubt == 256_000_000


async def test_a_nested_run_that_a_promotion_lost_counts_in_its_parent_again(fleet: Fleet, tmp_path: Path) -> None:
    address = replace(fleet.address(tmp_path), accept_lost_holds=True)
    async with opened(address, capability="c") as above, opened(address, "child", Parent("run", "c")) as ledger:
        await send(ledger, "a", "child")
        fleet.forget("child", "a")
        promote(ledger)
        assert isinstance(await ledger.reserve(ask("b", "child")), Hold)
        assert fleet.phases() == {"a": "doubt", "b": "held"}
        spend = (await above.spend("run")).run_nano
        assert (spend.in_doubt, spend.held) == (256_000_000, 256_000_000)


async def test_a_run_whose_parent_was_lost_too_counts_and_sends_nothing_more(fleet: Fleet, tmp_path: Path) -> None:
    address = replace(fleet.address(tmp_path), accept_lost_holds=True)
    async with opened(address, capability="c"), opened(address, "child", Parent("run", "c")) as ledger:
        await send(ledger, "a", "child")
        fleet.forget("child", "a")
        fleet.forget("run")
        promote(ledger)
        with pytest.raises(StateError, match="run child was lost at a fail-over"):
            await ledger.reserve(ask("b", "child"))
        assert await ledger.settle("a", CHARGE) == Settlement("settled", 100_000_000, 110)


async def test_a_hold_whose_commit_had_no_answer_is_restored_like_any_other(fleet: Fleet, tmp_path: Path) -> None:
    address = replace(fleet.address(tmp_path), accept_lost_holds=True)
    async with opened(address) as ledger:
        assert isinstance(await ledger.reserve(ask("a")), Hold)
        ledger._session._granted.clear()  # type: ignore[union-attr] # what a COMMIT without an answer leaves
        await send(ledger, "a")
        fleet.forget("run", "a")
        promote(ledger)
        assert isinstance(await ledger.reserve(ask("b")), Hold)
        assert fleet.phases() == {"a": "doubt", "b": "held"}


async def test_a_run_without_calls_that_a_promotion_lost_goes_on(fleet: Fleet, tmp_path: Path) -> None:
    address = replace(fleet.address(tmp_path), accept_lost_holds=True)
    async with opened(address) as ledger:
        fleet.forget("run")
        promote(ledger)
        await send(ledger, "a")


async def test_a_hold_that_a_promotion_lost_is_not_sent_and_void(fleet: Fleet, tmp_path: Path) -> None:
    address = replace(fleet.address(tmp_path), accept_lost_holds=True)
    async with opened(address) as ledger:
        for name in "ab":
            assert isinstance(await ledger.reserve(ask(name)), Hold)
        fleet.query("ALTER TABLE agentctl.attempts DISABLE TRIGGER attempts_last")
        fleet.query("UPDATE agentctl.attempts SET nano = 0, tokens = 0")
        fleet.query("DELETE FROM agentctl.attempts")
        promote(ledger)
        assert not await ledger.mark_sent("a")
        await ledger.void("a", "its mark was refused")
        session = ledger._session
        assert isinstance(session, FleetSession)
        session.void_unsent("b", "its mark was not certain")
        assert fleet.phases() == {}


async def test_a_call_whose_end_a_promotion_lost_is_in_doubt(fleet: Fleet, tmp_path: Path) -> None:
    address = replace(fleet.address(tmp_path), accept_lost_holds=True)
    async with opened(address) as ledger:
        await send(ledger, "a")
        await ledger.settle("a", CHARGE)
        await send(ledger, "b")
        fleet.query(
            "UPDATE agentctl.attempts SET phase = 'held', nano = hold_nano, tokens = hold_tokens, sent_us = NULL,"
            " ended_us = NULL, leaves_hour_us = NULL"
        )
        promote(ledger)
        assert isinstance(await ledger.reserve(ask("c")), Hold)
        assert fleet.phases() == {"a": "doubt", "b": "doubt", "c": "held"}


async def test_a_mark_says_until_when_its_first_byte_may_leave(fleet: Fleet, tmp_path: Path) -> None:
    async with opened(fleet.address(tmp_path)) as ledger:
        before = boot_s()
        await send(ledger, "a")
        assert before < ledger.send_by("a") <= boot_s() + 5.0
        assert ledger.send_by("never marked") == 0.0


async def test_an_owner_whose_lease_expired_sends_nothing_that_it_held_before(fleet: Fleet, tmp_path: Path) -> None:
    async with opened(fleet.address(tmp_path)) as ledger:
        assert isinstance(await ledger.reserve(ask("held")), Hold)
        fleet.query("UPDATE agentctl.owners SET lease_until_us = 0")
        assert isinstance(await ledger.reserve(ask("later")), Hold)  # which gives it a new lease
        assert not await ledger.mark_sent("held")
        assert await ledger.mark_sent("later")
        assert fleet.phases() == {"held": "void", "later": "sent"}
