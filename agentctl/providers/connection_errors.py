"""Say why a request could not be sent: no server, no trusted certificate, a proxy in between, a setting that is wrong.

``providers.error_mapping`` handles what a server answered.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from agentctl.core.errors import (
    AgentctlError,
    AuthFailed,
    ProviderError,
    ProviderUnavailable,
    Rejected,
    Unreachable,
    UsageError,
)
from agentctl.providers.endpoints import is_official, is_own_host
from agentctl.providers.error_documents import ErrorContext
from agentctl.providers.http_gate import CONNECT_S
from agentctl.settings.host import certificate_variable, proxy_for, proxy_variable
from agentctl.settings.merge import format_value

if TYPE_CHECKING:
    from agentctl.providers.http_gate import Attempt

_NO_SUCH_HOST = frozenset({socket.EAI_NONAME, socket.EAI_FAIL, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_NO_SUCH_FAMILY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH})  # such as ::1 without IPv6
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_PROXY_HINT = "check HTTPS_PROXY and NO_PROXY"
_FILE_ERRORS = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "does not exist",
    errno.EACCES: "cannot be read",
    errno.EISDIR: "is a directory",
}
_X509_EXPIRED, _X509_NOT_YET = 10, 9  # OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED and _NOT_YET_VALID
_X509_WRONG_HOST = (62, 63, 64)  # of a host, an e-mail address, an IP address


class _Reason(NamedTuple):
    """Why there is no connection, a hint, and whether it will be the same in a moment."""

    why: str
    hint: str
    is_final: bool


def unsent_error(error: BaseException | None, context: ErrorContext) -> AgentctlError:
    """Return the error for a request that was never made: a setting, a key or a package is wrong or missing."""
    if (setting := _setting_error(error, context)) is not None:
        return setting
    name = type(error).__name__
    quoted = context.quote(re.sub(r"^litellm\.\w+: ", "", str(error)))
    if name == "AuthenticationError" or "api_key" in quoted or "credentials" in quoted.lower():
        return AuthFailed(f"{context.provider} needs a key: {quoted}", hint=key_hint(context), billed="no", unsent=True)
    return Rejected(
        f"cannot make a request to {context.provider}: {quoted}",
        hint="choose another model",
        billed="no",
        unsent=True,
    )


def _setting_error(error: BaseException | None, context: ErrorContext) -> UsageError | None:
    """Return the error for a variable of the environment that keeps every connection from being made."""
    proxy, name = proxy_for(context.base_url), proxy_variable(context.base_url)
    if proxy and isinstance(error, ImportError) and "socks" in str(error).lower():
        said = f"{name} is {format_value(proxy)}, and a SOCKS proxy needs the Python package socksio"
        return UsageError(said, hint="pip install 'httpx[socks]'")
    if proxy and isinstance(error, ValueError) and "proxy" in str(error).lower():
        scheme = urlsplit(proxy).scheme
        said = f"{name} is {format_value(proxy)}, and agentctl does not support {scheme}:// proxies"
        return UsageError(said, hint=f"export {name}=http://HOST:PORT")
    variable, file = certificate_variable()
    if variable and (isinstance(error, ssl.SSLError) or getattr(error, "errno", None) in _FILE_ERRORS):
        why = _FILE_ERRORS.get(getattr(error, "errno", None) or 0, "holds no certificate in PEM format")
        said = f"{variable} names {format_value(file)}, which {why}, so no connection can be trusted"
        return UsageError(said, hint=f"unset {variable}   (or name a file of certificates in it)")
    return None


def key_hint(context: ErrorContext) -> str:
    """Return how to set the key of a provider."""
    if context.provider == "ollama":
        return f"check what answers at {context.base_url}: Ollama itself needs no key"
    if not context.key_name:
        return f"set the variable from which litellm reads the key of {context.provider}"
    return f"agentctl providers set-key {context.provider}   (or set {context.key_name})"


def connection_error(attempt: Attempt, context: ErrorContext) -> ProviderError:
    """Return the error for an attempt of which not a byte left for the provider."""
    if type(attempt.broken).__name__ == "LocalProtocolError":  # its words may quote the key
        return AuthFailed(
            f"the key of {context.provider} contains a line break or a space and cannot be sent",
            hint=key_hint(context),
            billed="no",
            unsent=True,
        )
    why, hint, is_final = _explain(attempt.broken, context, in_tunnel=attempt.in_tunnel)
    kind = Unreachable if is_final else ProviderUnavailable
    place = f" at {context.base_url}" if context.base_url else ""
    return kind(f"{context.provider} cannot be reached{place}: {why}", hint=hint, billed="no", unsent=True)


def proxy_refusal(status: int, said: str, context: ErrorContext) -> _Reason:
    """Return why a proxy answered with a status instead of connecting; ``said`` is its own sentence, with the status.

    >>> proxy_refusal(403, "403 Filtered", ErrorContext("openai", "gpt-4o", "https://api.openai.com/v1")).is_final
    True
    """
    proxy = format_value(proxy_for(context.base_url) or "")
    host, name = urlsplit(context.base_url).hostname or "HOST", proxy_variable(context.base_url) or "HTTPS_PROXY"
    if status in (401, 407):  # tinyproxy's word for a wrong password is 401
        place = urlsplit(proxy_for(context.base_url) or "").netloc.rpartition("@")[2] or "HOST:PORT"
        has_user = "@" in (proxy_for(context.base_url) or "")
        why = "does not accept its user name and password" if has_user else "requires a user name and a password"
        return _Reason(f"the proxy {proxy} {why} ({said})", f"export {name}=http://USER:PASSWORD@{place}", True)
    if status in (400, 403, 404, 405):
        allow = f"allow {host} in the proxy, or go past it: export NO_PROXY={host}"
        return _Reason(f"the proxy {proxy} does not let requests through to {host} ({said})", allow, True)
    return _Reason(f"the proxy {proxy} has no connection to {host} ({said})", _PROXY_HINT, False)


def _explain(broken: Exception | None, context: ErrorContext, *, in_tunnel: bool) -> _Reason:
    """Return why there is no connection; ``in_tunnel``: a proxy had been asked for one."""
    proxy = proxy_for(context.base_url)
    through = f" (through the proxy {format_value(proxy)})" if proxy else ""
    hint = _PROXY_HINT if proxy else context.hint_unreachable or "check the address and the network"
    found = tuple(root_causes(broken))
    causes = tuple(cause for cause in found if getattr(cause, "errno", None) not in _NO_SUCH_FAMILY) or found
    first = causes[0] if causes else None
    match first:
        case ConnectionRefusedError() if all(isinstance(cause, ConnectionRefusedError) for cause in causes):
            return _refused(context, proxy, hint)
        case socket.gaierror():
            is_unknown = first.errno in _NO_SUCH_HOST
            if proxy:  # it looks up the provider's name itself
                why = "was not found" if is_unknown else "was not found: the name service did not answer"
                return _Reason(f"the host of the proxy {format_value(proxy)} {why}", hint, is_unknown)
            why = "the host was not found" if is_unknown else "the name service did not answer"
            is_ours = is_official(context.provider, context.base_url)  # it exists: try again
            return _Reason(why, "check the name and the network", is_unknown and not is_ours)
        case ssl.SSLError():
            return _explain_tls(first, context, proxy, in_tunnel=in_tunnel)
        case _ if proxy and type(first).__name__ == "ProxyError":
            said = context.quote(str(first))
            status = re.match(r"\d{3}\b", said)
            return proxy_refusal(int(status[0]) if status else 0, said, context)
        case _ if proxy and in_tunnel and type(first).__name__ == "RemoteProtocolError":
            return _Reason(f"the proxy {format_value(proxy)} does not answer as an HTTP proxy", hint, True)
        case _ if isinstance(first, TimeoutError) or type(first).__name__ == "ConnectTimeout":
            return _Reason(f"no connection within {CONNECT_S:.0f} s{through}", hint, False)
        case _:
            words = getattr(first, "strerror", None) or str(broken or "no connection") or type(broken).__name__
            return _Reason(f"{context.quote(words)}{through}", hint, False)


def _refused(context: ErrorContext, proxy: str | None, hint: str) -> _Reason:
    place = proxy or context.base_url
    why = f"nothing listens at the proxy {format_value(proxy)}" if proxy else "nothing listens there"
    if is_own_host(place) or _is_any_address(place):
        default = hint if proxy or context.hint_unreachable else "start the server, or check its address"
        return _Reason(why, default, True)
    through = f" by the proxy {format_value(proxy)}" if proxy else ""
    return _Reason(f"connection refused{through}", hint, False)


def _explain_tls(error: ssl.SSLError, context: ErrorContext, proxy: str | None, *, in_tunnel: bool) -> _Reason:
    """Return why there is no TLS: with the provider, or with a proxy that is reached by TLS itself."""
    host = urlsplit(context.base_url).hostname or "the server"
    is_of_proxy = proxy is not None and urlsplit(proxy).scheme == "https" and not in_tunnel
    whose = f"the proxy {format_value(proxy)}" if is_of_proxy else host
    through = f" (through the proxy {format_value(proxy)})" if proxy and not is_of_proxy else ""
    if isinstance(error, ssl.SSLCertVerificationError):
        why, hint = certificate_reason(error, whose, is_through_proxy=bool(through))
        return _Reason(f"{why}{through}", hint, True)
    if getattr(error, "reason", "") in _NOT_TLS:
        hint = (
            f"write {proxy_variable(context.base_url)} with http://" if is_of_proxy else "use http:// if it has no TLS"
        )
        server = f"the proxy {format_value(proxy)}" if is_of_proxy else "the server"
        return _Reason(f"{server} does not speak TLS{through}", hint, True)
    return _Reason(
        f"{context.quote(error.strerror or str(error))}{through}", "check the address and the network", False
    )


def certificate_reason(
    error: ssl.SSLCertVerificationError, whose: str, *, is_through_proxy: bool = False
) -> tuple[str, str]:
    """Return why the certificate of a server or proxy is not accepted, and a hint."""
    reason = safe_reason(error)
    code = getattr(error, "verify_code", None)
    if code == _X509_EXPIRED:
        return (
            f"the certificate of {whose} has expired",
            "renew it on the server; if it is valid, check the clock of this machine: date",
        )
    if code == _X509_NOT_YET:
        return f"the certificate of {whose} is not valid yet", "check the clock of this machine: date"
    if code in _X509_WRONG_HOST:
        return (
            f"the certificate is not for {whose}: {reason}",
            "check the address: use a name that is in the certificate",
        )
    hint = "set SSL_CERT_FILE to a PEM file with the certificate of the authority that signed it"
    if is_through_proxy:
        hint += " (the proxy's own, if it decrypts TLS)"
    return f"the certificate of {whose} is signed by an authority that is not trusted here: {reason}", hint


def safe_reason(error: ssl.SSLCertVerificationError) -> str:
    """Return OpenSSL's own words for what is wrong with a certificate."""
    return error.verify_message.rstrip(".")


def _is_any_address(url: str) -> bool:
    """Return whether ``url`` names 0.0.0.0 or ::, by which a client reaches this host."""
    return urlsplit(url).hostname in ("0.0.0.0", "::")  # noqa: S104 - nothing is bound


def root_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the errors behind ``error`` that have no cause themselves: one for each address that was tried."""
    if error is None:
        return
    behind: tuple[BaseException, ...] = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    if not behind:
        said = next((part for part in error.args if isinstance(part, BaseException)), None)  # httpcore hides the cause
        behind = tuple(cause for cause in (error.__cause__ or said,) if cause is not None)
    if not behind:
        yield error
    for cause in behind:
        yield from root_causes(cause)
