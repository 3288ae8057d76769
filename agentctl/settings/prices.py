"""The user's own prices: the lines of the TOML table ``prices``, one per model."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

from agentctl.core.text import did_you_mean
from agentctl.settings.parsers import count, word

PRICES_ALLOWED = 'a table of lines such as "provider/model" = { input = 0.15, output = 0.60 }'
LINE_ALLOWED = "a table such as { input = 0.15, output = 0.60 }"
PRICE_ALLOWED = "dollars per million tokens: 0 for free, or 0.001 to 1000"

#: The range of each token class in litellm's table. Its ends are a factor of a million apart, so no price within it is
#: within it again when given per token, or a million times too high.
LEAST_PRICE = Decimal("0.001")
MOST_PRICE = Decimal(1000)
_USUAL = (Decimal("0.01"), Decimal(200))
_MOST_DIGITS = 20
_MOST_WRONG = 50  # each of these is searched for in the file's text


class PriceLine(NamedTuple):
    """A model's price from the user, in dollars per million tokens; 0 is free, None costs as much as the parent class.

    ``context_window`` and ``output_ceiling`` (tokens) replace what the price table knows of the model. ``certain``: the
    price is intended, however far from that table. ``tiers`` replace the whole price for requests above a number of
    tokens. ``source`` is the file.
    """

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    context_window: int | None = None
    output_ceiling: int | None = None
    certain: bool = False
    tiers: tuple[tuple[int, PriceLine], ...] = ()
    source: str = "config.toml"

    def __str__(self) -> str:
        said = ((name, value) for name, value in zip(PARTS, self, strict=False) if value is not None)
        whole = [f"{name} {value:f}" if isinstance(value, Decimal) else f"{name} {value}" for name, value in said]
        whole += ["certain"] if self.certain else []
        return ", ".join([*whole, *(f"above {above} ({line})" for above, line in self.tiers)])


class Wrong(NamedTuple):
    """A problem in a part of a line: the message before and after its place."""

    line: str
    part: str
    before: str
    after: str = ""
    hint: str = ""


class WrongLines(ValueError):
    """Lines of a table are wrong: ``wrong`` has each of them, ``right`` the lines that can be used."""

    def __init__(self, allowed: str, wrong: tuple[Wrong, ...], right: Mapping[str, object] | None = None) -> None:
        super().__init__(allowed)
        self.wrong, self.right = wrong, right


class WrongUnit(ValueError):
    """A number that is not a price per million tokens, and may be one per token or per thousand."""

    def __init__(self, price: Decimal) -> None:
        super().__init__(PRICE_ALLOWED)
        self.price = price


def price_hint(price: Decimal) -> str:
    """Return a price in another unit, converted to dollars per million tokens, as a question, or ""."""
    if not Decimal("1e-12") <= price <= Decimal("1e12"):
        return ""
    others = [price.scaleb(places if price < LEAST_PRICE else -places) for places in (6, 3)]
    usual = [other for other in others if _USUAL[0] <= other <= _USUAL[1]]
    usual = usual or [other for other in others if LEAST_PRICE <= other <= MOST_PRICE]
    return f"did you mean {' or '.join(f'{other.normalize():f}' for other in usual)}?" if usual else ""


def per_million(value: object) -> Decimal:
    """Return an exact price; a value far too small or too large is taken for another unit.

    Raises:
        ValueError: it is not a number, or not a price per million tokens (``WrongUnit``).
    """
    if isinstance(value, str) and re.fullmatch(r"(?a:\d{1,9}(\.\d{0,20})?|\.\d{1,20})", value.strip()):
        price = Decimal(value.strip())
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        price = Decimal(str(value))
    else:
        raise ValueError(PRICE_ALLOWED)
    if not price.is_finite() or price < 0:
        raise ValueError(PRICE_ALLOWED)
    if price != 0 and not LEAST_PRICE <= price <= MOST_PRICE:
        raise WrongUnit(price)
    if -int(price.as_tuple().exponent) > _MOST_DIGITS:
        raise ValueError(f"at most {_MOST_DIGITS} decimal places")
    return Decimal(f"{price:f}") if price else Decimal(0)


PARTS = ("input", "output", "cached_input", "cache_write", "reasoning", "context_window", "output_ceiling")
_CLASSES = PARTS[:5]
_count = count(1)


def _read(part: str, value: object) -> Decimal | int | None:
    return per_million(value) if part in _CLASSES else _count(value)


def price_lines(value: object) -> Mapping[str, PriceLine]:
    """Return the lines by their names in the table.

    Raises:
        ValueError: this is not a table, or some of its lines are wrong (``WrongLines``).
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
            lines[name] = _line(line)
    if wrong:
        raise WrongLines(PRICES_ALLOWED, tuple(wrong[:_MOST_WRONG]))
    return MappingProxyType(lines)


def _line(written: Mapping[str, object]) -> PriceLine:
    parts: dict[str, Any] = {part: _read(part, written[part]) for part in PARTS if part in written}
    base = PriceLine(**parts, certain=written.get("certain") is True)
    tiers = {above: _tier(base, given) for part, given in written.items() if (above := above_tokens(part)) is not None}
    return base._replace(tiers=tuple(sorted(tiers.items())))


def _tier(base: PriceLine, written: Any) -> PriceLine:  # noqa: ANN401 - a checked table
    """Return a tier's line; a class that it does not name costs the higher of the base's and its own parent's."""
    given: dict[str, Any] = {part: per_million(written[part]) for part in _CLASSES if part in written}
    tier = PriceLine(given.pop("input", base.input), given.pop("output", base.output))
    for part, parent in (("cached_input", tier.input), ("cache_write", tier.input), ("reasoning", tier.output)):
        stands = getattr(base, part)
        if part not in given and stands is not None:
            given[part] = max(stands, parent)
    return tier._replace(**given)


def above_tokens(part: str) -> int | None:
    """Return the number of tokens above which a tier begins, from ``above_200000`` or ``above_200k``."""
    found = re.fullmatch(r"(?a:above_(\d{1,9})(k?))", part)
    return None if found is None else int(found[1]) * (1000 if found[2] else 1)


def _wrong_with(name: str, line: object) -> list[Wrong]:
    whole = f'prices."{name[:100]}"'
    try:
        word(name)
    except ValueError as exc:
        return [Wrong(name, "", f"{whole} cannot be a model's name", f"; allowed: {exc}")]
    if not isinstance(line, Mapping):
        return [Wrong(name, "", f'{whole} cannot be "{str(line)[:80]}"', f"; allowed: {LINE_ALLOWED}")]
    wrong = _wrong_parts(name, whole, line, (*PARTS, "certain"))
    wrong += [
        Wrong(
            name,
            "",
            f"{whole} has no {part}",
            "; input and output are needed",
            hint=f"agentctl config set {shlex.quote(f'{whole}.{part}')} USD",
        )
        for part in ("input", "output")
        if part not in line
    ]
    if not isinstance(line.get("certain", True), bool):
        wrong.append(Wrong(name, "certain", f"{whole}.certain can only be true or false"))
    for part, given in line.items():
        if above_tokens(part) is None:
            continue
        if isinstance(given, Mapping):
            wrong += _wrong_parts(name, f"{whole}.{part}", given, _CLASSES)
        else:
            wrong.append(
                Wrong(name, part, f'{whole}.{part} cannot be "{str(given)[:80]}"', f"; allowed: {LINE_ALLOWED}")
            )
    return wrong


def _wrong_parts(name: str, whole: str, line: Mapping[str, object], parts: tuple[str, ...]) -> list[Wrong]:
    """Return the unknown names in a table of prices, and the values that are not prices."""
    wrong = [
        Wrong(name, part, f"unknown setting {whole}.{part[:60]}", hint=did_you_mean(part, parts))
        for part in line
        if part not in parts and (above_tokens(part) is None or "certain" not in parts)
    ]
    for part in PARTS:
        if part in line and part in parts:
            try:
                _read(part, line[part])
            except ValueError as exc:
                said = f'{whole}.{part} cannot be "{str(line[part])[:80]}"'
                hint = price_hint(exc.price) if isinstance(exc, WrongUnit) else ""
                wrong.append(Wrong(name, part, said, f"; allowed: {exc}", hint))
    return wrong
