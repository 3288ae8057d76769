"""Choose the fallbacks of a run by their names, as its provider is chosen by its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from agentctl.core.errors import AuthFailed, UsageError
from agentctl.core.text import safe_text
from agentctl.providers.selection import resolve_provider
from agentctl.settings import KNOWN_PROVIDERS, Loaded, ProviderChoice
from agentctl.settings.provider_names import OTHER_PROVIDERS, nearest_provider


class FallbackChoices(NamedTuple):
    """The fallbacks that can be used, and why the others cannot, by the names that the user gave them."""

    usable: Mapping[str, ProviderChoice]
    left_out: Mapping[str, AuthFailed]


def choose_fallbacks(loaded: Loaded, choice: ProviderChoice) -> FallbackChoices:
    """Return the providers and models that ``fallbacks`` names, without the chosen one and without doubles.

    Raises:
        UsageError: a name is wrong, or names no model.
    """
    usable: dict[str, ProviderChoice] = {}
    left_out: dict[str, AuthFailed] = {}
    if choice.provider == "builtin":  # it does not fail as a provider does
        return FallbackChoices(usable, left_out)
    seen = {(choice.provider, choice.model)}
    for name in loaded.settings.fallbacks:
        named = _with_names(loaded, name)
        try:
            found = resolve_provider(named)
        except AuthFailed as error:
            left_out[name] = error
            continue
        except UsageError as error:
            raise _wrong(name, error.message, f"agentctl models {name}") from error
        if found.provider == "builtin":
            raise _wrong(name, "builtin is not a language model and cannot be a fallback", "")
        if (found.provider, found.model) not in seen:
            seen.add((found.provider, found.model))
            usable[name] = found
    return FallbackChoices(usable, left_out)


def _with_names(loaded: Loaded, name: str) -> Loaded:
    """Return the settings of a run that has this fallback as its provider.

    Raises:
        UsageError: there is no such provider.
    """
    own = tuple(loaded.settings.providers)
    head, slash, model = name.partition("/")
    provider: str | None = head.lower()
    if provider not in (*KNOWN_PROVIDERS, *OTHER_PROVIDERS, *own):
        if slash or (near := nearest_provider(head, own=own)):
            near = nearest_provider(head, own=own)
            said = f"there is no provider {head}{f'; {near}' if near else ''}"
            raise _wrong(name, said, f"agentctl models {model or head}")
        provider, model = None, name  # a model, whose provider the catalogue knows
    source = loaded.sources["fallbacks"]
    sources = {**loaded.sources, "llm_provider": source, "llm_model": source}
    names = {**loaded.names, **dict.fromkeys(("llm_provider", "llm_model"), loaded.names.get("fallbacks", "fallbacks"))}
    settings = loaded.settings.model_copy(update={"llm_provider": provider, "llm_model": model or None})
    return replace(loaded, settings=settings, sources=sources, names=names)


def _wrong(name: str, said: str, hint: str) -> UsageError:
    return UsageError(
        safe_text(f"fallback {name}: {said}"),
        hint=safe_text(hint)
        or "name another model: --fallbacks ollama/llama3.1, or turn fallbacks off: --fallbacks none",
    )
