"""A price file instead of today's prices: litellm's format or that of config.toml, and errors in others."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.core import bounded_read
from agentctl.core.errors import UsageError
from agentctl.core.pricing import FREE, Price, Tier
from agentctl.providers.catalog import load_catalog
from agentctl.providers.installed_prices import TABLE_FILE, installed_table
from agentctl.providers.price_file import catalog_with
from agentctl.settings import PriceLine
from tests.unit.providers.tables import CHAT

LINE = PriceLine(Decimal(3), Decimal("4.5"))
TOML = """
llm_model = "openai/gpt-4o"

[prices."openai/m"]
input = 0.15
output = 0.60
cached_input = 0.075
above_200k = { input = 0.3, output = 0.9 }

[prices]
"groq/fast" = { input = 0, output = 0 }
"""


def write(folder: Path, text: str, name: str = "new") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_json_takes_the_place_of_litellms_table_below_the_lines_of_the_user(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"m": CHAT, "mine": CHAT, "sample_spec": {"mode": "x"}}), "prices-2027.json")
    catalog = catalog_with(path, {"openai/mine": LINE})
    price = catalog.price_of("openai", "m")
    assert price is not None
    assert (price.input, price.output, price.source, price.version) == (Decimal(1), Decimal(2), "prices-2027.json", "")
    assert len(price.digest) == 64
    mine = catalog.price_of("openai", "mine")
    assert mine == Price(LINE.input, LINE.output, source="config.toml")
    assert catalog.price_of("openai", "gpt-4o") is None, "it is not in that table"
    assert catalog.price_of("local", "x") == FREE


def test_lines_of_toml_lie_on_top_of_todays_prices_whatever_else_is_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, TOML, "new.toml")
    catalog = catalog_with(path, {"openai/m": LINE, "openai/other": LINE})
    above = Price(Decimal("0.3"), Decimal("0.9"), Decimal("0.3"))
    assert catalog.price_of("openai", "m") == Price(
        Decimal("0.15"), Decimal("0.60"), Decimal("0.075"), source="new.toml", tiers=(Tier(200_000, above),)
    )
    free = catalog.price_of("groq", "fast")
    assert free is not None
    assert free.is_free
    for provider, model in (("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-5"), ("openai", "other")):
        today = load_catalog({"openai/other": LINE}).price_of(provider, model)
        assert catalog.price_of(provider, model) == today is not None


def test_the_installed_table_as_a_file_has_the_same_prices(tmp_path: Path) -> None:
    catalog = catalog_with(installed_table(), {})
    assert catalog.version == TABLE_FILE
    for provider, model in (("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-5"), ("gemini", "gemini-2.5-pro")):
        found, today = catalog.price_of(provider, model), load_catalog().price_of(provider, model)
        assert found is not None
        assert today is not None
        assert (found.as_row(), found.digest) == (today.as_row(), today.digest)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "contains no prices"),
        ("{}", "contains no prices"),
        ('{"m": {"mode": "chat"}}', "contains no prices"),
        ('{"m": ', "is not JSON"),
        ("[prices]\n", "contains no prices"),
        ("input = 3\n", "contains no prices"),
        ("prices = 3\n", 'prices cannot be "3"'),
        ("a = = 1\n", "is neither JSON nor TOML"),
        ('[prices]\n"openai/m" = { input = 1 }\n', 'prices."openai/m" has no output'),
        ('[prices]\n\n"openai/m" = { input = 1, output = "x" }\n', 'prices."openai/m".output cannot be "x"'),
        ('[prices]\n"openai/m" = { input = 0.00000015, output = 1 }\n', "allowed: dollars per million tokens"),
    ],
)
def test_a_file_without_prices_is_refused_with_what_it_should_be(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        catalog_with(path, {})
    assert said in caught.value.message
    assert str(path) in caught.value.message


def test_the_line_of_a_wrong_price_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, '[prices]\n\n"openai/m" = { input = 1, output = "x" }\n')
    with pytest.raises(UsageError, match="line 3"):
        catalog_with(path, {})


def test_unreadable_price_file_is_reported(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none", "no such file"),
        (tmp_path, "is a directory"),
        (Path("a\0b"), "embedded null"),
    ):
        with pytest.raises(UsageError, match=said):
            catalog_with(path, {})
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        catalog_with(binary, {})


def test_wait_for_a_named_pipe_is_announced_and_ends_with_its_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_read, "NOTICE_S", 0.01)
    pipe, sizes = tmp_path / "pipe", list[int]()
    os.mkfifo(pipe)

    def late(size: int) -> None:
        sizes.append(size)
        pipe.write_text('[prices]\n"openai/m" = { input = 1, output = 2 }\n')

    assert catalog_with(pipe, {}, late=late).price_of("openai", "m") is not None
    assert sizes == [0]


def test_a_line_in_another_unit_is_refused_as_a_run_would_refuse_it(tmp_path: Path) -> None:
    far = write(tmp_path, '[prices."openai/gpt-4o"]\ninput = 900\noutput = 10\n')
    with pytest.raises(UsageError, match=r"900 dollars per million tokens, and the price table has 2\.5"):
        catalog_with(far, {}).refuse_far_off()
    meant = write(tmp_path, '[prices."openai/gpt-4o"]\ninput = 900\noutput = 10\ncertain = true\n')
    catalog_with(meant, {}).refuse_far_off()
