"""Translate failures at a provider into our errors with a hint: by the wire first, by litellm's exception last."""

from __future__ import annotations

import errno
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from agentctl.core.errors import (
    AgentctlError,
    AuthFailed,
    Billed,
    ContextOverflow,
    ModelGone,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
    Refused,
    Rejected,
    Unreachable,
)
from agentctl.core.redaction import redact
from agentctl.core.text import safe_text
from agentctl.providers.endpoints import is_official, is_own_host
from agentctl.providers.http_gate import FREE_BY_STATUS, Attempt
from agentctl.settings.host import proxy_for
from agentctl.settings.merge import format_value

_FREE_BY_DOCUMENT = frozenset({400, 413, 422, 429})  # others are free whatever the body is: Attempt.is_free_refusal
_NO_SUCH_HOST = frozenset({socket.EAI_NONAME, socket.EAI_FAIL, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_NO_SUCH_FAMILY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH})  # such as ::1 without IPv6
_MOST_QUOTED = 300
_MOST_READ = 16_384
_TOO_LONG = re.compile(
    r"context.length|context.window|maximum context|prompt is too long|too many (input )?tokens|input is too long"
    r"|exceeds? the (available )?context|longer than the context|exceed context limit|request_too_large"
    r"|token count .{0,20}exceeds the maximum number of tokens",
    re.IGNORECASE,
)
_THE_WINDOW = re.compile(
    r"(?:context length is|context limit: \d+ \+ \d+ >|tokens >|context size \(|tokens allowed \()\s*(\d{1,9})\b"
)
_THE_PROMPT = re.compile(
    r"(?:resulted in|request has|is too long:|context limit:|request \(|token count \()\s*(\d{1,9})\b"
)
_PARTS_OF_IT = re.compile(r"\b(\d{1,9}) in the (?:messages|prompt|functions)\b")
_NO_MODEL = re.compile(
    r"model_not_found|unknown.model|no such model|invalid model|model\b.{0,120}\b(not found|does not exist|not exist"
    r"|is not supported|no longer available|has been deprecated|decommissioned|not available|is not a valid)"
    r"|not_found_error.{0,40}model",
    re.IGNORECASE | re.DOTALL,
)
_NO_QUOTA = re.compile(
    r"insufficient_quota|exceeded your current quota|credit balance|insufficient.balance|billing", re.IGNORECASE
)
_NO_CREDIT = re.compile(
    r"credit balance is too low|insufficient.(balance|credit|funds)|insufficient_quota", re.IGNORECASE
)
_AFFORDABLE = re.compile(r"can only afford (\d[\d,]{0,11})\b", re.IGNORECASE)
#: The status that an error document in a stream means, by the words that providers use for its code or type.
_STATUS_OF: Mapping[str, int] = {
    "bad_request": 400,
    "context_length_exceeded": 400,
    "failed_precondition": 400,
    "invalid_argument": 400,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "unauthenticated": 401,
    "billing_error": 402,
    "insufficient_credits": 402,
    "payment_required": 402,
    "permission_denied": 403,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found": 404,
    "not_found_error": 404,
    "request_too_large": 413,
    "unprocessable_entity": 422,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "resource_exhausted": 429,
    "too_many_requests": 429,
    "api_error": 500,
    "internal": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "server_error": 500,
    "service_unavailable": 503,
    "unavailable": 503,
    "deadline_exceeded": 504,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_FILTERED = re.compile(r"content_policy|content_filter|content management policy|safety system", re.IGNORECASE)


class ErrorContext(NamedTuple):
    """The facts of a request for our errors: the provider, the model, the address, and hints for them.

    ``near`` returns a hint if another model may be meant. ``key`` is redacted in the provider's messages.
    """

    provider: str
    model: str
    base_url: str
    key_name: str = ""
    near: Callable[[], str] = str
    hint_unreachable: str = ""
    hint_model: str = ""
    key: str = ""

    def quote(self, text: str) -> str:
        """Return a provider's message for one of our errors: on one line, of limited length, with the key redacted."""
        line = " ".join(safe_text(redact(text[:_MOST_READ], (self.key,))).split())
        return (line if len(line) <= _MOST_QUOTED else line[: _MOST_QUOTED - 1] + "…").rstrip(".")


def translate_error(error: BaseException | None, attempt: Attempt, context: ErrorContext) -> AgentctlError:
    """Return our error for a failed attempt; ``error`` None: the stream ended before the answer did."""
    if isinstance(error, AgentctlError):
        return error
    if attempt.refusal is not None:
        return attempt.refusal
    if not attempt.sent:
        return _unsent_error(error, context)
    if not attempt.connected:
        return _connection_error(attempt, context)
    if attempt.is_error:
        return _refusal(attempt, context)
    if attempt.reader.error is not None:
        return _stream_error(attempt, attempt.reader.error, context)
    if attempt.broken is None and attempt.status is not None and attempt.reader.events == 0:
        return ProviderUnavailable(
            f"{context.provider} returned an unexpected response",
            hint=f"check the address {context.base_url or 'of the provider'}, with its path (such as /v1)",
        )
    if error is not None and attempt.broken is None and not attempt.ended:
        return ProviderUnavailable(f"{context.provider} sent an unreadable answer", hint="try again")
    return ProviderUnavailable(f"the answer of {context.provider} was cut short", hint="try again")


def _unsent_error(error: BaseException | None, context: ErrorContext) -> ProviderError:
    """Return the error for a request that litellm could not make: a key, a package or litellm's support is missing."""
    name = type(error).__name__
    quoted = context.quote(re.sub(r"^litellm\.\w+: ", "", str(error)))
    if name == "AuthenticationError" or "api_key" in quoted or "credentials" in quoted.lower():
        return AuthFailed(
            f"{context.provider} needs a key: {quoted}", hint=_key_hint(context), billed="no", unsent=True
        )
    return Rejected(
        f"cannot make a request to {context.provider}: {quoted}",
        hint="choose another model",
        billed="no",
        unsent=True,
    )


def _connection_error(attempt: Attempt, context: ErrorContext) -> ProviderError:
    if type(attempt.broken).__name__ == "LocalProtocolError":  # its words may quote the key
        return AuthFailed(
            f"the key of {context.provider} contains a line break or a space and cannot be sent",
            hint=_key_hint(context),
            billed="no",
            unsent=True,
        )
    why, hint, is_final = _explain_connection(attempt.broken, context)
    kind = Unreachable if is_final else ProviderUnavailable
    place = f" at {context.base_url}" if context.base_url else ""
    return kind(f"{context.provider} cannot be reached{place}: {why}", hint=hint, billed="no", unsent=True)


def _explain_connection(broken: Exception | None, context: ErrorContext) -> tuple[str, str, bool]:
    """Return why there is no connection, a hint, and whether it will be the same in a moment."""
    proxy = proxy_for(context.base_url)
    through = f" (through the proxy {format_value(proxy)})" if proxy else ""
    hint = context.hint_unreachable or "check the address and the network"
    hint = "check HTTPS_PROXY and NO_PROXY" if proxy else hint
    found = tuple(_root_causes(broken))
    causes = tuple(cause for cause in found if getattr(cause, "errno", None) not in _NO_SUCH_FAMILY) or found
    first = causes[0] if causes else None
    match first:
        case ConnectionRefusedError() if all(isinstance(cause, ConnectionRefusedError) for cause in causes):
            is_here = is_own_host(proxy or context.base_url) or _is_any_address(proxy or context.base_url)
            why = f"nothing listens at the proxy {format_value(proxy)}" if proxy else "nothing listens there"
            if is_here:
                return (
                    why,
                    hint if proxy or context.hint_unreachable else "start the server, or check its address",
                    True,
                )
            return f"connection refused{through}", hint, False
        case socket.gaierror():
            is_unknown = first.errno in _NO_SUCH_HOST
            why = "the host was not found" if is_unknown else "the name service did not answer"
            is_ours = proxy is None and is_official(context.provider, context.base_url)  # it exists: try again
            return f"{why}{through}", hint if proxy else "check the name and the network", is_unknown and not is_ours
        case ssl.SSLCertVerificationError():
            reason = context.quote(first.verify_message)
            trust = "its certificate is not trusted here; set SSL_CERT_FILE to the authorities to trust"
            return f"{reason}{through}", "check the address" if "mismatch" in reason else trust, True
        case ssl.SSLError() if getattr(first, "reason", "") in (
            "WRONG_VERSION_NUMBER",
            "HTTP_REQUEST",
            "RECORD_LAYER_FAILURE",
        ):
            return f"the server does not speak TLS{through}", "use http:// if it has no TLS", True
        case _:
            words = getattr(first, "strerror", None) or str(broken or "no connection") or type(broken).__name__
            return f"{context.quote(words)}{through}", hint, False


def _is_any_address(url: str) -> bool:
    """Return whether ``url`` names 0.0.0.0 or ::, by which a client reaches this host."""
    return urlsplit(url).hostname in ("0.0.0.0", "::")  # noqa: S104 - nothing is bound


def _root_causes(error: BaseException | None) -> Iterator[BaseException]:
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
        yield from _root_causes(cause)


def _refusal(attempt: Attempt, context: ErrorContext) -> ProviderError:
    """Return the error for an answer other than 2xx, by its status and its document."""
    status, document = attempt.status or 0, _document(attempt.body)
    complete = attempt.ended and document is not None
    free = attempt.is_free_refusal or (complete and status in _FREE_BY_DOCUMENT)
    text = attempt.body[:65536].decode("utf-8", "replace")
    return _error_for_status(status, document, text, "no" if free else "unknown", attempt.headers, context)


def _error_for_status(
    status: int,
    document: Mapping[str, object] | None,
    text: str,
    billed: Billed,
    headers: Mapping[str, str],
    context: ErrorContext,
) -> ProviderError:
    """Return the error for an HTTP status; ``text`` is the unparsed document."""
    quoted = context.quote(_words(document)) or f"HTTP {status}"
    after = _retry_after(headers)
    summary = f"{context.provider}: {quoted}"

    def error(kind: type[ProviderError], message: str, hint: str) -> ProviderError:
        return kind(message, hint=hint, billed=billed, retry_after=after)

    if 300 <= status < 400:
        location = context.quote(headers.get("location", "elsewhere"))
        return error(
            Rejected,
            f"{context.provider} redirects to {location}",
            "set that address: agentctl does not follow redirects",
        )
    no_credit = {400: _NO_CREDIT, 403: _NO_CREDIT, 429: _NO_QUOTA}.get(status)
    if status == 402 or (no_credit is not None and no_credit.search(text)):
        return QuotaExceeded(
            f"{summary} (quota)",
            hint=f"add credits at {context.provider}, or choose another provider",
            billed=billed,
            retry_after=after,
            affordable=_affordable(text),
        )
    if status == 429:
        wait = f" in {after:.0f} s" if after else ""
        return error(RateLimited, f"{summary} (rate limit)", f"try again{wait or ' later'}")
    if status in (401, 403):
        return error(AuthFailed, f"{context.provider} rejected the key: {quoted}", _key_hint(context))
    if status in (400, 404, 410) and _NO_MODEL.search(text):
        return error(
            ModelGone, f"{context.provider} does not know the model {context.model}: {quoted}", _model_hint(context)
        )
    if status == 413 or (status in (400, 422, 500) and _TOO_LONG.search(text)):
        window, prompt = _sizes(text)
        return ContextOverflow(
            f"the conversation does not fit the context window of {context.model}: {quoted}",
            hint="lower MAX_CONTEXT_TOKENS, or choose a model with a larger window",
            billed=billed,
            retry_after=after,
            window=window,
            prompt=prompt,
        )
    if status == 400 and _FILTERED.search(text):
        return error(
            Refused,
            f"{context.provider} refuses to answer this: {quoted}",
            "explain what the task is for, or rephrase it",
        )
    if status == 404:
        return error(
            ModelGone,
            f"{context.provider} has nothing at this address ({context.base_url}): {quoted}",
            _model_hint(context),
        )
    if status in (408, 409, 425) or status >= 500:
        said = summary if summary.endswith(f"HTTP {status}") else f"{summary} (HTTP {status})"
        return error(ProviderUnavailable, said, "try again later")
    return error(Rejected, f"{context.provider} rejected the request: {quoted}", "choose another model or provider")


def _sizes(text: str) -> tuple[int | None, int | None]:
    """Return the tokens of the window and of the prompt, if the message of a refusal names them."""
    window, prompt = _THE_WINDOW.search(text), _THE_PROMPT.search(text)
    parts = sum(map(int, _PARTS_OF_IT.findall(text)))
    return int(window[1]) if window else None, int(prompt[1]) if prompt else parts or None


def _stream_error(attempt: Attempt, document: Mapping[str, object], context: ErrorContext) -> ProviderError:
    """Return the error for an error event: a refusal before any part of an answer, else a failure of unknown cost."""
    status = _status_of(document)
    if attempt.reader.spoken or status is None:
        quoted = context.quote(_words({"error": document})) or "an error in mid-answer"
        if status == 429:
            return RateLimited(f"{context.provider} interrupted its answer: {quoted}", hint="try again later")
        return ProviderUnavailable(f"{context.provider} interrupted its answer: {quoted}", hint="try again later")
    free = status in _FREE_BY_DOCUMENT or status in FREE_BY_STATUS
    text = json.dumps(document, ensure_ascii=False)[:65536]
    return _error_for_status(status, {"error": document}, text, "no" if free else "unknown", attempt.headers, context)


def _status_of(document: Mapping[str, object]) -> int | None:
    """Return the HTTP status that an error document names; of several a server error comes first."""
    found = list[int]()
    for name in ("code", "status", "type"):
        value = document.get(name)
        number = int(value) if isinstance(value, str) and re.fullmatch(r"[45]\d\d", value) else value
        if type(number) is int and 400 <= number < 600:
            found.append(number)
        elif isinstance(value, str) and value.lower() in _STATUS_OF:
            found.append(_STATUS_OF[value.lower()])
    return next((status for status in found if status >= 500), found[0] if found else None)


def _affordable(text: str) -> int | None:
    """Return the output tokens that the credits still pay for, if a refusal names them."""
    found = _AFFORDABLE.search(text)
    return int(found[1].replace(",", "")) if found else None


def _document(body: bytes) -> Mapping[str, object] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list) and found:  # Gemini's errors come in a list
        found = found[0]
    return found if isinstance(found, dict) else None


def _words(document: Mapping[str, object] | None) -> str:
    """Return the message of an error document, or ""."""
    inner = (document or {}).get("error", document)
    if isinstance(inner, Mapping):
        inner = inner.get("message") or inner.get("detail") or inner.get("type")
    return inner if isinstance(inner, str) else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a provider asks to wait: as a number, in milliseconds, or as a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            return float(value) * unit
    try:
        at = parsedate_to_datetime(headers.get("retry-after", ""))
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0.0, (at - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


def _key_hint(context: ErrorContext) -> str:
    if context.provider == "ollama":
        return f"check what answers at {context.base_url}: Ollama itself needs no key"
    if not context.key_name:
        return f"set the variable from which litellm reads the key of {context.provider}"
    return f"agentctl providers set-key {context.provider}   (or set {context.key_name})"


def _model_hint(context: ErrorContext) -> str:
    return context.hint_model or context.near() or "agentctl providers list   shows what each provider uses by default"
