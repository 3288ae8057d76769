"""Refusals: the real provider's documents, the door, and what is billed in spite of a fault."""

from __future__ import annotations

import http.client

import pytest

from tests.support.wire.client import FORMATS, PATHS, ask, body_for, connect, get, headers_for, send
from tests.support.wire.plugin import OpenWire
from tests.support.wire.script import Format, Json
from tests.support.wire.server import Answer, Fault


def told(form: Format, document: Json) -> tuple[str, str]:
    """Return the kind of the error and its sentence."""
    if form == "ollama":
        return "", document["error"]
    error = document["error"]
    return error.get("code") or error["type"], error["message"]


@pytest.mark.parametrize(
    ("form", "fault", "status", "kind", "words"),
    [
        ("openai", Fault(429), 429, "rate_limit_exceeded", "Rate limit reached for m in organization"),
        ("openai", Fault(code="insufficient_quota"), 429, "insufficient_quota", "You exceeded your current quota"),
        ("openai", Fault(code="context_length_exceeded"), 400, "context_length_exceeded", "maximum context length"),
        ("openai", Fault(401), 401, "invalid_api_key", "Incorrect API key provided: sk-good."),
        ("openai", Fault(404), 404, "model_not_found", "The model `m` does not exist"),
        ("openai", Fault(403), 403, "unsupported_country_region_territory", "not supported"),
        ("openai", Fault(422), 422, "invalid_request_error", "Unprocessable"),
        ("openai", Fault(500), 500, "server_error", "had an error while processing"),
        ("openai", Fault(503), 503, "server_error", "overloaded"),
        ("anthropic", Fault(400, "context_length_exceeded"), 400, "invalid_request_error", "prompt is too long: "),
        ("anthropic", Fault(code="insufficient_quota"), 400, "invalid_request_error", "credit balance is too low"),
        ("anthropic", Fault(401), 401, "authentication_error", "invalid x-api-key"),
        ("anthropic", Fault(403), 403, "permission_error", "does not have permission"),
        ("anthropic", Fault(404), 404, "not_found_error", "model: m"),
        ("anthropic", Fault(413), 413, "request_too_large", "maximum size"),
        ("anthropic", Fault(429), 429, "rate_limit_error", "would exceed your account's rate limit"),
        ("anthropic", Fault(500), 500, "api_error", "Internal server error"),
        ("anthropic", Fault(529), 529, "overloaded_error", "Overloaded"),
        ("ollama", Fault(404), 404, "", "model 'm' not found"),
        ("ollama", Fault(code="no_tools"), 400, "", "does not support tools"),
        ("ollama", Fault(503), 503, "", "server busy, please try again.  maximum pending requests exceeded"),
        ("ollama", Fault(500), 500, "", "model runner has unexpectedly stopped"),
    ],
    ids=lambda value: f"{value.status or value.code}" if isinstance(value, Fault) else "",
)
def test_a_fault_comes_as_the_providers_own_document(
    wire: OpenWire, form: Format, fault: Fault, status: int, kind: str, words: str
) -> None:
    server = wire([fault])
    got = ask(server, form, stream=True)
    found, sentence = told(form, got.json)
    assert (got.status, found, words in sentence) == (status, kind, True), got.json
    assert (server.books.entries, len(server.books.chat_requests)) == ((), 1)
    if form == "anthropic":
        assert (got.json["type"], got.json["request_id"]) == ("error", got.headers["request-id"])


def test_a_gateways_own_status_is_a_page(wire: OpenWire) -> None:
    got = ask(wire(Fault(502)), "openai")
    assert (got.status, got.headers["content-type"], got.raw[:6]) == (502, "text/html", b"<html>")


def test_a_fault_has_the_body_and_the_headers_it_is_given(wire: OpenWire) -> None:
    got = ask(wire(Fault(429, body=b"{}", headers=(("retry-after", "1"), ("x-should-retry", "true")))), "openai")
    assert (got.raw, got.headers["retry-after"], got.headers["x-should-retry"]) == (b"{}", "1", "true")


def test_a_redirect_says_where(wire: OpenWire) -> None:
    got = ask(wire(Fault(307, location="http://127.0.0.1:1/elsewhere")), "anthropic")
    assert (got.status, got.headers["location"], got.raw) == (307, "http://127.0.0.1:1/elsewhere", b"")


def test_a_reset_and_a_hang_up_come_without_a_byte(wire: OpenWire) -> None:
    server = wire([Fault(reset=True), Fault(hang_up=True)])
    with pytest.raises(ConnectionResetError) as caught:
        ask(server, "openai")
    assert not isinstance(caught.value, http.client.RemoteDisconnected)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server, "openai")
    assert server.books.entries == ()


@pytest.mark.parametrize("fault", [Fault(503), Fault(reset=True), Fault(hang_up=True), Fault(529, in_stream=True)])
def test_a_fault_may_be_billed(wire: OpenWire, fault: Fault) -> None:
    paid = Fault(fault.status, in_stream=fault.in_stream, reset=fault.reset, hang_up=fault.hang_up, bills=True,
                 input_tokens=100, output_tokens=7)  # fmt: skip
    server = wire([paid, Fault(503, bills=True, bill_nano=5)])
    try:
        ask(server, "anthropic", stream=True)
    except OSError:
        assert fault.reset or fault.hang_up
    ask(server, "openai")
    assert [entry.nano for entry in server.books.entries] == [170_000, 5]


@pytest.mark.parametrize("form", FORMATS)
def test_error_in_mid_stream_follows_the_text_before_it(wire: OpenWire, form: Format) -> None:
    fault = Fault(529 if form == "anthropic" else 500, in_stream=True, text="So far so good")
    got = ask(wire(fault), form, stream=True)
    *said, error = got.events
    assert (got.status, got.complete, len(said) > 1) == (200, True, True)
    assert "So fa" in got.raw.decode()
    if form == "anthropic":
        assert got.raw.decode().count("event: error\n") == 1
        assert (error["type"], error["error"]["type"]) == ("error", "overloaded_error")
    else:
        assert told(form, error)[1].startswith(("The server had an error", "model runner"))
    assert ask(wire(fault), form).status == fault.status


def test_the_door_refuses_wrong_keys_and_nothing_is_billed_or_used_up(wire: OpenWire) -> None:
    server = wire([Answer("a"), Answer("b")], keys=["sk-good"])
    wrong = "sk-wrong-0123456789abcdef"
    line = connect(server)
    for form, words in (
        ("openai", "Incorrect API key provided: sk-wrong*************cdef."),
        ("anthropic", "invalid x-api-key"),
    ):
        got = send(line, "POST", PATHS[form], body_for(form), headers_for(form, wrong))  # type: ignore[index, arg-type]
        assert (got.status, words in got.json["error"]["message"]) == (401, True), got.json
        listing = send(line, "GET", "/v1/models", None, headers_for(form, wrong))  # type: ignore[arg-type]
        assert listing.status == 401
    bare = send(line, "POST", PATHS["openai"], body_for("openai"))
    assert (bare.status, "didn't provide an API key" in bare.json["error"]["message"]) == (401, True)
    bare = send(line, "POST", PATHS["anthropic"], body_for("anthropic"), {"anthropic-version": "2023-06-01"})
    assert (bare.status, bare.json["error"]["message"]) == (401, "x-api-key header is required")
    line.close()
    assert server.books.entries == ()
    assert [ask(server, form).status for form in ("openai", "anthropic")] == [200, 200]
    assert len(server.books.chat_requests) == 6


@pytest.mark.parametrize("form", FORMATS)
def test_unknown_models_are_unknown_as_each_provider_says_it(wire: OpenWire, form: Format) -> None:
    got = ask(wire(Answer("a"), models=["other"]), form)
    kinds = {"openai": "model_not_found", "anthropic": "not_found_error", "ollama": ""}
    assert (got.status, told(form, got.json)[0]) == (404, kinds[form])
    assert ask(wire(Answer("a"), models=["m:latest" if form == "ollama" else "m"]), form).status == 200


@pytest.mark.parametrize(
    ("form", "change", "headers", "words"),
    [
        ("anthropic", {"max_tokens": ...}, {"anthropic-version": "2023-06-01"}, "max_tokens: Field required"),
        ("anthropic", {}, {"x-api-key": "k"}, "anthropic-version: header is required"),
        ("anthropic", {"messages": []}, {"anthropic-version": "2023-06-01"}, "at least one message is required"),
        ("openai", {"messages": []}, {}, "[] is too short - 'messages'"),
        ("ollama", {"model": ""}, {}, "model is required"),
    ],
)
def test_a_request_that_the_real_one_refuses_is_refused(
    wire: OpenWire, form: Format, change: Json, headers: dict[str, str], words: str
) -> None:
    body = {name: value for name, value in (body_for(form) | change).items() if value is not ...}
    line = connect(wire(Answer("a")))
    got = send(line, "POST", PATHS[form], body, headers)
    line.close()
    assert (got.status, words in told(form, got.json)[1]) == (400, True)


@pytest.mark.parametrize("form", FORMATS)
def test_body_that_is_not_json_is_refused(wire: OpenWire, form: Format) -> None:
    line = connect(wire(Answer("a")))
    got = send(line, "POST", PATHS[form], "not an object", headers_for(form))
    line.close()
    assert got.status == 400


def test_an_ollama_model_without_tools_says_so(wire: OpenWire) -> None:
    server = wire(Answer("a"), capabilities=("completion",))
    got = ask(server, "ollama", tools=("f",))
    assert (got.status, got.json) == (400, {"error": "registry.ollama.ai/library/m:latest does not support tools"})
    assert ask(server, "ollama").status == 200


def test_a_place_that_is_not_there_is_not_found(wire: OpenWire) -> None:
    server = wire()
    assert [get(server, path).status for path in ("/v1/nothing", "/api/nothing", "/v1/models/none")] == [404] * 3
