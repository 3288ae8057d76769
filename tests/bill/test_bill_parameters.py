"""A server that refuses parameters: it is asked again without, within the limit, and what was refused is free."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal

import pytest

from tests.support.bill.parts import KEY, PAID, Here, assert_accounted, assert_within, reaching, this_client
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Fault, Rates, WireRequest

OPENAI = PAID["openai"]
KNOWN = {"model", "messages", "stream", "tools", "temperature", "max_completion_tokens"}
NOTHING = Rates(Decimal(0), Decimal(0))
FREE = '[prices]\n"openai/gpt-4-turbo" = { input = 0, output = 0 }\n'


def strict(known: set[str], brief: Callable[[WireRequest], Answer]) -> Callable[[WireRequest], Answer | Fault]:
    """Return a server that refuses every other field, the first one by name, as FastAPI does."""

    def answer(asked: WireRequest) -> Answer | Fault:
        odd = next((name for name in asked.body if name not in known), None)
        detail = [{"type": "extra_forbidden", "loc": ["body", odd], "msg": "Extra inputs are not permitted"}]
        return brief(asked) if odd is None else Fault(422, body=json.dumps({"detail": detail}).encode())

    return answer


@pytest.mark.both_clients
async def test_strict_server_is_asked_without_what_it_does_not_know(user: Here, wire: OpenWire) -> None:
    server = wire(strict(KNOWN, OPENAI.brief), rates=OPENAI.rates, keys=[KEY])
    document = await user.run(reaching(server, "openai"), max_cost_per_task="5")
    assert (document["exit_code"], document["complete"]) == (0, True)
    sent = [heard.body or {} for heard in server.books.chat_requests]
    assert all(len(body.keys() & {"max_tokens", "max_completion_tokens"}) == 1 for body in sent)
    by_litellm = this_client() == "litellm"  # which is always asked for a stream
    last = ["doubt", "doubt"] if by_litellm else ["doubt", "settled"]
    assert user.book.phases == ["void", "void", *last], "each is refused once, and remembered"
    assert [body["stream"] for body in sent] == [True, True, True, by_litellm], "without usage, whole from then on"
    assert_accounted(server.books, user.book)
    assert_within(server.books, user.book, 5 * 10**9)


@pytest.mark.both_clients
async def test_server_that_takes_no_limit_ends_the_run_with_2(user: Here, wire: OpenWire) -> None:
    server = wire(strict(KNOWN - {"max_completion_tokens"}, OPENAI.brief), rates=OPENAI.rates, keys=[KEY])
    document = await user.run(reaching(server, "openai"), max_cost_per_task="5")
    assert (document["exit_code"], document["status"], document["error"]["kind"]) == (2, "usage", "usage")
    assert "the output of this server cannot be limited" in document["error"]["message"]
    assert set(user.book.phases) == {"void"}
    assert len(server.books.chat_requests) == len(user.book.phases) == 3
    assert server.books.billed_nano == 0


@pytest.mark.parametrize("usage", ["omit", "zero"])
async def test_free_server_without_usage_is_counted_and_not_in_doubt(user: Here, wire: OpenWire, usage: str) -> None:
    server = wire(lambda asked: OPENAI.brief(asked, usage=usage), rates=NOTHING, keys=[KEY])
    document = await user.run(reaching(server, "openai"), prices=FREE, max_cost_per_task="5")
    assert (document["exit_code"], document["cost"]["in_doubt_usd"], document["cost"]["nano_usd"]) == (0, 0, 0)
    assert user.book.phases == ["settled", "settled"]
    assert 0 < document["usage"]["input_tokens"] < sum(row.input_bound for row in user.book.sent)
    assert document["usage"]["output_tokens"] > 0


async def test_paid_server_without_usage_stays_in_doubt(user: Here, wire: OpenWire) -> None:
    server = wire(lambda asked: OPENAI.brief(asked, usage="omit"), rates=OPENAI.rates, keys=[KEY])
    await user.run(reaching(server, "openai"), max_cost_per_task="5")
    assert user.book.phases == ["doubt", "doubt"]
