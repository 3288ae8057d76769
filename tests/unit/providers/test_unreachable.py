"""A provider that cannot be reached: why, with a hint, and whether another attempt may help."""

from __future__ import annotations

import errno
import socket
import ssl

import httpx
import pytest

from agentctl.core.errors import AgentctlError, ProviderError, ProviderUnavailable, Unreachable
from agentctl.providers.error_documents import ErrorContext
from agentctl.providers.error_mapping import translate_error
from agentctl.providers.factory import OllamaProvider, OpenAIProvider
from agentctl.providers.http_gate import Attempt, RequestTerms
from agentctl.providers.remote import RemoteProvider
from agentctl.providers.stream_readers import OpenAIReader
from tests.support.certificates import Certificate
from tests.support.formats import KEY, answer_of, asked
from tests.support.probe_host import Host, server_without_tls

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
    assert error.message.endswith(": self-signed certificate")
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
