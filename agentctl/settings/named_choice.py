"""Keys and models of the user's own providers: what a run with one of them needs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from agentctl.core.errors import AuthFailed, UsageError
from agentctl.core.text import list_names, safe_text
from agentctl.settings import parsers
from agentctl.settings.named_providers import NamedProvider, default_key_name, key_variables
from agentctl.settings.sources import Layer, Problem


def used_key_names(table: object) -> frozenset[str]:
    """Return the variables that the providers of a table use for keys, whatever else is wrong with it."""
    if not isinstance(table, Mapping):
        return frozenset()
    found: set[str] = set()
    for name, line in table.items():
        if isinstance(line, Mapping):
            found.update(key_variables(str(line.get("api_key_env", default_key_name(str(name))))))
    return frozenset(found)


class WithKeys(NamedTuple):
    """The user's own providers with their keys, and a problem for each key that cannot be used."""

    providers: Mapping[str, NamedProvider]
    problems: tuple[Problem, ...]


def with_keys(providers: Mapping[str, NamedProvider], layers: Sequence[Layer]) -> WithKeys:
    """Return the providers with their keys from the environment or a .env, the strongest layer first."""
    found = dict(providers)
    problems: list[Problem] = []
    for name, provider in providers.items():
        held = [(at, layer) for layer in layers for at in provider.variables if at in layer.variables]
        if not held:
            continue
        at, layer = next(((at, layer) for at, layer in held if layer.variables[at].strip()), held[0])
        text = layer.variables[at].strip()
        if not text:
            found[name] = provider._replace(key_variable=at, key_is_empty=True)
            continue
        source = f"environment {at}" if layer.place == "the environment" else layer.place
        try:
            found[name] = provider._replace(key=parsers.secret(text), key_variable=at, key_source=source)
        except ValueError as wrong:
            said = safe_text(f"{at} ({source}) cannot be used; allowed: {wrong}")
            problems.append(Problem(said, "", (f"provider {name}",)))
    return WithKeys(MappingProxyType(found), tuple(problems))


class OwnModel(NamedTuple):
    """The model that answers, whether it is the provider's default, and what decided it."""

    model: str
    is_default: bool
    chosen_by: str


def choose_own_model(own: NamedProvider, model: str | None, by: str, served: tuple[str, ...]) -> OwnModel:
    """Return the model of a provider of the user's own: the named one, its default, or the only one that it lists.

    Raises:
        AuthFailed: the key that its table names is missing.
        UsageError: no model is named, and its server does not list exactly one.
    """
    if own.key is None and (own.needs_key or own.key_is_empty):
        missing = f"{own.key_variable} is set but empty" if own.key_is_empty else f"{own.key_name} is not set"
        way = f"agentctl providers set-key {own.name}   (or set {own.key_name})"
        raise AuthFailed(safe_text(f"provider {own.name} ({by}) needs a key, and {missing}"), hint=way, billed="no")
    if named := model or own.model:
        return OwnModel(named, model is None, by)
    if len(served) == 1:
        return OwnModel(served[0], True, f"{by}; its only model")
    name = shlex.quote(served[0]) if served else "MODEL"
    said = f"provider {own.name} ({by}) has no default model, and none is named"
    has = f"it has: {list_names(served)}; " if served else ""
    way = f"add --model {own.name}/{name}, or set its default: agentctl config set providers.{own.name}.model {name}"
    raise UsageError(safe_text(said), hint=safe_text(has + way))
