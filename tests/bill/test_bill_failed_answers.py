"""Answers that fail after something was reported or said: whatever the words of the error are, they are no refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.support.bill.parts import CLIENT_VARIABLE, KEY, PAID, PENNY, Here, assert_accounted, reaching
from tests.support.parity.streams import chunk, spoken, written
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Fault, Rates, WireRequest

DOLLARS = 10**9
OPENAI = PAID["openai"]
USED = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
TOO_LONG = {"message": "This model's maximum context length is 4096 tokens.", "type": "BadRequestError", "code": 400}
RATE_LIMIT = {"error": {"message": "Slow down.", "code": 429}}


def sse(*documents: object) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in documents)


def whole(content: str) -> dict[str, Any]:
    """Return an answer in the form of another wire's, without a usage."""
    return {"model": "gpt-4-turbo", "message": {"role": "assistant", "content": content}, "done": False}


BILLED = {
    "an object of the type error with a usage": sse({"object": "error", **TOO_LONG, "usage": USED}),
    "an error with a usage of another name": sse({"detail": "prompt is too long", "usageMetadata": USED}),
    "a usage inside the error": sse({"error": {**TOO_LONG, "usage": USED}}),
    "an answer in the form of another wire": sse(whole("The model you named does not exist.")),
    "the words of a host that broke down": sse(
        {"error": {"message": "The host of this model is not available: it timed out after 30 s"}}
    ),
    "a fault in the billing": sse({"error": {"message": "An internal error in our billing service"}}),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", BILLED)
async def test_error_in_a_stream_that_may_be_billed_is_no_refusal(user: Here, wire: OpenWire, name: str) -> None:
    server = wire(Answer(garbage=BILLED[name], input_tokens=1000, output_tokens=1000), rates=OPENAI.rates, keys=[KEY])
    await user.run(reaching(server, "openai"), max_cost_per_task="0.30", max_turns=2)
    assert "void" not in user.book.phases
    assert_accounted(server.books, user.book)


@pytest.mark.both_clients
async def test_answer_behind_an_error_document_is_counted(user: Here, wire: OpenWire) -> None:
    """The server says that it refuses, and answers all the same, a moment later."""
    error, answer = sse(RATE_LIMIT), written("openai", spoken("openai", "It says alpha beta."))
    server = wire(
        Answer(garbage=error + answer, input_tokens=1000, output_tokens=1000, gap_s=0.05),
        rates=OPENAI.rates,
        keys=[KEY],
    )
    await user.run(reaching(server, "openai"), max_cost_per_task="0.30")
    assert "void" not in user.book.phases
    assert_accounted(server.books, user.book)


GENERATED = {
    "a failed generation": {"error": {"message": "Failed to call a function.", "failed_generation": "<function=ls>"}},
    "a usage": {"error": TOO_LONG, "usage": USED},
    "an answer": {"error": TOO_LONG, "choices": [{"message": {"content": "It says"}}]},
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", GENERATED)
async def test_refusal_that_holds_an_answer_is_not_free(user: Here, wire: OpenWire, name: str) -> None:
    body = json.dumps(GENERATED[name]).encode()
    server = wire(
        lambda _: Fault(400, body=body, bills=True, input_tokens=1000, output_tokens=1000),
        rates=OPENAI.rates,
        keys=[KEY],
    )
    await user.run(reaching(server, "openai"), max_cost_per_task="0.30")
    assert "void" not in user.book.phases
    assert_accounted(server.books, user.book)


def cut(*events: dict[str, Any]) -> Answer:
    """Return an answer whose events are followed by a broken connection."""
    data = sse(*events)
    return Answer(garbage=data + b"data: {", input_tokens=1000, output_tokens=1000, cut_after=len(data))


@pytest.mark.both_clients
async def test_bill_that_an_answer_names_before_it_is_cut_counts(user: Here, wire: OpenWire) -> None:
    """It is more than the hold: the provider says what it takes, in a unit of its own."""
    used = {**USED, "cost_in_usd_ticks": 10 * 10**9}
    step = replace(cut(chunk({"content": "It says"}), {**chunk(), "usage": used}), bill_nano=DOLLARS)
    document = await user.run(
        reaching(wire(step, repeat=True, rates=OPENAI.rates, keys=[KEY]), "openai"), max_cost_per_task="0.50"
    )
    assert (document["exit_code"], user.book.phases) == (3, ["doubt"])
    assert user.book.counted_nano >= DOLLARS > user.book.attempts[0].hold_nano


@pytest.mark.both_clients
async def test_fee_of_an_answer_that_is_cut_ends_the_spending(user: Here, wire: OpenWire) -> None:
    used = {**USED, "web_search_requests": 3}
    step = cut(chunk({"content": "It says"}), {**chunk(), "usage": used})
    server = wire(step, repeat=True, rates=OPENAI.rates, keys=[KEY])
    document = await user.run(reaching(server, "openai"), max_cost_per_task="0.50")
    assert (document["exit_code"], user.book.phases) == (3, ["doubt"])
    assert "web_search_requests" in document["error"]["message"]


NAMES = {
    "the names of Anthropic": {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 900},
    "what is written to a cache, too": {
        "input_tokens": 1000,
        "output_tokens": 100,
        "cache_read_input_tokens": 400,
        "cache_creation_input_tokens": 500,
    },
}


@pytest.mark.both_clients
@pytest.mark.parametrize("name", NAMES)
async def test_cached_tokens_beside_the_input_are_counted(user: Here, wire: OpenWire, name: str) -> None:
    """These names come from Anthropic's format, where the input leaves out what a cache held."""
    events = [*spoken("openai", "It says alpha beta.")[:-1], {**chunk(), "choices": [], "usage": NAMES[name]}]
    server = wire(Answer(garbage=written("openai", events), input_tokens=1900, output_tokens=100), keys=[KEY])
    document = await user.run(reaching(server, "openai"), max_cost_per_task="5")
    assert document["usage"]["input_tokens"] == 1900


@pytest.mark.both_clients
@pytest.mark.parametrize("format", ["anthropic", "ollama"])
async def test_tokens_that_only_the_total_counts_are_output(user: Here, wire: OpenWire, format: str) -> None:
    used = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1900}
    events = spoken(format, "It says alpha beta.")
    if format == "anthropic":
        events[0]["message"]["usage"] = {}
        events[-2]["usage"] = used
    else:
        events[-1] = {**{k: v for k, v in events[-1].items() if not k.endswith("_count")}, "usage": used}
    server = wire(Answer(garbage=written(format, events), input_tokens=1000, output_tokens=900), keys=[KEY])
    document = await user.run(reaching(server, format), max_cost_per_task="5")
    assert (document["usage"]["input_tokens"], document["usage"]["output_tokens"]) == (1000, 900)


async def test_hold_is_at_the_dearest_service_tier_behind_another_model_s_answer(user: Here, wire: OpenWire) -> None:
    """The server takes no service tier, so it may serve the next request in any."""
    dated = Rates(Decimal(5), Decimal(15))  # more than gpt-4o, and in its output less than the priority tier of that
    server = wire(lambda asked: PENNY.brief(asked, model="gpt-4o-2024-05-13"), rates=dated, keys=[KEY])
    await user.run({**reaching(server, "openai"), "LLM_MODEL": PENNY.model}, max_cost_per_task="5")
    assert user.book.phases == ["settled", "settled"]
    for one in user.book.attempts:
        assert one.hold_nano >= one.input_bound * 4250 + one.granted_output * 17000, "the priority tier of gpt-4o"


PIECE = {"index": 0, "message": {"role": "assistant", "content": "It says alp"}}
FLAT = {"error": "the runner was stopped", "prompt_eval_count": 4000, "eval_count": 2000}
TOO_MUCH = {"type": "invalid_request_error", "message": "prompt is too long"}
CLAUDES = {"type": "error", "error": TOO_MUCH}
CLAUDES_USAGE = {"input_tokens": 3000, "output_tokens": 1000}
REFUSALS = {
    "Anthropic's": ("anthropic", {**CLAUDES, "usage": CLAUDES_USAGE}),
    "Anthropic's, inside the error": ("anthropic", {**CLAUDES, "error": {**TOO_MUCH, "usage": CLAUDES_USAGE}}),
    "Ollama's": ("ollama", FLAT),
}


@pytest.mark.both_clients
@pytest.mark.parametrize("status", [200, 400, 429])
@pytest.mark.parametrize("name", REFUSALS)
async def test_refusal_with_a_usage_is_not_free_in_any_format(
    user: Here, wire: OpenWire, name: str, status: int
) -> None:
    format, document = REFUSALS[name]
    paid, body = PAID[format], json.dumps(document).encode()
    data = b"data: " * (format == "anthropic") + body + b"\n\n"
    counts: dict[str, Any] = {"input_tokens": paid.input_tokens, "output_tokens": paid.output_tokens}
    step = Answer(garbage=data, **counts) if status == 200 else Fault(status, body=body, bills=True, **counts)
    server = wire(step, repeat=True, rates=paid.rates, keys=[KEY] if format == "anthropic" else None)
    await user.run(reaching(server, format), max_cost_per_task="0.30")
    assert "void" not in user.book.phases
    assert_accounted(server.books, user.book)


@pytest.mark.both_clients
@pytest.mark.parametrize(("pieces", "kind"), [(1, {}), (2, {}), (2, {"object": "chat.completion"})])
async def test_pieces_in_messages_that_end_without_an_end_are_not_whole(
    user: Here, wire: OpenWire, pieces: int, kind: dict[str, str]
) -> None:
    """The usage so far is none of the whole answer, which the server bills."""
    used = {"prompt_tokens": 1000, "completion_tokens": 3}
    data = sse(*[{**kind, "model": "gpt-4-turbo", "choices": [PIECE], "usage": used}] * pieces)
    server = wire(Answer(garbage=data, input_tokens=1000, output_tokens=1000), repeat=True, rates=OPENAI.rates)
    await user.run(reaching(server, "openai"), max_cost_per_task="0.30")
    assert set(user.book.phases) == {"doubt"}
    assert_accounted(server.books, user.book)


async def test_hold_covers_the_bytes_of_calls_by_a_json_format(user: Here, wire: OpenWire) -> None:
    """A model without tools is sent them as text and as a schema, which is more than the tools were."""
    sent: list[int] = []

    def answer(asked: WireRequest) -> Answer | Fault:
        if asked.body.get("tools"):
            return Fault(code="no_tools")
        sent.append(len(json.dumps(asked.body, separators=(",", ":"))))
        looked = len(sent) > 1
        text = '{"answer": "Half of it."}' if looked else '{"tool": "system_memory", "arguments": {}}'
        return Answer(text, input_tokens=1000, output_tokens=20)

    server = wire(answer, rates=PAID["ollama"].rates)
    document = await user.run({**reaching(server, "ollama"), CLIENT_VARIABLE: "lean"}, max_cost_per_task="5")
    refused, first, _ = user.book.attempts
    assert (document["answer"], refused.phase, len(sent)) == ("Half of it.", "void", 2)
    assert first.input_bound >= sent[0] > refused.input_bound
