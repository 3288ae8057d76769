"""Merge the layers of settings, strongest first, and validate the result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr, TypeAdapter, ValidationError

from agentctl.core.errors import UsageError
from agentctl.core.text import safe_text
from agentctl.settings import parsers
from agentctl.settings.model import Settings
from agentctl.settings.names import (
    DECLARED,
    DIR_FIELDS,
    LEASE_BEGINS,
    LEAST_SECRET,
    PARENT_CAPABILITY,
    SECRET_FIELDS,
    TOML_FIELDS,
)
from agentctl.settings.prices import Wrong, WrongLines
from agentctl.settings.provider_names import (
    BUILT_IN_NAMES,
    HOSTS,
    KNOWN_PROVIDERS,
    NAMESPACES,
    SECRET_ENDINGS,
    SLASHED_MODELS,
    own_names,
    title_of,
)
from agentctl.settings.sources import ALWAYS, Layer, Problem, SettingEntry

_ORDER = {name: at for at, name in enumerate(DECLARED)}


class Merged(NamedTuple):
    """The strongest entry of each field, with problems and notes."""

    entries: Mapping[str, SettingEntry]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def merge(layers: Sequence[Layer], *, cwd: Path) -> Merged:
    """Merge ``layers``, the strongest first; make folders absolute; choose provider and model together."""
    entries: dict[str, SettingEntry] = {}
    notes: list[str] = []
    for layer in reversed(layers):
        entries |= layer.entries
    if "providers" in entries:
        layers = _without_own_key_names(layers, entries["providers"].value)
    for layer in reversed(layers):
        notes[:0] = layer.notes
    named = entries.get("config_dir")
    if named is not None and named.source.kind == "user .env":
        del entries["config_dir"]
        notes.append(f"{named.name} ({named.origin}) has no effect: the file lies in that folder")
    entries |= absolute_folders(entries, cwd)
    for name in ("llm_provider", "llm_model"):
        entries.pop(name, None)
    own = own_names(entries["providers"].value) if "providers" in entries else ()
    pair, problems, said = _provider_and_model(layers, frozenset(own))
    return Merged(entries | pair, problems, (*notes, *said))


def _without_own_key_names(layers: Sequence[Layer], table: object) -> Sequence[Layer]:
    """Return the layers without a note on the keys of the user's own providers: these names have an effect."""
    from agentctl.settings.named_choice import used_key_names  # noqa: PLC0415 - most users have none

    used = used_key_names(table)
    return [layer._replace(strays=tuple(name for name in layer.strays if name not in used)) for layer in layers]


def absolute_folders(entries: Mapping[str, SettingEntry], cwd: Path) -> dict[str, SettingEntry]:
    """Return the entries of ``entries`` that name a folder or a file, made absolute."""
    named = {name: entries[name] for name in (*DIR_FIELDS, "workdir", "cost_history_file") if name in entries}
    return {
        name: entry._replace(value=absolute(entry.value, cwd))
        for name, entry in named.items()
        if isinstance(entry.value, str | Path) and str(entry.value).strip()
    }


def absolute(path: object, cwd: Path) -> Path:
    """Return ``path`` with ~ expanded; a relative one starts at ``cwd``."""
    try:
        return cwd / Path(str(path)).expanduser()
    except RuntimeError:  # no such user
        return cwd / str(path)


def _provider_and_model(
    layers: Sequence[Layer], own: frozenset[str] = frozenset()
) -> tuple[dict[str, SettingEntry], tuple[Problem, ...], tuple[str, ...]]:
    """Choose both, starting with the weakest layer: a model belongs to the provider that it was set with.

    ``openai/gpt-4o`` as a model sets both, unless the same layer names a provider whose own models look like that;
    with a provider named, an unknown prefix (``meta/…``) is part of the model's name. Where a weaker layer names a host
    of other makers' models, or one of the user's ``own``, ``openai/…`` may mean either, which is a problem.
    """
    known, slashed, hosts = BUILT_IN_NAMES | own, SLASHED_MODELS | own, HOSTS | own
    provider: SettingEntry | None = None
    model: SettingEntry | None = None
    problems: list[Problem] = []
    either: list[Problem] = []
    notes: list[str] = []
    for layer in reversed(layers):
        new_provider, new_model = layer.entries.get("llm_provider"), layer.entries.get("llm_model")
        if new_provider or new_model:
            either = []
        if problems and new_provider and (new_model or _word(new_provider) != _word(provider)):
            problems.clear()  # a stronger source names another pair
        head, _, tail = str(new_model.value).partition("/") if new_model else ("", "", "")
        if new_model and tail and head.lower() in known:
            if new_provider is None and provider and _word(provider) in hosts and head.lower() in NAMESPACES:
                either = [_either(provider, new_model)]
            if new_provider is None or _word(new_provider) == head.lower():
                new_provider = new_provider or new_model._replace(value=head)
                new_model = new_model._replace(value=tail)
            elif head.lower() in {*KNOWN_PROVIDERS, *own} and _word(new_provider) not in slashed:
                both = f"{_word(new_provider)} ({new_provider.origin}) and {head} ({new_model.origin})"
                said = safe_text(f"two providers are named at once: {both}")
                flags = "flag" in (new_provider.source.kind, new_model.source.kind)
                stops = ALWAYS if flags else ("model", "llm_provider", "llm_model")
                problems.append(Problem(said, "remove one of them", stops))
        if new_provider is not None:
            if provider is not None and model is not None and _word(provider) != _word(new_provider) and not new_model:
                if _word(new_provider) != "builtin":
                    notes.append(
                        f"model {format_value(model.value)} ({model.origin}) belongs to {_word(provider)} "
                        f"and is not used with {_word(new_provider)}"
                    )
                model = None
            provider = new_provider
        model = new_model or model
    found = {"llm_provider": provider, "llm_model": model}
    return {name: entry for name, entry in found.items() if entry}, (*problems, *either), tuple(map(safe_text, notes))


def _either(provider: SettingEntry, model: SettingEntry) -> Problem:
    """Return the problem of ``openai/gpt-4o`` beside a host that names its models like that: both would be paid."""
    host, name = _word(provider), str(model.value)
    owner, _, rest = name.partition("/")
    said = f"{name} ({model.origin}) may be {title_of(owner.lower())}'s, or the model of {host} ({provider.origin})"
    way = f"name it in full: --model {host}/{name}, or --provider {owner} --model {rest}"
    stops = ALWAYS if model.source.kind == "flag" else ("model", "llm_provider", "llm_model")
    return Problem(safe_text(said), safe_text(way), stops)


def _word(entry: SettingEntry | None) -> str:
    return "" if entry is None else str(entry.value).strip().lower()


def format_value(value: object) -> str:
    """Return a value for display: safe, at most 80 characters, without a password in an address."""
    text = "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return safe_text(re.sub(r"//\S*@", "//***@", text if len(text) <= 80 else text[:79] + "…"))


def check_key_argument(provider: str, key: str | None) -> str | None:
    """Return the argument ``api_key`` of a provider as a request sends it, None if it is empty.

    Raises:
        UsageError: no HTTP header can carry it; the same message as for a setting, without the key.
    """
    if not key:
        return None
    try:
        return parsers.secret(key).get_secret_value()
    except ValueError as wrong:
        said = f"{provider}_api_key (argument api_key) cannot be used; allowed: {wrong}"
        raise UsageError(safe_text(said)) from None


def check_address_argument(provider: str, url: str | None) -> str | None:
    """Return the argument ``base_url`` of a provider, None if it is empty.

    Raises:
        UsageError: it is not an address; the same message as for a setting.
    """
    if not url:
        return None
    name = "ollama_host" if provider == "ollama" else f"{provider}_base_url"
    try:
        if provider != "ollama":
            return parsers.address(url)
        whole = parsers.ollama_address(url)
        return url if "://" in url else whole
    except ValueError as wrong:
        said = f'{name} cannot be "{format_value(url)}" (argument base_url); allowed: {wrong}'
        raise UsageError(safe_text(said)) from None


class Validated(NamedTuple):
    """The valid values by field, and a problem for each invalid one."""

    values: Mapping[str, Any]
    problems: tuple[Problem, ...]


def validate(entries: Mapping[str, SettingEntry], *, own: Sequence[str] = ()) -> Validated:
    """Validate entries, each by itself; a problem has name, value, source, and the allowed values.

    ``own`` are the names of the user's own providers, besides those of a table among the entries.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    if "providers" in entries:
        own = tuple(dict.fromkeys((*own, *own_names(entries["providers"].value))))
    for name, entry in sorted(entries.items(), key=lambda pair: _ORDER[pair[0]]):
        wrong: Exception | str
        try:
            is_named = own and name == "llm_provider" and entry.value is not None
            values[name] = (
                parsers.provider(entry.value, own) if is_named else _validator(name).validate_python(entry.value)
            )
            continue
        except ValidationError as exc:
            found = exc.errors(include_url=False, include_input=False)[0]
            wrong = found.get("ctx", {}).get("error") or found["msg"]
        except ValueError as exc:
            wrong = exc
        if isinstance(wrong, WrongLines) and wrong.right is not None:
            values[name] = wrong.right
        problems += _problems(name, entry, wrong)
    return Validated(values, tuple(problems))


@cache
def _validator(name: str) -> TypeAdapter[Any]:
    """Return the validator of one field; building that of the whole model takes longer than most runs need."""
    return TypeAdapter(Settings.model_fields[name].rebuild_annotation())


def _problems(name: str, entry: SettingEntry, wrong: Exception | str) -> tuple[Problem, ...]:
    stops = ALWAYS if entry.source.kind == "flag" else (name, *DECLARED[name].needed_by)
    if isinstance(wrong, WrongLines):
        return tuple(
            Problem(
                safe_text(f"{one.before} ({entry.within(one.line, one.part).origin}){one.after}"),
                one.hint or _misplaced_hint(name, one),
                _line_stops(one, stops) if name == "providers" else stops,
            )
            for one in wrong.wrong
        )
    if name in SECRET_FIELDS or name == "ledger":
        return (Problem(f"{name} ({entry.origin}) cannot be used; allowed: {wrong}", "", stops),)
    return (problem_of(name, entry, str(wrong)),)


def problem_of(name: str, entry: SettingEntry, allowed: str) -> Problem:
    """Return the problem of a value that is not ``allowed``, which says what is."""
    stops = ALWAYS if entry.source.kind == "flag" else (name, *DECLARED[name].needed_by)
    return Problem(
        f'{name} cannot be "{format_value(entry.value)}" ({entry.origin}); allowed: {safe_text(allowed)}', "", stops
    )


def _misplaced_hint(name: str, one: Wrong) -> str:
    """Return where to move a setting that stands below the header of a table."""
    if one.line in TOML_FIELDS:
        return f"move {one.line} above the line [{name}]"
    if name != "providers" or one.part not in TOML_FIELDS:
        return ""
    from agentctl.settings.named_providers import PARTS  # noqa: PLC0415 - most users have none

    return "" if one.part in PARTS else f"move {one.part} above the line [{name}.{one.line}]"


def _line_stops(one: Wrong, stops: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a wrong line of ``providers`` stops: that provider; every model if its name cannot be used."""
    if own_names({one.line: None}):
        return ("providers", f"provider {one.line}")
    return (*stops, f"provider {one.line}")


def with_server_password(settings: Settings, environ: Mapping[str, str]) -> tuple[Settings, list[Problem]]:
    """Return the settings with the password of the shared ledger, and what is wrong with the way to its server."""
    if settings.ledger is None:
        return settings, []
    from agentctl.core.ledger_address import exposure_problem, with_password  # noqa: PLC0415 - most ledgers are files

    url = with_password(settings.ledger.get_secret_value(), environ)
    exposed = exposure_problem(url, environ)
    problems = [] if exposed is None else [Problem(*exposed, ("run", "report", "ledger"))]
    return settings.model_copy(update={"ledger": SecretStr(url)}), problems


def secret_texts(layers: Sequence[Layer], settings: Settings, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the texts to redact: every key in any layer, passwords in addresses, and variables of the environment that
    are keys by their name (of other providers, which litellm reads itself), hold a lease, open a run's budget, or are
    headers of OpenTelemetry's exporters.
    """
    keys = [entry.value for layer in layers for name, entry in layer.entries.items() if name in SECRET_FIELDS]
    texts = [value.get_secret_value() if isinstance(value, SecretStr) else str(value) for value in keys]
    named = settings.providers.values()
    texts += [one.key.get_secret_value() for one in named if one.key is not None]
    urls = [str(layer.entries["ledger"].value) for layer in layers if "ledger" in layer.entries]
    for url in urls if settings.ledger is None else (*urls, settings.ledger.get_secret_value()):
        from agentctl.core.ledger_address import passwords_in  # noqa: PLC0415 - most ledgers are files

        texts += passwords_in(url)
    own = (settings.openai_base_url, settings.anthropic_base_url, settings.ollama_host, settings.docker_host)
    for url in (*own, *(one.base_url for one in named)):
        user = re.search(r"//[^/:]*:(\S+)@", url or "")
        texts += [user[1]] if user else []
    texts += [text for text in ((settings.lease or "").strip(),) if text.startswith(LEASE_BEGINS)]
    texts += [
        value.strip()
        for name, value in environ.items()
        if (
            name.upper().endswith(SECRET_ENDINGS) or name == PARENT_CAPABILITY or value.strip().startswith(LEASE_BEGINS)
        )
        and len(value.strip()) >= LEAST_SECRET
    ]
    if any(name.startswith("OTEL_") for name in environ):
        from agentctl.settings.telemetry import header_secrets  # noqa: PLC0415 - most users have none

        texts += header_secrets(environ)
    return tuple(dict.fromkeys(texts))
