"""Choose the provider before a run, and ask the Ollama on this host about its models."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from agentctl.settings import Loaded, OwnersOf, ProviderChoice, choose_provider, ollama_to_ask

if TYPE_CHECKING:
    from agentctl.providers.loopback_http import HttpResponse

MOST_SHOWN = 30  # models that are asked for their capabilities
PATIENCE_S = 0.2
SHOW_PATIENCE_S = 1.0
MOST_NAMES = 10_000


def resolve_provider(loaded: Loaded, *, patience_s: float = PATIENCE_S) -> ProviderChoice:
    """Return the chosen provider; ask the Ollama on this host for its models only if nothing else decides.

    Raises:
        UsageError: two keys are set and no provider is chosen, or nothing knows the provider of a model.
        AuthFailed: a key is missing or empty.
    """
    owners_of = catalogue_owners(loaded)
    own = loaded.settings.named(loaded.settings.llm_provider)
    if own is not None and loaded.settings.llm_model is None and own.model is None:
        from agentctl.providers.probe import served_models  # noqa: PLC0415 - only where no model is named

        key = None if own.key is None else own.key.get_secret_value()
        served = served_models(own.kind, own.base_url, key) or ()
        return choose_provider(loaded, owners_of=owners_of, served=served)
    address = ollama_to_ask(loaded, owners_of)
    if address is None:
        return choose_provider(loaded, owners_of=owners_of)
    models = ollama_models(address, patience_s=patience_s)
    choice = choose_provider(loaded, ollama_models=models or (), owners_of=owners_of)
    if models == () and choice.provider == "builtin":
        return choice._replace(chosen_by="no key, and Ollama on this host has no model that can call tools")
    return choice


def catalogue_owners(loaded: Loaded) -> OwnersOf:
    """Return the function that names the providers of a model by the catalogue, which is read when first asked."""

    @cache
    def owners_of(model: str) -> tuple[str, ...]:
        from agentctl.providers.catalog import load_catalog  # noqa: PLC0415 - only for a model without a provider
        from agentctl.providers.routes import ROUTES  # noqa: PLC0415

        return load_catalog(loaded.settings.price_lines).owners(model, ROUTES)

    return owners_of


def ollama_models(base_url: str, *, patience_s: float = PATIENCE_S) -> tuple[str, ...] | None:
    """Return the models of an Ollama that can call tools, sorted; None if no Ollama answers in time.

    Models whose capabilities the list leaves out are asked for them, within a second for all. If no model has any (an
    old server), all count. A model that runs elsewhere (in a cloud) never counts, because the user did not choose to
    send anything there.
    """
    try:
        answer = _send(f"{base_url}/api/tags", until=time.monotonic() + patience_s)
    except (OSError, ValueError):
        return None
    tags = tags_of(answer)
    if tags is None:
        return None
    here = {name: _capabilities(tag) for name, tag in tags.items() if not tag.get("remote_host")}
    silent = sorted(name for name, capabilities in here.items() if capabilities is None)[:MOST_SHOWN]
    here |= _ask_capabilities(base_url, silent)
    if all(capabilities is None for capabilities in here.values()):
        return tuple(sorted(here))
    return tuple(
        sorted(name for name, capabilities in here.items() if capabilities is not None and "tools" in capabilities)
    )


def _send(url: str, *, until: float, post: bytes | None = None) -> HttpResponse:
    from agentctl.providers.loopback_http import send  # noqa: PLC0415 - most runs make no request

    return send(url, until=until, post=post)


def _ask_capabilities(base_url: str, names: Sequence[str]) -> dict[str, tuple[str, ...] | None]:
    """Ask for the capabilities of each model, all at once; None for a model whose answer comes too late."""
    if not names:
        return {}
    import threading  # noqa: PLC0415 - most servers say it in the list

    until = time.monotonic() + SHOW_PATIENCE_S
    found: dict[str, tuple[str, ...] | None] = {}

    def ask(name: str) -> None:
        try:
            answer = _send(f"{base_url}/api/show", until=until, post=json.dumps({"model": name}).encode())
        except (OSError, ValueError):
            return
        card = parse_json(answer) if answer.status == 200 else None
        found[name] = _capabilities(card) if isinstance(card, dict) else None

    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()  # each ends by itself within the second
    return found


def _capabilities(card: Mapping[str, object]) -> tuple[str, ...] | None:
    capabilities = card.get("capabilities")
    return tuple(map(str, capabilities)) if isinstance(capabilities, list) else None


def tags_of(answer: HttpResponse) -> dict[str, dict[str, object]] | None:
    """Return an Ollama's description of each of its models, by name; None if the server is not an Ollama."""
    document = parse_json(answer) if answer.status == 200 else None
    models = document.get("models") if isinstance(document, dict) else None
    if not isinstance(models, list):
        return None
    tags = [tag for tag in models[:MOST_NAMES] if isinstance(tag, dict)]
    return {name: tag for tag in tags if (name := name_of(tag.get("name") or tag.get("model")))}


def parse_json(answer: HttpResponse) -> object:
    """Return the body parsed as JSON, None if it is not JSON or too long."""
    try:
        return json.loads(answer.body or b"")
    except (ValueError, RecursionError):
        return None


def name_of(value: object) -> str:
    """Return a model's name, "" for a value that cannot be one."""
    return (
        value if isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable() and " " not in value else ""
    )
