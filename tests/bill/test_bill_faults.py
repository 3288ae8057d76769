"""Every way in which a provider can fail, in every format: the limit holds and no bill is missing."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from tests.support.bill.audit import Audit
from tests.support.bill.book import Book, book_of
from tests.support.bill.parts import (
    FORMATS,
    KEY,
    PAID,
    PRICES,
    TASK,
    Document,
    Here,
    Paid,
    assert_accounted,
    assert_told,
    assert_within,
    priced,
    reaching,
    this_client,
)
from tests.support.command_line import Commands
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Books, Fault, Script, WireRequest, WireServer

Written = Callable[[Paid], Script]


class Case(NamedTuple):
    """One case: what the server does, the limit, how the run ends, and how many attempts are in doubt or void."""

    script: Written
    code: int
    doubts: int
    voids: int = 0
    limit: str = "0.60"


def always(**odd: Any) -> Written:  # noqa: ANN401
    """Return a script that repeats the same odd answer for ever."""
    return lambda paid: partial(paid.busy, **odd)


def first(times: int, **odd: Any) -> Written:  # noqa: ANN401
    """Return a script whose first answer is odd, and the rest normal."""
    return lambda paid: [partial(paid.busy, **odd)] * times + [paid.brief] * 20


def fails(times: int, **fault: Any) -> Written:  # noqa: ANN401
    """Return a script that fails at first and then answers."""
    return lambda paid: [Fault(**fault)] * times + [paid.brief] * 20


def fails_and_bills(times: int, **fault: Any) -> Written:  # noqa: ANN401
    """Return a script that fails at first and bills the failure like an answer."""

    def failing(paid: Paid) -> Callable[[WireRequest], Fault]:
        return lambda asked: Fault(
            bills=True,
            input_tokens=paid.input_tokens,
            output_tokens=min(paid.output_tokens, asked.clamp or 0),
            **fault,
        )

    return lambda paid: [failing(paid)] * times + [paid.brief] * 20


SOON = (("retry-after-ms", "20"),)
LATER = (("retry-after", "3600"),)
TIGHT = "0.10"

CASES = {
    "all is well": Case(always(), 3, 0, limit=TIGHT),
    "usage comes twice": Case(always(usage="twice"), 3, 0, limit=TIGHT),
    "usage is never reported": Case(always(usage="omit"), 4, 1, limit=TIGHT),
    "usage once not reported": Case(first(1, usage="omit"), 0, 1),
    "usage is zero": Case(first(1, usage="zero"), 0, 1),
    "usage is garbage": Case(first(1, usage="garbage"), 0, 1),
    "usage only in the middle": Case(first(1, usage="early"), 0, 1),
    "three cut in the head": Case(first(3, cut_at="headers"), 0, 3),
    "three cut in the middle": Case(first(3, cut_at="middle"), 0, 3),
    "three cut before the usage": Case(first(3, cut_at="before_usage"), 0, 3),
    "one cut before its finish": Case(first(1, cut_at="before_finish"), 0, 1),
    "one that just ends": Case(first(1, clean_cut=True), 0, 1),
    "one cut, and little money": Case(first(1, cut_at="middle"), 4, 1, limit=TIGHT),
    "no answer of a model": Case(first(1, garbage=b"<html>busy</html>"), 0, 1),
    "429 twice": Case(fails(2, status=429), 0, 0, voids=2, limit=TIGHT),
    "429 twice with Retry-After": Case(fails(2, status=429, headers=SOON), 0, 0, voids=2, limit=TIGHT),
    "429 for an hour": Case(fails(1, status=429, headers=LATER), 75, 0, voids=1, limit=TIGHT),
    "429 for ever": Case(fails(9, status=429, headers=SOON), 75, 0, voids=4, limit=TIGHT),
    "503 before billing": Case(fails(1, status=503, headers=SOON), 0, 1),
    "503 before billing, and little money": Case(fails(1, status=503, headers=SOON), 4, 1, limit=TIGHT),
    "500 after billing": Case(fails_and_bills(1, status=500), 0, 1),
    "500 after billing, for ever": Case(fails_and_bills(9, status=500), 4, 4),
    "408 after billing": Case(fails_and_bills(1, status=408), 0, 1),
    "an error in mid-stream": Case(fails_and_bills(1, status=529, in_stream=True), 0, 1),
    "a reset after billing": Case(fails_and_bills(1, reset=True), 0, 1),
    "no byte after billing": Case(fails_and_bills(1, hang_up=True), 0, 1),
    "a redirect": Case(fails(1, status=307, location="/elsewhere"), 4, 0, voids=1),
    "402": Case(fails(1, status=402), 75, 0, voids=1, limit=TIGHT),
    "405": Case(fails(1, status=405), 4, 0, voids=1, limit=TIGHT),
    "401": Case(fails(1, status=401), 77, 0, voids=1, limit=TIGHT),
}
#: The format in which a real process meets each fault; runs in this process meet it in the others.
OF_PROCESS = {name: FORMATS[number % 3] for number, name in enumerate(CASES)}
IN_PROCESS = [(name, format) for name in CASES for format in FORMATS if format != OF_PROCESS[name]]


class Ended(NamedTuple):
    """A finished run, with the server's record and the ledger."""

    document: Document
    books: Books
    book: Book


async def _one(folder: Path, case: Case, paid: Paid) -> Ended:
    here = Here(folder)
    with WireServer(case.script(paid), rates=paid.rates, keys=[KEY]) as server:
        audit = Audit(here.state / "ledger.db")
        audit.watch(server.books)
        document = await here.run(
            reaching(server, paid.format),
            max_cost_per_task=case.limit,
            max_output_tokens=None if case.limit == TIGHT else paid.output_tokens + 100,
        )
    audit.close()
    return Ended(document, server.books, here.book)


def assert_not_followed(books: Books) -> None:
    """Assert that nothing was requested at the target of a redirect."""
    assert len([heard for heard in books.requests if heard.path != "/api/show"]) == 1  # a free question before it


#: What every case came to, by the client that called the model.
_ENDED: dict[str, dict[tuple[str, str], Ended]] = {}


@pytest.fixture
def ended(_client: None, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Ended]:
    """Run every case that needs no process of its own, once for each client."""
    client = this_client()
    if client not in _ENDED:
        _ENDED[client] = _all(tmp_path_factory.mktemp("faults"))
    return _ENDED[client]


def _all(folder: Path) -> dict[tuple[str, str], Ended]:
    """Run the cases a dozen at once: most of their time is waiting."""
    found: dict[tuple[str, str], Ended] = {}

    few = anyio.Semaphore(12)  # with all at once the threads of their servers fight for the processor

    async def run(number: int, name: str, format: str) -> None:
        async with few:
            found[name, format] = await _one(folder / f"{number}-{format}", CASES[name], PAID[format])

    async def all_of_them() -> None:
        async with anyio.create_task_group() as group:
            for number, (name, format) in enumerate(IN_PROCESS):
                group.start_soon(run, number, name, format)

    anyio.run(all_of_them)
    return found


@pytest.mark.parametrize(("name", "format"), IN_PROCESS)
def test_the_limit_holds_and_no_bill_is_missing(ended: dict[tuple[str, str], Ended], name: str, format: str) -> None:
    case, (document, books, book) = CASES[name], ended[name, format]
    assert document["exit_code"] == case.code, document["error"]
    assert (book.phases.count("doubt"), book.phases.count("void")) == (case.doubts, case.voids)
    assert_accounted(books, book)
    assert_within(books, book, int(Decimal(case.limit) * 10**9))
    assert_told(document, book)
    if not case.doubts:
        assert document["cost"]["nano_usd"] == books.billed_nano


@pytest.mark.parametrize(("name", "format"), OF_PROCESS.items())
def test_a_process_ends_as_a_run_in_this_one(
    ended: dict[tuple[str, str], Ended], shell: Commands, wire: OpenWire, state: Path, name: str, format: str
) -> None:
    case, paid = CASES[name], PAID[format]
    server = wire(case.script(paid), rates=paid.rates, keys=[KEY])
    most = "" if case.limit == TIGHT else f"max_output_tokens = {paid.output_tokens + 100}\n"
    words = ("--json", "--max-cost", case.limit, "--config", str(priced(shell.folder, most + PRICES)))
    told = shell("run", TASK, *words, **reaching(server, format))
    book = book_of(state)
    assert told.code == told.document["exit_code"] == case.code, told.err
    assert (book.phases.count("doubt"), book.phases.count("void")) == (case.doubts, case.voids)
    assert_accounted(server.books, book)
    assert_within(server.books, book, int(Decimal(case.limit) * 10**9))
    assert_told(told.document, book)
    if not case.doubts:
        assert told.document["cost"]["nano_usd"] == server.books.billed_nano
    if name == "a redirect":
        assert_not_followed(server.books)
    (other, *_) = (ended[key].document for key in ended if key[0] == name)
    assert set(told.document) == set(other)


@pytest.mark.parametrize(("name", "format"), [key for key in IN_PROCESS if CASES[key[0]].code == 3])
def test_breaker_that_trips_keeps_the_partial_answer_and_says_why(
    ended: dict[tuple[str, str], Ended], name: str, format: str
) -> None:
    document, books, _ = ended[name, format]
    breaker = document["breaker"]
    assert (document["complete"], document["turns"]) == (False, 3)
    assert document["answer"].startswith("Step 2: looking.\n\nFound so far:\n- system_load() -> ")
    assert (breaker["limit"], breaker["ceiling"], breaker["spent"]) == ("max_cost_per_task", 0.1, 0.08)
    assert breaker["would_be"] > 0.1
    assert books.billed_nano == 80_000_000


@pytest.mark.parametrize("format", [format for name, format in IN_PROCESS if name == "a redirect"])
def test_a_redirect_is_not_followed(ended: dict[tuple[str, str], Ended], format: str) -> None:
    assert_not_followed(ended["a redirect", format].books)


@pytest.mark.both_clients
@pytest.mark.parametrize("format", FORMATS)
async def test_silent_connection_of_this_host_is_closed_and_not_asked_again(
    user: Here, wire: OpenWire, format: str
) -> None:
    paid = PAID[format]
    server = wire(partial(paid.busy, stall=True), rates=paid.rates, keys=[KEY], repeat=True)
    document = await user.run(reaching(server, format), max_cost_per_task="0.60", llm_timeout=1)
    assert server.books.wait(lambda books: len(books.hung_up) == 1)
    assert (document["exit_code"], len(server.books.chat_requests)) == (4, 1)
    assert user.book.phases == ["doubt"]
    assert_accounted(server.books, user.book)
