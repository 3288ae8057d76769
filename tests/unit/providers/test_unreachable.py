"""A provider that cannot be reached: why, with a hint, and whether another attempt may help."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.abc
import httpx
import pytest

from agentctl.core.errors import (
    AgentctlError,
    ProviderError,
    ProviderUnavailable,
    Rejected,
    Unreachable,
    UsageError,
)
from agentctl.providers.error_documents import ErrorContext
from agentctl.providers.error_mapping import translate_error
from agentctl.providers.factory import OllamaProvider, OpenAIProvider
from agentctl.providers.http_gate import Attempt, RequestTerms
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.stream_readers import OpenAIReader
from tests.support.certificates import Certificate
from tests.support.formats import KEY, answer_of, asked
from tests.support.probe_host import Host, server_without_tls
from tests.support.wire.server import Fault, WireServer

REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")

NO_IPV6 = OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")


async def failure_of(provider: RemoteProvider) -> AgentctlError:
    with pytest.raises(ProviderUnavailable) as caught:
        await answer_of(provider, asked())
    await provider.aclose()
    assert (caught.value.billed, caught.value.unsent) == ("no", True)
    return caught.value


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_server_on_this_host_is_final(host: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://{host}:{closed.getsockname()[1]}"
        for provider, hint in (
            (OpenAIProvider("gpt-4o", api_key=KEY, base_url=f"{url}/v1"), "start the server, or check its address"),
            (OllamaProvider("llama3.1", base_url=url), "start it: ollama serve   (OLLAMA_HOST sets its address)"),
        ):
            error = await failure_of(provider)
            assert (type(error), error.hint) == (Unreachable, hint)
            assert error.message.startswith(f"{provider.provider} cannot be reached at {url}")
            assert error.message.endswith(": nothing listens there")


async def test_proxy_on_this_host_that_does_not_run_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("HTTP_PROXY", f"http://me:hidden@{proxy}")
        error = await failure_of(OpenAIProvider("gpt-4o", api_key=KEY, base_url="http://models.example.com/v1"))
    assert type(error) is Unreachable
    assert error.message.endswith(f": nothing listens at the proxy http://***@{proxy}")
    assert error.hint == "check HTTPS_PROXY and NO_PROXY"


async def test_certificate_that_is_not_trusted_is_final(certificate: Certificate) -> None:
    with Host(tls=certificate.tls) as host:
        error = await failure_of(OpenAIProvider("gpt-4o", api_key=KEY, base_url=f"{host.url}/v1"))
    assert type(error) is Unreachable
    assert error.message.endswith("an authority that is not trusted here: self-signed certificate")
    assert "SSL_CERT_FILE" in error.hint


async def test_server_without_tls_is_final() -> None:
    with server_without_tls() as url:
        error = await failure_of(OpenAIProvider("gpt-4o", api_key=KEY, base_url=f"{url}/v1"))
    assert (type(error), error.hint) == (Unreachable, "use http:// if it has no TLS")


def explained(cause: BaseException, url: str) -> ProviderError:
    """Return our error for a connection that failed by ``cause``, as httpx reports it."""
    attempt = Attempt(RequestTerms(1, 1, url, asks_for_usage=True), OpenAIReader())
    attempt.hand_over(traced=True)
    broken = httpx.ConnectError(str(cause))
    broken.__cause__ = cause
    attempt.fail(broken)
    error = translate_error(broken, attempt, ErrorContext("openai", "gpt-4o", url))
    assert isinstance(error, ProviderError)
    return error


@pytest.mark.parametrize(
    ("cause", "url", "is_final"),
    [
        (REFUSED, "http://127.0.0.1:9/v1", True),
        (ExceptionGroup("all", [REFUSED, REFUSED]), "http://localhost:9/v1", True),
        (ExceptionGroup("all", [NO_IPV6, REFUSED]), "http://localhost:9/v1", True),
        (ExceptionGroup("all", [TimeoutError(), REFUSED]), "http://localhost:9/v1", False),
        (NO_IPV6, "http://[::1]:9/v1", False),
        (REFUSED, "http://0.0.0.0:9/v1", True),
        (REFUSED, "http://[::]:9/v1", True),
        (REFUSED, "http://box:9/v1", False),  # a server that starts
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "http://no-such-box/v1", True),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "https://api.openai.com/v1", False),  # it exists
        (socket.gaierror(socket.EAI_AGAIN, "later"), "http://box/v1", False),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "http://box/v1", False),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "https://api.openai.com/v1", False),
        (TimeoutError(), "http://127.0.0.1:9/v1", False),
        (ConnectionResetError(), "http://127.0.0.1:9/v1", False),
        (ssl.SSLError(1, "[SSL] handshake failure"), "https://box/v1", False),
    ],
)
def test_only_what_stays_the_same_is_final(cause: BaseException, url: str, is_final: bool) -> None:
    error = explained(cause, url)
    assert (isinstance(error, Unreachable), error.retryable) == (is_final, not is_final)
    assert error.message.startswith(f"openai cannot be reached at {url}: ")
    assert error.hint


def test_reason_is_that_of_the_system_and_not_that_all_attempts_failed() -> None:
    group = OSError("All connection attempts failed")
    group.__cause__ = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    assert explained(group, "http://box:9/v1").message.endswith("/v1: Connection reset by peer")


def tls_error(code: int, message: str) -> ssl.SSLCertVerificationError:
    """Return OpenSSL's error for a certificate."""
    error = ssl.SSLCertVerificationError(1, f"certificate verify failed: {message}")
    error.verify_code, error.verify_message = code, message
    return error


CERTIFICATES = {
    "expired": (10, "certificate has expired", "the certificate of box has expired", "renew it"),
    "not yet valid": (9, "certificate is not yet valid", "the certificate of box is not valid yet", "clock"),
    "another host": (62, "Hostname mismatch", "the certificate is not for box: Hostname mismatch", "check the address"),
    "another address": (64, "IP address mismatch", "the certificate is not for box", "check the address"),
    "unknown authority": (
        20,
        "unable to get local issuer certificate",
        "an authority that is not trusted",
        "SSL_CERT_FILE",
    ),
    "self-signed": (18, "self-signed certificate", "an authority that is not trusted here: self-s", "SSL_CERT_FILE"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_each_fault_of_a_certificate_has_a_sentence_and_is_final(name: str) -> None:
    code, said, message, hint = CERTIFICATES[name]
    error = explained(tls_error(code, said), "https://box/v1")
    assert type(error) is Unreachable
    assert message in error.message
    assert hint in error.hint


async def failure_in(monkeypatch: pytest.MonkeyPatch, url: str, **variables: str) -> AgentctlError:
    """Return the error of a request to ``url`` where the environment has these variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    provider = OpenAIProvider("gpt-4o", api_key=KEY, base_url=url)
    with pytest.raises(AgentctlError) as caught:
        await answer_of(provider, asked())
    await provider.aclose()
    return caught.value


@pytest.mark.parametrize(("content", "why"), [(None, "does not exist"), ("no certificate", "holds no certificate")])
async def test_wrong_ssl_cert_file_is_named_and_is_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("authorities.pem")
    if content is not None:
        file.write_text(content)
    error = await failure_in(monkeypatch, "https://llm.invalid/v1", SSL_CERT_FILE=str(file))
    assert type(error) is UsageError
    assert f"SSL_CERT_FILE names {file}, which {why}" in error.message
    assert error.hint.startswith("unset SSL_CERT_FILE")


async def test_proxy_that_cannot_be_used_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://llm.invalid/v1"
    socks = await failure_in(monkeypatch, url, ALL_PROXY="socks5://me:hidden@127.0.0.1:9")
    assert (type(socks), socks.hint) == (UsageError, "pip install 'httpx[socks]'")
    assert "ALL_PROXY is socks5://***@127.0.0.1:9, and a SOCKS proxy needs" in socks.message
    other = await failure_in(monkeypatch, url, https_proxy="socks4://127.0.0.1:9")
    assert (type(other), other.hint) == (UsageError, "export https_proxy=http://HOST:PORT")
    assert "https_proxy is socks4://127.0.0.1:9, and agentctl does not support socks4:// proxies" in other.message


PROXIES = {
    "407": (b"HTTP/1.1 407 Proxy Authentication Required", "requires a user name and a password (407", True),
    "401": (b"HTTP/1.1 401 Unauthorized", "requires a user name and a password (401", True),
    "403": (b"HTTP/1.1 403 Filtered", "does not let requests through to llm.invalid (403 Filtered)", True),
    "502": (b"HTTP/1.1 502 Bad Gateway", "has no connection to llm.invalid (502 Bad Gateway)", False),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2", "does not answer as an HTTP proxy", True),
}


@pytest.mark.parametrize("name", PROXIES)
async def test_refusal_of_a_proxy_names_the_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line, why, is_final = PROXIES[name]

    async def refuse(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(line + b"\r\nContent-Length: 0\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    proxy = f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"  # noqa: S610 - no Django here
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, refuse)
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        error = await failure_of(OpenAIProvider("gpt-4o", api_key=KEY, base_url="https://llm.invalid/v1"))
        group.cancel_scope.cancel()
    await listener.aclose()
    assert f"the proxy http://{proxy} {why}" in error.message
    assert isinstance(error, Unreachable) is is_final


async def test_proxy_that_does_not_speak_tls_is_told_apart_from_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with server_without_tls() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        error = await failure_of(OpenAIProvider("gpt-4o", api_key=KEY, base_url="https://llm.invalid/v1"))
    assert f"the proxy {proxy} does not speak TLS" in error.message
    assert error.hint == "write HTTPS_PROXY with http://"


async def test_host_of_a_proxy_that_is_not_found_is_told_as_the_proxys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    error = await failure_of(OpenAIProvider("gpt-4o", api_key=KEY, base_url="https://llm.invalid/v1"))
    assert "the host of the proxy http://proxy.invalid:3128 was not found" in error.message


async def test_407_of_a_plain_proxy_is_no_refusal_of_the_provider(
    wire: Callable[..., WireServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = wire(Fault(407, body=b"<html><title>407 Proxy Authentication Required</title></html>"))
    error = await failure_in(monkeypatch, "http://models.example.com/v1", HTTP_PROXY=server.url)
    assert type(error) is Rejected
    assert f"the proxy {server.url} requires a user name and a password (407" in error.message
