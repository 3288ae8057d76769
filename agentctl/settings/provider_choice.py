"""Choose the provider: by name, by the model, by key, by a local Ollama, or builtin.

A model names its provider where the catalogue knows it, which the caller asks (``OwnersOf``). That decides between two
keys, and over a provider that a weaker source names. It never decides against a server of the user's own, where a model
of any name may be right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from agentctl.core.errors import AuthFailed, UsageError
from agentctl.core.text import did_you_mean, safe_text
from agentctl.settings.host import is_loopback
from agentctl.settings.loaded import Loaded
from agentctl.settings.names import ENV_NAMES, KEY_NAMES
from agentctl.settings.provider_names import (
    CLOSED_MAKERS,
    DEFAULT_MODELS,
    MAKERS,
    foreign_model_error,
    maker_of,
    other_key_name,
    title_of,
)
from agentctl.settings.sources import STRENGTH

#: Return the providers that have a model of this name, its maker first; empty if the catalogue does not know it.
OwnersOf = Callable[[str], tuple[str, ...]]

#: Where OpenAI and Anthropic themselves answer; another address is a server of the user's choice.
_OFFICIAL_HOSTS = ("api.openai.com", "api.anthropic.com")


def no_owners(model: str) -> tuple[str, ...]:
    """Return no provider: the catalogue that knows nothing."""
    return ()


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


def choose_provider(
    loaded: Loaded,
    *,
    ollama_models: tuple[str, ...] | None = None,
    owners_of: OwnersOf = no_owners,
    served: tuple[str, ...] = (),
) -> ProviderChoice:
    """Choose the provider: a named one, else the model's, else the one with a key, else Ollama here, else builtin.

    ``ollama_models`` are the tool-capable models of an Ollama on loopback; None when it was not asked or did not
    answer (``ollama_to_ask`` says whether to). ``served`` are the models that the server of the user's own provider
    lists, where no model is named. Under CI, with an empty key variable or with a model named, nothing
    falls through to Ollama or builtin.

    Raises:
        UsageError: there are two keys and no choice, a model without a provider, a provider without a default model, or
            a wrong value that a run or the chosen provider needs.
        AuthFailed: a key is missing or empty.
    """
    loaded.refuse_wrong("run")
    choice = _choose(loaded, ollama_models, owners_of, served)
    loaded.refuse_wrong(*needs_of(choice.provider))
    return choice


def needs_of(provider: str) -> tuple[str, ...]:
    """Return what the use of a provider needs, beside what every run needs."""
    own = f"provider {provider}"
    return (own,) if provider == "builtin" else (own, "model")


def _choose(
    loaded: Loaded, ollama_models: tuple[str, ...] | None, owners_of: OwnersOf, served: tuple[str, ...]
) -> ProviderChoice:
    settings = loaded.settings
    if settings.llm_provider is not None and not _is_overruled(loaded, owners_of):
        loaded.refuse_wrong(*needs_of(settings.llm_provider))  # before it is looked for: its table may be wrong
        if (own := settings.named(settings.llm_provider)) is None:
            return _choose_named(loaded, settings.llm_provider, owners_of)
        from agentctl.settings.named_choice import choose_own_model  # noqa: PLC0415 - most users have none

        model, is_default, by = choose_own_model(own, settings.llm_model, _choice_source(loaded), served)
        return ProviderChoice(own.name, model, by, default_model=is_default)
    loaded.refuse_wrong("llm_model")  # it may name the provider
    keys = _keys(loaded)
    if settings.llm_model is not None and owners_of is not no_owners:
        choice = _choose_by_model(loaded, settings.llm_model, None if loaded.ci else ollama_models, owners_of)
        if choice is not None:
            return choice
    if len(keys) > 1:
        first = next(iter(keys))
        both = "both " if len(keys) == 2 else ""
        raise UsageError(
            f"{both}{_join_names(tuple(keys.values()))} are set; choose one with --provider",
            hint=f"add --provider {first} to the run, or set it for good: export LLM_PROVIDER={first}",
        )
    for provider, name in keys.items():
        return _with_model(provider, settings.llm_model, f"key {name}", loaded)
    if loaded.empty_keys:
        is_one = len(loaded.empty_keys) == 1
        first = next(
            provider for provider, name in KEY_NAMES.items() if loaded.empty_keys[0] in ENV_NAMES[name.lower()]
        )
        raise AuthFailed(
            f"{_join_names(loaded.empty_keys)} {'is' if is_one else 'are'} set but empty, and no other key was found",
            hint=_hint(loaded, f"agentctl providers set-key {first}   (or choose --provider builtin)"),
            billed="no",
        )
    if settings.llm_model is not None:
        return _model_alone(loaded, settings.llm_model, None if loaded.ci else ollama_models)
    if loaded.ci:
        raise AuthFailed(
            "CI is set and no key was found; looked for " + ", ".join(KEY_NAMES.values()),
            hint=_hint(
                loaded, "set one of them, save a key (agentctl providers set-key NAME), or choose --provider builtin"
            ),
            billed="no",
        )
    loaded.refuse_wrong("provider ollama")  # an Ollama may exist: with a wrong address it could not be asked
    if ollama_models is not None and len(ollama_models) == 1:
        return ProviderChoice("ollama", ollama_models[0], "Ollama on this host, its only model")
    if ollama_models:
        return ProviderChoice("builtin", None, f"no key, and Ollama on this host has {len(ollama_models)} models")
    return ProviderChoice("builtin", None, "no key" if ollama_models is None else "no key, no server")


def ollama_to_ask(loaded: Loaded, owners_of: OwnersOf = no_owners) -> str | None:
    """Return the address of a local Ollama to ask for its models; None if something else decides."""
    settings = loaded.settings
    is_decided = settings.llm_provider is not None or loaded.ci or loaded.empty_keys
    if is_decided or loaded.is_wrong("ollama_host"):
        return None
    if _keys(loaded) and (settings.llm_model is None or _usable_owners(loaded, settings.llm_model, owners_of)):
        return None
    return settings.ollama_host if is_loopback(urlsplit(settings.ollama_host).hostname or "") else None


def competing_keys(loaded: Loaded, owners_of: OwnersOf = no_owners) -> Mapping[str, str]:
    """Return the providers with a key among which the user must choose, with their key variables; empty if decided."""
    keys = _keys(loaded) if loaded.settings.llm_provider is None else {}
    model = loaded.settings.llm_model
    if len(keys) < 2:
        return {}
    is_decided = model is not None and (_usable_owners(loaded, model, owners_of) or _owners(loaded, model, owners_of))
    return {} if is_decided else keys


def _is_left_behind(loaded: Loaded, provider: str, model: str, owners_of: OwnersOf) -> bool:
    """Return whether the model comes from a weaker source than the provider, and is another maker's."""
    if provider in _own_servers(loaded) or not _is_stronger(loaded, "llm_provider", "llm_model"):
        return False
    return foreign_model_error(provider, model, owners_of(model)) is not None


def _is_stronger(loaded: Loaded, name: str, other: str) -> bool:
    return STRENGTH.index(loaded.sources[name].kind) < STRENGTH.index(loaded.sources[other].kind)


def _is_overruled(loaded: Loaded, owners_of: OwnersOf) -> bool:
    """Return whether a stronger source than that of the provider names a model that is another maker's."""
    provider, model = loaded.settings.llm_provider, loaded.settings.llm_model
    if provider is None or model is None or provider in _own_servers(loaded):
        return False
    if not _is_stronger(loaded, "llm_model", "llm_provider"):
        return False
    return foreign_model_error(provider, model, owners_of(model)) is not None


def _choose_by_model(
    loaded: Loaded, model: str, ollama_models: tuple[str, ...] | None, owners_of: OwnersOf
) -> ProviderChoice | None:
    """Return the choice that the named model makes; None if it does not decide.

    Raises:
        AuthFailed: the model's provider has no key.
        UsageError: several providers with a key have the model, and none is its maker.
    """
    keys = _keys(loaded)
    there = _in_ollama(model, ollama_models)
    owner = None if there and not keys else _owner_at_hand(loaded, model, owners_of)
    if owner is not None:
        return ProviderChoice(owner, model, _said_of(loaded, owner, model, owners_of))
    if there:
        return ProviderChoice("ollama", there, "Ollama on this host has the model")
    owners = _owners(loaded, model, owners_of)
    if not owners:
        return None
    raise _without_key(loaded, model, owners, owners_of)


def _owners(loaded: Loaded, model: str, owners_of: OwnersOf) -> tuple[str, ...]:
    """Return the providers of a model; its maker by the name alone if the catalogue does not know the model yet.

    A host that lists a name which only its maker gives (``claude-…``) is not asked unless the user names it. Who has a
    key for a host of other makers' models may know more of them than the catalogue: only a maker's exact name counts
    then.
    """
    found = owners_of(model)
    if owners_of is no_owners or (found and found[0] in MAKERS):
        return found
    if _hosts(loaded):
        return ()
    maker = maker_of(model)
    return (maker,) if maker in CLOSED_MAKERS or (maker is not None and not found) else found


def _said_of(loaded: Loaded, provider: str, model: str, owners_of: OwnersOf) -> str:
    """Return what decided for the provider of a model: the only key, a key among several, or the user's own server."""
    keys = _keys(loaded)
    held = {**keys, **loaded.other_keys}.get(provider)
    if tuple(keys) == (provider,):
        return f"key {held}"
    if held is None or provider not in _owners(loaded, model, owners_of):
        return f"address {loaded.names.get(f'{provider}_base_url', provider)}"
    return f"{_belongs(provider, 'the model')}, key {held}"


def _belongs(provider: str, model: str) -> str:
    return f"{model} is {title_of(provider)}'s" if provider in MAKERS else f"{model} is offered by {provider}"


def _without_key(loaded: Loaded, model: str, owners: tuple[str, ...], owners_of: OwnersOf) -> AuthFailed:
    owner = owners[0]
    name = KEY_NAMES.get(owner, other_key_name(owner))
    empty = next((empty for empty in loaded.empty_keys if empty in ENV_NAMES.get(name.lower(), ())), None)
    ways = [f"agentctl providers set-key {owner}"] if owner in KEY_NAMES else []
    ways += [f"set {name}", *_other_ways(loaded, owner, model, owners_of)]
    if owner not in MAKERS and len(owners) > 1:
        said = f"{model} is offered by {_join_names(owners[:5])}; no key for any of them"
    else:
        said = f"{_belongs(owner, model)}; {f'{empty} is set but empty' if empty else 'no key for it'}: {ways.pop(0)}"
        ways = [f"or {way}" for way in ways]
    instead = "; ".join((*ways, "agentctl models lists the models that you have a key for"))
    return AuthFailed(safe_text(said), hint=_hint(loaded, instead, fields=(name.lower(),)), billed="no")


def _other_ways(loaded: Loaded, owner: str, model: str, owners_of: OwnersOf, *, is_exact: bool = False) -> list[str]:
    """Return what to add to a run for a host that the user has a key for, and that offers the model, too.

    ``is_exact``: the model was named as OpenRouter names it. Its names are those of OpenAI, not those of other makers.
    """
    keys = {**_keys(loaded), **loaded.other_keys}
    ways = [f"add --provider {host}" for host in owners_of(model) if host in keys and host != owner]
    slashed = f"{owner}/{model}"
    hosts = {*owners_of(slashed), *(("openrouter",) if is_exact or owner == "openai" else ())}
    return ways + [f"--model {host}/{slashed}" for host in keys if host in hosts]


def _hosts(loaded: Loaded) -> tuple[str, ...]:
    """Return the providers with a stored key that offer the models of other makers."""
    return tuple(provider for provider in _keys(loaded) if provider not in MAKERS)


def _usable_owners(loaded: Loaded, model: str, owners_of: OwnersOf) -> tuple[str, ...]:
    """Return the providers of a model that can be used, with a key or as the user's own server.

    More than one if the user must choose, since none of them is the maker.
    """
    servers, keys = _own_servers(loaded), {**_keys(loaded), **loaded.other_keys}
    owners = _owners(loaded, model, owners_of) or owners_of(model)
    usable = tuple(owner for owner in owners if owner in keys or owner in servers)
    if usable and usable[0] in MAKERS:
        return usable[:1]
    if usable:
        return tuple(dict.fromkeys((*usable, *_hosts(loaded))))
    return servers if len(servers) == 1 and (maker_of(model) in (None, *servers) or maker_of(model) not in keys) else ()


def _owner_at_hand(loaded: Loaded, model: str, owners_of: OwnersOf) -> str | None:
    """Return the provider of a model that can be used: with a key, or a server of the user's own; None without one.

    Raises:
        UsageError: several have it or may have it, and none is its maker.
    """
    usable = _usable_owners(loaded, model, owners_of)
    if len(usable) > 1:
        sure = tuple(provider for provider in usable if provider in owners_of(model))
        maybe = tuple(provider for provider in usable if provider not in sure)
        said = f", and {_join_names(maybe)} may have it, too; " if maybe else ", and "
        raise UsageError(
            safe_text(f"{model} is offered by {_join_names(sure)}{said}you have a key for each"),
            hint=f"add --provider {(maybe or sure)[0]} to the run",
        )
    return usable[0] if usable else None


def _own_servers(loaded: Loaded) -> tuple[str, ...]:
    """Return the providers whose address is a server of the user's choice: a model of any name may be right there."""
    named = {"openai": loaded.settings.openai_base_url, "anthropic": loaded.settings.anthropic_base_url}
    return tuple(
        provider
        for provider, url in named.items()
        if url and not (urlsplit(url).hostname or "").lower().endswith(_OFFICIAL_HOSTS)
    )


def _in_ollama(model: str, models: tuple[str, ...] | None) -> str | None:
    return next((there for there in models or () if there in (model, f"{model}:latest")), None)


def _choose_named(loaded: Loaded, provider: str, owners_of: OwnersOf) -> ProviderChoice:
    by, model = _choice_source(loaded), loaded.settings.llm_model
    loaded.refuse_wrong(*needs_of(provider))
    if provider == "builtin":
        if model is not None and loaded.sources["llm_model"].kind == "flag":
            by = safe_text(f"{by}; it has no models, and {model} ({loaded.sources['llm_model']}) is not used")
        return ProviderChoice("builtin", None, by)
    if model is not None and _is_left_behind(loaded, provider, model, owners_of):
        by = safe_text(f"{by}; {model} ({loaded.sources['llm_model']}) is another provider's and not used")
        model = None
    name = KEY_NAMES.get(provider)
    own_server = getattr(loaded.settings, f"{provider}_base_url", None)
    if name is not None and loaded.settings.key_of(provider) is None and own_server is None:
        if model is not None and (foreign := foreign_model_error(provider, model, owners_of(model))) is not None:
            raise foreign
        known = ENV_NAMES[name.lower()]
        empty = next((empty for empty in loaded.empty_keys if empty in known), None)
        is_one = loaded.names.get("llm_provider") == loaded.names.get("llm_model")
        others = [] if model is None else _other_ways(loaded, provider, model, owners_of, is_exact=is_one)
        raise AuthFailed(
            f"provider {provider} ({by}) needs a key, and {empty or name} is {'set but empty' if empty else 'not set'}",
            hint=_hint(
                loaded,
                "; or ".join((f"agentctl providers set-key {provider}   (or set {name})", *others)),
                fields=(name.lower(),),
            ),
            billed="no",
        )
    return _with_model(provider, model, by, loaded)


def _choice_source(loaded: Loaded) -> str:
    source = loaded.sources["llm_provider"]
    return str(source) if source.kind == "environment" else source.kind


def _keys(loaded: Loaded) -> dict[str, str]:
    """Return the providers that have a key, usable or not, and the variable that holds it."""
    return {
        provider: loaded.names.get(name.lower(), name)
        for provider, name in KEY_NAMES.items()
        if loaded.settings.key_of(provider) is not None or loaded.is_wrong(name.lower())
    }


def _with_model(provider: str, model: str | None, by: str, loaded: Loaded) -> ProviderChoice:
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
    if there := _in_ollama(model, ollama_models):
        return ProviderChoice("ollama", there, "Ollama on this host has the model")
    source = loaded.sources["llm_model"]
    near = did_you_mean(model, ollama_models or ())
    own = next((name for name in loaded.settings.providers if model.lower().rstrip("/") == name), "NAME")
    raise UsageError(
        safe_text(
            f"model {model} ({source}) is named without a provider, and no key implies one"
            + (f"; {near}" if near else "")
        ),
        hint=_hint(loaded, safe_text(f"add --provider {own} to the run; agentctl models {model}   finds its name")),
    )


def _hint(loaded: Loaded, otherwise: str, fields: tuple[str, ...] | None = None) -> str:
    wanted = ("llm_provider", *(name.lower() for name in KEY_NAMES.values())) if fields is None else fields
    return loaded.cause(*wanted) or otherwise


def _join_names(names: tuple[str, ...]) -> str:
    return " and ".join(names) if len(names) < 3 else ", ".join(names[:-1]) + " and " + names[-1]
