"""A charge read back from its row: why it cannot be recomputed, or whether the row comes to the amount that it says.

Only what usage settled was computed from prices. A charge above its hold is recomputed like any other, since it was
recorded in full. An amount in doubt is the hold, or what a report came to at worst; it is not a charge.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Literal, NamedTuple

from agentctl.core.messages import Usage
from agentctl.core.pricing import MOST_AMOUNT, Price, charge_nano

#: Why a charge cannot be computed from its row. ``unrecorded``: settled before schema 2, which stores prices with it.
WhyNot = Literal["in_doubt", "unknown_price", "unrecorded", "export", "hand"]


class ChargeRow(NamedTuple):
    """The columns of an attempt that say what it was charged, and at what."""

    id: str
    phase: str
    nano: int | None
    tokens: int
    settled_by: str | None
    model: str | None
    answered_model: str | None
    charged_by: str | None
    charged_model: str | None
    charged_tier: str | None
    charged_prices: str | None
    charged_dearest: int
    billed_nano: int | None
    hour_write_tokens: int | None
    input_tokens: int | None
    output_tokens: int | None
    cached_input_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None

    @property
    def usage(self) -> Usage:
        """The tokens by class; a class without a value counts 0."""
        return Usage(
            self.input_tokens or 0,
            self.output_tokens or 0,
            self.cached_input_tokens or 0,
            self.cache_write_tokens or 0,
            self.reasoning_tokens or 0,
        )

    @property
    def was_recorded(self) -> bool:
        """Whether the row says at what it was charged; an unknown price is recorded, too."""
        return self.charged_by is not None or (self.nano is None and self.hour_write_tokens is not None)

    @property
    def why_not(self) -> WhyNot | None:
        """Why the amount cannot be recomputed; None if it can."""
        if self.phase == "doubt":
            return "in_doubt"
        if self.settled_by == "export":
            return "export"
        if self.settled_by == "hand":
            return "hand"
        if not self.was_recorded:
            return "unrecorded"
        return "unknown_price" if self.nano is None else None


COLUMNS = ChargeRow._fields


@lru_cache(maxsize=4096)
def _price_in(written: str) -> Price:
    """Return the unit prices of a row; there are few that differ.

    Raises:
        ValueError: they are not prices.
    """
    row = json.loads(written)
    if not isinstance(row, dict):
        raise ValueError("not a table of prices")
    return Price.from_row(row)


def disagreement(row: ChargeRow) -> str | None:
    """Recompute a charge from its row alone; return a sentence if the row says something else, None if it agrees.

    Besides the amount, what set it is compared: the provider's bill only where it is more than the price comes to, and
    the price is that of the model that was asked or of the one that answered. ``row.why_not`` must be None.
    """
    usage, hour_writes, billed = row.usage, row.hour_write_tokens or 0, row.billed_nano
    parts = (
        (usage.cached_input_tokens + usage.cache_write_tokens, usage.input_tokens, "input"),
        (hour_writes, usage.cache_write_tokens, "cache write"),
        (usage.reasoning_tokens, usage.output_tokens, "output"),
    )
    for part, whole, name in parts:
        if part > whole:
            return f"attempt {row.id}: parts of its {name} are {part:,} tokens of {whole:,}"
    try:
        price = _price_in(row.charged_prices or "")
    except (ValueError, RecursionError):
        return f"attempt {row.id}: its row has no prices to recompute the charge at"
    counted = charge_nano(price, usage, hour_writes=hour_writes)
    is_billed = billed is not None and billed > counted
    if is_billed != (row.charged_by == "billed"):
        setter = "the provider's bill" if row.charged_by == "billed" else "a price"
        amounts = (
            f"the price comes to {counted:,} nano-dollars, the bill to {'none' if billed is None else f'{billed:,}'}"
        )
        return f"attempt {row.id}: its row says that {setter} set the charge, but {amounts}"
    of_setter = {"asked": row.model, "answered": row.answered_model}
    if row.charged_model != of_setter.get(row.charged_by or "", row.charged_model):
        return f"attempt {row.id}: its price is that of {row.charged_model}, not of the model that it was charged for"
    nano = min(billed if is_billed and billed is not None else counted, MOST_AMOUNT)
    if row.nano != nano:
        return f"attempt {row.id}: its row says a charge of {row.nano:,} nano-dollars, and comes to {nano:,}"
    tokens = min(usage.total_tokens, MOST_AMOUNT)
    if row.tokens != tokens:
        return f"attempt {row.id}: its row says {row.tokens:,} tokens, and its token classes come to {tokens:,}"
    return None
