"""The probe over TLS: accepted certificates, what a proxy in between sees, and errors where TLS fails."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentctl.providers.probe import probe_provider
from agentctl.providers.selection import ollama_models
from tests.support.certificates import Certificate, make_certificate
from tests.support.probe_host import LONG_S, PATIENCES_S, Host, page, tunnel

KEY = "sk-not-to-be-seen-1234567890"
LIST = page({"object": "list", "data": [{"id": "m-1"}]})
PAGES = {"/v1/models": LIST, "/api/tags": page({"models": [{"name": "qwen3:4b", "capabilities": ["tools"]}]})}


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def host(certificate: Certificate) -> Iterator[Host]:
    """Open a host that speaks TLS on 127.0.0.1."""
    with Host(PAGES, tls=certificate.tls) as opened:
        yield opened


@contextmanager
def a_bare_host(answer: bytes, *, again: bool = False) -> Iterator[str]:
    """Give the address of a host that answers the first bytes with ``answer``, and with nothing, or it ``again``."""
    over = threading.Event()

    def speak() -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # nobody came
            return
        with client:
            client.recv(65536)
            client.sendall(answer)
            until = time.monotonic() + LONG_S
            while again and not over.wait(0.01) and time.monotonic() < until:
                try:
                    client.sendall(answer[-1:])
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=speak, daemon=True)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(LONG_S)


def test_self_signed_certificate_is_not_accepted(host: Host) -> None:
    answer = probe_provider("openai", f"{host.url}/v1", KEY, "m-1")
    assert (answer.reachable, answer.key, answer.status) == (False, "unknown", "unavailable")
    assert answer.error == (
        f"the certificate of {host.url} is not accepted: self-signed certificate: "
        "set SSL_CERT_FILE to the authorities to trust"
    )
    assert host.heard == []


def test_ssl_cert_file_names_an_authority_to_trust(
    host: Host, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    answer = probe_provider("openai", f"{host.url}/v1", KEY, "m-1")
    assert (answer.key, answer.model_known, answer.status, answer.error) == ("accepted", True, "done", "")
    assert answer.tls.startswith("TLSv1.")
    assert host.heard[0].headers["authorization"] == f"Bearer {KEY}"
    assert ollama_models(host.url, patience_s=LONG_S) == ("qwen3:4b",)


def test_ssl_cert_file_stands_beside_the_usual_certificates(
    host: Host, certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (usual := tmp_path / "usual").mkdir()
    certificate.put_into(usual)
    monkeypatch.setenv("SSL_CERT_DIR", str(usual))
    monkeypatch.setenv("SSL_CERT_FILE", str(make_certificate(tmp_path, "other", "DNS:other.invalid").path))
    assert probe_provider("openai", f"{host.url}/v1", KEY).status == "done"


def test_a_certificate_of_another_name_is_not_accepted(
    host: Host, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    url = f"https://localhost:{host.port}"
    assert probe_provider("openai", f"{url}/v1", KEY).error == (
        f"the certificate of {url} is not accepted: Hostname mismatch, certificate is not valid for 'localhost': "
        "check the address"
    )
    assert host.heard == []


def test_a_proxy_gives_a_tunnel_and_sees_no_key(
    host: Host, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    with Host({"llm.invalid:443": tunnel(host.port)}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:pa%21ss@"))
        answer = probe_provider("openai", "https://llm.invalid/v1", KEY, "m-1")
        assert (answer.key, answer.model_known, answer.status) == ("accepted", True, "done")
        assert proxy.lines == ["CONNECT llm.invalid:443"]
        assert proxy.heard[0].headers["proxy-authorization"] == "Basic bWU6cGEhc3M="
        assert KEY not in repr(proxy.heard)
    assert (host.lines, host.heard[0].headers["host"]) == (["GET /v1/models"], "llm.invalid")
    assert "proxy-authorization" not in host.heard[0].headers


def test_proxy_gets_an_ipv6_address_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    with Host() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        answer = probe_provider("openai", "https://[2001:db8::1]/v1", KEY)
        assert proxy.lines == ["CONNECT [2001:db8::1]:443"]
    assert answer.error.startswith("https://[2001:db8::1] cannot be reached: the proxy answered 404: check HTTPS_PROXY")


def test_silent_proxy_ends_with_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    with Host() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        for speak in (
            proxy.silence,
            proxy.drip(b"HTTP/1.1 200 OK\r\nX: y\r\n"),
            proxy.drip(b"HTTP/1.1 100 Go\r\n\r\n"),
        ):
            proxy.heard.clear()
            proxy.left.clear()
            proxy.pages["llm.invalid:443"] = speak
            for patience_s in PATIENCES_S:
                answer = probe_provider("openai", "https://llm.invalid/v1", KEY, patience_s=patience_s)
                assert answer.error.startswith("https://llm.invalid did not answer in time")
                if proxy.heard or proxy.left.wait(patience_s):
                    break
            assert proxy.left.wait(LONG_S)


def test_endless_handshake_ends_with_the_timeout() -> None:
    for patience_s in PATIENCES_S:
        with a_bare_host(b"\x16\x03\x03\x3f\xff\x02", again=True) as url:
            answer = probe_provider("openai", url, KEY, patience_s=patience_s)
        said = f"{url} did not complete a TLS handshake: use http:// if it has no TLS"
        if answer.error == said:
            break
    assert answer.error == said


def test_broken_handshake_is_reported() -> None:
    with a_bare_host(b"") as url:
        answer = probe_provider("openai", url, KEY)
        assert answer.status == "unavailable"
        assert answer.error.startswith(f"TLS with {url} failed: ")


def test_server_that_does_not_speak_http_within_tls_is_reported(
    host: Host, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    host.pages["/v1/models"] = b"220 mail.invalid ESMTP\r\n"
    assert "does not speak HTTP" in probe_provider("openai", f"{host.url}/v1", KEY).error
