"""The catalog of models, their facts and prices: litellm's table, then our own file, then the user's price lines.

``installed_prices`` finds and reads the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType

from agentctl.core.errors import StateError, UsageError
from agentctl.core.pricing import FREE, ModelFacts, Price, PriceOf, Tier
from agentctl.core.text import did_you_mean
from agentctl.core.version import __version__
from agentctl.providers.endpoints import BASE_URLS, is_known, is_own_host
from agentctl.providers.installed_prices import OwnPrices, PriceTable, read_own_prices, read_table
from agentctl.providers.price_table import (
    PriceRow,
    bare_name,
    find_unit_error,
    is_of,
    plausible_tokens,
    price_of,
    row_at_tier,
    row_names,
    unknown_fee,
)
from agentctl.settings import KNOWN_PROVIDERS, OTHER_PROVIDERS, PriceLine
from agentctl.settings.provider_names import BUILT_IN_NAMES, MAKERS, maker_of, title_of

ROUTER = "it chooses the model itself, and so the price"
SEARCH = "it always searches, and searches are billed separately"

_NO_ROW: PriceRow = MappingProxyType({})
_NO_LINES: Mapping[str, PriceLine] = MappingProxyType({})

#: Providers that can have rows in the table: none of the user's own machine, and none of the user's own making.
_LISTED = BUILT_IN_NAMES - {"builtin", "local", "ollama"}

#: Providers whose tiers begin with the number of tokens that they name.
_INCLUSIVE = frozenset({"xai"})

#: The modes of models that agentctl calls; of OpenAI also those that speak only the Responses format.
_MODES: Mapping[str, tuple[str, ...]] = {"openai": ("chat", "responses")}


def load_catalog(prices: Mapping[str, PriceLine] = _NO_LINES, *, table: Path | None = None) -> Catalog:
    """Return the catalog; no file is read before the first model that needs it.

    ``prices`` are the user's lines; ``table`` replaces the table of the installed litellm.
    """
    return Catalog(prices, cache(partial(read_table, table)), cache(read_own_prices))


@dataclass(frozen=True, slots=True)
class Catalog:
    """Facts and prices by provider and model; each file is read once, when first needed."""

    prices: Mapping[str, PriceLine]
    _table: Callable[[], PriceTable] = field(repr=False, compare=False)
    _own: Callable[[], OwnPrices] = field(repr=False, compare=False)

    @property
    def version(self) -> str:
        """The source of the table, with its version."""
        return self._table().source

    @property
    def digest(self) -> str:
        """The SHA-256 of the table."""
        return self._table().digest

    def age_days(self, today: date) -> int | None:
        """Return the days since the table was published; None if our file was not checked with this table."""
        own = self._own()
        return (today - own.released).days if self._table().version == own.checked else None

    def facts(
        self, provider: str, model: str, *, own_host: bool = False, known_endpoint: bool = True, kind: str = ""
    ) -> ModelFacts:
        """Return the facts of a model; an unknown price is None, never 0.

        A model is free only if declared so: builtin, local, Ollama on the user's ``own_host`` (unless that passes
        requests on to a cloud), or a user's line with 0. A user's line covers everything that a request costs, so with
        one an unknown fee does not make the model ``unbounded``; a router stays unbounded. ``kind`` is whose format a
        provider of the user's own speaks: an Ollama on this host is free under any name.

        Raises:
            UsageError: it is not a chat model, or the user's line for it is in another unit.
            StateError: the price table cannot be read, and neither a line nor a declaration replaces it.
        """
        if provider == "builtin":
            return ModelFacts("builtin", None, price=FREE, metered=False)
        line = self._line(provider, model)
        if line is None and _is_free(kind or provider, model, own_host=own_host):
            return ModelFacts(provider, model, price=FREE, known_endpoint=known_endpoint)
        own, name = self._own(), f"{provider}/{model}"
        ours = own.lines.get(name) if line is None else None
        try:
            row = self._row(provider, model)
        except StateError:
            if line is None and ours is None:
                raise
            row = _NO_ROW
        if (mode := row.get("mode")) not in (None, *_MODES.get(provider, ("chat",))):
            raise self._refusal(provider, model, str(mode))
        if line is not None and (found := find_unit_error(line, row)) is not None:
            raise _unit_error(name, *found)
        if _matches(name, own.routers):
            unbounded: str | None = ROUTER
        elif line is not None:
            unbounded = None
        elif _matches(name, own.searching):
            unbounded = SEARCH
        else:
            fee = unknown_fee(row) if ours is None else None
            unbounded = None if fee is None else f"its price row has an unknown fee: {fee}"
        declared = line or ours
        by_tools = known_endpoint and not own_host and _matches(name, own.responses)
        return ModelFacts(
            provider,
            model,
            price=self._price(provider, row, line, ours, regional=not known_endpoint),
            context_window=(declared and declared.context_window)
            or plausible_tokens(row.get("max_input_tokens") or row.get("max_tokens")),
            output_ceiling=(declared and declared.output_ceiling) or plausible_tokens(row.get("max_output_tokens")),
            reasoning=_reasons(row, name, own),
            unbounded=unbounded,
            known_endpoint=known_endpoint,
            responses="only" if mode == "responses" else "tools" if by_tools else "",
        )

    def price_of(
        self,
        provider: str,
        model: str,
        *,
        tier: str = "",
        own_host: bool = False,
        known_endpoint: bool = True,
        kind: str = "",
    ) -> Price | None:
        """Return the price of a model as in ``facts``, None if it is unknown; never raise.

        ``tier`` is a service tier other than the usual one; a user's line applies to all tiers.
        """
        if provider == "builtin":
            return FREE
        with suppress(StateError):
            line = self._line(provider, model)
            if line is None and _is_free(kind or provider, model, own_host=own_host):
                return FREE
            ours = self._own().lines.get(f"{provider}/{model}") if line is None else None
            row = self._row(provider, model) if ours is None and line is None else _NO_ROW
            with suppress(StateError):
                if line is not None and find_unit_error(line, row := self._row(provider, model)) is not None:
                    line = None
            row = row_at_tier(row, tier) if tier else row
            return self._price(provider, row, line, ours, regional=not known_endpoint)
        return None

    def has_flag(self, provider: str, model: str, flag: str) -> bool:
        """Return whether the price table says that a model has a capability; without a table none has."""
        with suppress(StateError):
            return self._row(provider, model).get(flag) is True
        return False

    def prices_at(self, provider: str, base_url: str, kind: str = "") -> PriceOf:
        """Return the prices of a provider's models at one address; "" is its own."""
        url = base_url or BASE_URLS.get(provider, "")
        own_host, known = is_own_host(url), is_known(kind or provider, url)
        return partial(self.price_of, provider, own_host=own_host, known_endpoint=known, kind=kind)

    def refuse_far_off(self) -> None:
        """Check that no user's line seems to be in another unit, as ``facts`` does for one line.

        Raises:
            UsageError: a line is far off the price table.
        """
        for name, line in self.prices.items():
            provider, _, model = name.partition("/")
            with suppress(StateError):
                if model and (found := find_unit_error(line, self._row(provider, model))) is not None:
                    raise _unit_error(name, *found)

    def models(self, provider: str) -> tuple[str, ...]:
        """Return the names of the provider's models that can chat; an empty tuple for a provider without rows.

        Raises:
            StateError: the price table cannot be read.
        """
        if provider not in _LISTED:
            return ()
        own = {name.partition("/")[2] for name in self._own().lines if name.startswith(f"{provider}/")}
        rows, modes = self._table().rows.items(), _MODES.get(provider, ("chat",))
        found = {bare_name(provider, name) for name, row in rows if row.get("mode") in modes and is_of(row, provider)}
        return tuple(sorted(own | found))

    def owners(self, model: str, among: Iterable[str]) -> tuple[str, ...]:
        """Return the providers ``among`` these that have a model of this name, its maker first."""
        with suppress(StateError):
            ours = {*self._own().lines, *self.prices}
            found = [name for name in among if f"{name}/{model}" in ours or self._row(name, model)]
            return tuple(sorted(found, key=lambda name: (name not in MAKERS, name != maker_of(model))))
        return ()

    def near(self, provider: str, model: str) -> str:
        """Return ``did you mean "x"?`` for the provider's nearest chat model, or an empty string."""
        with suppress(StateError):
            return did_you_mean(model, (name for name in self.models(provider) if name != model))
        return ""

    def hint_at_priced(self, provider: str, model: str, *, own_host: bool) -> str:
        """Return ``did you mean "x"?``, whose model it is, or where the priced ones are listed; "" if none is known."""
        if near := self.near(provider, model):
            return near
        makers = () if own_host else self.owners(model, MAKERS)
        if makers and provider not in makers:
            return f"{model} is {title_of(makers[0])}'s: --provider {makers[0]}."
        with suppress(StateError):
            if names := self.models(provider):
                pattern = f" {model}" if any(model in name for name in names) else f" {provider}/"
                return f"agentctl models{pattern}   lists those with a known price."
        return ""

    def _refusal(self, provider: str, model: str, mode: str) -> UsageError:
        import difflib  # noqa: PLC0415 - only an error asks for it

        names = self.models(provider)
        family = max((name for name in names if model.startswith(f"{name}-")), key=len, default=model)
        closest = difflib.get_close_matches(model, names, n=3, cutoff=0.45)
        near = [name for name in dict.fromkeys((family, *closest)) if name != model][:3]
        hint = f"chat models with similar names: {', '.join(near)}" if near else "choose a chat model"
        only = "speaks only the Responses format, which agentctl supports only for openai"
        said = only if mode == "responses" else f"is not a chat model (mode {mode})"
        return UsageError(f"{provider}/{model} {said}", hint=hint)

    def _line(self, provider: str, model: str) -> PriceLine | None:
        """Return the user's line: by the full name, or by the model's name if that cannot be another provider's.

        A provider of the user's own may have a line for all of its models, ``lab/*``.
        """
        line = self.prices.get(f"{provider}/{model}")
        if line is None and provider not in BUILT_IN_NAMES:
            line = self.prices.get(f"{provider}/*")
        head, slash, _ = model.partition("/")
        if line is None and not (slash and head.lower() in (*KNOWN_PROVIDERS, *OTHER_PROVIDERS)):
            line = self.prices.get(model)
        return line

    def _row(self, provider: str, model: str) -> PriceRow:
        """Return the row by the names that litellm may use, never one of another provider."""
        if provider not in _LISTED:
            return _NO_ROW
        rows = self._table().rows
        found = (rows.get(name) for name in row_names(provider, model))
        return next((row for row in found if row is not None and is_of(row, provider)), _NO_ROW)

    def _price(
        self, provider: str, row: PriceRow, line: PriceLine | None, ours: PriceLine | None, *, regional: bool
    ) -> Price | None:
        if line is not None:
            return _as_price(line, line.source)
        if ours is not None:
            return _as_price(ours, f"agentctl {__version__}", version=__version__, digest=self._own().digest)
        price = price_of(
            row,
            regional=regional or provider == "vertex_ai",  # most of its locations cost what a regional endpoint costs
            inclusive=provider in _INCLUSIVE,
        )
        if price is None:
            return None
        table = self._table()
        return replace(price, source=table.source, version=table.version, digest=table.digest)


def _as_price(line: PriceLine, source: str, *, version: str = "", digest: str = "") -> Price:
    tiers = tuple(Tier(above, Price(*tier[:5])) for above, tier in line.tiers)
    return Price(*line[:5], source=source, version=version, digest=digest, tiers=tiers)


def _unit_error(model: str, part: str, given: Decimal, known: Decimal) -> UsageError:
    return UsageError(
        f'prices."{model}".{part} is {given:f} dollars per million tokens, and the price table has {known:f}',
        hint=f"did you mean {known:f}? If {given:f} is right, add certain = true to that line",
    )


def _is_free(provider: str, model: str, *, own_host: bool) -> bool:
    return provider == "local" or (provider == "ollama" and own_host and not is_in_a_cloud(model.lower()))


def is_in_a_cloud(model: str) -> bool:
    """Return whether Ollama's name for a model says that its host only forwards requests to a cloud."""
    name, _, tag = model.rpartition(":")
    return "cloud" in tag.split("-") if name else tag.endswith("-cloud")


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in patterns)


def _reasons(row: PriceRow, name: str, own: OwnPrices) -> bool:
    """Return whether the model reasons by default, so that an answer needs more room."""
    if row.get("thinking_always_on") is True:
        return True
    on_its_own = row.get("supports_reasoning") is True and row.get("default_reasoning_effort") != "none"
    return on_its_own and not _matches(name, own.answering)
