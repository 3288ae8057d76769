"""Read refusals: the words of an error document or page, the status that it means, the numbers that it names. Pure."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from agentctl.core.redaction import redact
from agentctl.core.text import safe_text

MOST_READ = 65_536
_MOST_QUOTED, _MOST_REDACTED = 300, 16_384
_MOST_PARTS = 3
_DEEPEST = 6
_PAGE = re.compile(
    rb"\s*(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)
_TITLES = (re.compile(r"<title[^>]*>(.*?)</title", re.I | re.S), re.compile(r"<h1[^>]*>(.*?)</h1", re.I | re.S))
_TAG = re.compile(r"<[^>]*>")
#: The fields of an error document, where its words may be, the best first.
_FIELDS = (
    *("message", "msg", "detail", "errors", "error_message", "error_msg", "errorMessage", "Message", "description"),
    *("fault", "faultstring", "reason", "title", "type", "code"),
)
_STATUS_FIELDS = ("code", "status", "status_code", "statusCode", "StatusCode", "type")
#: The status that an error document in a stream means, by the letters of the words that providers use for it.
_STATUS_OF: Mapping[str, int] = {
    "badrequest": 400,
    "badrequesterror": 400,
    "contextlengthexceeded": 400,
    "exceedcontextsizeerror": 400,
    "failedprecondition": 400,
    "invalidargument": 400,
    "invalidrequest": 400,
    "invalidrequesterror": 400,
    "authenticationerror": 401,
    "invalidapikey": 401,
    "unauthenticated": 401,
    "unauthorized": 401,
    "billingerror": 402,
    "insufficientcredits": 402,
    "paymentrequired": 402,
    "permissiondenied": 403,
    "permissionerror": 403,
    "modelnotfound": 404,
    "notfound": 404,
    "notfounderror": 404,
    "requesttoolarge": 413,
    "unprocessableentity": 422,
    "budgetexceeded": 429,
    "insufficientquota": 429,
    "ratelimiterror": 429,
    "ratelimitexceeded": 429,
    "resourceexhausted": 429,
    "toomanyrequests": 429,
    "apierror": 500,
    "internal": 500,
    "internalerror": 500,
    "internalservererror": 500,
    "servererror": 500,
    "serviceunavailable": 503,
    "serviceunavailableerror": 503,
    "unavailable": 503,
    "deadlineexceeded": 504,
    "timeouterror": 504,
    "overloadederror": 529,
}
_OF_ANSWERS = ("choices", "candidates", "failed_generation")
_THE_WINDOW = re.compile(
    r"(?:context length is|context limit: \d+ \+ \d+ >|tokens >|context size \(|tokens allowed \("
    r"|context length of(?: only)?|n_ctx[:=])\s*(\d{1,9})\b"
)
_THE_PROMPT = re.compile(
    r"(?:resulted in|request has|is too long:|context limit:|request \(|token count \(|n_keep[:=]"
    r"|keep the first)\s*(\d{1,9})\b"
)
_PARTS_OF_IT = re.compile(r"\b(\d{1,9}) in the (?:messages|prompt|functions)\b")
_AFFORDABLE = re.compile(r"can only afford (\d[\d,]{0,11})\b", re.IGNORECASE)
_RATE = re.compile(
    r"Limit:? (\d[\d,]{0,11}),? (?:Used:? (\d[\d,]{0,11}),? )?Requested:? (\d[\d,]{0,11})", re.IGNORECASE
)


class ErrorContext(NamedTuple):
    """The facts of a request for our errors: the provider, the model, the address, and hints for them.

    ``near`` returns a hint if another model may be meant, ``served`` asks the server for one and waits for its answer;
    "" if there is none. ``key`` is redacted in the provider's messages.
    """

    provider: str
    model: str
    base_url: str
    key_name: str = ""
    near: Callable[[], str] = str
    hint_unreachable: str = ""
    hint_model: str = ""
    key: str = ""
    served: Callable[[], str] = str

    def quote(self, text: str) -> str:
        """Return a provider's message for one of our errors: on one line, of limited length, with the key redacted."""
        line = " ".join(safe_text(redact(text[:_MOST_REDACTED], (self.key,))).split())
        return (line if len(line) <= _MOST_QUOTED else line[: _MOST_QUOTED - 1] + "…").rstrip(".")


class TokenRate(NamedTuple):
    """The numbers of a refusal by tokens per minute: what is allowed, what was used, what one request wanted."""

    limit: int
    used: int
    requested: int

    @property
    def excess(self) -> int:
        """The tokens by which the request alone is above the limit: 0 or less, and waiting helps."""
        return self.requested - self.limit


def document_of(body: bytes) -> Mapping[str, object] | None:
    """Return an error document, None if the body is none; it may be the only event of a stream."""
    text = body.strip().removeprefix(b"\xef\xbb\xbf")
    if text.startswith((b"event:", b"data:")):
        lines = [line.removeprefix(b"data:") for line in text.splitlines() if line.startswith(b"data:")]
        text = next((line for line in lines if line.strip() != b"[DONE]"), b"")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list) and found:  # Gemini's errors come in a list
        found = found[0]
    return found if isinstance(found, dict) else None


def is_page(body: bytes) -> bool:
    """Return whether a body is an HTML page: of a proxy, a gateway or a web server, and not of a model's API."""
    return _PAGE.match(body[:1024]) is not None


def title_of(body: bytes) -> str:
    """Return the title of a page, or its first heading, "" if it has neither."""
    text = body[:MOST_READ].decode("utf-8", "replace")
    found = (match[1] for title in _TITLES if (match := title.search(text)))
    return next((words for one in found if (words := " ".join(html.unescape(_TAG.sub(" ", one)).split()))), "")


def words_in(body: bytes) -> str:
    """Return the server's own words in the body of a refusal: of a document, a page or a plain text; "" for none."""
    document = document_of(body)
    if document is not None:
        return words_of(document) or (json.dumps(document, ensure_ascii=False) if document else "")
    if is_page(body):
        return title_of(body)
    text = body[:MOST_READ].decode("utf-8", "replace").strip()
    return "" if text.startswith(("<", "{", "[", "data:", "event:")) or "\ufffd" in text or "\0" in text else text


def words_of(document: object, depth: int = 0) -> str:
    """Return the words of an error document, or of a part of one; "" if none are known to be in it."""
    if isinstance(document, str):
        return document.strip()
    if depth > _DEEPEST:
        return ""
    if isinstance(document, Sequence):
        found = [words for one in document[:_MOST_PARTS] if (words := words_of(one, depth + 1))]
        return "; ".join(dict.fromkeys(found))
    if not isinstance(document, Mapping):
        return ""
    error, place = document.get("error"), document.get("loc")
    own = next((words for name in _FIELDS if (words := words_of(document.get(name), depth + 1))), "")
    if place:
        names = [str(one) for one in place if one != "body"] if isinstance(place, list) else [str(place)]
        return f"{'.'.join(names)}: {own}" if names and own else own
    if error:
        inner = words_of(error, depth + 1)
        title = isinstance(error, str) and document.get("message")  # "Not Found" and "No handler for /v1"
        return f"{inner}: {own}" if title and own not in inner and inner not in own else inner or own
    raw = document.get("metadata")
    behind = raw.get("raw") if isinstance(raw, Mapping) else None  # OpenRouter's: what its host said
    if behind and own:
        said = words_of(document_of(behind.encode()) if isinstance(behind, str) else behind, depth + 1)
        return f"{own}: {said or behind}" if said or isinstance(behind, str) else own
    return own


def status_of(document: Mapping[str, object]) -> int | None:
    """Return the HTTP status that an error document names; of several a server error comes first."""
    found = list[int]()
    for name in _STATUS_FIELDS:
        value = document.get(name)
        number = int(value) if isinstance(value, str) and re.fullmatch(r"[45]\d\d", value) else value
        if type(number) is int and 400 <= number < 600:
            found.append(number)
        elif isinstance(value, str) and (known := _STATUS_OF.get(re.sub(r"[^a-z]", "", value.lower()))):
            found.append(known)
    return next((status for status in found if status >= 500), found[0] if found else None)


def holds_answer(document: Mapping[str, object] | None) -> bool:
    """Return whether an error document holds an answer, or a part of one that the server could not use."""
    places = (document, document.get("error")) if document else ()
    return any(place.get(name) for place in places if isinstance(place, Mapping) for name in _OF_ANSWERS)


def sizes_in(text: str) -> tuple[int | None, int | None]:
    """Return the tokens of the window and of the prompt, if the message of a refusal names them."""
    window, prompt = _THE_WINDOW.search(text), _THE_PROMPT.search(text)
    parts = sum(map(int, _PARTS_OF_IT.findall(text)))
    return int(window[1]) if window else None, int(prompt[1]) if prompt else parts or None


def affordable_in(text: str) -> int | None:
    """Return the output tokens that the credits still pay for, if a refusal names them."""
    found = _AFFORDABLE.search(text)
    return _number(found[1]) if found else None


def rate_in(text: str) -> TokenRate | None:
    """Return the numbers of a limit of tokens per minute, if a refusal names them."""
    found = _RATE.search(text) if re.search(r"tokens per (?:min|day|hour)|\bTP[MDH]\b", text, re.IGNORECASE) else None
    return TokenRate(_number(found[1]), _number(found[2] or "0"), _number(found[3])) if found else None


def _number(text: str) -> int:
    return int(text.replace(",", ""))
