"""The Responses format costs what the chat format would: the same answer, on either wire, ends alike in the ledger."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentctl.budget.breaker import Overrun
from agentctl.core.errors import AgentctlError
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Message
from agentctl.ledger import SqliteLedger
from agentctl.providers.remote import RemoteProvider
from agentctl.runner.model_calls import ModelCalls
from agentctl.settings import PriceLine
from tests.support.bill.audit import Audit
from tests.support.bill.book import book_of
from tests.support.bill.parts import KEY, TASK, Here, Paid, assert_accounted, assert_told
from tests.support.command_line import Commands
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Fault, Rates, Step, Tokens

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")
RATES = Rates(Decimal("1.25"), Decimal(10), cached=Decimal("0.125"))  # of both models
CODEX = Paid("openai", "gpt-5-codex", RATES, 1000, 3875)  # four cents
#: Twins: the first speaks only Responses, the second chats, at the same prices and ceilings.
TWINS = ("gpt-5-codex", "gpt-5")
LINE = PriceLine(Decimal("1.25"), Decimal(10), Decimal("0.125"))
DOLLARS = 5


class Row(NamedTuple):
    """One attempt in the ledger, and the clamp of its request."""

    phase: str
    nano: int
    is_at_hold: bool
    clamp: int | None


class End(NamedTuple):
    """How one call ended: its attempts, what was said, why it stopped, the error."""

    rows: tuple[Row, ...]
    said: str
    stop: str
    error: str

    @property
    def last(self) -> Row:
        return self.rows[-1]


async def end_of(folder: Path, step: Step, model: str, wire: OpenWire, audit: Audit) -> End:
    """Make one call of a model on a ledger of its own."""

    async def nobody(_: object) -> None:
        pass

    audit.follow(folder / "ledger.db")
    server = wire(step, rates=RATES)
    prices = {f"openai/{model}": LINE}  # the table has dearer service tiers for one of the two
    remote = RemoteProvider("openai", model, api_key=KEY, base_url=server.openai_url, prices=prices)
    ledger, limits = SqliteLedger(folder / "ledger.db"), CostLimit(max_cost_per_task=Decimal(DOLLARS))
    said = stop = error = ""
    try:
        await ledger.open_run(model, limits, task="t", agent="a", labels={})
        calls = ModelCalls(provider=remote, ledger=ledger, run_id=model, limits=limits, emit=nobody, retries=0)
        try:
            found = await calls.ask((Message("user", "hello"),))
            said, stop = found.text, found.stop
        except (AgentctlError, Overrun) as caught:
            error = type(caught).__name__
    finally:
        await remote.aclose()
        await ledger.aclose()
    posted = [heard.asked for heard in server.books.requests if heard.method == "POST"]
    attempts = book_of(folder).attempts
    assert [None if one is None else one.clamp for one in posted] == [one.granted_output for one in attempts]
    rows = (Row(one.phase, one.nano or 0, one.nano == one.hold_nano, one.granted_output) for one in attempts)
    return End(tuple(rows), said, stop, error)


USED: dict[str, Any] = {"input_tokens": 900, "output_tokens": 400, "cached": 100, "reasoning": 300}
ALIKE: dict[str, Step] = {
    "settled": Answer("Half of it is used.", **USED),
    "cut by the clamp": Answer("long " * 20_000, input_tokens=900, output_tokens=90_000),
    "held back by a filter": Answer("Half of", stop="content_filter", **USED),
    "without a usage": Answer("Half.", usage="omit", **USED),
    "with nothing used": Answer("Half.", usage="zero", **USED),
    "with two usages": Answer("Half.", usage="twice", **USED),
    "with a usage that falls": Answer("Half.", usage="falls", **USED),
    "with an early usage only": Answer("Half.", usage="early", **USED),
    "with a usage that is garbage": Answer("Half.", usage="garbage", **USED),
    "with a negative usage": Answer("Half.", usage="negative", **USED),
    "with an absurd usage": Answer("Half.", usage="absurd", **USED),
    "past its clamp": Answer("Half.", input_tokens=900, output_tokens=60_000, obeys=False),
    "with more read than was sent": Answer("Half.", input_tokens=400_000, output_tokens=9),
    **{
        f"cut at {place}": Answer("Half of it is used.", cut_at=place, **USED)
        for place in ("headers", "first", "middle", "before_finish")
    },
    "cut with a clean end": Answer("Half of it is used.", clean_cut=True, **USED),
    "no event at all": Answer(garbage=b"<html>hello</html>"),
    "an event of nothing": Answer(garbage=b'data: {"a": 1}\n\n'),
    **{f"refused with {status}": Fault(status) for status in (400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503)},
    "refused for its length": Fault(400, code="context_length_exceeded"),
    "refused for credit": Fault(429, code="insufficient_quota"),
    "redirected": Fault(308, location="/elsewhere"),
    "refused with a page": Fault(400, body=b"<html>no</html>"),
    "broken off by an error": Fault(500, in_stream=True),
    "hung up on": Fault(hang_up=True),
    "reset": Fault(reset=True),
}


@pytest.mark.parametrize("case", ALIKE)
async def test_an_answer_in_responses_ends_as_the_same_one_in_chat(
    tmp_path: Path, wire: OpenWire, audit: Audit, case: str
) -> None:
    """Phase, amount, text, reason, error and requests: one each, at the clamp that was granted."""
    found = [await end_of(tmp_path / model, ALIKE[case], model, wire, audit) for model in TWINS]
    assert found[0] == found[1]
    assert {row.phase for row in found[0].rows} <= {"settled", "void", "doubt"}
    assert all((row.phase == "void") == (row.nano == 0) for row in found[0].rows)


async def test_tokens_are_charged_by_class(tmp_path: Path, wire: OpenWire, audit: Audit) -> None:
    found = await end_of(tmp_path, ALIKE["settled"], "gpt-5-codex", wire, audit)
    assert found.last.nano == RATES.nano(Tokens(900, 400, cached=100, reasoning=300)) == 1_000_000 + 12_500 + 4_000_000
    assert (found.last.phase, found.said, found.stop) == ("settled", "Half of it is used.", "stop")


async def test_cut_and_filtered_answers_are_charged_and_named(tmp_path: Path, wire: OpenWire, audit: Audit) -> None:
    cut = await end_of(tmp_path / "cut", ALIKE["cut by the clamp"], "gpt-5-codex", wire, audit)
    filtered = await end_of(tmp_path / "filtered", ALIKE["held back by a filter"], "gpt-5-codex", wire, audit)
    assert ([row.phase for row in cut.rows], cut.stop) == (["settled", "settled"], "length"), "once, and once doubled"
    assert [row.nano for row in cut.rows] == [RATES.nano(Tokens(900, row.clamp or 0)) for row in cut.rows]
    assert (filtered.last.phase, filtered.stop) == ("settled", "refusal")


async def test_a_missing_usage_counts_as_the_worst_case(tmp_path: Path, wire: OpenWire, audit: Audit) -> None:
    found = await end_of(tmp_path, ALIKE["without a usage"], "gpt-5-codex", wire, audit)
    assert (found.last.phase, found.last.is_at_hold, found.said) == ("doubt", True, "Half.")


EVENT: dict[str, Any] = {
    "type": "response.completed",
    "response": {"object": "response", "status": "completed", "model": "gpt-5-codex"},
}
TEXT = {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "Half."}]}
BLOCK = {"input_tokens": 900, "output_tokens": 400, "total_tokens": 1300}


def streamed(*events: object) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def ended(usage: object, **more: object) -> bytes:
    return streamed({**EVENT, "response": {**EVENT["response"], "output": [TEXT], "usage": usage, **more}})


CHARGE = 900 * 1250 + 400 * 10_000
#: What only this wire can say: the body, the phase, and the least amount.
OWN: dict[str, tuple[bytes, str, int]] = {
    "an answer in its last event only": (ended(BLOCK), "settled", CHARGE),
    "one document, not streamed": (
        json.dumps({**EVENT["response"], "output": [TEXT], "usage": BLOCK}).encode(),
        "settled",
        CHARGE,
    ),
    "cache writes": (ended({**BLOCK, "input_tokens_details": {"cache_write_tokens": 100}}), "settled", CHARGE),
    "tokens that only the total counts": (ended({**BLOCK, "total_tokens": 1400}), "settled", CHARGE + 100 * 10_000),
    "a search that nobody asked for": (ended(BLOCK, output=[TEXT, {"type": "web_search_call"}]), "doubt", CHARGE),
    "audio": (ended({**BLOCK, "input_tokens_details": {"audio_tokens": 5}}), "doubt", CHARGE),
    "a field that is not known": (ended({**BLOCK, "levy": 7}), "doubt", CHARGE),
    "a failed response": (
        streamed({"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error"}}}),
        "doubt",
        1,
    ),
    "a failed response with a usage": (
        streamed({"type": "response.failed", "response": {"status": "failed", "usage": BLOCK, "error": None}}),
        "doubt",
        CHARGE,
    ),
    "a rate limit before anything": (
        streamed(
            {"type": "response.created", "response": {"status": "in_progress", "tools": [{"name": "x"}]}},
            {"type": "response.failed", "response": {"status": "failed", "error": {"code": "rate_limit_exceeded"}}},
        ),
        "void",
        0,
    ),
    "a rate limit behind a piece": (
        streamed(
            {"type": "response.output_text.delta", "delta": "Ha"},
            {"type": "error", "code": "rate_limit_exceeded", "message": "Wait."},
        ),
        "doubt",
        1,
    ),
    "a cancelled response": (streamed({**EVENT, "response": {"status": "cancelled"}}), "doubt", 1),
    "a text behind the usage": (
        streamed(
            {"type": "response.in_progress", "response": {"status": "in_progress", "usage": BLOCK}},
            {"type": "response.output_text.delta", "output_index": 0, "item_id": "m", "delta": "Half."},
            EVENT,
        ),
        "doubt",
        CHARGE,
    ),
}


@pytest.mark.parametrize("case", OWN)
async def test_what_only_this_wire_says_is_never_counted_too_low(
    tmp_path: Path, wire: OpenWire, audit: Audit, case: str
) -> None:
    body, phase, least = OWN[case]
    fair: dict[str, Any] = {"output_tokens": 500} if "total" in case else {"bill_nano": 0} if phase == "void" else {}
    usual: dict[str, Any] = {"garbage": body, "input_tokens": 900, "output_tokens": 400}
    step = Answer(**usual | fair)
    found = await end_of(tmp_path, step, "gpt-5-codex", wire, audit)
    assert (found.last.phase, len(found.rows)) == (phase, 1)
    assert found.last.nano >= least
    if phase == "settled":
        assert found.last.nano == least
    if "search" in case or "audio" in case:
        assert found.error == "Overrun"
    elif phase == "settled":
        assert (found.said, found.stop, found.error) == ("Half.", "stop", "")


async def test_a_run_is_accounted_to_the_nano(user: Here, wire: OpenWire) -> None:
    server = wire(partial(CODEX.brief, reasoning=40), rates=RATES, keys=[KEY])
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.openai_url, "LLM_MODEL": "openai/gpt-5-codex"}
    document = await user.run(environ | {"AGENTCTL_AGENT": "system"}, max_cost_per_task="1.00")
    assert (document["exit_code"], document["client"]) == (0, "litellm")
    assert document["cost"]["nano_usd"] == server.books.billed_nano == 80_000_000
    assert document["usage"]["reasoning_tokens"] == 80
    assert_accounted(server.books, user.book)
    assert_told(document, user.book)


def test_a_killed_process_leaves_its_call_in_doubt(shell: Commands, state: Path, wire: OpenWire) -> None:
    server = wire([partial(CODEX.busy, stall=True), CODEX.brief], rates=RATES, keys=[KEY])
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.openai_url, "AGENTCTL_AGENT": "system"}
    words = ("run", TASK, "--json", "-m", "openai/gpt-5-codex", "--max-cost-per-hour", "0.19", "--budget-wait", "0s")
    process = shell.start(*words, env=environ)
    assert server.books.wait(lambda books: len(books.entries) == 1, 50), process.poll()
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    with suppress(AssertionError):
        assert server.books.wait(lambda books: len(books.hung_up) == 1)
    document = json.loads(shell.start(*words, env=environ).communicate(timeout=50)[0])
    book = book_of(state)
    assert (document["exit_code"], len(server.books.chat_requests)) in ((3, 1), (4, 1))
    assert book.attempts[0].phase == "doubt"
    assert (book.attempts[0].nano or 0) >= server.books.billed_nano
    assert_accounted(server.books, book)
