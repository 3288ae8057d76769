"""Parts of the catalog's tests: a table as litellm ships it, but small and made for the occasion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from agentctl.providers.catalog import Catalog, load_catalog
from agentctl.providers.installed_prices import TABLE_FILE
from agentctl.settings import PriceLine

CHAT: Mapping[str, object] = {
    "litellm_provider": "openai",
    "mode": "chat",
    "input_cost_per_token": 1e-06,
    "output_cost_per_token": 2e-06,
    "max_input_tokens": 100_000,
    "max_output_tokens": 5_000,
}


def write_table(folder: Path, rows: Mapping[str, object], version: str = "1.105.3") -> Path:
    """Lay the table where an installer would lay it, its version beside it."""
    path = folder / "litellm" / TABLE_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(rows))
    (folder / f"litellm-{version}.dist-info").mkdir(exist_ok=True)
    return path


def made(folder: Path, rows: Mapping[str, object], prices: Mapping[str, PriceLine] | None = None) -> Catalog:
    """Return a catalog over a table of ``rows``."""
    return load_catalog(prices or {}, table=write_table(folder, rows))
