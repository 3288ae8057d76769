"""Learn from a refusal which parameter a server does not take, so that the request can be sent once more without it.

What bounds the bill is never left out: the clamp changes its name only, and where every name of it is refused, nothing
more is sent. A server that names a parameter that was not sent teaches nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from agentctl.core.errors import AgentctlError, CannotBeLimited, ModelGone, ParameterRefused, ProviderError, Rejected
from agentctl.providers.error_documents import document_of, status_of, words_in, words_of
from agentctl.providers.wires.exchange import ANSWER_FORMAT, FORMAT_FIELDS, Refusals

if TYPE_CHECKING:
    from agentctl.providers.http_gate import Attempt

#: What a request can do without; ``stream`` is sent as false, and ``cache_control`` is not written into the messages.
_OPTIONAL = ("service_tier", "stream_options", "stream", "usage", "truncate", "cache_control")
#: The fields by which one request in the chat format may be limited, each in place of the other.
_CHAT_CLAMPS = ("max_tokens", "max_completion_tokens")
_CLAMPS = (*_CHAT_CLAMPS, "max_output_tokens", "num_predict")
_UNKNOWN = re.compile(
    r"unknown|unrecogni[sz]ed|unexpected|unsupported|extraneous|extra (?:inputs?|fields?|keys?)|additional propert"
    r"|forbidden|cannot find field|no such (?:field|parameter|argument)|invalid (?:field|parameter|argument)\b"
    r"|not (?:be )?(?:support|permit|allow|accept|recogni|known|implement)"
    r"|(?:does|do) ?n[o']t (?:support|accept|recogni|take|allow|know)",
    re.IGNORECASE,
)
#: A refusal of a value is none of the parameter itself.
_VALUE = re.compile(
    r"too (?:large|big|high|long|many|small|low)|greater|less than|at (?:most|least)|maximum|minimum|exceed|range"
    r"|between|must be|\bvalues?\b|integer|positive",
    re.IGNORECASE,
)
_SENTENCES = re.compile(r"(?<=[.;!?])\s+|\n")
#: What follows names other parameters: those that the server would take.
_ALTERNATIVES = re.compile(
    r"(?<!not )\b(?:expected|instead|use|did you mean|allowed|supported (?:parameters|fields)|one of)\b"
)
#: How servers speak of the schema that an answer is to be held to, whatever is wrong with it.
_FORMAT_WORDS = re.compile(
    r"response_?format|output_(?:config|format)|json[_ ]?schema|structured|\btext\.format\b|\bgrammar\b|\bformat\b"
    r"|\binvalid schema\b|\bresponse schema\b",
    re.IGNORECASE,
)
_CODES = re.compile(r"unknown|unsupported_param|unrecogni|extra|unexpected", re.IGNORECASE)


def after_refusal(
    error: AgentctlError, attempt: Attempt, known: Refusals, *, wire: str | None
) -> tuple[Refusals, AgentctlError]:
    """Return what is known of a server after a failure, and the error: one that is retried if a parameter was refused.

    In the wire format of Anthropic's messages the clamp has no other name. A schema for the answer is left out
    whatever the server has against it: the model is asked for it in words then.
    """
    refusal = _refusal_in(error, attempt)
    if refusal is None or not isinstance(error, ProviderError):
        return known, error
    document, said = refusal
    if _has_format(attempt.names) and _FORMAT_WORDS.search(f"{said} {_place_in(document)}"):
        return known.without(ANSWER_FORMAT), _asked_again(error, "no schema for the answer")
    refused = [name for name in _OPTIONAL if name in attempt.names and is_refused(name, document, said)]
    clamp = next((name for name in _CLAMPS if name in attempt.names and is_refused(name, document, said)), None)
    if clamp is None:
        return (known, error) if not refused else (known.without(*refused), _asked_again(error, f"no {_list(refused)}"))
    known = known.without(*refused, clamp)
    other = next((name for name in _CHAT_CLAMPS if name not in known.left_out), None)
    if other is not None and wire != "anthropic_messages" and clamp in _CHAT_CLAMPS:
        more = f"{other} in place of {clamp}" + (f", and no {_list(refused)}," if refused else "")
        return known._replace(clamp_name=other), _asked_again(error, more)
    return known, cannot_be_limited(known, error)


def cannot_be_limited(known: Refusals, error: ProviderError | None = None) -> CannotBeLimited:
    """Return the error for a server that takes no field that limits an answer; without ``error`` nothing was sent."""
    names = " and ".join(name for name in _CLAMPS if name in known.left_out)
    return CannotBeLimited(
        f"the output of this server cannot be limited: it refuses {names}"
        + ("" if error is None else f" ({error.message})"),
        hint="choose another server or model: agentctl sends no request without a limit on its output",
        billed="no" if error is None else error.billed,
        unsent=error is None or error.unsent,
    )


def is_refused(name: str, document: Mapping[str, object] | None, said: str) -> bool:
    """Return whether a refusal says that a parameter is not known; ``said`` is what the server says in words.

    >>> is_refused("max_tokens", None, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    True
    >>> is_refused("max_completion_tokens", None, "unknown field `seed`, expected one of `max_completion_tokens`")
    False
    """
    for part in _parts(document):
        place = part.get("param") or part.get("field") or part.get("loc")
        last = place[-1] if isinstance(place, list) and place else place
        if isinstance(last, str) and last.rpartition(".")[2] == name:
            code, message = str(part.get("type") or "") + str(part.get("code") or ""), words_of(part)
            if not _is_about_value(name, message) and (_CODES.search(code) or _UNKNOWN.search(message)):
                return True
    pattern = re.compile(rf"(?<![\w-]){name}(?![\w-])")
    for sentence in _SENTENCES.split(said):
        clause = _ALTERNATIVES.split(sentence)[0]
        if pattern.search(clause) and _UNKNOWN.search(clause) and not _is_about_value(name, clause):
            return True
    return False


def _is_about_value(name: str, text: str) -> bool:
    return name in _CLAMPS and _VALUE.search(text) is not None


def _refusal_in(error: AgentctlError, attempt: Attempt) -> tuple[Mapping[str, object] | None, str] | None:
    """Return the document and the words of a refusal that may name a parameter, None for any other failure."""
    if not attempt.names or not isinstance(error, (Rejected, ModelGone)) or error.unsent:
        return None
    if attempt.is_error:
        is_meant = attempt.status is not None and (400 <= attempt.status < 500 and attempt.status not in (401, 403))
        return (document_of(attempt.body), words_in(attempt.body)) if is_meant else None
    found = attempt.reader.error
    if found is None or (status_of(found) or 500) >= 500:
        return None
    return found, words_of(found) or json.dumps(found, default=str)


def _has_format(names: frozenset[str]) -> bool:
    """Return whether a request with these fields held its answer to a schema; ``format`` with tools asks for calls."""
    return not names.isdisjoint(FORMAT_FIELDS) and not {"format", "tools"} <= names


def _place_in(document: Mapping[str, object] | None) -> str:
    """Return the parameters that a refusal names apart from its words."""
    places = (part.get("param") or part.get("field") or part.get("loc") for part in _parts(document))
    return " ".join(str(place) for place in places if place)


def _parts(value: object, depth: int = 0) -> Iterator[Mapping[str, object]]:
    """Yield the objects of a document, the outermost first."""
    if depth > 4:
        return
    if isinstance(value, Mapping):
        yield value
    inner = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    for one in inner[:50]:
        yield from _parts(one, depth + 1)


def _asked_again(error: ProviderError, what: str) -> ParameterRefused:
    return ParameterRefused(
        f"{error.message}; sending {what} from here on",
        hint="the server refuses more than that: choose another server or model",
        billed=error.billed,
        retry_after=0.0,
        unsent=error.unsent,
    )


def _list(names: list[str]) -> str:
    return " and no ".join(names)
