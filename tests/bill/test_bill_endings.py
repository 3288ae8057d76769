"""How an attempt ends in the ledger, for every refusal and every usage report on the wire."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from agentctl.budget.breaker import Overrun
from agentctl.core.errors import ProviderError
from agentctl.core.limits import CostLimit
from agentctl.core.messages import Message
from agentctl.ledger import SqliteLedger
from agentctl.providers.remote import RemoteProvider
from agentctl.runner.model_calls import ModelCalls
from agentctl.settings import PriceLine
from tests.support.bill.audit import Audit
from tests.support.bill.bodies import event
from tests.support.bill.book import Attempt, book_of
from tests.support.bill.flood import FloodServer, chunked
from tests.support.bill.parts import KEY, this_client
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, Fault, Rates

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")
MODEL = "gpt-4-turbo"  # 10 in, 30 out; 128,000 of context, 4,096 of output
RATES = Rates(Decimal(10), Decimal(30))


async def attempted(
    folder: Path, base_url: str, *, doubt: Literal["normal", "strict"] = "normal", provider: str = "openai"
) -> tuple[Attempt, str]:
    """Make one call on its own ledger; return its row, and the answer or the error."""

    async def nobody(_: object) -> None:
        pass

    remote = RemoteProvider(provider, MODEL, api_key=KEY, base_url=base_url, via=this_client())
    ledger, limits = SqliteLedger(folder / "ledger.db"), CostLimit(max_cost_per_task=Decimal(5))
    said = ""
    try:
        await ledger.open_run("r", limits, task="t", agent="a", labels={})
        calls = ModelCalls(
            provider=remote, ledger=ledger, run_id="r", limits=limits, emit=nobody, doubt=doubt, retries=0
        )
        with suppress(ProviderError, Overrun):
            said = (await calls.ask((Message("user", "hello"),))).text
    finally:
        await remote.aclose()
        await ledger.aclose()
    (row,) = book_of(folder).attempts
    return row, said


@pytest.fixture
def audited(audit: Audit, tmp_path: Path) -> None:
    audit.follow(tmp_path / "ledger.db")


DOCUMENT = b'{"error": {"message": "no", "type": "invalid_request_error", "code": null}}'
PAGE = b"<html>no</html>"  # of a server in front of the provider's
BODIES: dict[str, dict[str, Any]] = {
    "no body": {"body": b""},
    "a page": {"body": PAGE},
    "an error document": {"body": DOCUMENT},
    "an answer before it": {"in_stream": True},
    "billed all the same": {"body": DOCUMENT, "bills": True, "input_tokens": 9, "output_tokens": 9},
}
FREE = (400, 401, 402, 403, 404, 405, 413, 422, 429)
WHATEVER_THE_BODY = (301, 302, 303, 304, 307, 308, 401, 402, 403, 404, 405)
PLACES = ("known", "unknown", "strict")
ENDINGS = [
    *((status, body, place) for status in (400, 402, 405, 429, 500) for body in BODIES for place in PLACES),
    *((status, "an error document", "known") for status in (*FREE, 408, 409, 410, 425, 451, 502, 503, 529)),
    *((status, body, "known") for status in (401, 403, 404) for body in BODIES),
]


@pytest.mark.both_clients
@pytest.mark.usefixtures("audited")
@pytest.mark.parametrize(("status", "body", "place"), ENDINGS)
async def test_a_refusal_is_void_only_where_it_surely_cost_nothing(
    tmp_path: Path, wire: OpenWire, monkeypatch: pytest.MonkeyPatch, status: int, body: str, place: str
) -> None:
    """The status must come from a known endpoint; some need a complete document or page, and no answer before it.

    That it is free is an assumption: a provider that bills it all the same cannot be told from others.
    """
    server = wire(Fault(status, **BODIES[body]), rates=RATES)
    url = f"{server.url}/v1"
    if place == "unknown":
        monkeypatch.setenv("http_proxy", server.url)
        url = "http://gateway.invalid/v1"
    row, said = await attempted(tmp_path, url, doubt="strict" if place == "strict" else "normal")
    free = status in FREE and BODIES[body].get("body") in (DOCUMENT, PAGE)
    free = free or (status in WHATEVER_THE_BODY and body != "an answer before it")
    is_void = free and place == "known"
    assert (row.phase, row.nano) == (("void", 0) if is_void else ("doubt", row.hold_nano))
    posted = [heard for heard in server.books.requests if heard.method == "POST"]  # after 404 its models are asked for
    assert (said, len(posted)) == ("", 1)
    (heard,) = server.books.chat_requests
    assert heard.asked is not None
    assert heard.asked.clamp == row.granted_output
    assert server.books.billed_nano == (9 * 40_000 if body == "billed all the same" else 0)


class Raw(str):
    """A number as it stands on the wire."""

    def __new__(cls, text: str) -> Raw:
        return super().__new__(cls, f"<{text}>")


class Told(NamedTuple):
    """The usage blocks, and the attempt's outcome: charged in nano-dollars, or in doubt (None).

    ``least_nano`` is what an amount in doubt comes to at least, beside its hold.
    """

    usage: tuple[object, ...]
    nano: int | None
    least_nano: int = 0


def block(prompt: object, answer: object, **more: object) -> dict[str, object]:
    """Return a usage block; ``cached`` and ``thought`` stand where OpenAI has them."""
    inside = {"cached_tokens": more["cached"]} if "cached" in more else None
    outside = {"reasoning_tokens": more["thought"]} if "thought" in more else None
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        **({"prompt_tokens_details": inside} if inside else {}),
        **({"completion_tokens_details": outside} if outside else {}),
    }


GOOD = block(1000, 20)
TOLD = {
    "a good one": Told((GOOD,), 1000 * 10_000 + 20 * 30_000),
    "twice the same": Told((GOOD, GOOD), 1000 * 10_000 + 20 * 30_000),
    "twice, growing": Told((block(1000, 5), GOOD), 1000 * 10_000 + 20 * 30_000),
    "a good one and then none": Told((GOOD, None), 1000 * 10_000 + 20 * 30_000),
    "a good one and then nonsense": Told((GOOD, block("many", 20)), None),
    "none": Told((), None),
    "null": Told((None,), None),
    "an empty block": Told(({},), None),
    "zero, with text": Told((block(0, 0),), None),
    "no output, with text": Told((block(1000, 0),), None),
    "no input": Told((block(0, 20),), None),
    "twice, falling": Told((GOOD, block(10, 5)), 1000 * 10_000 + 20 * 30_000),
    "twice, falling in one class": Told((block(1000, 5), block(10, 20)), 1000 * 10_000 + 20 * 30_000),
    "a good one and then zeros": Told((GOOD, block(0, 0)), 1000 * 10_000 + 20 * 30_000),
    "spread over two": Told(({"prompt_tokens": 1000}, {"completion_tokens": 20}), 1000 * 10_000 + 20 * 30_000),
    "null beside numbers": Told((GOOD | {"total_tokens": None},), 1000 * 10_000 + 20 * 30_000),
    "more in the total": Told((GOOD | {"total_tokens": 1500},), 1000 * 10_000 + 500 * 30_000),
    "a quadrillion in": Told((block(10**14, 20),), 10**14 * 10_000 + 20 * 30_000),
    "a quadrillion out": Told((block(1000, 10**14),), 1000 * 10_000 + 10**14 * 30_000),
    "beyond 2^53": Told((block(2**53, 20),), 2**63 - 1),
    "beyond 2^63": Told((block(2**63, 20),), 2**63 - 1),
    "a number of 400 digits": Told((block(10**399, 20),), 2**63 - 1),
    "an exponent": Told((block(Raw("1e400"), 20),), 2**63 - 1),
    "beyond the context": Told((block(128_001, 20),), 128_001 * 10_000 + 20 * 30_000),
    "the whole context": Told((block(128_000, 20),), 128_000 * 10_000 + 20 * 30_000),
    "beyond the output": Told((block(1000, 4097),), 1000 * 10_000 + 4097 * 30_000),
    "a search that nobody asked for": Told(
        (GOOD | {"server_tool_use": {"web_search_requests": 2}},), None, 128_000 * 10_000 + 4096 * 30_000
    ),
    "audio that nobody sent": Told(
        (GOOD | {"prompt_tokens_details": {"audio_tokens": 3}},), None, 128_000 * 10_000 + 4096 * 30_000
    ),
    "a field that nobody knows": Told((GOOD | {"grains": 3},), None),
    "times": Told((GOOD | {"queue_time": 0.04, "total_time": 1.5},), 1000 * 10_000 + 20 * 30_000),
    "true": Told((block(True, 20),), None),
    "a fraction": Told((block(1000.5, 20),), None),
    "a whole number as a float": Told((block(1000.0, 20),), 1000 * 10_000 + 20 * 30_000),
    "negative in": Told((block(-1000, 20),), None),
    "negative out": Told((block(1000, -20),), None),
    "negative cached": Told((block(1000, 20, cached=-5),), None),
    "a word": Told((block("1000", 20),), None),
    "a word, and a million out": Told((block("1000", 10**6),), None, 10**6 * 30_000),
    "a large number in quotes": Told((block("10000000", 20),), None, 10**7 * 10_000),
    "no input, and a million out": Told((block(0, 10**6),), None, 10**6 * 30_000),
    "a million cached of a thousand": Told((block(1000, 20, cached=10**6),), None, 10**6 * 10_000),
    "not a number": Told((block(float("nan"), 20),), None),
    "endless": Told((block(float("inf"), 20),), None),
    "more cached than there was": Told((block(1000, 20, cached=1001),), None),
    "more thought than was said": Told((block(1000, 20, thought=21),), None),
    "all of it cached": Told((block(1000, 20, cached=1000),), 1000 * 10_000 + 20 * 30_000),
    "all of it thought": Told((block(1000, 20, thought=20),), 1000 * 10_000 + 20 * 30_000),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", TOLD)
async def test_report_is_charged_as_it_is_or_rejected(tmp_path: Path, name: str) -> None:
    told = TOLD[name]
    chunks = [event(choices=[], usage=usage).replace(b'"<', b"").replace(b'>"', b"") for usage in told.usage]
    body = b"".join([event({"content": "ok"}), event({}, "stop"), *chunks, b"data: [DONE]\n\n"])

    def answer() -> Iterable[bytes]:
        return chunked((body, b""), b"connection: close")

    with FloodServer(answer) as server:
        row, said = await attempted(tmp_path, f"{server.url}/v1")
        assert len(server.requests) == 1
    if told.nano is None:
        assert row.phase == "doubt", row
        assert row.nano >= max(row.hold_nano, told.least_nano) > 0
    else:
        assert (row.phase, row.nano) == ("settled", told.nano)
    is_over = row.nano > row.hold_nano or name == "beyond the output"  # above its clamp, within the whole hold
    assert said == ("" if is_over else "ok")


@pytest.mark.both_clients
@pytest.mark.parametrize("location", ["/v1/chat/completions", "http://gateway.invalid/v1/chat/completions"])
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_a_redirect_gives_no_second_request(tmp_path: Path, wire: OpenWire, status: int, location: str) -> None:
    server = wire([Fault(status, location=location), Answer("never")], rates=RATES)
    row, said = await attempted(tmp_path, f"{server.url}/v1")
    assert (row.phase, row.nano, said) == ("void", 0, "")
    assert (len(server.books.requests), server.books.billed_nano) == (1, 0)


CLAMPS = {
    "openai": ("max_tokens", "max_completion_tokens"),
    "anthropic": ("max_tokens",),
    "ollama": ("num_predict",),
    "openrouter": ("max_tokens", "max_completion_tokens"),
    "deepseek": ("max_tokens", "max_completion_tokens"),
    "mistral": ("max_tokens", "max_completion_tokens"),
    "groq": ("max_tokens", "max_completion_tokens"),
}


@pytest.mark.both_clients
@pytest.mark.usefixtures("audited")
@pytest.mark.parametrize("provider", CLAMPS)
async def test_the_grant_is_in_the_bytes_of_every_paid_request(tmp_path: Path, wire: OpenWire, provider: str) -> None:
    """A turn with tools and a retry have their own grant, too."""
    format = provider if provider in ("anthropic", "ollama") else "openai"
    script = [Fault(503, headers=(("retry-after-ms", "1"),)), Answer("", (Call("f"),)), Answer("ok")]
    server = wire(script, rates=RATES)
    models = {"openai": "gpt-5.5", "anthropic": "claude-haiku-4-5", "openrouter": "openai/gpt-4o-mini"}
    url = server.url if format != "openai" else f"{server.url}/v1"
    model = models.get(provider, "a-model")
    prices = {f"{provider}/{model}": PriceLine(Decimal(10), Decimal(30), certain=True)}
    remote = RemoteProvider(provider, model, api_key=KEY, base_url=url, prices=prices, via=this_client())

    async def nobody(_: object) -> None:
        pass

    ledger, limits = SqliteLedger(tmp_path / "ledger.db"), CostLimit(max_cost_per_task=Decimal(5))
    try:
        await ledger.open_run("r", limits, task="t", agent="a", labels={})
        calls = ModelCalls(
            provider=remote, ledger=ledger, run_id="r", limits=limits, emit=nobody, retries=1, first_pause_s=0.001
        )
        for _ in range(2):
            await calls.ask((Message("user", "hello"),))
    finally:
        await remote.aclose()
        await ledger.aclose()
    granted = [row.granted_output for row in book_of(tmp_path).sent]
    assert len(granted) == 3
    for heard, clamp in zip(server.books.chat_requests, granted, strict=True):
        body = heard.body or {}
        places = {**body, **body.get("options", {})}
        assert [places[name] for name in CLAMPS[provider] if name in places] == [clamp]
        assert str(clamp).encode() in heard.raw
