"""The user's own prices: the lines of the TOML table ``prices``, one a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from agentctl.settings.names import TOML_FIELDS
from agentctl.settings.values import count, word
from agentctl.text import did_you_mean

PRICES_ALLOWED = 'a table of lines such as "provider/model" = { input = 0.15, output = 0.60 }'
LINE_ALLOWED = "a table such as { input = 0.15, output = 0.60 }"
PRICE_ALLOWED = "dollars per million tokens: 0 for free, or 0.0001 to 10000"

LEAST_PRICE = Decimal("0.0001")
MOST_PRICE = Decimal(10_000)
_MOST_DIGITS = 20
_MOST_WRONG = 50  # each is looked for in the file's text


class PriceLine(NamedTuple):
    """What a model costs by the user's word, in dollars per million tokens; 0 is free, None costs its parent class.

    ``context_window`` and ``output_ceiling`` (tokens) replace what the price table knows of the model.
    """

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    context_window: int | None = None
    output_ceiling: int | None = None

    def __str__(self) -> str:
        said = ((name, value) for name, value in self._asdict().items() if value is not None)
        return ", ".join(
            f"{name} {value:f}" if isinstance(value, Decimal) else f"{name} {value}" for name, value in said
        )


class Wrong(NamedTuple):
    """What is wrong with a part of a line, as it is said before and after the place where it stands."""

    line: str
    part: str
    before: str
    after: str = ""
    hint: str = ""


class WrongPrices(ValueError):
    """Lines of the table are wrong, each in its own way."""

    def __init__(self, wrong: tuple[Wrong, ...]) -> None:
        super().__init__(PRICES_ALLOWED)
        self.wrong = wrong


def per_million(value: object) -> Decimal:
    """Return an exact price; what is far too small or too large is a price in another unit."""
    if isinstance(value, str) and re.fullmatch(r"(?a:\d{1,9}(\.\d{0,20})?|\.\d{1,20})", value.strip()):
        price = Decimal(value.strip())
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        price = Decimal(str(value))
    else:
        raise ValueError(PRICE_ALLOWED)
    if not price.is_finite() or (price != 0 and not LEAST_PRICE <= price <= MOST_PRICE):
        raise ValueError(PRICE_ALLOWED)
    if -int(price.as_tuple().exponent) > _MOST_DIGITS:
        raise ValueError(f"at most {_MOST_DIGITS} decimal places")
    return Decimal(f"{price:f}") if price else Decimal(0)


_PARTS = PriceLine._fields
_COUNTS = ("context_window", "output_ceiling")
_count = count(1)


def _read(part: str, value: object) -> object:
    return _count(value) if part in _COUNTS else per_million(value)


def price_lines(value: object) -> Mapping[str, PriceLine]:
    """Return the lines by the name they stand under.

    Raises:
        ValueError: this is no table, or lines of it are wrong (``WrongPrices``).
    """
    if not isinstance(value, Mapping):
        raise ValueError(PRICES_ALLOWED)
    lines: dict[str, PriceLine] = {}
    wrong: list[Wrong] = []
    for name, line in value.items():
        if isinstance(line, PriceLine):
            lines[name] = line
        elif found := _wrong_with(name, line):
            wrong += found
        else:
            lines[name] = PriceLine._make(_read(part, line[part]) if part in line else None for part in _PARTS)
    if wrong:
        raise WrongPrices(tuple(wrong[:_MOST_WRONG]))
    return MappingProxyType(lines)


def _wrong_with(name: str, line: object) -> list[Wrong]:
    whole = f'prices."{name[:100]}"'
    try:
        word(name)
    except ValueError as exc:
        return [Wrong(name, "", f"{whole} cannot be a model's name", f"; allowed: {exc}")]
    if not isinstance(line, Mapping):
        hint = f"move {name} above the line [prices]" if name in TOML_FIELDS else ""
        return [Wrong(name, "", f'{whole} cannot be "{str(line)[:80]}"', f"; allowed: {LINE_ALLOWED}", hint)]
    wrong = [
        Wrong(name, part, f"unknown setting {whole}.{part[:60]}", hint=did_you_mean(part, _PARTS))
        for part in line
        if part not in _PARTS
    ]
    for part in _PARTS:
        if part in line:
            try:
                _read(part, line[part])
            except ValueError as exc:
                said = f'{whole}.{part} cannot be "{str(line[part])[:80]}"'
                wrong.append(Wrong(name, part, said, f"; allowed: {exc}"))
        elif part in ("input", "output"):
            wrong.append(Wrong(name, "", f"{whole} has no {part}", "; input and output are needed"))
    return wrong
