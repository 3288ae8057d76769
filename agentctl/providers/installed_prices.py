"""The price files that are installed: litellm's table, read as data without importing litellm, and our prices.toml."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from agentctl.core.errors import StateError
from agentctl.providers.litellm_loader import litellm_folder
from agentctl.providers.price_table import PriceRow
from agentctl.settings import PriceLine
from agentctl.settings.prices import price_lines

TABLE_FILE = "model_prices_and_context_window_backup.json"
OWN_PRICES_FILE = Path(__file__).with_name("prices.toml")

_HINT = "reinstall agentctl with its dependencies, or add the model's price under [prices] in config.toml"


class PriceTable(NamedTuple):
    """litellm's rows by name, with the version and SHA-256 of the file; ``name`` is set for a user's own file."""

    rows: Mapping[str, PriceRow]
    version: str
    digest: str
    name: str = ""

    @property
    def source(self) -> str:
        """The source that a charge at these prices names: ``litellm 1.105.3``, or the file's own name."""
        return self.name or f"litellm {self.version}"


class OwnPrices(NamedTuple):
    """Our own file: prices, patterns of model names, and the version of litellm's table that it was checked with."""

    lines: Mapping[str, PriceLine]
    routers: tuple[str, ...]
    searching: tuple[str, ...]
    answering: tuple[str, ...]
    responses: tuple[str, ...]
    checked: str
    released: date
    digest: str


def read_table(path: Path | None = None) -> PriceTable:
    """Return the table, by default that of the installed litellm, which is not imported.

    Raises:
        StateError: the table is missing or cannot be read.
    """
    path = path or installed_table()
    try:
        found = _parse(path.read_bytes())
    except (OSError, ValueError, ArithmeticError, RecursionError) as exc:
        reason = exc.strerror.lower() if isinstance(exc, OSError) and exc.strerror else "it is not JSON"
        raise StateError(f"litellm's price table {path} cannot be read: {reason}", hint=_HINT) from exc
    if found is None:
        raise StateError(f"litellm's price table {path} cannot be read: it has no rows", hint=_HINT)
    return PriceTable(found[0], _version(path), found[1])


@lru_cache(maxsize=1)
def _parse(data: bytes) -> tuple[Mapping[str, PriceRow], str] | None:
    """Return the table's rows and its digest, None without rows; cached for all providers of a process."""
    parsed = json.loads(data, parse_float=Decimal)
    if not isinstance(parsed, dict):
        return None
    return {name: row for name, row in parsed.items() if isinstance(row, dict)}, hashlib.sha256(data).hexdigest()


def installed_table() -> Path:
    folder = litellm_folder()
    if folder is None:
        raise StateError("the price table is missing: litellm is not installed", hint=_HINT)
    return folder / TABLE_FILE


def _version(path: Path) -> str:
    """Return the version from the name of the package's dist-info folder: much faster than its metadata."""
    found = sorted(path.parent.parent.glob("litellm-*.dist-info"))
    return found[0].name.removeprefix("litellm-").removesuffix(".dist-info") if len(found) == 1 else "unknown"


def read_own_prices() -> OwnPrices:
    """Return our own prices.

    Raises:
        StateError: their file is missing or damaged.
    """
    try:
        return _own_prices(OWN_PRICES_FILE.read_bytes())
    except (OSError, ValueError, KeyError) as exc:
        raise StateError(f"{OWN_PRICES_FILE} is missing or damaged", hint="reinstall agentctl") from exc


@lru_cache(maxsize=1)
def _own_prices(data: bytes) -> OwnPrices:
    import tomllib  # noqa: PLC0415 - only a model that costs something needs it

    parsed = tomllib.loads(data.decode(), parse_float=Decimal)
    names, checked = parsed["names"], parsed["checked"]
    return OwnPrices(
        lines=price_lines(parsed["models"]),
        routers=tuple(names["routers"]),
        searching=tuple(names["searching"]),
        answering=tuple(names["answering"]),
        responses=tuple(names["responses"]),
        checked=checked["litellm"],
        released=checked["released"],
        digest=hashlib.sha256(data).hexdigest(),
    )
