"""The two files that the catalog is made of: litellm's price table, found and read as data, and our own beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from agentctl.core.errors import StateError
from agentctl.providers.price_table import PriceRow
from agentctl.settings import PriceLine
from agentctl.settings.prices import price_lines

TABLE_FILE = "model_prices_and_context_window_backup.json"
OWN_PRICES_FILE = Path(__file__).with_name("prices.toml")

_HINT = "install agentctl again with all that it needs; a line under [prices] in the configuration file works without"


class PriceTable(NamedTuple):
    """litellm's rows by their names, with the version and the SHA-256 of the file; ``name`` is whose table it is."""

    rows: Mapping[str, PriceRow]
    version: str
    digest: str
    name: str = ""

    @property
    def source(self) -> str:
        """What a charge at its prices names: ``litellm 1.105.3``, or the file's own name."""
        return self.name or f"litellm {self.version}"


class OwnPrices(NamedTuple):
    """Our own file: prices, kinds of names, and the version of litellm's table that it was checked with."""

    lines: Mapping[str, PriceLine]
    routers: tuple[str, ...]
    searching: tuple[str, ...]
    answering: tuple[str, ...]
    checked: str
    released: date
    digest: str


def read_table(path: Path | None = None) -> PriceTable:
    """Read the table, the installed litellm's unless another is named; litellm itself is not imported.

    Raises:
        StateError: there is none, or it cannot be read.
    """
    path = path or _installed()
    try:
        data = path.read_bytes()
        parsed = json.loads(data, parse_float=Decimal)
    except (OSError, ValueError, ArithmeticError, RecursionError) as exc:
        said = exc.strerror.lower() if isinstance(exc, OSError) and exc.strerror else "it is not JSON"
        raise StateError(f"litellm's price table {path} cannot be read: {said}", hint=_HINT) from exc
    if not isinstance(parsed, dict):
        raise StateError(f"litellm's price table {path} cannot be read: it has no rows", hint=_HINT)
    rows = {name: row for name, row in parsed.items() if isinstance(row, dict)}
    return PriceTable(rows, _version(path), hashlib.sha256(data).hexdigest())


def _installed() -> Path:
    """Find the package without running it: its import takes seconds."""
    try:
        found = find_spec("litellm")
    except ValueError:  # something stands in its place that was not imported from a file
        found = None
    if found is None or found.origin is None:
        raise StateError("litellm is not installed, and with it the price table is missing", hint=_HINT)
    return Path(found.origin).with_name(TABLE_FILE)


def _version(path: Path) -> str:
    """Read the version off the folder that the installer leaves beside a package: much quicker than to ask for it."""
    found = sorted(path.parent.parent.glob("litellm-*.dist-info"))
    return found[0].name.removeprefix("litellm-").removesuffix(".dist-info") if len(found) == 1 else "unknown"


def read_own_prices() -> OwnPrices:
    """Read our own file.

    Raises:
        StateError: it is missing or damaged.
    """
    import tomllib  # noqa: PLC0415 - only a model that costs something needs it

    try:
        data = OWN_PRICES_FILE.read_bytes()
        parsed = tomllib.loads(data.decode(), parse_float=Decimal)
        names, checked = parsed["names"], parsed["checked"]
        return OwnPrices(
            lines=price_lines(parsed["models"]),
            routers=tuple(names["routers"]),
            searching=tuple(names["searching"]),
            answering=tuple(names["answering"]),
            checked=checked["litellm"],
            released=checked["released"],
            digest=hashlib.sha256(data).hexdigest(),
        )
    except (OSError, ValueError, KeyError) as exc:
        raise StateError(f"{OWN_PRICES_FILE} is missing or damaged", hint="install agentctl again") from exc
