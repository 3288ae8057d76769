"""Prices, facts about models, and the cost of usage: exact arithmetic, rounded up once. Pure.

Prices are dollars per million tokens as ``Decimal``; amounts are whole nano-dollars (10⁻⁹ USD) as ``int``. One token at
$1 a million is 1,000 nano-dollars. ``substitutes`` handles models that answer in place of others.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import Literal, NamedTuple, Protocol, TypeGuard

from agentctl.core.messages import Completion, Usage

NANO_PER_USD = 1_000_000_000
MOST_AMOUNT = 2**63 - 1  # nano-dollars or tokens: the largest amount that a row of the ledger can store
ChargedBy = Literal["asked", "answered", "billed"]
_NANO_PER_TOKEN = Decimal(1000)  # nano-dollars per token for each dollar per million tokens


_SERVICE_TIERS = ("priority", "ultrafast", "balanced")  # those that may cost more than the usual one
_CLASSES = ("input", "output", "cached_input", "cache_write", "reasoning")


def _unit(row: Mapping[str, object], name: str) -> Decimal | None:
    value = row.get(name)
    if value is None:
        return None
    try:
        unit = Decimal(value) if isinstance(value, str) else None
    except ArithmeticError:
        unit = None
    if unit is None or not unit.is_finite() or unit < 0:
        raise ValueError(f"{name} is not a price: {value!r}")
    return unit


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens, by token class; a class that is None costs what its parent class costs.

    ``tiers`` replace the whole price for long requests. ``cache_write_hour`` is a cache write that lasts an hour:
    agentctl never requests one, so it is in no worst case. ``service_tiers`` are dearer ones that may apply where a
    request names none: they are in the worst case only, as an answer names the one that served it.
    """

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    source: str = "declared"
    version: str = ""
    digest: str = ""
    tiers: tuple[Tier, ...] = ()
    cache_write_hour: Decimal | None = None
    service_tiers: tuple[Price, ...] = ()

    @property
    def dearest_input(self) -> Decimal:
        """The price of an input token in the most expensive class and tier."""
        own = max(self.input, self.cached_input or Decimal(0), self.cache_write or Decimal(0))
        return max((own, *(price.dearest_input for price in self._others)))

    @property
    def dearest_output(self) -> Decimal:
        """The price of an output token in the most expensive tier, or of a reasoning token if that costs more."""
        own = max(self.output, self.reasoning or Decimal(0))
        return max((own, *(price.dearest_output for price in self._others)))

    @property
    def _others(self) -> tuple[Price, ...]:
        return (*(tier.price for tier in self.tiers), *self.service_tiers)

    @property
    def is_free(self) -> bool:
        """Whether the tokens of every class are free."""
        return self.dearest_input == 0 and self.dearest_output == 0

    def at(self, input_tokens: int) -> Price:
        """Return the price of a request with ``input_tokens``: the highest tier that they exceed, else this price."""
        passed = [tier for tier in self.tiers if input_tokens > tier.above]
        return max(passed, key=lambda tier: tier.above).price if passed else self

    def up_to(self, input_tokens: int) -> Price:
        """Return the price without the tiers that a request of at most ``input_tokens`` cannot reach."""
        passed = tuple(tier for tier in self.tiers if input_tokens > tier.above)
        served = tuple(price.up_to(input_tokens) for price in self.service_tiers)
        is_same = passed == self.tiers and served == self.service_tiers
        return self if is_same else replace(self, tiers=passed, service_tiers=served)

    def with_service_tiers(self, price_of: Callable[..., Price | None]) -> Price:
        """Return the price with those of the known service tiers; ``price_of`` returns the one of a ``tier``."""
        found = (price_of(tier=name) for name in _SERVICE_TIERS)
        others = tuple(price for price in found if price is not None and price.as_row() != self.as_row())
        return replace(self, service_tiers=others) if others else self

    def at_dearest(self, input_tokens: int) -> Price:
        """Return the price that charges every token at the highest price that ``input_tokens`` can reach, in the usual
        service tier.
        """
        price = replace(self.up_to(input_tokens), service_tiers=())
        source, version, digest = self.source, self.version, self.digest
        return Price(price.dearest_input, price.dearest_output, source=source, version=version, digest=digest)

    def as_row(self) -> Mapping[str, object]:
        """Return the unit prices as strings, as the ledger stores them with each charge; tiers as ``above_200000``."""
        values = ((name, getattr(self, name)) for name in _CLASSES)
        row: dict[str, object] = {name: None if value is None else str(value) for name, value in values}
        if self.cache_write_hour is not None:
            row["cache_write_hour"] = str(self.cache_write_hour)
        row |= {f"above_{tier.above}": tier.price.as_row() for tier in self.tiers}
        return row | {f"tier_{place}": price.as_row() for place, price in enumerate(self.service_tiers)}

    @classmethod
    def from_row(cls, row: Mapping[str, object], *, source: str = "", version: str = "", digest: str = "") -> Price:
        """Return the price that ``as_row`` wrote, exactly.

        Raises:
            ValueError: a class is not an exact number of dollars, or input or output is missing.
        """
        unit = {name: _unit(row, name) for name in (*_CLASSES, "cache_write_hour")}
        base_in, base_out = unit.pop("input"), unit.pop("output")
        if base_in is None or base_out is None:
            raise ValueError("a price needs input and output")
        tiers = tuple(
            Tier(int(name.removeprefix("above_")), cls.from_row(value))
            for name, value in row.items()
            if name.startswith("above_") and isinstance(value, Mapping)
        )
        served = tuple(
            cls.from_row(value)
            for name, value in row.items()
            if name.startswith("tier_") and isinstance(value, Mapping)
        )
        return cls(
            base_in,
            base_out,
            **unit,
            source=source,
            version=version,
            digest=digest,
            tiers=tiers,
            service_tiers=served,
        )


class Tier(NamedTuple):
    """The price of a request with more than ``above`` input tokens, for all its tokens; ``price`` has no tiers
    itself.
    """

    above: int
    price: Price


FREE = Price(Decimal(0), Decimal(0), source="declared free")


class PriceOf(Protocol):
    """A function that looks up a model of one provider, at one address, in the price table."""

    def __call__(self, model: str, /, *, tier: str = "") -> Price | None:
        """Return the model's price, or None if unknown; ``tier`` is a service tier other than the usual one."""
        ...


def no_price(model: str, /, *, tier: str = "") -> None:
    """Return None: the ``PriceOf`` without any price."""


class NativeFormat(NamedTuple):
    """How a provider holds an answer to a JSON schema: the ``subset`` of JSON Schema that it takes.

    ``with_tools``: in a request that offers tools, too, and the provider shows the schema to the model itself.
    """

    subset: str
    with_tools: bool = False


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The facts about a model that the input bound needs.

    ``price`` is None when unknown; ``context_window`` and ``output_ceiling`` (tokens) are None when unknown.
    ``metered`` is False if there is no language model (builtin), so neither tokens nor dollars. ``unbounded`` says why
    no bound exists (a router, an unknown fee), or is None. ``may_cut``: the server may silently truncate a prompt that
    is too long for its window. ``base_url`` is the address of the API, without credentials; "" is the provider's own.
    ``own_host``: a server of this host answers, ``answers_whole``: in one piece, as it reports usage only so.
    ``responses``: the model must be called in the Responses format, as it speaks no other ("only") or takes tools in no
    other ("tools"). ``native_format``: it can be held to a JSON schema by its provider; None: it is asked in words.
    """

    provider: str
    model: str | None
    price: Price | None = None
    context_window: int | None = None
    output_ceiling: int | None = None
    reasoning: bool = False
    thinking_budget: int | None = None
    least_thinking_budget: int | None = None
    metered: bool = True
    unbounded: str | None = None
    known_endpoint: bool = True
    may_cut: bool = False
    base_url: str = ""
    own_host: bool = False
    answers_whole: bool = False
    responses: Literal["", "only", "tools"] = ""
    native_format: NativeFormat | None = None

    @property
    def may_load(self) -> bool:
        """Whether the first token may take minutes: a server of this host, or a free one, loads models on demand."""
        return self.metered and (self.own_host or (self.price is not None and self.price.is_free))

    @property
    def name(self) -> str:
        """The model with its provider, in the form of ``--model``: ``openai/gpt-4o``."""
        return f"{self.provider}/{self.model}" if self.model else self.provider

    @property
    def name_and_address(self) -> str:
        """The name, and the address if it is not the provider's own."""
        return f"{self.name} at {self.base_url}" if self.base_url else self.name


def _is_count(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number, 0 or more; a bool is not."""
    return type(value) is int and value >= 0


def contradiction(usage: Usage, *, answered: bool) -> str:
    """Return why a usage report cannot be charged, "" if it can; ``answered``: there was an answer.

    Only contradictory numbers are a reason. A report above every maximum of the price table is charged like any other.
    """
    names = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")
    if wrong := next((name for name in names if not _is_count(getattr(usage, name))), None):
        return f"the reported {wrong} are not a count"
    if usage.input_tokens == 0:
        return "0 input tokens were reported"
    if answered and usage.output_tokens == 0:
        return "0 output tokens were reported for an answer"
    if usage.cached_input_tokens + usage.cache_write_tokens > usage.input_tokens:
        return "more cached than input tokens were reported"
    if usage.reasoning_tokens > usage.output_tokens:
        return "more reasoning than output tokens were reported"
    return ""


def storable_usage(usage: Usage) -> Usage:
    """Return a report in a form that the ledger can store: readable numbers, none above ``MOST_AMOUNT``.

    Unreadable values become 0, and no class is smaller than its parts.
    """

    def read(value: object) -> int:
        return min(value, MOST_AMOUNT) if _is_count(value) else 0

    cached, reasoning = read(usage.cached_input_tokens), read(usage.reasoning_tokens)
    written = min(read(usage.cache_write_tokens), MOST_AMOUNT - cached)
    tokens_in, tokens_out = max(read(usage.input_tokens), cached + written), max(read(usage.output_tokens), reasoning)
    return Usage(tokens_in, tokens_out, cached, written, reasoning)


def exceeds_tables(usage: Usage, facts: ModelFacts) -> bool:
    """Return whether a report has more tokens than the price table's maximum for the model's input or output."""
    most = ((usage.input_tokens, facts.context_window), (usage.output_tokens, facts.output_ceiling))
    return any(ceiling is not None and tokens > ceiling for tokens, ceiling in most)


def _ceil(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_CEILING))


def charge_nano(price: Price, usage: Usage, *, hour_writes: int = 0) -> int:
    """Return the cost of ``usage`` in nano-dollars, by token class in the tier of its input, rounded up once.

    ``hour_writes`` are those tokens of its cache writes that last an hour.
    """
    price = price.at(usage.input_tokens)
    cache_write = price.input if price.cache_write is None else price.cache_write
    with localcontext() as exact:
        exact.prec = 60
        plain_input = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
        plain_output = usage.output_tokens - usage.reasoning_tokens
        parts = (
            (plain_input, price.input),
            (usage.cached_input_tokens, price.input if price.cached_input is None else price.cached_input),
            (usage.cache_write_tokens - hour_writes, cache_write),
            (hour_writes, cache_write if price.cache_write_hour is None else price.cache_write_hour),
            (plain_output, price.output),
            (usage.reasoning_tokens, price.output if price.reasoning is None else price.reasoning),
        )
        return _ceil(sum((tokens * unit for tokens, unit in parts), Decimal(0)) * _NANO_PER_TOKEN)


def worst_nano(price: Price, *, input_tokens: int, output_tokens: int) -> int:
    """Return the highest possible cost of a call in nano-dollars: every token in the most expensive class that it can
    reach.
    """
    price = price.up_to(input_tokens)
    with localcontext() as exact:
        exact.prec = 60
        total = input_tokens * price.dearest_input + output_tokens * price.dearest_output
        return _ceil(total * _NANO_PER_TOKEN)


def most_output(price: Price, *, input_tokens: int, room_nano: int) -> int | None:
    """Return the most output tokens whose worst case fits ``room_nano``; negative if not even the input fits.

    None means that money sets no bound (output is free and the input fits).
    """
    price = price.up_to(input_tokens)
    with localcontext() as exact:
        exact.prec = 60
        left = Decimal(room_nano) - input_tokens * price.dearest_input * _NANO_PER_TOKEN
        if left < 0:
            return -1
        unit = price.dearest_output * _NANO_PER_TOKEN
        return None if unit == 0 else int((left / unit).to_integral_value(ROUND_FLOOR))


class Rate(NamedTuple):
    """A price that may apply to an answer, and its model."""

    by: ChargedBy
    model: str | None
    price: Price
    is_tiered: bool = False


def rates_of(completion: Completion, facts: ModelFacts, price_of: PriceOf) -> tuple[Rate, ...]:
    """Return every known price that may apply to an answer."""
    answered, tier = completion.model, completion.tier
    usual: list[tuple[ChargedBy, str | None, Price | None]] = [("asked", facts.model, facts.price)]
    if answered is not None and answered != facts.model:
        usual.append(("answered", answered, price_of(answered)))
    rates = [Rate(by, model, price) for by, model, price in usual if price is not None]
    for by, model, _ in usual:
        price = price_of(model, tier=tier) if tier and model is not None else None
        if price is not None:
            rates.append(Rate(by, model, price, is_tiered=True))
    return tuple(rates)


def price_config_lines(name: str) -> str:
    """Return the lines of config.toml that price a model; they are valid at the end of any such file.

    A dotted key would not be: after the header of a table it would belong to that table.
    """
    quoted = json.dumps(name, ensure_ascii=False)  # JSON and TOML's basic strings have the same escapes
    return f"[prices.{quoted}]\ninput = 1.00\noutput = 3.00"


def price_command(name: str) -> str:
    """Return the command that prices a model in the user's config.toml; whoever pastes it as it is gets an error."""
    return f"agentctl config set {shlex.quote(f'prices.{json.dumps(name, ensure_ascii=False)}')} input=USD output=USD"


def to_nano(usd: Decimal) -> int:
    """Return dollars as whole nano-dollars, rounded down, so that rounding never raises a limit."""
    return int((usd * NANO_PER_USD).to_integral_value(ROUND_FLOOR))


def to_usd(nano: int) -> Decimal:
    """Return nano-dollars as exact dollars."""
    return Decimal(nano) / NANO_PER_USD
