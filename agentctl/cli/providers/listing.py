"""The rows of ``agentctl providers list``, as values, a table and JSON; makes no network request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from agentctl.cli.ui.columns import Column, Page
from agentctl.cli.ui.format import ceiling, plural
from agentctl.core.errors import AgentctlError
from agentctl.core.pricing import to_nano
from agentctl.providers.endpoints import KEYLESS, access_of, base_url_of, is_known, is_official, is_own_host, kind_of
from agentctl.providers.routes import ROUTES, Via, choose_client
from agentctl.settings import DEFAULT_MODELS, KEY_NAMES, KNOWN_PROVIDERS, Loaded, ProviderChoice
from agentctl.settings.host import other_provider_key_name
from agentctl.settings.key_file import mask_key
from agentctl.settings.merge import format_value
from agentctl.settings.provider_names import other_key_name

if TYPE_CHECKING:
    from agentctl.cli.documents import Document
    from agentctl.core.pricing import Price
    from agentctl.providers.catalog import Catalog
    from agentctl.settings.named_providers import NamedProvider

_COLUMNS = (
    *(Column(""), Column("provider"), Column("key"), Column("model", "id"), Column("", drop=5)),
    *(
        Column("via", drop=1),
        Column("context", drop=4, right=True),
        Column("in/M", right=True),
        Column("out/M", right=True),
    ),
    *(Column("price from", "name", drop=3), Column("address", "name", drop=2), Column("yours", "name", drop=1)),
)


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """One provider. ``key`` is masked, None if not set; ``price_from`` is the source and age of the price.

    ``client`` calls its models: "lean", "litellm", or None if neither does. ``problem`` says why a run would refuse the
    model, "" if it would not. ``kind`` is whose format one of the user's own providers speaks, ``defined_in`` the file
    with its table; both are "" for a built-in one.
    """

    name: str
    chosen: bool
    key_name: str | None
    key: str | None
    key_from: str
    base_url: str
    official: bool
    model: str | None
    is_default_model: bool
    context_window: int | None
    output_ceiling: int | None
    price: Price | None
    price_from: str
    client: str | None
    problem: str
    kind: str = ""
    defined_in: str = ""
    must_have_key: bool = False

    @property
    def needs_key(self) -> bool:
        """Whether a key is set, or a run without one would not start: a server of the user's may need none."""
        if self.kind or self.key is not None or self.must_have_key:
            return self.key is not None or self.must_have_key
        return self.key_name is not None and self.official


def provider_rows(
    loaded: Loaded, choice: ProviderChoice | None, catalog: Catalog, *, today: date
) -> tuple[ProviderRow, ...]:
    """Return a row for every known provider and each of the user's own.

    ``choice`` is the one that a run would use, None if there is none.
    """
    chosen = None if choice is None else choice.provider
    names = tuple(dict.fromkeys((*loaded.settings.providers, *KNOWN_PROVIDERS, *((chosen,) if chosen else ()))))
    return tuple(_row(name, loaded, choice if name == chosen else None, catalog, today) for name in names)


def _row(name: str, loaded: Loaded, choice: ProviderChoice | None, catalog: Catalog, today: date) -> ProviderRow:
    own, kind = loaded.settings.named(name), kind_of(loaded.settings, name)
    model = (DEFAULT_MODELS.get(name) if own is None else own.model) if choice is None else choice.model
    url = base_url_of(loaded.settings, name)
    stored = loaded.settings.key_of(name)
    key = None if stored is None else stored.get_secret_value()
    field = f"{name}_api_key"
    key_name = loaded.names.get(field, KEY_NAMES.get(name)) if own is None else own.key_variable or own.key_name
    key_from = "" if key is None else own.key_source if own is not None else str(loaded.sources[field])
    found, price_from, problem = None, "declared free", ""
    address, must_have_key = url, own is not None and own.needs_key
    if own is None and name not in KNOWN_PROVIDERS:  # its key and address are variables, not settings
        key, address, lacking = access_of(name, None, "")
        key_name, key_from = other_provider_key_name(name) or other_key_name(name), "" if key is None else "environment"
        if lacking is not None and (route := ROUTES.get(name)) is not None and route.wire is not None:
            must_have_key, problem = name not in KEYLESS and not is_own_host(address), lacking.message
    if own is not None and model is None:
        price_from = _price_from(_price_of_all(own), catalog, today)
    if model is not None:
        try:
            found = catalog.facts(name, model, own_host=is_own_host(url), known_endpoint=is_known(kind, url), kind=kind)
            price_from = _price_from(found.price, catalog, today)
        except AgentctlError as error:  # a run would refuse this one; list the others anyway
            price_from, problem = "unknown", error.message
    client: str | None = None
    if name != "builtin":
        try:
            via: Via = "auto" if loaded.is_wrong("llm_client") else loaded.settings.llm_client
            client = choose_client(kind, via, found)
        except AgentctlError as error:
            problem = problem or error.message
    return ProviderRow(
        name=name,
        chosen=choice is not None,
        key_name=key_name,
        key=None if key is None else mask_key(key),
        key_from=key_from,
        base_url=format_value(address),
        official=is_official(name, url),
        model=model,
        is_default_model=model is not None and (choice is None or choice.default_model),
        context_window=(own and own.context_window) or (None if found is None else found.context_window),
        output_ceiling=(own and own.output_ceiling) or (None if found is None else found.output_ceiling),
        price=_price_of_all(own) if found is None else found.price,
        price_from=price_from,
        client=client,
        problem=problem,
        kind="" if own is None else own.kind,
        must_have_key=must_have_key,
        defined_in="" if own is None else str(loaded.sources["providers"]),
    )


def _price_of_all(own: NamedProvider | None) -> Price | None:
    """Return the price of a provider of the user's own without a model: it applies to all of them."""
    from agentctl.core.pricing import FREE, Price

    if own is None or own.price is None:
        return FREE if own is not None and own.kind == "ollama" and is_own_host(own.base_url) else None
    return Price(*own.price[:5], source=own.price.source)


def _price_from(price: Price | None, catalog: Catalog, today: date) -> str:
    if price is None:
        return "unknown"
    days = catalog.age_days(today) if price.source.startswith("litellm ") else None
    return price.source if days is None else f"{price.source}, {plural(days, 'day')} old"


def as_document(row: ProviderRow) -> Document:
    """Return a row as JSON."""
    price = row.price
    return {
        "provider": row.name,
        "chosen": row.chosen,
        "key": {
            "needed": row.needs_key,
            "name": row.key_name,
            "masked": row.key,
            "from": row.key_from or None,
        },
        "base_url": row.base_url or None,
        "official_endpoint": row.official,
        "model": row.model,
        "model_is_default": row.is_default_model,
        "context_window": row.context_window,
        "output_ceiling": row.output_ceiling,
        "price": None if price is None else price_document(price),
        "price_from": row.price_from,
        "client": row.client,
        "problem": row.problem or None,
        "kind": row.kind or None,
        "defined_in": row.defined_in or None,
    }


def price_document(price: Price) -> Document:
    """Return a price as JSON, in dollars per million tokens."""
    classes = ("input", "output", "cached_input", "cache_write", "reasoning")
    units = {f"{name}_usd_per_million": _number(getattr(price, name)) for name in classes}
    return {
        **units,
        "tiers": [{"above_input_tokens": tier.above, **price_document(tier.price)} for tier in price.tiers],
    }


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def as_table(rows: Sequence[ProviderRow], page: Page) -> str:
    """Return the rows as a table without empty columns."""
    cells = [*map(_cells, rows)]
    kept = [at for at in range(len(_COLUMNS)) if any(line[at] for line in cells)]
    return page.table([_COLUMNS[at] for at in kept], [[line[at] for at in kept] for line in cells])


def _cells(row: ProviderRow) -> tuple[str, ...]:
    key = row.key or ("not set" if row.needs_key else "not needed")
    return (
        "*" if row.chosen else "",
        row.name,
        key,
        row.model or "-",
        "(default)" if row.is_default_model else "",
        row.client or "-",
        "-" if row.context_window is None else f"{row.context_window:,}",
        dollars_per_million(row.price.input if row.price else None),
        dollars_per_million(row.price.output if row.price else None),
        row.price_from.partition(",")[0],
        row.base_url.removeprefix("https://") or "-",
        f"{row.kind}, {row.defined_in.rpartition('/')[2]}" if row.kind else "",
    )


def dollars_per_million(value: Decimal | None) -> str:
    """Return a price for a table, ``-`` if it is unknown."""
    return "-" if value is None else ceiling(to_nano(value))
