"""``agentctl models``: list the models that agentctl can call, with window, prices and whether there is a key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from agentctl.cli.options import Json, Output, wants_json

if TYPE_CHECKING:
    from agentctl.cli.documents import Document
    from agentctl.core.pricing import ModelFacts
    from agentctl.providers.catalog import Catalog
    from agentctl.settings import Loaded

SCHEMA = "agentctl.models/1"
_LEAST_PART = 4
_VERBS = ("list", "ls", "show", "search")


class _ModelRow(NamedTuple):
    """A model; ``key_name`` is None where none is needed, ``problem`` why a run would refuse the model, else ""."""

    provider: str
    model: str
    key_name: str | None
    has_key: bool
    is_default: bool
    facts: ModelFacts | None
    problem: str


def models(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATTERN", help="Part of provider/model, or a glob; all of several must match."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List other providers without a key, too.")] = False,
    output: Output = None,
    json: Json = False,
) -> None:
    """List models with context window, prices, and whether there is a key.

    Examples:
        agentctl models
        agentctl models sonnet
        agentctl models 'openai/gpt-4*' --json
    """
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.text import safe_text
    from agentctl.providers.catalog import load_catalog
    from agentctl.settings import KNOWN_PROVIDERS, load_settings

    as_json = wants_json(output, json=json)
    words = [word.lower() for word in patterns or ()]
    words = words[1:] if words[:1] and words[0] in _VERBS and words != ["search"] else words  # that one is in names
    loaded = load_settings(flags={}, remember=False, needs=())
    for note in loaded.notes:
        print_stderr(safe_text(note))
    catalog = load_catalog(loaded.settings.price_lines)
    rows = [row for row in _rows(loaded, catalog) if all(_fits(row, word) for word in words)]
    if not words and not every:
        mine = {*KNOWN_PROVIDERS, *loaded.settings.providers}
        shown = [row for row in rows if row.provider in mine or row.has_key]
        left_out, rows = len(rows) - len(shown), shown
    else:
        left_out = 0
    if as_json:
        _print(rows, catalog)
    elif rows:
        _print_table(rows, catalog)
    if not rows:
        print_stderr(safe_text(f'no model matches "{" ".join(words)}"') + _near(words, loaded, catalog))
    elif left_out:
        print_stderr(f"{left_out:,} more models of other providers: agentctl models --all, or agentctl models PATTERN")


def _rows(loaded: Loaded, catalog: Catalog) -> Iterator[_ModelRow]:
    """Yield all models: the user's own providers and those with a key first, then those that are known, the others."""
    from agentctl.core.errors import AgentctlError
    from agentctl.providers.endpoints import base_url_of, is_known, is_official, is_own_host
    from agentctl.providers.routes import ROUTES
    from agentctl.settings import DEFAULT_MODELS, KEY_NAMES, KNOWN_PROVIDERS
    from agentctl.settings.provider_names import other_key_name

    declared = [name.partition("/")[::2] for name in loaded.settings.prices if "/" in name]
    held = {name for name in KEY_NAMES if loaded.settings.key_of(name) is not None} | loaded.other_keys.keys()
    order = [*(name for name in KNOWN_PROVIDERS if name in ROUTES), *sorted(ROUTES.keys() - set(KNOWN_PROVIDERS))]
    yield from _own_rows(loaded, catalog, declared)
    for provider in sorted(order, key=lambda name: name not in held):
        key_name = KEY_NAMES.get(provider) or (None if provider in KNOWN_PROVIDERS else other_key_name(provider))
        url = base_url_of(loaded.settings, provider)
        own, known = is_own_host(url), is_known(provider, url)
        if provider in KEY_NAMES and provider not in held and not is_official(provider, url):
            key_name = None  # a server of the user's own
        names = {*catalog.models(provider), *(model for owner, model in declared if owner == provider)}
        names |= set(_in_ollama(loaded) if provider == "ollama" else ())
        for model in sorted(names):
            facts, problem = None, ""
            try:
                facts = catalog.facts(provider, model, own_host=own, known_endpoint=known)
            except AgentctlError as error:  # a run would refuse this one; list the others anyway
                problem = error.message
            is_default = DEFAULT_MODELS.get(provider) == model
            yield _ModelRow(provider, model, key_name, provider in held, is_default, facts, problem)


def _own_rows(loaded: Loaded, catalog: Catalog, declared: Sequence[tuple[str, str]]) -> Iterator[_ModelRow]:
    """Yield the models of the user's own providers, which are asked for them all at once, for at most a second."""
    from concurrent.futures import ThreadPoolExecutor
    from dataclasses import replace

    from agentctl.core.errors import AgentctlError
    from agentctl.providers.endpoints import is_known, is_own_host
    from agentctl.providers.probe import served_models

    own = tuple(loaded.settings.providers.values())
    if not own:
        return
    keys = [None if one.key is None else one.key.get_secret_value() for one in own]
    with ThreadPoolExecutor(max_workers=min(len(own), 8)) as pool:
        lists = list(pool.map(lambda one, key: served_models(one.kind, one.base_url, key), own, keys))
    for one, names in zip(own, lists, strict=True):
        listed = {*(names or ()), *(model for owner, model in declared if owner == one.name)}
        listed |= {one.model} if one.model else set()
        here, known = is_own_host(one.base_url), is_known(one.kind, one.base_url)
        for model in sorted(listed):
            facts, problem = None, ""
            try:
                facts = catalog.facts(one.name, model, own_host=here, known_endpoint=known, kind=one.kind)
                facts = replace(facts, context_window=one.context_window or facts.context_window)
            except AgentctlError as error:  # a run would refuse this one; list the others anyway
                problem = error.message
            key_name = one.key_name if one.needs_key or one.key is not None else None
            yield _ModelRow(one.name, model, key_name, one.key is not None, model == one.model, facts, problem)


def _in_ollama(loaded: Loaded) -> Sequence[str]:
    """Return the models of an Ollama on this host that can call tools; it is asked for at most a second."""
    from urllib.parse import urlsplit

    from agentctl.providers.selection import ollama_models
    from agentctl.settings.host import is_loopback

    address = loaded.settings.ollama_host
    return ollama_models(address) or () if is_loopback(urlsplit(address).hostname or "") else ()


def _fits(row: _ModelRow, word: str) -> bool:
    name = f"{row.provider}/{row.model}".lower()
    if any(sign in word for sign in "*?["):
        return fnmatchcase(name, word) or fnmatchcase(row.model.lower(), word)
    return word in name


def _near(words: Sequence[str], loaded: Loaded, catalog: Catalog) -> str:
    from agentctl.core.text import did_you_mean

    rows = tuple(_rows(loaded, catalog)) if len(words) == 1 else ()
    models = {f"{row.provider}/{row.model}" if words and "/" in words[0] else row.model for row in rows}
    parts = {part for model in models for part in model.lower().split("-") if len(part) >= _LEAST_PART}
    near = did_you_mean(words[-1], models) or did_you_mean(words[-1], parts) if models else ""
    return f"; {near}" if near else ""


def _print_table(rows: Sequence[_ModelRow], catalog: Catalog) -> None:
    from agentctl.cli.ui.columns import Column, stdout_page

    head = (
        *(Column("provider"), Column("model", "id"), Column("key", drop=2), Column("context", drop=3, right=True)),
        *(Column("output", drop=4, right=True), Column("in/M", right=True), Column("out/M", right=True)),
        Column("note", "text", drop=1),
    )
    page = stdout_page()
    print(page.table(head, map(_cells, rows)))
    print("\n" + page.prose(f"prices in dollars per million tokens; {catalog.version}; yours: [prices] in config.toml"))


def _cells(row: _ModelRow) -> tuple[str, ...]:
    from agentctl.cli.providers.listing import dollars_per_million

    facts = row.facts
    price = None if facts is None else facts.price
    return (
        row.provider,
        row.model,
        "not needed" if row.key_name is None else "yes" if row.has_key else "no",
        "-" if facts is None or facts.context_window is None else f"{facts.context_window:,}",
        "-" if facts is None or facts.output_ceiling is None else f"{facts.output_ceiling:,}",
        dollars_per_million(None if price is None else price.input),
        dollars_per_million(None if price is None else price.output),
        _note(row),
    )


def _note(row: _ModelRow) -> str:
    if row.problem:
        return "cannot be used"
    if row.facts is not None and row.facts.unbounded is not None:
        return "no cost bound"
    if row.facts is not None and row.facts.responses:
        return "Responses API"
    return "default" if row.is_default else ""


def _print(rows: Sequence[_ModelRow], catalog: Catalog) -> None:
    from agentctl.cli.documents import print_document

    print_document(SCHEMA, {"models": [_entry(row) for row in rows], "price_table": catalog.version})


def _entry(row: _ModelRow) -> Document:
    from agentctl.cli.providers.listing import price_document

    facts = row.facts
    price = None if facts is None else facts.price
    return {
        "provider": row.provider,
        "model": row.model,
        "name": f"{row.provider}/{row.model}",
        "key": {"needed": row.key_name is not None, "name": row.key_name, "set": row.has_key},
        "default": row.is_default,
        "context_window": None if facts is None else facts.context_window,
        "output_ceiling": None if facts is None else facts.output_ceiling,
        "price": None if price is None else price_document(price),
        "price_from": None if price is None else price.source or "declared free",
        "unbounded": None if facts is None else facts.unbounded,
        "format": None if facts is None or not facts.responses else "responses",
        "problem": row.problem or None,
    }
