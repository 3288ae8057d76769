"""No credit left: exit 75, kind "quota", nothing spent; an answer that the credits still pay for is asked for once."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.core.errors import ProviderError, QuotaExceeded
from agentctl.core.events import CallHeld, CallRetried, Event
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Completion, Message, Usage
from agentctl.core.pricing import ModelFacts
from agentctl.ledger import SqliteLedger
from agentctl.providers.scripted import ScriptedProvider, Step
from agentctl.runner.model_calls import ModelCalls
from tests.support.bill.book import book_of
from tests.support.bill.parts import FORMATS, KEY, PAID, Here, assert_accounted, reaching
from tests.support.model_calls import ANSWER, PRICE
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Fault, WireRequest

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")
HELLO = (Message("user", "hello"),)
FACTS = ModelFacts("p", "m", PRICE, context_window=128_000, output_ceiling=16_384, known_endpoint=True)
THINKER = ModelFacts("p", "m", PRICE, output_ceiling=64_000, reasoning=True, known_endpoint=True)


def openrouter(affordable: object, wanted: object = 4096) -> bytes:
    """Return OpenRouter's refusal to a user whose credits pay for a shorter answer only."""
    message = (
        f"This request requires more credits, or fewer max_tokens. You requested up to {wanted} tokens, but can only "
        f"afford {affordable}. To increase, visit https://openrouter.ai/settings/credits and upgrade to a paid account"
    )
    return json.dumps({"error": {"message": message, "code": 402, "metadata": {}}, "user_id": "u"}).encode()


NO_CREDIT: dict[str, Fault] = {
    "a bare 402": Fault(402, body=b""),
    "a page": Fault(402, body=b"<html>pay</html>"),
    "OpenRouter's": Fault(402, body=b'{"error": {"message": "Insufficient credits", "code": 402}}'),
    "DeepSeek's": Fault(402, body=b'{"error": {"message": "Insufficient Balance", "type": "unknown_error"}}'),
    "OpenAI's": Fault(429, body=b'{"error": {"message": "You exceeded it", "code": "insufficient_quota"}}'),
    "Anthropic's": Fault(
        400,
        body=b'{"type":"error","error":{"type":"invalid_request_error","message":'
        b'"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing"}}',
    ),
    "too little for any answer": Fault(402, body=openrouter(17)),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", NO_CREDIT)
async def test_a_run_without_credit_ends_with_75_and_says_so(
    user: Here, wire: OpenWire, format: str, name: str
) -> None:
    server = wire(NO_CREDIT[name], keys=[KEY])
    document = await user.run(reaching(server, format))
    assert (document["exit_code"], document["status"]) == (75, "rate_limited")
    assert document["error"]["kind"] == "quota"
    assert f"add credits at {format}" in document["error"]["hint"]
    assert (document["cost"]["nano_usd"], document["cost"]["in_doubt_usd"]) == (0, 0)
    assert (user.book.phases, len(server.books.chat_requests)) == (["void"], 1)


def affordable(*amounts: str) -> Callable[[WireRequest], Answer | Fault]:
    """Return a server whose credits pay for so many tokens at the first request, the second, and so on."""

    def answer(asked: WireRequest) -> Answer | Fault:
        credit = int(amounts[min(asked.number, len(amounts)) - 1].replace(",", ""))
        if asked.clamp is not None and asked.clamp > credit:
            return Fault(402, body=openrouter(amounts[min(asked.number, len(amounts)) - 1], asked.clamp))
        return PAID["openai"].brief(asked)

    return answer


@pytest.mark.parametrize(
    ("amounts", "clamps", "phases"),
    [
        (("1,234",), [4096, 1234, 1234], ["void", "settled", "settled"]),
        (("1001",), [4096, 1001, 1001], ["void", "settled", "settled"]),
        (("1300", "1300", "1100"), [4096, 1300, 1300, 1100], ["void", "settled", "void", "settled"]),
        (("1300", "1200", "1100"), [4096, 1300], ["void", "void"]),
        (("255",), [4096], ["void"]),
        (("4095", "100"), [4096, 4095], ["void", "void"]),
    ],
)
async def test_output_that_the_credits_pay_for_is_asked_for_once(
    user: Here, wire: OpenWire, amounts: tuple[str, ...], clamps: list[int], phases: list[str]
) -> None:
    """Each request has its own hold, and later requests ask for no more output."""
    server = wire(affordable(*amounts), rates=PAID["openai"].rates, keys=[KEY])
    document = await user.run(reaching(server, "openai"), max_cost_per_task="5")
    assert [heard.asked.clamp for heard in server.books.chat_requests if heard.asked] == clamps
    assert [row.granted_output for row in user.book.sent] == clamps
    assert user.book.phases == phases
    assert document["exit_code"] == (0 if phases[-1] == "settled" else 75)
    assert_accounted(server.books, user.book)


def busy_minute(*limits: int, status: int = 413) -> Callable[[WireRequest], Answer | Fault]:
    """Return a server that refuses a request above so many tokens a minute: 500 of input, and the output asked for."""

    def answer(asked: WireRequest) -> Answer | Fault:
        limit, wanted = limits[min(asked.number, len(limits)) - 1], 500 + (asked.clamp or 0)
        if wanted <= limit:
            return PAID["openai"].answer("Half of it is used.", input_tokens=500, output_tokens=20)
        said = f"Request too large for model `m` on tokens per minute (TPM): Limit {limit}, Requested {wanted}, please"
        return Fault(status, body=json.dumps({"error": {"message": said, "code": "rate_limit_exceeded"}}).encode())

    return answer


@pytest.mark.both_clients
@pytest.mark.parametrize(
    ("limits", "status", "clamps", "code"),
    [
        ((2000,), 413, [4096, 1500], 0),
        ((2000, 1000), 413, [4096, 1500], 75),
        ((700,), 413, [4096], 75),
        ((2000,), 429, [4096], 75),
    ],
)
async def test_request_above_the_tokens_of_a_minute_is_asked_once_with_less_output(
    user: Here, wire: OpenWire, limits: tuple[int, ...], status: int, clamps: list[int], code: int
) -> None:
    """It is refused for free, each time with a hold of its own, and it is no matter of the model's window."""
    server = wire(busy_minute(*limits, status=status), rates=PAID["openai"].rates, keys=[KEY])
    document = await user.run(reaching(server, "openai"), max_cost_per_task="5", task="Say hello.")
    assert [heard.asked.clamp for heard in server.books.chat_requests if heard.asked] == clamps
    assert user.book.phases == ["void"] * (len(clamps) - (code == 0)) + ["settled"] * (code == 0)
    assert document["exit_code"] == code
    if code:
        assert document["error"]["kind"] == "rate_limited"
        assert f"Limit {limits[-1]}" in document["error"]["message"]
    assert_accounted(server.books, user.book)


class Counter:
    """A run on a ledger of its own; ``clamps`` are the output tokens that were asked for."""

    def __init__(self, ledger: SqliteLedger, script: tuple[Step, ...], facts: ModelFacts) -> None:
        self.ledger, self.provider = ledger, ScriptedProvider(script, facts=facts)
        self.events: list[Event] = []

    async def emit(self, event: Event) -> None:
        self.events.append(event)

    async def calls(self, **more: object) -> ModelCalls:
        limits = CostLimit(max_cost_per_task=Decimal(50), max_cost_per_hour=None)
        await self.ledger.open_run("r", limits, task="t", agent="a", labels={})
        settings: dict[str, object] = {"retries": 0, **more}
        return ModelCalls(
            provider=self.provider,
            ledger=self.ledger,
            run_id="r",
            limits=limits,
            emit=self.emit,
            **settings,  # type: ignore[arg-type]
        )

    @property
    def clamps(self) -> list[int | None]:
        return [request.max_output_tokens for request in self.provider.heard]


def poor(tokens: int | None) -> QuotaExceeded:
    return QuotaExceeded("no credit", billed="no", affordable=tokens)


async def asked(folder: Path, *script: Step, facts: ModelFacts = FACTS, **more: object) -> Counter:
    """Ask once."""
    ledger = SqliteLedger(folder / "ledger.db")
    counter = Counter(ledger, script, facts)
    try:
        await (await counter.calls(**more)).ask(HELLO)
    except ProviderError:
        pass
    finally:
        await ledger.aclose()
    return counter


CUT = Completion("half", usage=Usage(100, 700), model="m", stop="length")


@pytest.mark.parametrize(
    ("script", "facts", "clamps"),
    [
        ((poor(700), ANSWER), FACTS, [4096, 700]),
        ((poor(None), ANSWER), FACTS, [4096]),
        ((poor(0), ANSWER), FACTS, [4096]),
        ((poor(4096), ANSWER), FACTS, [4096]),
        ((poor(9999), ANSWER), FACTS, [4096]),
        ((poor(700), poor(600), ANSWER), FACTS, [4096, 700]),
        ((poor(2047), ANSWER), THINKER, [16384]),
        ((poor(2048), ANSWER), THINKER, [16384, 2048]),
        ((poor(700), CUT, ANSWER), FACTS, [4096, 700]),
    ],
)
async def test_output_asked_for_is_exactly_what_the_credits_pay_for(
    tmp_path: Path, script: tuple[Step, ...], facts: ModelFacts, clamps: list[int]
) -> None:
    found = await asked(tmp_path, *script, facts=facts)
    assert found.clamps == clamps
    assert [event.granted_output for event in found.events if isinstance(event, CallHeld)] == clamps
    assert len([event for event in found.events if isinstance(event, CallRetried)]) == len(clamps) - 1
    assert book_of(tmp_path).phases[0] == "void"


async def test_the_users_own_clamp_is_not_raised_to_what_the_credits_pay_for(tmp_path: Path) -> None:
    found = await asked(tmp_path, poor(900), ANSWER, max_output_tokens=600)
    assert found.clamps == [600]
