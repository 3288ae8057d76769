"""Translate failures at a provider into our errors with a hint: by the wire first, by litellm's exception last.

``error_documents`` reads what a server said, ``connection_errors`` says why there was no server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import anyio.to_thread

from agentctl.core.errors import (
    AddressGone,
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
    RequestTooLarge,
)
from agentctl.providers.connection_errors import connection_error, key_hint, proxy_refusal, unsent_error
from agentctl.providers.endpoints import is_official
from agentctl.providers.error_documents import (
    MOST_READ,
    ErrorContext,
    affordable_in,
    document_of,
    holds_answer,
    is_page,
    rate_in,
    sizes_in,
    status_of,
    words_in,
    words_of,
)
from agentctl.providers.http_gate import FREE_BY_STATUS, Attempt
from agentctl.settings.host import proxy_for
from agentctl.settings.merge import format_value

_FREE_BY_DOCUMENT = frozenset({400, 413, 422, 429})  # others are free whatever the body is: Attempt.is_free_refusal
_TOO_LONG = re.compile(
    r"context.length|context.window|maximum context|prompt is too long|input is too long"
    r"|too many (input )?tokens(?!,? (please )?wait| per )|context.size (has been )?exceeded|range of input length"
    r"|exceed(s|ed) (the )?(model )?token limit|maximum prompt length|(prompt|input) exceeds? (the )?max"
    r"|tokens.? \+ .?max_new_tokens.? must be|reduce the length of (the|your) (messages|prompt|input)"
    r"|max size: \d+ tokens"
    r"|exceeds? the (available )?context|longer than the context|exceed context limit|request_too_large"
    r"|token count .{0,20}exceeds the maximum number of tokens|must have less than \d+ tokens",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(r"(entity|payload|body|content|request).{0,20}too large|too large.{0,30}(body|payload)", re.I)
_NO_MODEL = re.compile(
    r"model_not_found|unknown.model|no such model|invalid model|model\b.{0,120}\b(not found|does not exist|not exist"
    r"|is not supported|no longer available|has been deprecated|decommissioned|not available|is not a valid)"
    r"|not_found_error.{0,40}model|DeploymentNotFound",
    re.IGNORECASE | re.DOTALL,
)
_NO_QUOTA = re.compile(
    r"insufficient_quota|exceeded your current quota|credit balance|insufficient.balance|billing|budget_exceeded"
    r"|enter (a )?payment method|(weekly|monthly|daily|hourly|session) usage limit|daily request limit",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(
    r"credit balance is too low|insufficient.(balance|credit|funds)|insufficient_quota|budget_exceeded"
    r"|budget has been exceeded|(specified|monthly) api usage limits|arrearage|n[o']t have any credits|no credits"
    r"|requires a subscription",
    re.IGNORECASE,
)
_NO_KEY = re.compile(
    r"(api|access|secret).?key.{0,30}(not valid|invalid|incorrect|expired|not found)|(invalid|incorrect|wrong|expired)"
    r" (api|access|secret).?key|invalid_api_key|API_KEY_INVALID",
    re.IGNORECASE,
)
_NO_ENDPOINT = re.compile(
    r"no (allowed )?(endpoints|providers)( are)? (found|available)", re.IGNORECASE
)  # OpenRouter's
_TOO_OFTEN = re.compile(r"wait before trying|rate.?limit|too many requests|throttl", re.IGNORECASE)
_FILTERED = re.compile(r"content_policy|content_filter|content management policy|safety system", re.IGNORECASE)
#: Of the server's own: what it says besides is no refusal.
_FAULT = re.compile(r"internal|upstream|time(?:d[ -]?|[ -])?out|overload|unavailable|temporar|crash", re.IGNORECASE)
_ABOUT_THE_KEY = re.compile(r"key|token|auth|credential|permission|denied|forbidden|access", re.IGNORECASE)
_CHALLENGE = re.compile(
    rb"just a moment|attention required|checking your browser|cf-chl|challenge-platform|captcha|enable javascript",
    re.IGNORECASE,
)


async def explain_error(error: BaseException | None, attempt: Attempt, context: ErrorContext) -> AgentctlError:
    """Return our error for a failed attempt; where the model is wrong, with the models that the server has."""
    reader = attempt.reader
    if attempt.is_error and (document := document_of(attempt.body)) is not None:
        reader.read(document)
    elif reader.error is not None and not reader.spoken:
        await attempt.finish()  # it is a refusal only if no answer follows
    found = translate_error(error, attempt, context)
    if isinstance(found, ModelGone) and not isinstance(found, AddressGone):
        hint = await anyio.to_thread.run_sync(context.served, abandon_on_cancel=True)
        found.hint = hint or found.hint
    return found


def translate_error(error: BaseException | None, attempt: Attempt, context: ErrorContext) -> AgentctlError:
    """Return our error for a failed attempt; ``error`` None: the stream ended before the answer did."""
    if isinstance(error, AgentctlError):
        return error
    if attempt.refusal is not None:
        return attempt.refusal
    if not attempt.sent:
        return unsent_error(error, context)
    if not attempt.connected:
        return connection_error(attempt, context)
    if attempt.is_error:
        return _refusal(attempt, context)
    if attempt.reader.error is not None:
        return _stream_error(attempt, attempt.reader.error, context)
    if type(attempt.broken).__name__ == "DecodingError":
        return Rejected(
            f"{context.provider}: {attempt.broken}",
            hint="check the proxies and gateways between this machine and the provider",
        )
    if attempt.broken is None and attempt.status is not None and attempt.reader.events == 0:
        said = context.quote(words_in(attempt.body))
        said = f": {said}" if said else ""
        hint = f"check the address {context.base_url or 'of the provider'}, with its path (such as /v1)"
        what = "answered with a web page" if is_page(attempt.body) else "returned an unexpected response"
        return ProviderUnavailable(f"{context.provider} {what}{said}", hint=hint)
    if error is not None and attempt.broken is None and not attempt.ended:
        return ProviderUnavailable(f"{context.provider} sent an unreadable answer", hint="try again")
    return ProviderUnavailable(f"the answer of {context.provider} was cut short", hint="try again")


_INVALID = re.compile(r'"loc": \[.*"msg": "|"msg": ".*"loc": \[', re.DOTALL)  # of FastAPI's: a field and what is wrong


class _Answer(NamedTuple):
    """An answer other than 2xx, or the error of a stream as if it had come with its status.

    ``text`` is the unparsed document, ``said`` the server's own words, "" for none. ``clamp`` is the output that was
    asked for. ``is_page``: it is an HTML page, which no model's API sends; ``is_challenge``: that of a network that
    blocks requests that fail a browser check.
    """

    status: int
    text: str
    said: str
    billed: Billed
    headers: Mapping[str, str]
    clamp: int
    document: Mapping[str, object] | None = None
    is_page: bool = False
    is_challenge: bool = False


def _refusal(attempt: Attempt, context: ErrorContext) -> ProviderError:
    """Return the error for an answer other than 2xx, by its status and its document, page or words."""
    status, body = attempt.status or 0, attempt.body
    document, said = document_of(body), words_in(body)
    is_complete = attempt.ended and (document is not None or is_page(body) or bool(said))
    is_free = status in _FREE_BY_DOCUMENT and not attempt.reader.has_counts and not holds_answer(document)
    free = attempt.is_free_refusal or (is_complete and is_free)
    challenged = "challenge" in attempt.headers.get("cf-mitigated", "") or "x-amzn-waf-action" in attempt.headers
    answer = _Answer(
        status,
        body[:MOST_READ].decode("utf-8", "replace"),
        said,
        "no" if free else "unknown",
        attempt.headers,
        attempt.terms.max_output_tokens,
        document,
        is_page(body),
        is_page(body) and (challenged or _CHALLENGE.search(body) is not None),
    )
    return _error_for(answer, context)


def _error_for(answer: _Answer, context: ErrorContext) -> ProviderError:
    """Return the error for an HTTP status; the most specific case comes first."""
    status, text, billed = answer.status, answer.text, answer.billed
    quoted = context.quote(answer.said) or f"HTTP {status}"
    after = _retry_after(answer.headers)
    summary = f"{context.provider}: {quoted}"

    def error(kind: type[ProviderError], message: str, hint: str) -> ProviderError:
        return kind(message, hint=hint, billed=billed, retry_after=after)

    if 300 <= status < 400:
        location = context.quote(answer.headers.get("location", "elsewhere"))
        return error(
            Rejected,
            f"{context.provider} redirects to {location}",
            "set that address: agentctl does not follow redirects",
        )
    if status == 407 and proxy_for(context.base_url):
        why = proxy_refusal(status, quoted, context)
        return error(Rejected, f"{context.provider} cannot be reached: {why.why}", why.hint)
    no_credit = {400: _NO_CREDIT, 403: _NO_CREDIT, 422: _NO_CREDIT, 429: _NO_QUOTA}.get(status)
    if status == 402 or (no_credit is not None and no_credit.search(text)):
        more = f"raise the budget of this key at {context.base_url}" if "budget" in text.lower() else ""
        return QuotaExceeded(
            f"{summary} (quota)",
            hint=f"{more or f'add credits at {context.provider}'}, or choose another provider",
            billed=billed,
            retry_after=after,
            affordable=affordable_in(text),
        )
    if answer.is_page and (answer.is_challenge or status in (400, 401, 403, 404, 405, 413, 414, 422, 431, 451)):
        return _page_error(answer, quoted, context)
    if status in (413, 429) and (large := _too_large_for_rate(answer, summary, context)) is not None:
        return large
    if status == 429:
        wait = f" in {after:.0f} s" if after else ""
        return error(RateLimited, f"{summary} (rate limit)", f"try again{wait or ' later'}")
    if status in (400, 403, 404, 410) and _NO_MODEL.search(text):
        return error(
            ModelGone, f"{context.provider} does not know the model {context.model}: {quoted}", _model_hint(context)
        )
    if status == 404 and _NO_ENDPOINT.search(text):
        hint = f"choose another model, or check the settings of {context.provider}"
        return error(ModelGone, f"{context.provider} has no server for this request to {context.model}: {quoted}", hint)
    if status in (401, 403) or (status == 400 and _NO_KEY.search(text)):
        if status in (400, 401) or not answer.said or _ABOUT_THE_KEY.search(answer.said):
            return error(AuthFailed, f"{context.provider} rejected the key: {quoted}", key_hint(context))
        hint = f"check what {context.provider} allows this account to do, and from where"
        return error(AuthFailed, f"{context.provider} does not allow this request: {quoted}", hint)
    if status == 413 and (answer.document is None or (_TOO_LARGE.search(text) and not _TOO_LONG.search(text))):
        return _page_error(answer, quoted, context)
    if status == 413 or (status in (400, 422, 500) and _TOO_LONG.search(text)):
        window, prompt = sizes_in(text)
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
            AddressGone,
            f"{context.provider} has nothing at this address ({context.base_url}): {quoted}",
            context.hint_model
            if context.provider == "ollama" and answer.document is not None
            else _address_hint(context),
        )
    if status in (408, 409, 425) or status >= 500:
        said = summary if str(status) in quoted else f"{summary} (HTTP {status})"
        return error(ProviderUnavailable, said, "try again later")
    return error(Rejected, f"{context.provider} rejected the request: {quoted}", "choose another model or provider")


def _page_error(answer: _Answer, quoted: str, context: ErrorContext) -> ProviderError:
    """Return the error for a refusal that is none of a model's API: a web server, a proxy or a network in between."""
    status, proxy = answer.status, proxy_for(context.base_url)
    said = quoted if str(status) in quoted else f"{quoted} (HTTP {status})"
    place = context.base_url or f"the address of {context.provider}"
    hint = f"check the proxies and gateways between this machine and {place}"
    if proxy and context.base_url.startswith("http://"):
        who = f"the proxy {format_value(proxy)}, or a server behind it,"
    else:
        who = f"a web server in front of {context.provider}"
    kind: type[ProviderError] = Rejected
    if answer.is_challenge:
        message = f"{who} blocked the request with a browser check: {said}"
        hint = f"ask the operator of {place} to allow requests from this machine, or use another network"
    elif status == 413:
        message = f"{who} rejects requests of this size: {said}"
        hint = "raise its limit (nginx: client_max_body_size 32m;), or lower MAX_CONTEXT_TOKENS"
    elif status == 400 and "HTTPS port" in answer.said:
        message, hint = f"{who} requires TLS: {said}", f"use https:// in place of http:// in {place}"
    elif status == 401:
        kind, message, hint = AuthFailed, f"{who} asks for a key or a password: {said}", key_hint(context)
    elif status in (404, 405):
        kind = AddressGone if status == 404 else Rejected
        message, hint = f"{who} has nothing at this address ({place}): {said}", _address_hint(context)
    else:
        message = f"{who} rejected the request: {said}"
    return kind(message, hint=hint, billed=answer.billed, retry_after=_retry_after(answer.headers))


def _too_large_for_rate(answer: _Answer, summary: str, context: ErrorContext) -> RequestTooLarge | None:
    """Return the error for one request that is above a limit of tokens per minute: waiting does not help."""
    rate = rate_in(answer.text)
    if rate is None and answer.status == 413:
        return None
    is_too_large = "request too large" in answer.text.lower() if rate is None else rate.excess > 0
    if not is_too_large:
        return None
    allowed = f"{rate.limit} tokens" if rate else "its limit of tokens a minute"
    return RequestTooLarge(
        f"{summary} (rate limit)",
        hint=f"send less at once than {allowed}: lower MAX_CONTEXT_TOKENS or --max-output-tokens",
        billed=answer.billed,
        retry_after=_retry_after(answer.headers),
        window=rate.limit if rate else None,
        affordable=answer.clamp - rate.excess if rate and answer.status == 413 else None,
    )


def _stream_error(attempt: Attempt, document: Mapping[str, object], context: ErrorContext) -> ProviderError:
    """Return the error for an error document in a stream: as it would be with the status that it names or means.

    It is a refusal before any part of an answer, else an interruption of unknown cost.
    """
    text, said = json.dumps(document, ensure_ascii=False, default=str)[:MOST_READ], words_of({"error": document})
    status, begun = status_of(document) or _status_meant(text), attempt.reader.spoken
    quoted = context.quote(said) or "an error in mid-answer"
    if status is None:
        return ProviderUnavailable(f"{context.provider} interrupted its answer: {quoted}", hint="try again later")
    is_whole = (attempt.ended or attempt.reader.over) and not begun and not holds_answer(document)
    free = is_whole and (status in _FREE_BY_DOCUMENT or status in FREE_BY_STATUS)
    clamp = attempt.terms.max_output_tokens
    answer = _Answer(status, text, said, "no" if free else "unknown", attempt.headers, clamp, document)
    error = _error_for(answer, context)
    if begun and type(error) in (ProviderUnavailable, RateLimited):
        kind, after = type(error), error.retry_after
        return kind(f"{context.provider} interrupted its answer: {quoted}", hint="try again later", retry_after=after)
    return error


def _status_meant(text: str) -> int | None:
    """Return the status that an error document without one means by its words, None if they say nothing."""
    meant = [(_TOO_LONG, 400), (_NO_CREDIT, 402), (_FILTERED, 400), (_INVALID, 422)]
    if not _FAULT.search(text):
        meant += [(_TOO_OFTEN, 429), (_NO_QUOTA, 429), (_NO_MODEL, 404)]
    return next((status for words, status in meant if words.search(text)), None)


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


def _address_hint(context: ErrorContext) -> str:
    if is_official(context.provider, context.base_url):
        return f"agentctl providers test {context.provider}"
    return f"check the address {context.base_url or 'of the provider'}, with its path (such as /v1)"


def _model_hint(context: ErrorContext) -> str:
    return context.hint_model or context.near() or "agentctl providers list   shows what each provider uses by default"
