"""Check a provider for free: whether it can be reached, accepts the key and knows the model."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple
from urllib.parse import quote

from agentctl.core.errors import ProviderUnavailable
from agentctl.core.redaction import redact
from agentctl.core.text import did_you_mean, list_names, nearest, safe_text
from agentctl.providers.endpoints import auth_headers, is_official, is_own_host
from agentctl.providers.loopback_http import HttpResponse
from agentctl.providers.selection import MOST_NAMES, name_of, parse_json, tags_of
from agentctl.settings import KEY_NAMES
from agentctl.settings.merge import format_value

_LONGEST_ERROR = 300
_MOST_WINDOW = 10**9
_STRICT_OWNERS = frozenset({"vllm", "sglang"})
_WINDOW_NAMES = (
    *("max_model_len", "loaded_context_length", "n_ctx", "context_length", "context_window", "max_context_length"),
    "max_input_tokens",
)

KeyState = Literal["accepted", "rejected", "missing", "not needed", "unknown"]


class ProbeResult(NamedTuple):
    """The outcome of a free check; ``status`` is the name of its exit code ("done": all is well).

    ``reachable`` and ``model_known`` are None if not checked or unknown: a compatible server may answer to any name,
    unless it says that it does not know the model. ``ms`` is how long the first answer took.
    ``error`` is one sentence with a hint, or "". No field contains a key or a password. ``context_window`` (tokens) is
    what a server of the user's choice says of the model, None if not asked or unknown. ``tls`` is the version of TLS,
    "none" for plain HTTP, "" if unknown.
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
    context_window: int | None = None
    tls: str = ""


class _Target(NamedTuple):
    """The provider to check: its address, the key to send, and when to stop."""

    provider: str
    base_url: str
    key: str | None
    until: float
    kind: str

    @property
    def is_official(self) -> bool:
        return is_official(self.kind, self.base_url)

    @property
    def place(self) -> str:
        return format_value(self.base_url)

    @property
    def set_key(self) -> str:
        return f"agentctl providers set-key {self.provider}"

    def get(self, path: str, *, post: bytes | None = None, base: str | None = None) -> HttpResponse:
        """Request a path of this provider; ``base`` replaces its address."""
        from agentctl.providers.probe_http import exchange  # noqa: PLC0415 - _load_client() comes before it

        url = (self.base_url if base is None else base).rstrip("/") + path
        return exchange(url, until=self.until, headers=auth_headers(self.kind, self.key), post=post)


def probe_provider(
    provider: str,
    base_url: str,
    key: str | None,
    model: str | None = None,
    *,
    patience_s: float = 10.0,
    kind: str = "",
    window: bool = False,
) -> ProbeResult:
    """Ask a provider for its list of models, and return whether it is there, accepts the key and knows ``model``.

    Nothing that could be billed is sent: a GET of the list, and one more if the list alone does not tell. With
    ``window`` a server of the user's choice is asked for the model's window, too. ``kind`` is whose format the provider
    speaks, if not its own.
    """
    kind = kind or provider
    target = _Target(provider, base_url, key, time.monotonic() + patience_s, kind)
    state: KeyState = "unknown"
    if key is None:
        state = "missing" if kind in KEY_NAMES and target.is_official else "not needed"
    blank = ProbeResult(provider, target.place, True, state, None, (), 0.0, "", "done")
    if not base_url:  # it answers in this process, or only litellm knows its address
        return blank if provider == "builtin" else blank._replace(reachable=None, key="unknown")
    if key is not None and not (key.isascii() and key.isprintable() and key.split() == [key]):
        return _fail(blank, target, "auth", f"the key cannot be sent as it is: {target.set_key}", key="rejected")
    _load_client()
    began = time.monotonic()  # loading does not count as the provider's time
    target = target._replace(until=began + patience_s)
    try:
        answer = target.get(_list_path(kind, base_url))
    except ProviderUnavailable as error:
        message = f"{error.message}: {_hint(target, error)}"
        blank = blank._replace(reachable=False, ms=1000 * (time.monotonic() - began))
        return _fail(blank, target, "unavailable", message)
    tls = answer.tls or ("none" if base_url.startswith("http://") else "")
    found = _judge(blank._replace(ms=1000 * (time.monotonic() - began), tls=tls), target, answer, model)
    if window and model is not None and found.status == "done" and not target.is_official and kind != "ollama":
        found = found._replace(context_window=_window(target, model, _rows(kind, answer) or ()))
    return found


def _load_client() -> None:
    """Load the HTTP client."""
    from agentctl.providers.lean_client import load_httpx  # noqa: PLC0415 - builtin makes no request

    load_httpx()


def _judge(found: ProbeResult, target: _Target, answer: HttpResponse, model: str | None) -> ProbeResult:
    """Judge the answer: the key first, the model last."""
    status = answer.status
    if status in (401, 403) or (status == 400 and b"API_KEY_INVALID" in (answer.body or b"")):
        return _refuse(found, target, status)
    if status == 429:
        return _fail(found, target, "rate_limited", f"{target.place} is limiting requests (429): try again later")
    if status in (404, 405, 501) and target.kind != "ollama" and not target.is_official:
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
    rows = _rows(target.kind, answer)
    models = None if rows is None else tuple(sorted(set(_names(rows))))
    if rows is None or models is None:
        ends = "" if target.kind in ("ollama", "anthropic") else " (most end in /v1)"
        message = f"the server at {target.place} does not list models as {target.kind} does: check the address{ends}"
        return _fail(found, target, "unavailable", message)
    found = _with_key(found._replace(models=models), target)
    return found if model is None or found.status != "done" else _with_model(found, target, model, rows)


def _refuse(found: ProbeResult, target: _Target, status: int) -> ProbeResult:
    if target.kind == "ollama":
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
    if target.kind != "openrouter":
        return found._replace(key="accepted")
    try:
        status = target.get("/key").status
    except ProviderUnavailable:
        return found
    if status in (401, 403):
        return _refuse(found, target, status)
    return found._replace(key="accepted") if status == 200 else found


def _with_model(found: ProbeResult, target: _Target, model: str, rows: Sequence[object]) -> ProbeResult:
    spellings = {model, f"{model}:latest"} if target.kind == "ollama" else {model}
    if target.kind == "openrouter":
        spellings.add(model.partition(":")[0])  # the suffix says how to choose among hosts
    known: bool | None = bool(spellings & set(found.models))
    if not known and target.kind != "ollama" and not _is_strict(rows):
        known = _ask_for_model(target, model)
    if known is not False:
        return found._replace(model_known=known)
    near = did_you_mean(model, found.models) if target.is_official and target.kind != "ollama" else ""
    hint = near or other_models_hint(target.provider, model, found.models, kind=target.kind) or "check the name"
    message = f"{target.place} does not know the model {model}: {hint}"
    return _fail(found, target, "model_gone", message)._replace(model_known=False)


def _is_strict(rows: Sequence[object]) -> bool:
    """Return whether the server is one that is known to refuse the names that it does not list."""
    return any(isinstance(row, dict) and row.get("owned_by") in _STRICT_OWNERS for row in rows)


def other_models_hint(provider: str, model: str, names: Sequence[str], *, kind: str) -> str:
    """Return the models that a server has instead of ``model``, with what to add to a run; "" if it has none.

    >>> other_models_hint("lab", "qwen", ("qwen1.5b",), kind="openai")
    'it has: qwen1.5b   (add --model lab/qwen1.5b)'
    """
    pull = f"ollama pull {shlex.quote(model)}" if kind == "ollama" else ""
    if not names:
        return pull
    near = nearest(model, names) or (names[0] if len(names) == 1 else "")
    ways = [f"add --model {shlex.quote(f'{provider}/{near}')}"] if near else []
    ways += [pull] if pull else []
    return f"it has: {list_names(names)}" + (f"   ({', or: '.join(ways)})" if ways else "")


def other_models(provider: str, model: str, base_url: str, key: str | None, *, kind: str) -> str:
    """Ask a server for its models, and return them as a hint; "" if it does not list any in time."""
    names = served_models(kind, base_url, key)
    return other_models_hint(provider, model, names, kind=kind) if names else ""


def served_models(kind: str, base_url: str, key: str | None, *, patience_s: float = 1.0) -> tuple[str, ...] | None:
    """Return the models that a server in the format of ``kind`` lists, sorted; None without a list in time."""
    rows = _list(_served(kind, base_url, key, patience_s))
    return None if rows is None else tuple(sorted(set(_names(rows))))


def served_window(kind: str, base_url: str, key: str | None, model: str, *, patience_s: float = 1.0) -> int | None:
    """Return the context window, in tokens, that a server gives a model; None if it does not say so in time.

    An Ollama gives a model what the request asks for: ``served_card`` says how much it can have.
    """
    target = _served(kind, base_url, key, patience_s)
    return _window(target, model, _list(target) or ())


def served_card(base_url: str, key: str | None, model: str, *, patience_s: float = 1.0) -> object:
    """Return what an Ollama shows of a model, None if it does not answer in time: for ``window_in_card``."""
    target = _served("ollama", base_url, key, patience_s)
    try:
        return parse_json(target.get("/api/show", post=json.dumps({"model": model}).encode()))
    except ProviderUnavailable:
        return None


def _served(kind: str, base_url: str, key: str | None, patience_s: float) -> _Target:
    _load_client()
    return _Target(kind, base_url, key, time.monotonic() + patience_s, kind)


def _list(target: _Target) -> list[object] | None:
    try:
        answer = target.get(_list_path(target.kind, target.base_url))
    except ProviderUnavailable:
        return None
    return _rows(target.kind, answer) if answer.status == 200 and answer.body is not None else None


def _window(target: _Target, model: str, rows: Sequence[object]) -> int | None:
    """Return a model's window: from its row in the list (vLLM, gateways), else from the server's own facts."""
    if target.kind in ("anthropic", "ollama"):
        return None
    try:
        known = [row for row in rows if isinstance(row, dict)]
        row = next((row for row in known if row.get("id") == model), None)
        if row is None:  # a server with one model may answer to any name
            row = known[0] if len(known) == 1 and not _is_strict(rows) else {}
        if (found := window_in_row(row)) is not None:
            return found
        root = target.base_url.rstrip("/").removesuffix("/v1")
        if row.get("owned_by") == "llamacpp" or "meta" in row:
            props = parse_json(target.get("/props", base=root))
            return window_in_props(props) or window_in_row(row, trained=True)
        if target.is_official or not isinstance(row.get("id"), str):
            return None
        return window_in_row(parse_json(target.get(f"/api/v0/models/{quote(row['id'])}", base=root)))  # LM Studio
    except ProviderUnavailable:
        return None


def window_in_row(row: object, *, trained: bool = False) -> int | None:
    """Return the window in what a server lists of a model; with ``trained`` the length that it was trained on.

    ``max_model_len`` is vLLM's and SGLang's, ``loaded_context_length`` LM Studio's, ``n_ctx`` llama.cpp's, the others
    are those of gateways.
    """
    if not isinstance(row, dict):
        return None
    meta = row.get("meta")
    inner = meta if isinstance(meta, dict) else {}
    if trained:
        return _count(inner.get("n_ctx_train"))
    found = (_count(place.get(name)) for place in (row, inner) for name in _WINDOW_NAMES)
    return next((count for count in found if count is not None), None)


def window_in_props(props: object) -> int | None:
    """Return the window of a request in llama.cpp's facts about itself."""
    settings = props.get("default_generation_settings") if isinstance(props, dict) else None
    return _count(settings.get("n_ctx")) if isinstance(settings, dict) else None


def window_in_card(card: object) -> int | None:
    """Return the length that a model was trained on, from what Ollama shows of it."""
    facts = card.get("model_info") if isinstance(card, dict) else None
    return _count(facts.get(f"{facts.get('general.architecture')}.context_length")) if isinstance(facts, dict) else None


def capabilities_in_card(card: object) -> tuple[str, ...] | None:
    """Return what an Ollama says that a model can do, such as "tools" and "thinking"; None from an old one."""
    found = card.get("capabilities") if isinstance(card, dict) else None
    return tuple(map(str, found)) if isinstance(found, list) else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 < value <= _MOST_WINDOW else None


def _ask_for_model(target: _Target, model: str) -> bool | None:
    """Ask for a model that the list does not name: the name may be an alias."""
    path = _list_path(target.kind, target.base_url).partition("?")[0]
    try:
        answer = target.get(f"{path}/{quote(model)}")
    except ProviderUnavailable:
        return None
    if answer.status == 200:
        document = parse_json(answer)
        return True if isinstance(document, dict) and ("id" in document or "name" in document) else None
    if answer.status not in (400, 404):
        return None
    return False if target.is_official or _denies_model(answer) else None


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
    if target.kind == "ollama":
        return "start it: ollama serve" if is_own_host(target.base_url) else "start it there: ollama serve"
    if target.is_official:
        return error.hint or "check the network and try again"
    return error.hint or "check the server and the address"


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


def _rows(kind: str, answer: HttpResponse) -> list[object] | None:
    """Return the rows of a list of models; None if the answer is not such a list."""
    if kind == "ollama":
        tags = tags_of(answer)
        return None if tags is None else [{"id": name} for name in tags]
    document = parse_json(answer)
    rows = document.get("models" if kind == "gemini" else "data") if isinstance(document, dict) else document
    return rows[:MOST_NAMES] if isinstance(rows, list) else None


def _names(rows: Sequence[object]) -> Iterator[str]:
    for row in rows:
        if isinstance(row, dict):
            aliases = row.get("aliases")
            for value in (row.get("id") or row.get("name"), *(aliases if isinstance(aliases, list) else ())):
                if name := name_of(value).removeprefix("models/"):
                    yield name
