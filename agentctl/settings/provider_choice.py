"""Choose the provider: by name, by key, by a local Ollama, or builtin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from agentctl.core.errors import AuthFailed, UsageError
from agentctl.core.text import did_you_mean, safe_text
from agentctl.settings.host import is_loopback
from agentctl.settings.loaded import Loaded
from agentctl.settings.names import ENV_NAMES, KEY_NAMES
from agentctl.settings.provider_names import DEFAULT_MODELS


class ProviderChoice(NamedTuple):
    """The provider and model that answer (``model`` is None for builtin), and what decided it, in a few words.

    >>> from agentctl import ProviderChoice
    >>> ProviderChoice("ollama", "llama3.1:latest", "this script").provider
    'ollama'
    """

    provider: str
    model: str | None
    chosen_by: str
    default_model: bool = False


def choose_provider(loaded: Loaded, *, ollama_models: tuple[str, ...] | None = None) -> ProviderChoice:
    """Choose the provider: a named one, else the one with a key, else Ollama on this host, else builtin.

    ``ollama_models`` are the tool-capable models of an Ollama on loopback; None when it was not asked or did not
    answer (``ollama_to_ask`` says whether to). Under CI, with an empty key variable or with a model named, nothing
    falls through to Ollama or builtin.

    Raises:
        UsageError: there are two keys and no choice, a model without a provider, a provider without a default model, or
            a wrong value that a run or the chosen provider needs.
        AuthFailed: a key is missing or empty.
    """
    loaded.refuse_wrong("run")
    choice = _choose(loaded, ollama_models)
    loaded.refuse_wrong(f"provider {choice.provider}")
    return choice


def _choose(loaded: Loaded, ollama_models: tuple[str, ...] | None) -> ProviderChoice:
    settings = loaded.settings
    if settings.llm_provider is not None:
        return _choose_named(loaded, settings.llm_provider)
    keys = _keys(loaded)
    if len(keys) > 1:
        first = next(iter(keys))
        both = "both " if len(keys) == 2 else ""
        raise UsageError(
            f"{both}{_join_names(tuple(keys.values()))} are set; choose one with --provider",
            hint=f"add --provider {first} to the run, or set it for good: export LLM_PROVIDER={first}",
        )
    for provider, name in keys.items():
        return _with_model(loaded, provider, f"key {name}")
    if loaded.empty_keys:
        is_one = len(loaded.empty_keys) == 1
        raise AuthFailed(
            f"{_join_names(loaded.empty_keys)} {'is' if is_one else 'are'} set but empty, and no other key was found",
            hint=_hint(loaded, f"give {'it' if is_one else 'one of them'} a value, or choose --provider builtin"),
            billed="no",
        )
    if settings.llm_model is not None:
        return _model_alone(loaded, settings.llm_model, None if loaded.ci else ollama_models)
    if loaded.ci:
        raise AuthFailed(
            "CI is set and no key was found; looked for " + ", ".join(KEY_NAMES.values()),
            hint=_hint(loaded, "set one of them, or choose --provider builtin"),
            billed="no",
        )
    loaded.refuse_wrong("provider ollama")  # an Ollama may exist: with a wrong address it could not be asked
    if ollama_models is not None and len(ollama_models) == 1:
        return ProviderChoice("ollama", ollama_models[0], "Ollama on this host, its only model")
    if ollama_models:
        return ProviderChoice("builtin", None, f"no key, and Ollama on this host has {len(ollama_models)} models")
    return ProviderChoice("builtin", None, "no key" if ollama_models is None else "no key, no server")


def ollama_to_ask(loaded: Loaded) -> str | None:
    """Return the address of a local Ollama to ask for its models; None if something else decides."""
    settings = loaded.settings
    is_decided = settings.llm_provider is not None or loaded.ci or loaded.empty_keys or _keys(loaded)
    if is_decided or loaded.is_wrong("ollama_host"):
        return None
    return settings.ollama_host if is_loopback(urlsplit(settings.ollama_host).hostname or "") else None


def competing_keys(loaded: Loaded) -> Mapping[str, str]:
    """Return the providers with a key among which the user must choose, with their key variables; empty if decided."""
    keys = _keys(loaded) if loaded.settings.llm_provider is None else {}
    return keys if len(keys) > 1 else {}


def _choose_named(loaded: Loaded, provider: str) -> ProviderChoice:
    by = _choice_source(loaded)
    loaded.refuse_wrong(f"provider {provider}")
    if provider == "builtin":
        return ProviderChoice("builtin", None, by)
    name = KEY_NAMES.get(provider)
    own_server = getattr(loaded.settings, f"{provider}_base_url", None)
    if name is not None and loaded.settings.key_of(provider) is None and own_server is None:
        known = ENV_NAMES[name.lower()]
        empty = next((empty for empty in loaded.empty_keys if empty in known), None)
        raise AuthFailed(
            f"provider {provider} ({by}) needs a key, and {empty or name} is {'set but empty' if empty else 'not set'}",
            hint=_hint(
                loaded,
                f"set {name}, or save a key: agentctl providers set-key {provider}",
                fields=(name.lower(),),
            ),
            billed="no",
        )
    return _with_model(loaded, provider, by)


def _choice_source(loaded: Loaded) -> str:
    source = loaded.sources["llm_provider"]
    return str(source) if source.kind == "environment" else source.kind


def _keys(loaded: Loaded) -> Mapping[str, str]:
    """Return the providers that have a key, usable or not, and the variable that holds it."""
    return {
        provider: loaded.names.get(name.lower(), name)
        for provider, name in KEY_NAMES.items()
        if loaded.settings.key_of(provider) is not None or loaded.is_wrong(name.lower())
    }


def _with_model(loaded: Loaded, provider: str, by: str) -> ProviderChoice:
    model = loaded.settings.llm_model
    if model is not None:
        return ProviderChoice(provider, model, by)
    if provider not in DEFAULT_MODELS:
        raise UsageError(
            f"provider {provider} ({by}) has no default model, and none is named",
            hint=loaded.cause("llm_model")
            or f"add --model {provider}/MODEL to the run, or set it for good: export LLM_MODEL={provider}/MODEL",
        )
    return ProviderChoice(provider, DEFAULT_MODELS[provider], by, default_model=True)


def _model_alone(loaded: Loaded, model: str, ollama_models: tuple[str, ...] | None) -> ProviderChoice:
    for there in ollama_models or ():
        if there in (model, f"{model}:latest"):
            return ProviderChoice("ollama", there, "Ollama on this host has the model")
    source = loaded.sources["llm_model"]
    near = did_you_mean(model, ollama_models or ())
    raise UsageError(
        safe_text(
            f"model {model} ({source}) is named without a provider, and no key implies one"
            + (f"; {near}" if near else "")
        ),
        hint=_hint(loaded, "add --provider NAME to the run"),
    )


def _hint(loaded: Loaded, otherwise: str, fields: tuple[str, ...] | None = None) -> str:
    wanted = ("llm_provider", *(name.lower() for name in KEY_NAMES.values())) if fields is None else fields
    return loaded.cause(*wanted) or otherwise


def _join_names(names: tuple[str, ...]) -> str:
    return " and ".join(names) if len(names) < 3 else ", ".join(names[:-1]) + " and " + names[-1]
