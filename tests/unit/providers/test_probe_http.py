"""Failed connections of the probe, and proxies."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest

from agentctl.providers.probe import ProbeResult, probe_provider
from agentctl.providers.selection import ollama_models
from tests.support.probe_host import LONG_S, PATIENCES_S, Heard, Host, page, server_without_tls

KEY = "sk-not-to-be-seen-1234567890"
NOWHERE = ".".join(["nowhere" * 8] * 5)  # too long for any name service: nobody is asked
LIST = page({"object": "list", "data": [{"id": "m-2"}, {"id": "m-1"}]})


def found(answer: ProbeResult) -> tuple[object, ...]:
    """Return the fields to compare, without the duration."""
    return (answer.reachable, answer.key, answer.model_known, answer.status)


def test_unreachable_server_gets_a_hint() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    ollama, own = probe_provider("ollama", url, None, "llama3.1"), probe_provider("openai", f"{url}/v1", KEY)
    assert (*found(ollama), ollama.error) == (
        *(False, "not needed", None, "unavailable"),
        f"nothing listens at {url}: start it: ollama serve",
    )
    assert (*found(own), own.error) == (
        *(False, "unknown", None, "unavailable"),
        f"nothing listens at {url}: check the server and the address",
    )


def test_unknown_host_name_is_reported() -> None:
    answer = probe_provider("openai", f"http://{NOWHERE}/v1", KEY)
    assert found(answer) == (False, "unknown", None, "unavailable")
    assert answer.error.endswith("was not found: check the name and the network")


def test_server_without_tls_is_reported() -> None:
    with server_without_tls() as url:
        answer = probe_provider("openai", url, KEY)
        assert found(answer) == (False, "unknown", None, "unavailable")
        assert answer.error == f"the server at {url} does not speak TLS: use http:// if it has no TLS"
        said = f"{url} did not complete a TLS handshake: use http:// if it has no TLS"
        for patience_s in PATIENCES_S:
            answer = probe_provider("openai", url, KEY, patience_s=patience_s)  # nobody accepts any more
            if answer.error == said:
                break
        assert answer.error == said


@pytest.mark.parametrize("base", ["ftp://x", "http://", "http://[x", "http://h:0", "http://h:99999", "x", "http://h:y"])
def test_invalid_address_is_reported(base: str) -> None:
    answer = probe_provider("openai", base, KEY)
    assert (found(answer), "is not a valid address" in answer.error) == (
        (False, "unknown", None, "unavailable"),
        True,
    )


def test_silent_server_ends_with_the_timeout() -> None:
    with Host() as host:
        host.pages["/v1/models"] = host.silence
        answer = probe_provider("openai", f"{host.url}/v1", KEY, patience_s=0.3)
        assert found(answer) == (False, "unknown", None, "unavailable")
        assert answer.error.startswith(f"{host.url} did not answer in time")
        assert host.left.wait(LONG_S)


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"220 me ESMTP\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 60_000 + b"\r\n"]
)
def test_server_that_does_not_speak_http_is_reported(said: bytes) -> None:
    with Host({"/v1/models": said}) as host:
        assert "does not speak HTTP" in probe_provider("openai", f"{host.url}/v1", KEY).error


def test_broken_connection_is_reported() -> None:
    with Host({"/v1/models": b""}) as host:
        assert "closed the connection" in probe_provider("openai", f"{host.url}/v1", KEY).error


def test_server_that_greets_in_another_protocol_is_reported_at_once() -> None:
    with Host() as host:

        def greet(client: socket.socket, heard: Heard) -> None:
            client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            host.silence(client, heard)

        host.pages["/v1/models"] = greet
        answer = probe_provider("openai", f"{host.url}/v1", KEY, patience_s=LONG_S)
        assert ("does not speak HTTP" in answer.error, answer.ms < 1000 * LONG_S / 2) == (True, True)
        assert host.left.wait(LONG_S)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\nX: y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n{"]
)
def test_endless_response_ends_with_the_timeout(data: bytes) -> None:
    with Host() as host:
        host.pages["/v1/models"] = host.drip(data)
        began = time.monotonic()
        answer = probe_provider("openai", f"{host.url}/v1", KEY, patience_s=0.3)
        assert time.monotonic() - began < LONG_S / 2
        assert answer.error.startswith(f"{host.url} did not answer in time")
        assert host.left.wait(LONG_S)


def test_a_body_without_an_end_is_read_up_to_the_limit() -> None:
    with Host() as host:

        def pour(client: socket.socket, heard: Heard) -> None:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with suppress(OSError):
                while True:
                    client.sendall(b" " * 65536)

        host.pages["/v1/models"] = pour
        assert found(probe_provider("openai", f"{host.url}/v1", KEY, patience_s=LONG_S)) == (
            True,
            "accepted",
            None,
            "done",
        )


def test_a_body_that_is_cut_short_leaves_the_status() -> None:
    short = b" Unauthorized\r\nContent-Length: 400\r\n\r\n{"
    with Host({"/v1/models": b"HTTP/1.1 401" + short}) as host:
        assert found(probe_provider("openai", f"{host.url}/v1", KEY)) == (True, "rejected", None, "auth")


def test_silent_name_server_ends_with_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def silent(*_: object, **__: object) -> list[object]:
        over.wait(LONG_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    began = time.monotonic()
    answer = probe_provider("openai", "http://llm.invalid/v1", KEY, patience_s=0.3)
    over.set()
    assert time.monotonic() - began < LONG_S / 2
    assert answer.error.startswith("the host of http://llm.invalid was not found: ")


def test_a_name_with_two_addresses_is_asked_at_the_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def two(name: str, port: int | None, *words: int, **more: int) -> list[object]:
        names = ["127.0.0.2", "127.0.0.1"] if name == "llm.invalid" else [name]
        return [found for name in names for found in real(name, port, *words, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with Host({"/v1/models": LIST}) as host:
        assert probe_provider("openai", f"http://llm.invalid:{host.port}/v1", KEY, "m-1").status == "done"
        assert host.heard[0].headers["host"] == f"llm.invalid:{host.port}"


@pytest.mark.needs("IPv6")
def test_an_ipv6_address_is_asked_as_it_is() -> None:
    with Host({"/v1/models": LIST, "/api/tags": page({"models": []})}, address="::1") as host:
        assert probe_provider("openai", f"{host.url}/v1", KEY, "m-1").status == "done"
        assert host.heard[0].headers["host"] == f"[::1]:{host.port}"
        assert ollama_models(host.url, patience_s=LONG_S) == ()


def test_the_key_goes_before_a_password_in_the_address_and_neither_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with Host({"/v1/models": LIST}) as host:
        probe_provider("openai", host.url.replace("//", "//me:hidden%21@") + "/v1", KEY)
        assert host.heard[0].headers["authorization"] == f"Bearer {KEY}"
    assert caplog.records
    for secret in ("hidden", KEY):
        assert secret not in caplog.text


def test_a_host_by_name_is_found_at_either_of_its_addresses() -> None:
    with Host({"/v1/models": LIST}) as host:
        assert probe_provider("openai", f"http://localhost:{host.port}/v1", KEY).models == ("m-1", "m-2")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert probe_provider("openai", f"http://localhost:{port}/v1", KEY).status == "unavailable"


def through_a_proxy(monkeypatch: pytest.MonkeyPatch, scheme: str, proxy: str) -> None:
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{scheme}_proxy", proxy)


def test_a_proxy_of_the_environment_is_used_for_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    with Host({f"http://{NOWHERE}/v1/models": LIST}) as proxy:
        through_a_proxy(monkeypatch, "http", proxy.url.replace("//", "//me:pass@"))
        assert probe_provider("openai", f"http://{NOWHERE}/v1", KEY, "m-1").status == "done"
        assert proxy.heard[0].headers["proxy-authorization"] == "Basic bWU6cGFzcw=="
        assert proxy.heard[0].headers["host"] == NOWHERE
        monkeypatch.setenv("no_proxy", NOWHERE)
        assert "was not found" in probe_provider("openai", f"http://{NOWHERE}/v1", KEY).error


def test_a_proxy_is_not_used_for_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    with Host() as proxy, Host({"/v1/models": LIST}) as host:
        through_a_proxy(monkeypatch, "http", proxy.url)
        assert probe_provider("openai", f"{host.url}/v1", KEY).status == "done"
        assert proxy.heard == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (page(b"", "407 Proxy Authentication Required"), "the proxy answered 407"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the proxy did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nno TLS at all", "does not speak TLS"),
    ],
)
def test_proxy_that_does_not_forward_is_reported(monkeypatch: pytest.MonkeyPatch, answer: bytes, said: str) -> None:
    with Host({"llm.invalid:443": answer}) as proxy:
        through_a_proxy(monkeypatch, "https", proxy.url)
        found_out = probe_provider("openai", "https://llm.invalid/v1", KEY)
        assert (found_out.status, said in found_out.error) == ("unavailable", True)
        assert [heard.headers.get("authorization") for heard in proxy.heard] == [None]


def test_proxy_of_another_kind_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    through_a_proxy(monkeypatch, "https", "socks5://127.0.0.1:9")
    assert "does not support socks5 proxies" in probe_provider("openai", "https://llm.invalid/v1", KEY).error


def test_an_official_provider_without_a_key_is_missing_it_whatever_else_goes_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Host() as proxy:
        through_a_proxy(monkeypatch, "https", proxy.url)
        answer = probe_provider("openai", "https://api.openai.com/v1", None)
        assert found(answer) == (False, "missing", None, "unavailable")
        assert proxy.lines == ["CONNECT api.openai.com:443"]
