"""A file of prices that replaces the catalog's: litellm's table as JSON, or price lines as in config.toml."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from agentctl.core.errors import UsageError
from agentctl.core.text import safe_text
from agentctl.providers.catalog import Catalog, PriceTable, load_catalog, read_own_prices
from agentctl.providers.price_table import price_of
from agentctl.settings import PriceLine, Source
from agentctl.settings.merge import validate
from agentctl.settings.sources import SettingEntry

MOST_BYTES = 64 * 1024 * 1024
FLAG = "--table"
_FORMATS = (
    'give litellm\'s JSON table, or TOML with [prices] and lines such as "openai/gpt-4o" = { input = 2.5, output = 10 }'
)


def catalog_with(path: Path, prices: Mapping[str, PriceLine]) -> Catalog:
    """Return the catalog with the prices of a file.

    JSON replaces litellm's table; ``prices``, the lines of config.toml, take precedence over it as always. The lines of
    a TOML file take precedence over ``prices``; a model that the file does not name keeps its price.

    Raises:
        UsageError: the file cannot be read, is neither JSON nor TOML, or contains no prices.
    """
    data = _read(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{FLAG} {path} is not UTF-8 text", hint=_FORMATS) from error
    if text.lstrip().startswith("{"):
        table = _table(path, text, hashlib.sha256(data).hexdigest())
        return Catalog(prices, lambda: table, read_own_prices)
    return load_catalog({**prices, **_lines(path, text)})


def _read(path: Path) -> bytes:
    try:
        with path.expanduser().open("rb") as file:
            data = file.read(MOST_BYTES + 1)
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
