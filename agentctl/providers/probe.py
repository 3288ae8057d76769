"""Check a provider for free: whether it can be reached, accepts the key and knows the model."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Literal, NamedTuple
from urllib.parse import quote

from agentctl.core.errors import ProviderUnavailable
from agentctl.core.redaction import redact
from agentctl.core.text import did_you_mean, safe_text
from agentctl.providers.endpoints import is_official, is_own_host
from agentctl.providers.loopback_http import HttpResponse
from agentctl.providers.selection import MOST_NAMES, name_of, parse_json, tags_of
from agentctl.settings import KEY_NAMES
from agentctl.settings.merge import format_value

_LONGEST_ERROR = 300

KeyState = Literal["accepted", "rejected", "missing", "not needed", "unknown"]


class ProbeResult(NamedTuple):
    """The outcome of a free check; ``status`` is the name of its exit code ("done": all is well).

    ``reachable`` and ``model_known`` are None if not checked or unknown: a compatible server may answer to any name,
    unless it says that it does not know the model. ``ms`` is how long the first answer took.
    ``error`` is one sentence with a hint, or "". No field contains a key or a password.
    """

    provider: str
    base_url: str
    reachable: bool | None
    key: KeyState
    model_known: bool | None
    models: tuple[str, ...]
    ms: float
    error: str
    status: str


class _Target(NamedTuple):
    """The provider to check: its address, the key to send, and when to stop."""

    provider: str
    base_url: str
    key: str | None
    until: float

    @property
    def place(self) -> str:
        return format_value(self.base_url)

    @property
    def set_key(self) -> str:
        return f"agentctl providers set-key {self.provider}"

    def get(self, path: str) -> HttpResponse:
        """Request a path of this provider."""
        from agentctl.providers.probe_http import exchange  # noqa: PLC0415 - _load_client() comes before it

        return exchange(self.base_url.rstrip("/") + path, until=self.until, headers=_headers(self.provider, self.key))


def probe_provider(
    provider: str, base_url: str, key: str | None, model: str | None = None, *, patience_s: float = 10.0
) -> ProbeResult:
    """Ask a provider for its list of models, and return whether it is there, accepts the key and knows ``model``.

    Nothing that could be billed is sent: a GET of the list, and one more if the list alone does not tell.
    """
    target = _Target(provider, base_url, key, time.monotonic() + patience_s)
    state: KeyState = "unknown"
    if key is None:
        state = "missing" if provider in KEY_NAMES and is_official(provider, base_url) else "not needed"
    blank = ProbeResult(provider, target.place, True, state, None, (), 0.0, "", "done")
    if not base_url:  # it answers in this process, or only litellm knows its address
        return blank if provider == "builtin" else blank._replace(reachable=None, key="unknown")
    if key is not None and not (key.isascii() and key.isprintable() and key.split() == [key]):
        return _fail(blank, target, "auth", f"the key cannot be sent as it is: {target.set_key}", key="rejected")
    _load_client()
    began = time.monotonic()  # loading does not count as the provider's time
    target = target._replace(until=began + patience_s)
    try:
        answer = target.get(_list_path(provider, base_url))
    except ProviderUnavailable as error:
        message = f"{error.message}: {_hint(target, error)}"
        blank = blank._replace(reachable=False, ms=1000 * (time.monotonic() - began))
        return _fail(blank, target, "unavailable", message)
    return _judge(blank._replace(ms=1000 * (time.monotonic() - began)), target, answer, model)


def _load_client() -> None:
    """Load the HTTP client, and httpx without its command line, which would bring rich and click."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment] # None: not to be imported
    modules.setdefault("httpx._main", None)
    try:
        import agentctl.providers.probe_http  # noqa: F401, PLC0415 - builtin makes no request
    finally:
        if modules.get("httpx._main", modules) is None:
            modules.pop("httpx._main", None)  # another thread may have done it


def _judge(found: ProbeResult, target: _Target, answer: HttpResponse, model: str | None) -> ProbeResult:
    """Judge the answer: the key first, the model last."""
    status = answer.status
    if status in (401, 403) or (status == 400 and b"API_KEY_INVALID" in (answer.body or b"")):
        return _refuse(found, target, status)
    if status == 429:
        return _fail(found, target, "rate_limited", f"{target.place} is limiting requests (429): try again later")
    if status in (404, 405, 501) and target.provider != "ollama" and not is_official(target.provider, target.base_url):
        return found._replace(key="unknown")  # a server without a list of models may still work
    if 300 <= status < 400:
        where = format_value(answer.location) or "nowhere"
        return _fail(found, target, "unavailable", f"{target.place} redirects to {where}: check the address")
    if status != 200:
        message = (
            f"{target.place} answered {status} {answer.reason}: try again later, or check the provider's status page"
        )
        return _fail(found, target, "unavailable", message)
    if answer.body is None:  # too long to read: it is known only that a server is there
        return _with_key(found, target)
    models = _models(target.provider, answer)
    if models is None:
        ends = "" if target.provider in ("ollama", "anthropic") else " (most end in /v1)"
        message = (
            f"the server at {target.place} does not list models as {target.provider} does: check the address{ends}"
        )
        return _fail(found, target, "unavailable", message)
    found = _with_key(found._replace(models=models), target)
    return found if model is None or found.status != "done" else _with_model(found, target, model)


def _refuse(found: ProbeResult, target: _Target, status: int) -> ProbeResult:
    if target.provider == "ollama":
        return _fail(
            found, target, "auth", f"{target.place} refused the request ({status}): it needs a password", key="unknown"
        )
    if target.key is None:
        return _fail(found, target, "auth", f"{target.place} needs a key: {target.set_key}", key="missing")
    return _fail(found, target, "auth", f"{target.place} refused the key ({status}): {target.set_key}", key="rejected")


def _with_key(found: ProbeResult, target: _Target) -> ProbeResult:
    """Add the state of the key; OpenRouter's list needs no key, so ask for the key itself there."""
    if target.key is None:
        if found.key != "missing":
            return found
        return _fail(found, target, "auth", f"{target.provider} needs a key: {target.set_key}")
    if target.provider != "openrouter":
        return found._replace(key="accepted")
    try:
        status = target.get("/key").status
    except ProviderUnavailable:
        return found
    if status in (401, 403):
        return _refuse(found, target, status)
    return found._replace(key="accepted") if status == 200 else found


def _with_model(found: ProbeResult, target: _Target, model: str) -> ProbeResult:
    spellings = {model, f"{model}:latest"} if target.provider == "ollama" else {model}
    if target.provider == "openrouter":
        spellings.add(model.partition(":")[0])  # the suffix says how to choose among hosts
    known: bool | None = bool(spellings & set(found.models))
    if not known and target.provider != "ollama":
        known = _ask_for_model(target, model)
    if known is not False:
        return found._replace(model_known=known)
    near = did_you_mean(model, found.models)
    hint = f"ollama pull {model}" if target.provider == "ollama" else near or "check the name"
    message = f"{target.place} does not know the model {model}: {hint}"
    return _fail(found, target, "model_gone", message)._replace(model_known=False)


def _ask_for_model(target: _Target, model: str) -> bool | None:
    """Ask for a model that the list does not name: the name may be an alias."""
    path = _list_path(target.provider, target.base_url).partition("?")[0]
    try:
        answer = target.get(f"{path}/{quote(model)}")
    except ProviderUnavailable:
        return None
    if answer.status == 200:
        document = parse_json(answer)
        return True if isinstance(document, dict) and ("id" in document or "name" in document) else None
    if answer.status not in (400, 404):
        return None
    return False if is_official(target.provider, target.base_url) or _denies_model(answer) else None


def _denies_model(answer: HttpResponse) -> bool:
    """Return whether an error document says that there is no such model, not only no such path."""
    document = parse_json(answer)
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return False
    return error.get("code") == "model_not_found" or "model" in str(error.get("message", "")).lower()


def _fail(
    found: ProbeResult, target: _Target, status: str, message: str, *, key: KeyState | None = None
) -> ProbeResult:
    text = safe_text(redact(message, (target.key,) if target.key else ()).replace("\n", " "))
    text = text if len(text) <= _LONGEST_ERROR else text[: _LONGEST_ERROR - 1] + "…"
    return found._replace(key=key or found.key, error=text, status=status)


def _hint(target: _Target, error: ProviderUnavailable) -> str:
    if target.provider == "ollama":
        return "start it: ollama serve" if is_own_host(target.base_url) else "start it there: ollama serve"
    if is_official(target.provider, target.base_url):
        return error.hint or "check the network and try again"
    return error.hint or "check the server and the address"


def _headers(provider: str, key: str | None) -> dict[str, str]:
    headers = {"anthropic-version": "2023-06-01"} if provider == "anthropic" else {}
    if key is None:
        return headers
    match provider:
        case "anthropic":
            return {**headers, "x-api-key": key}
        case "gemini":
            return {"x-goog-api-key": key}
        case _:
            return {"Authorization": f"Bearer {key}"}


def _list_path(provider: str, base_url: str) -> str:
    match provider:
        case "ollama":
            return "/api/tags"
        case "anthropic":
            return "/models?limit=1000" if base_url.rstrip("/").endswith("/v1") else "/v1/models?limit=1000"
        case "gemini":
            return "/models?pageSize=1000"
        case _:
            return "/models"


def _models(provider: str, answer: HttpResponse) -> tuple[str, ...] | None:
    """Return the names in a list of models, sorted; None if the answer is not such a list."""
    if provider == "ollama":
        tags = tags_of(answer)
        return None if tags is None else tuple(sorted(tags))
    document = parse_json(answer)
    rows = document.get("models" if provider == "gemini" else "data") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        return None
    return tuple(sorted(set(_names(rows[:MOST_NAMES]))))


def _names(rows: list[object]) -> Iterator[str]:
    for row in rows:
        if isinstance(row, dict):
            aliases = row.get("aliases")
            for value in (row.get("id") or row.get("name"), *(aliases if isinstance(aliases, list) else ())):
                if name := name_of(value).removeprefix("models/"):
                    yield name
