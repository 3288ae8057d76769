"""What an answer other than 2xx means: its class, whose words it quotes, what it says to do, and that it was free."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import NamedTuple

import pytest

from agentctl.core.errors import (
    AddressGone,
    AgentctlError,
    AuthFailed,
    ContextOverflow,
    ModelGone,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
    Rejected,
    RequestTooLarge,
)
from agentctl.providers.error_documents import document_of, status_of, title_of, words_in
from agentctl.providers.factory import OpenAIProvider
from agentctl.providers.http_gate import MOST_ERROR_BYTES
from agentctl.providers.routes import Via
from tests.support.formats import FORMATS, KEY, MODELS, Wire, answer_of, asked, provider_at
from tests.support.parity.cases import said
from tests.support.parity.streams import written
from tests.support.wire.server import Fault, WireServer


def page(title: str) -> bytes:
    """Return a page as nginx writes it."""
    return f"<html>\r\n<head><title>{title}</title></head>\r\n<body><center>{title}</center></body></html>\r\n".encode()


def error(message: str, **more: object) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


class Case(NamedTuple):
    """A refusal, its class, words of its message, and words of its hint; ``never`` stands in neither."""

    fault: Fault
    kind: type[ProviderError]
    message: str
    hint: str = ""
    never: str = "rejected the key"


TPM = (
    "Request too large for model `m` in organization `o` on tokens per minute (TPM): Limit 6000, Requested {}, please "
    "reduce your message size and try again."
)
CASES = {
    "401 in plain text": Case(
        Fault(401, body=b"Unauthorized"), AuthFailed, "rejected the key: Unauthorized", "set-key", "HTTP 401"
    ),
    "401 page of a web server": Case(
        Fault(401, body=page("401 Authorization Required")), AuthFailed, "asks for a key or a password: 401 Auth"
    ),
    "402 with what the credits pay": Case(
        Fault(402, body=error("You requested up to 4096 tokens, but can only afford 12.", code=402)),
        QuotaExceeded,
        "can only afford 12 (quota)",
        "add credits",
    ),
    "403 challenge of a network": Case(
        Fault(403, body=b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>x</body></html>"),
        Rejected,
        "blocked the request with a browser check: Just a moment (HTTP 403)",
        "allow requests from this machine",
    ),
    "403 challenge told by a header": Case(
        Fault(403, body=page("Attention"), headers=(("cf-mitigated", "challenge"),)), Rejected, "with a browser check"
    ),
    "403 page": Case(Fault(403, body=page("403 Forbidden")), Rejected, "rejected the request: 403 Forbidden"),
    "403 for a country": Case(
        Fault(403, body=error("Country, region, or territory not supported", type="request_forbidden")),
        AuthFailed,
        "does not allow this request: Country",
        "allows this account to do",
    ),
    "403 for a model": Case(
        Fault(403, body=error("Project `p` does not have access to model `m`", code="model_not_found")),
        ModelGone,
        "does not know the model",
    ),
    "404 of an address in plain text": Case(
        Fault(404, body=b"404 page not found"), AddressGone, "has nothing at this address", "with its path", "did you"
    ),
    "404 of an address in a document": Case(
        Fault(404, body=b'{"detail":"Not Found"}'), AddressGone, "): Not Found", "with its path", "did you"
    ),
    "404 page of an address": Case(
        Fault(404, body=page("404 Not Found")), AddressGone, "has nothing at this address", "with its path", "did you"
    ),
    "405": Case(Fault(405, body=b'{"detail":"Method Not Allowed"}'), Rejected, "Method Not Allowed"),
    "400 page": Case(
        Fault(400, body=page("400 Bad Request")),
        Rejected,
        "web server in front of",
        "check the proxies and gateways between",
    ),
    "400 of a port with TLS": Case(
        Fault(400, body=page("400 The plain HTTP request was sent to HTTPS port")),
        Rejected,
        "requires TLS",
        "use https://",
    ),
    "413 page": Case(
        Fault(413, body=page("413 Request Entity Too Large")), Rejected, "of this size: 413 Req", "client_max_body_size"
    ),
    "413 in plain text": Case(
        Fault(413, body=b"Payload Too Large"), Rejected, "of this size: Payload Too Large (HTTP 413)"
    ),
    "413 of a web framework": Case(
        Fault(413, body=b'{"message":"request entity too large","limit":100000}'), Rejected, "of this size"
    ),
    "413 of a model's API": Case(
        Fault(413, body=error("Request exceeds the maximum size", type="request_too_large")),
        ContextOverflow,
        "does not fit the context window",
    ),
    "413 by tokens a minute": Case(
        Fault(413, body=error(TPM.format(9411), code="rate_limit_exceeded")),
        RequestTooLarge,
        "Limit 6000, Requested 9411",
        "less at once than 6000 tokens",
        "context window",
    ),
    "429 too large for a minute": Case(
        Fault(429, body=error("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000.")),
        RequestTooLarge,
        "Limit 30000, Requested 40000",
        "30000 tokens",
        "try again",
    ),
    "429 with room in a minute": Case(
        Fault(429, body=error("Rate limit reached on tokens per min (TPM): Limit 30000, Used 29937, Requested 385.")),
        RateLimited,
        "Used 29937",
        "try again",
    ),
    "429 page": Case(Fault(429, body=page("429 Too Many Requests")), RateLimited, "429 Too Many Requests (rate limit)"),
    "429 of a spent budget": Case(
        Fault(429, body=error("Budget has been exceeded! Max budget: 0.1", type="budget_exceeded", code="429")),
        QuotaExceeded,
        "Budget has been exceeded",
        "raise the budget of this key",
        "add credits",
    ),
    "422 of a spent budget": Case(
        Fault(422, body=error("ExceededBudget: over budget", type="budget_exceeded", code="422")),
        QuotaExceeded,
        "(quota)",
        "raise the budget",
    ),
    "400 of a spent budget": Case(
        Fault(400, body=error("Budget has been exceeded!", type="budget_exceeded")), QuotaExceeded, "(quota)"
    ),
    "422 of a strict server": Case(
        Fault(422, body=b'{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs"}]}'),
        Rejected,
        "rejected the request: seed: Extra inputs",
    ),
    "400 in one event": Case(
        Fault(400, body=b'event: error\ndata: {"message": "no such thing"}\n\n'), Rejected, "request: no such thing"
    ),
    "503 that names its status": Case(
        Fault(503, body=error("HTTP 503 Service Unavailable")),
        ProviderUnavailable,
        "HTTP 503 Service Unavailable",
        "",
        "(HTTP 503)",
    ),
    "400 with a wrong key, of Gemini and xAI": Case(
        Fault(400, body=error("API key not valid. Please pass a valid API key.")),
        AuthFailed,
        "rejected the key",
        "",
        "\0",
    ),
    "400 without credits, of Alibaba": Case(
        Fault(400, body=error("Access denied, check your account.", code="Arrearage")), QuotaExceeded, "Access denied"
    ),
    "400 at a limit of the account, of Anthropic": Case(
        Fault(400, body=error("You have reached your specified API usage limits.")),
        QuotaExceeded,
        "usage limits (quota)",
    ),
    "403 without credits, of xAI": Case(
        Fault(403, body=error("Your newly created team doesn't have any credits yet.")), QuotaExceeded, "any credits"
    ),
    "403 without a subscription, of Ollama": Case(
        Fault(403, body=error("this model requires a subscription, upgrade for access")), QuotaExceeded, "subscription"
    ),
    "429 of a week, of Ollama": Case(
        Fault(429, body=error("you have reached your weekly usage limit")), QuotaExceeded, "weekly usage limit (quota)"
    ),
    "404 without a server that can, of OpenRouter": Case(
        Fault(404, body=error("No endpoints found that support tool use.")),
        ModelGone,
        "has no server for this request",
        "",
        "at this address",
    ),
    "503 challenge of a network": Case(
        Fault(503, body=b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>x</body></html>"),
        Rejected,
        "blocked the request with a browser check: Just a moment (HTTP 503)",
    ),
    **{
        f"400 too long: {words}": Case(Fault(400, body=error(words)), ContextOverflow, words[:30], "larger window")
        for words in (
            "Range of input length should be [1, 98304]",
            "Your request exceeded model token limit: 8192",
            "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
            "Prompt exceeds max length",
            "`inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000",
            "Please reduce the length of the messages or completion.",
            "Context size has been exceeded.",
        )
    },
    "413 too long, of GitHub": Case(
        Fault(413, body=error("Request body too large for the model. Max size: 8000 tokens.")), ContextOverflow, "8000"
    ),
    "503 with other words": Case(
        Fault(503, body=error("busy")), ProviderUnavailable, "busy (HTTP 503)", "try again later"
    ),
}


def lean_or_litellm(server: WireServer, via: Via) -> OpenAIProvider:
    return OpenAIProvider(MODELS["openai"], api_key=KEY, base_url=server.openai_url, via=via)


async def failure(provider: object, clamp: int = 4096) -> ProviderError:
    assert isinstance(provider, OpenAIProvider)
    with pytest.raises(AgentctlError) as caught:
        await answer_of(provider, asked(clamp=clamp))
    await provider.aclose()
    assert isinstance(caught.value, ProviderError)
    return caught.value


@pytest.mark.parametrize("via", ["lean", "litellm"])
@pytest.mark.parametrize("name", CASES)
async def test_refusal_is_told_as_what_it_is_and_is_free(wire: Wire, name: str, via: Via) -> None:
    case = CASES[name]
    found = await failure(lean_or_litellm(wire(case.fault), via))
    assert type(found) is case.kind
    assert case.message in found.message
    assert case.hint in found.hint
    assert case.never not in f"{found.message} {found.hint}"
    assert found.billed == ("unknown" if case.fault.status == 503 else "no")
    assert found.hint


@pytest.mark.parametrize("format", [format for format in FORMATS if format != "openai"])
@pytest.mark.parametrize("name", CASES)
async def test_refusal_means_the_same_in_every_format(wire: Wire, name: str, format: str) -> None:
    case = CASES[name]
    provider = provider_at(wire(case.fault), format)
    with pytest.raises(AgentctlError) as caught:
        await answer_of(provider, asked(clamp=4096))
    await provider.aclose()
    assert type(caught.value) is case.kind
    assert case.message in caught.value.message
    assert isinstance(caught.value, ProviderError)
    assert caught.value.billed == ("unknown" if case.fault.status == 503 else "no")


@pytest.mark.parametrize(
    ("requested", "clamp", "affordable"), [(9411, 4096, 685), (6001, 4096, 4095), (19411, 4096, -9315)]
)
async def test_smaller_output_fits_the_limit_of_a_minute(
    wire: Wire, requested: int, clamp: int, affordable: int
) -> None:
    found = await failure(lean_or_litellm(wire(Fault(413, body=error(TPM.format(requested)))), "lean"), clamp)
    assert isinstance(found, RequestTooLarge)
    assert (found.window, found.affordable, found.retryable) == (6000, affordable, False)


CODINGS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "gzip": (gzip.compress, "gzip"),
    "gzip that no header names": (gzip.compress, ""),
    "gzip in two members": (lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]), "gzip"),
    "x-gzip": (gzip.compress, "x-gzip"),
    "deflate": (zlib.compress, "deflate"),
    "raw deflate": (lambda data: zlib.compress(data)[2:-4], "deflate"),
    "a header without coding": (bytes, "gzip"),
    "a header of a coding that was not used": (bytes, "br"),
}


def coded(data: bytes, name: str, status: int = 200) -> Fault:
    encode, header = CODINGS[name]
    return Fault(status, body=encode(data), headers=(("content-encoding", header),) if header else ())


@pytest.mark.parametrize("name", CODINGS)
async def test_refusal_in_a_coding_that_was_not_asked_for_is_read(wire: Wire, name: str) -> None:
    found = await failure(lean_or_litellm(wire(coded(error("no such key"), name, 401)), "lean"))
    assert (type(found), found.message) == (AuthFailed, "openai rejected the key: no such key")


DOCUMENTS = {
    b'{"error": {"message": "no"}}': "no",
    b'{"error": "no"}': "no",
    b'[{"error": {"message": "no", "status": "INVALID_ARGUMENT"}}]': "no",
    b'{"object": "error", "message": "no", "code": 400}': "no",
    b'{"object":"error","message":{"detail":[{"loc":["body","messages"],"msg":"no id"}]}}': "messages: no id",
    b'{"detail":[{"loc":["body","a","b"],"msg":"one"},{"loc":["query"],"msg":"two"}]}': "a.b: one; query: two",
    b'{"detail": "no"}': "no",
    b'{"error": "Not Found", "message": "No handler for /v2", "path": "/v2"}': "Not Found: No handler for /v2",
    b'{"success": false, "errors": [{"code": 7009, "message": "no"}]}': "no",
    b'{"fault": {"faultstring": "no", "detail": {"errorcode": "x"}}}': "no",
    b'{"error": {"message": "No", "metadata": {"raw": "{\\"error\\":{\\"message\\":\\"busy\\"}}"}}}': "No: busy",
    b'{"error": {"message": "It failed", "metadata": {"raw": "busy"}}}': "It failed: busy",
    b'{"error": {"type": "overloaded_error"}}': "overloaded_error",
    b'{"odd": [1, 2]}': '{"odd": [1, 2]}',
    b"{}": "",
    b"<html><body><h1>Bad &amp; worse</h1></body></html>": "Bad & worse",
    b"Unauthorized\n": "Unauthorized",
    b"\x00\x01\xff": "",
    b'{"error": {"message": "cut': "",
}


@pytest.mark.parametrize("body", DOCUMENTS)
def test_servers_own_sentence_is_found_in_every_form(body: bytes) -> None:
    expected = DOCUMENTS[body]
    assert words_in(body).startswith(expected) if expected else words_in(body) == ""


def test_page_without_a_title_has_none() -> None:
    assert (title_of(b"<html><body>hello</body></html>"), document_of(b"<html>")) == ("", None)


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"code": 500}, 500),
        ({"code": "422"}, 422),
        ({"status_code": 400, "code": "tool_use_failed"}, 400),
        ({"type": "BadRequestError", "code": None}, 400),
        ({"type": "InternalServerError", "code": 400}, 500),
        ({"status": "RESOURCE_EXHAUSTED"}, 429),
        ({"type": "surprise"}, None),
        ({"code": True}, None),
    ],
)
def test_status_of_a_document_is_named_in_many_ways(document: dict[str, object], status: int | None) -> None:
    assert status_of(document) == status


def answer_in(format: str) -> bytes:
    """Return the bytes of an answer of two pieces, in a format."""
    return written(format, said("One, ", "two.")(format))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", CODINGS)
async def test_answer_in_a_coding_that_was_not_asked_for_is_read_and_charged(
    wire: Wire, name: str, format: str
) -> None:
    provider = provider_at(wire(coded(answer_in(format), name)), format)
    text, whole = await answer_of(provider, asked())
    await provider.aclose()
    assert (text, whole.text, whole.stop) == ("One, two.", "One, two.", "stop")
    assert whole.usage is not None


async def test_answer_in_a_coding_reaches_litellm_as_plain_text(wire: Wire) -> None:
    provider = lean_or_litellm(wire(coded(answer_in("openai"), "gzip")), "litellm")
    assert (await answer_of(provider, asked()))[0] == "One, two."
    await provider.aclose()


DAMAGED = {
    "another coding": (b"\x0b\x02\x80\xff", "br", "the answer is compressed as br, which was not asked for"),
    "gzip that is cut short": (gzip.compress(answer_in("openai"))[:60], "gzip", "the compressed answer is cut short"),
    "gzip that is damaged": (gzip.compress(b"x")[:10] + b"\xff" * 90, "gzip", "the compressed answer cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGED)
async def test_answer_that_cannot_be_decompressed_is_an_error_of_unknown_cost(wire: Wire, name: str) -> None:
    body, header, message = DAMAGED[name]
    found = await failure(lean_or_litellm(wire(Fault(200, body=body, headers=(("content-encoding", header),))), "lean"))
    assert (type(found), found.billed, found.retryable) == (Rejected, "unknown", False)
    assert message in found.message


async def test_bomb_in_a_refusal_is_not_unpacked_whole(wire: Wire) -> None:
    bomb = gzip.compress(b" " * (MOST_ERROR_BYTES * 40))
    found = await failure(lean_or_litellm(wire(Fault(400, body=bomb)), "lean"))
    assert (type(found), found.billed) == (Rejected, "unknown")


INSTEAD = {
    "a page": (b"<!doctype html><html><head><title>Sign in to Wi-Fi</title></head></html>", "text/html"),
    "a page of an event stream": (b"\n<html><body><h1>Sign in to Wi-Fi</h1></body></html>\n", "text/event-stream"),
    "plain words": (b"upstream: Sign in to Wi-Fi\n", "text/plain"),
}


@pytest.mark.parametrize("via", ["lean", "litellm"])
@pytest.mark.parametrize("name", INSTEAD)
async def test_what_stands_in_place_of_an_answer_is_told(wire: Wire, name: str, via: Via) -> None:
    body, kind = INSTEAD[name]
    found = await failure(lean_or_litellm(wire(Fault(200, body=body, headers=(("content-type", kind),))), via))
    what = "answered with a web page: Sign" if name.startswith("a page") else "an unexpected response: upstream: Sign"
    assert (type(found), found.retryable, found.billed) == (ProviderUnavailable, True, "unknown")
    assert f"{what} in to Wi-Fi" in found.message
    assert found.hint.startswith("check the address http://127.0.0.1:")
