"""A file of prices that replaces the catalog's: litellm's table as JSON, or price lines as in config.toml."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

from agentctl.core.bounded_read import read_to_end
from agentctl.core.errors import UsageError
from agentctl.core.text import safe_text
from agentctl.providers.catalog import Catalog, load_catalog
from agentctl.providers.installed_prices import PriceTable, read_own_prices
from agentctl.providers.price_table import price_of
from agentctl.settings import PriceLine, Source
from agentctl.settings.merge import validate
from agentctl.settings.sources import SettingEntry

MOST_BYTES = 64 * 1024 * 1024
FLAG = "--table"
_FORMATS = (
    'give litellm\'s JSON table, or TOML with [prices] and lines such as "openai/gpt-4o" = { input = 2.5, output = 10 }'
)


def catalog_with(
    path: Path, prices: Mapping[str, PriceLine], *, late: Callable[[int], object] | None = None
) -> Catalog:
    """Return the catalog with the prices of a file.

    JSON replaces litellm's table; ``prices``, the lines of config.toml, take precedence over it as always. The lines of
    a TOML file take precedence over ``prices``; a model that the file does not name keeps its price. ``late`` is called
    with the number of bytes so far if the file is a pipe whose end does not come soon.

    Raises:
        UsageError: the file cannot be read, is neither JSON nor TOML, or contains no prices.
    """
    data = _read(path, late)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{FLAG} {path} is not UTF-8 text", hint=_FORMATS) from error
    if text.lstrip().startswith("{"):
        table = _table(path, text, hashlib.sha256(data).hexdigest())
        return Catalog(prices, lambda: table, read_own_prices)
    return load_catalog({**prices, **_lines(path, text)})


def _read(path: Path, late: Callable[[int], object] | None) -> bytes:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a named pipe may have no writer yet
    try:
        with os.fdopen(os.open(path.expanduser(), flags), "rb") as file:
            data = read_to_end(file.fileno(), most=MOST_BYTES, late=late)
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{FLAG} {path} cannot be read: {reason.lower()}") from error
    if len(data) > MOST_BYTES:
        raise UsageError(f"{FLAG} {path} is larger than 64 MiB", hint=_FORMATS)
    return data


def _table(path: Path, text: str, digest: str) -> PriceTable:
    try:
        parsed = json.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise UsageError(f"{FLAG} {path} is not JSON: {error}", hint=_FORMATS) from error
    rows = {name: row for name, row in parsed.items() if isinstance(row, dict)}
    if not any(price_of(row) for row in rows.values()):
        raise UsageError(f"{FLAG} {path} contains no prices", hint=_FORMATS)
    return PriceTable(rows, "", digest, path.name)


def _lines(path: Path, text: str) -> Mapping[str, PriceLine]:
    import tomllib  # noqa: PLC0415 - needed only for a TOML file

    try:
        parsed = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise UsageError(f"{FLAG} {path} is neither JSON nor TOML: {error}", hint=_FORMATS) from error
    if not parsed.get("prices"):
        raise UsageError(f"{FLAG} {path} contains no prices", hint=_FORMATS)
    entry = SettingEntry(parsed["prices"], Source("flag", f"{FLAG} {path}"), "prices", text=text)
    values, problems = validate({"prices": entry})
    if problems:
        raise UsageError(problems[0].text, hint=problems[0].hint)
    return {name: line._replace(source=safe_text(path.name)) for name, line in values["prices"].items()}
