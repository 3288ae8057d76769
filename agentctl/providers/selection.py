"""Which models this host's own Ollama has, and who answers in the end: what a run settles before it begins."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

from agentctl.core.errors import ProviderUnavailable
from agentctl.providers.probe_http import HttpResponse, exchange
from agentctl.settings import Loaded, ProviderChoice, choose_provider, ollama_to_ask

MOST_SHOWN = 30  # models that are asked what they can do
PATIENCE_S = 0.2
SHOW_PATIENCE_S = 1.0
MOST_NAMES = 10_000


def resolve_provider(loaded: Loaded, *, patience_s: float = PATIENCE_S) -> ProviderChoice:
    """Choose who answers, and ask the Ollama on this host for its models where nothing else decides.

    Raises:
        UsageError: two keys and no choice, or a model without a provider.
        AuthFailed: a key is missing or empty.
    """
    address = ollama_to_ask(loaded)
    if address is None:
        return choose_provider(loaded)
    models = ollama_models(address, patience_s=patience_s)
    choice = choose_provider(loaded, ollama_models=models or ())
    if models == () and choice.provider == "builtin":
        return choice._replace(chosen_by="no key, and Ollama on this host has no model that can call tools")
    return choice


def ollama_models(base_url: str, *, patience_s: float = PATIENCE_S) -> tuple[str, ...] | None:
    """Return the models of an Ollama that can call tools, in order; None if none answers in time as Ollama does.

    What does not say what it can do is asked, within a second for all; it counts only if no model says anything (an
    old server). A model that runs elsewhere (a cloud's) does not count: nobody chose to send anything there.
    """
    try:
        answer = exchange(f"{base_url}/api/tags", until=time.monotonic() + patience_s)
    except ProviderUnavailable:
        return None
    tags = tags_of(answer)
    if tags is None:
        return None
    here = {name: _capabilities(tag) for name, tag in tags.items() if not tag.get("remote_host")}
    silent = sorted(name for name, said in here.items() if said is None)[:MOST_SHOWN]
    here |= _shown_capabilities(base_url, silent)
    if all(said is None for said in here.values()):
        return tuple(sorted(here))
    return tuple(sorted(name for name, said in here.items() if said is not None and "tools" in said))


def _shown_capabilities(base_url: str, names: Sequence[str]) -> dict[str, tuple[str, ...] | None]:
    """Ask for each model, all at once; None for those that did not say in time."""
    if not names:
        return {}
    import threading  # noqa: PLC0415 - most servers say it in the list

    until = time.monotonic() + SHOW_PATIENCE_S
    found: dict[str, tuple[str, ...] | None] = {}

    def ask(name: str) -> None:
        try:
            answer = exchange(f"{base_url}/api/show", until=until, post=json.dumps({"model": name}).encode())
        except ProviderUnavailable:
            return
        said = parse_json(answer) if answer.status == 200 else None
        found[name] = _capabilities(said) if isinstance(said, dict) else None

    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()  # each ends by itself when the second is over
    return found


def trained_window(base_url: str, model: str, *, patience_s: float = SHOW_PATIENCE_S) -> int | None:
    """Return how many tokens a model of an Ollama was trained to read; None if it does not say so in time.

    A larger ``num_ctx`` is lowered to this, and nobody told.
    """
    until = time.monotonic() + patience_s
    try:
        answer = exchange(f"{base_url}/api/show", until=until, post=json.dumps({"model": model}).encode())
    except ProviderUnavailable:
        return None
    said = parse_json(answer) if answer.status == 200 else None
    card = said.get("model_info") if isinstance(said, dict) else None
    found = card.get(f"{card.get('general.architecture')}.context_length") if isinstance(card, dict) else None
    return found if type(found) is int and found > 0 else None


def _capabilities(said: Mapping[str, object]) -> tuple[str, ...] | None:
    capabilities = said.get("capabilities")
    return tuple(map(str, capabilities)) if isinstance(capabilities, list) else None


def tags_of(answer: HttpResponse) -> dict[str, dict[str, object]] | None:
    """Return what an Ollama says of each of its models; None if this is no Ollama."""
    said = parse_json(answer) if answer.status == 200 else None
    models = said.get("models") if isinstance(said, dict) else None
    if not isinstance(models, list):
        return None
    tags = [tag for tag in models[:MOST_NAMES] if isinstance(tag, dict)]
    return {name: tag for tag in tags if (name := name_of(tag.get("name") or tag.get("model")))}


def parse_json(answer: HttpResponse) -> object:
    """Return what the body says, None if it is no JSON or too much."""
    try:
        return json.loads(answer.body or b"")
    except (ValueError, RecursionError):
        return None


def name_of(value: object) -> str:
    """Return a model's name, "" for what cannot be one."""
    return (
        value if isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable() and " " not in value else ""
    )
