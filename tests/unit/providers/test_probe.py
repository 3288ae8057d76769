"""The probe of a provider: reachable, key accepted, model known, and every way of failure."""

from __future__ import annotations

import socket

import pytest

from agentctl.providers.probe import ProbeResult, probe_provider
from tests.support.probe_host import Heard, Host, page
from tests.support.wire.server import WireServer

KEY = "sk-not-to-be-seen-1234567890"
LIST = page({"object": "list", "data": [{"id": "m-2"}, {"id": "m-1"}]})


def found(answer: ProbeResult) -> tuple[object, ...]:
    """Return the fields to compare, without the duration."""
    return (answer.reachable, answer.key, answer.model_known, answer.status)


@pytest.mark.parametrize(("provider", "base"), [("openai", "/v1"), ("anthropic", ""), ("anthropic", "/v1")])
def test_accepted_key_and_known_model_are_reported(provider: str, base: str) -> None:
    with WireServer(keys=[KEY], models=["m-1", "m-2"]) as server:
        answer = probe_provider(provider, server.url + base, KEY, "m-1")
        assert answer._replace(ms=0.0) == ProbeResult(
            provider, server.url + base, True, "accepted", True, ("m-1", "m-2"), 0.0, "", "done", tls="none"
        )
        assert answer.ms > 0
        assert [heard.path for heard in server.books.requests] == ["/v1/models"]
        assert server.books.billed_nano == 0


@pytest.mark.parametrize(("provider", "base"), [("openai", "/v1"), ("anthropic", "")])
def test_refused_and_missing_keys_are_reported(provider: str, base: str) -> None:
    with WireServer(keys=[KEY]) as server:
        refused = probe_provider(provider, server.url + base, "sk-wrong-wrong-wrong", "m-1")
        assert found(refused) == (True, "rejected", None, "auth")
        assert refused.error == (f"{server.url}{base} refused the key (401): agentctl providers set-key {provider}")
        missing = probe_provider(provider, server.url + base, None, "m-1")
        assert found(missing) == (True, "missing", None, "auth")
        assert missing.error == f"{server.url}{base} needs a key: agentctl providers set-key {provider}"


def test_users_own_server_may_need_no_key() -> None:
    with WireServer(models=["m-1"]) as server:
        assert found(probe_provider("openai", server.openai_url, None, "m-1")) == (True, "not needed", True, "done")


@pytest.mark.parametrize(("provider", "base"), [("openai", "/v1"), ("anthropic", "")])
def test_a_model_that_the_server_denies_is_reported(provider: str, base: str) -> None:
    with WireServer(keys=[KEY], models=["m-12"]) as server:
        answer = probe_provider(provider, server.url + base, KEY, "m-13")
        assert found(answer) == (True, "accepted", False, "model_gone")
        assert (
            answer.error
            == f"{server.url}{base} does not know the model m-13: it has: m-12   (add --model {provider}/m-12)"
        )


def test_model_listed_under_another_name_is_found() -> None:
    alias = page({"id": "claude-haiku-4-5-20251001"})
    with Host({"/v1/models": LIST, "/v1/models/claude-haiku-4-5": alias}) as host:
        assert found(probe_provider("anthropic", host.url, KEY, "claude-haiku-4-5")) == (True, "accepted", True, "done")
        assert host.lines == ["GET /v1/models?limit=1000", "GET /v1/models/claude-haiku-4-5"]
        document = {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-haiku-4-6"}}
        host.pages["/v1/models/claude-haiku-4-6"] = page(document, "404 Not Found")
        gone = probe_provider("anthropic", host.url, KEY, "claude-haiku-4-6")
        assert found(gone) == (True, "accepted", False, "model_gone")


@pytest.mark.parametrize(
    "no_such_page",
    [
        b"",
        {"detail": "Not Found"},
        {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}},
        {"error": "not found"},
        ["error"],
    ],
)
def test_a_compatible_server_may_answer_to_a_model_that_it_does_not_list(no_such_page: object) -> None:
    with Host({"/v1/models": LIST, "/v1/models/any": page(no_such_page, "404 Not Found")}) as host:
        answer = probe_provider("openai", f"{host.url}/v1", None, "any")
        assert (*found(answer), answer.error) == (True, "not needed", None, "done", "")
        assert answer.models == ("m-1", "m-2")


def test_ollama_needs_no_key_and_knows_its_models_without_their_tag() -> None:
    with WireServer(models=["llama3.1"]) as server:
        for name in ("llama3.1", "llama3.1:latest"):
            assert found(probe_provider("ollama", server.url, None, name)) == (True, "not needed", True, "done")
        gone = probe_provider("ollama", server.url, None, "qwen3")
        assert found(gone) == (True, "not needed", False, "model_gone")
        way = "add --model ollama/llama3.1:latest, or: ollama pull qwen3"
        assert gone.error == f"{server.url} does not know the model qwen3: it has: llama3.1:latest   ({way})"


def test_gemini_is_asked_in_its_own_way() -> None:
    listed = page({"models": [{"name": "models/gemini-2.5-flash"}]})
    with Host({"/v1beta/models": listed}) as host:
        answer = probe_provider("gemini", f"{host.url}/v1beta", KEY, "gemini-2.5-flash")
        assert (*found(answer), answer.models) == (True, "accepted", True, "done", ("gemini-2.5-flash",))
        assert host.heard[0].headers["x-goog-api-key"] == KEY
        wrong = {"error": {"code": 400, "details": [{"reason": "API_KEY_INVALID"}]}}
        host.pages["/v1beta/models"] = page(wrong, "400 Bad Request")
        assert found(probe_provider("gemini", f"{host.url}/v1beta", KEY)) == (True, "rejected", None, "auth")


def test_openrouters_key_is_checked_separately_as_its_list_is_public() -> None:
    pages = {"/models": page({"data": [{"id": "a/b"}]}), "/key": page({}, "401 Unauthorized")}
    with Host(pages) as host:
        assert found(probe_provider("openrouter", host.url, KEY)) == (True, "rejected", None, "auth")
        host.pages["/key"] = page({"data": {}})
        assert found(probe_provider("openrouter", host.url, KEY, "a/b:free")) == (True, "accepted", True, "done")
        host.pages["/key"] = page({}, "502 Bad Gateway")
        assert found(probe_provider("openrouter", host.url, KEY)) == (True, "unknown", None, "done")


def test_mistrals_aliases_are_names_too() -> None:
    with Host({"/models": page({"data": [{"id": "m-2603", "aliases": ["m-latest"]}]})}) as host:
        assert probe_provider("mistral", host.url, KEY, "m-latest").model_known is True


def test_server_without_a_model_list_is_reachable() -> None:
    with Host() as host:
        answer = probe_provider("openai", f"{host.url}/v1", KEY, "m")
        assert (*found(answer), answer.error) == (True, "unknown", None, "done", "")


def test_list_longer_than_we_read_still_shows_that_the_key_is_accepted() -> None:
    with Host({"/v1/models": page(b"[" + b" " * 2**20 + b"]")}) as host:
        assert found(probe_provider("openai", f"{host.url}/v1", KEY, "m")) == (True, "accepted", None, "done")


@pytest.mark.parametrize(
    ("status", "ends", "said"),
    [
        ("403 Forbidden", "auth", "refused the key (403): agentctl providers set-key openai"),
        ("429 Too Many Requests", "rate_limited", "is limiting requests (429): try again later"),
        ("500 Oh\x1b[2J::error::", "unavailable", "answered 500"),
        ("503 Service Unavailable", "unavailable", "answered 503 Service Unavailable: try again later"),
        ("418 I'm a teapot", "unavailable", "answered 418 I'm a teapot"),
    ],
)
def test_each_refusal_ends_in_its_own_way(status: str, ends: str, said: str) -> None:
    with Host({"/v1/models": page({}, status)}) as host:
        answer = probe_provider("openai", f"{host.url}/v1", KEY)
        assert (answer.reachable, answer.status) == (True, ends)
        assert said in answer.error
        assert answer.error.isprintable()


@pytest.mark.parametrize("body", [b"<html>hello</html>", b'{"data": 7}', b"[" * 100_000])
def test_response_that_is_not_a_list_is_reported(body: bytes) -> None:
    with Host({"/v1/models": page(body)}) as host:
        answer = probe_provider("openai", f"{host.url}/v1", KEY)
        assert found(answer) == (True, "unknown", None, "unavailable")
        assert answer.error.endswith("does not list models as openai does: check the address (most end in /v1)")


def test_a_redirect_is_not_followed() -> None:
    moved = page(b"", "307 Temporary Redirect", "Location: http://user:hidden@127.0.0.1/elsewhere")
    with Host({"/v1/models": moved, "/elsewhere": LIST}) as host:
        answer = probe_provider("openai", f"{host.url}/v1", KEY)
        assert found(answer) == (True, "unknown", None, "unavailable")
        assert answer.error == f"{host.url}/v1 redirects to http://***@127.0.0.1/elsewhere: check the address"
        assert host.lines == ["GET /v1/models"]


def test_a_password_in_the_address_is_sent_and_never_shown() -> None:
    with Host({"/api/tags": page({"models": []}), "/v1/models": page({}, "500 No")}) as host:
        with_password = host.url.replace("//", "//me:hidden%21@")
        answer = probe_provider("ollama", with_password, None)
        assert (answer.status, answer.base_url) == ("done", host.url.replace("//", "//***@"))
        assert host.heard[0].headers["authorization"] == "Basic bWU6aGlkZGVuIQ=="
        assert "hidden" not in repr(probe_provider("openai", f"{with_password}/v1", KEY))


def test_the_key_stands_in_no_answer() -> None:
    def echo(client: socket.socket, heard: Heard) -> None:
        client.sendall(page({"said": KEY}, f"500 {KEY}", f"Location: http://x/{KEY}"))

    with Host({"/v1/models": echo}) as host:
        answer = probe_provider("openai", f"{host.url}/v1", KEY)
        assert host.heard[0].headers["authorization"] == f"Bearer {KEY}"
        assert (answer.status, KEY in repr(answer)) == ("unavailable", False)


@pytest.mark.parametrize("key", ["", "sk-two words", "sk-line\r\nX-Evil: 1", "sk-\u00e9"])
def test_a_key_that_cannot_be_sent_is_not(key: str) -> None:
    with Host({"/v1/models": LIST}) as host:
        answer = probe_provider("openai", f"{host.url}/v1", key)
        assert (found(answer), host.heard) == ((True, "rejected", None, "auth"), [])


def test_builtin_answers_in_this_process() -> None:
    assert probe_provider("builtin", "", None) == ProbeResult(
        "builtin", "", True, "not needed", None, (), 0.0, "", "done"
    )
