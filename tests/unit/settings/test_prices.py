"""The user's own prices: a table of the configuration file, and nothing else can set it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.settings import PriceLine, Settings, Source
from agentctl.settings.prices import LEAST_PRICE, MOST_PRICE, WrongUnit, per_million, price_hint, price_lines
from agentctl.settings.show import SettingRow, explain
from tests.support.desk import Desk

NAME_ALLOWED = "a name without blanks or control characters"
ALLOWED = "dollars per million tokens: 0 for free, or 0.001 to 1000"


def test_a_line_is_read_digit_by_digit(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    toml = desk.user_toml(
        "[prices]\n"
        '"openai/my-model" = { input = 0.15, output = "0.60", cached_input = 0.075, cache_write = 0.3, '
        "reasoning = 6e-1, context_window = 128000, output_ceiling = 16384 }\n"
        '"mine" = { input = 0, output = 0 }\n'
    )
    loaded = desk.load()
    assert dict(loaded.settings.prices) == {
        "openai/my-model": PriceLine(
            Decimal("0.15"), Decimal("0.60"), Decimal("0.075"), Decimal("0.3"), Decimal("0.6"), 128000, 16384
        ),
        "mine": PriceLine(Decimal(0), Decimal(0)),
    }
    assert loaded.sources["prices"] == Source("user config", str(toml))


def test_price_table_without_lines_is_empty(tmp_path: Path) -> None:
    loaded = Desk(tmp_path).load()
    assert dict(loaded.settings.prices) == {}
    assert loaded.sources["prices"] == Source("default")
    assert Settings.model_validate({"prices": {"m": PriceLine(Decimal(1), Decimal(2))}}).prices["m"].output == 2


def test_named_config_replaces_all_lines(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml('[prices]\n"a/b" = { input = 1, output = 2 }\n')
    desk.file("other.toml", '[prices."a/c"]\ninput = 3\noutput = 4\n')
    assert set(desk.load(config="other.toml").settings.prices) == {"a/c"}


def test_settings_with_prices_can_be_compared_and_not_changed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml('[prices]\n"a/b" = { input = 1, output = 2.50 }\n')
    settings = desk.load().settings
    assert settings == desk.load().settings
    assert "a/b" not in settings.model_dump_json()
    with pytest.raises(TypeError):
        settings.prices["a/b"] = PriceLine(Decimal(0), Decimal(0))  # type: ignore[index]


def test_prices_are_shown_with_their_origin(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    toml = desk.user_toml(
        '[prices]\n"a/b" = { input = 1, output = 2.50, output_ceiling = 9 }\nc = { input = 0, output = 0 }\n'
    )
    rows = {row.name: row for row in explain(desk.load())}
    said = "a/b: input 1, output 2.50, output_ceiling 9; c: input 0, output 0"
    assert rows["prices"] == SettingRow("prices", "prices", said, f"user config {toml}", "litellm's", is_set=True)


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        (
            '[prices]\n"openai/x" = { input = -1, output = 0.6 }',
            2,
            f'prices."openai/x".input cannot be "-1" (PLACE); allowed: {ALLOWED}',
            "",
        ),
        (
            '[prices]\n"openai/x" = { input = 0.00000015, output = 0.6 }',
            2,
            f'prices."openai/x".input cannot be "1.5E-7" (PLACE); allowed: {ALLOWED}',
            "did you mean 0.15?",
        ),
        (
            '[prices]\n# "openai/x" = 1\n\n[prices."openai/x"]\ninput = 1\noutput = "cheap"\n[prices.y]\noutput = 0',
            6,
            f'prices."openai/x".output cannot be "cheap" (PLACE); allowed: {ALLOWED}',
            "",
        ),
        (
            '[prices]\n"a/b" = { input = 1, output = 1 }\n"openai/x" = { inptu = 1, output = 0.6 }',
            3,
            'unknown setting prices."openai/x".inptu (PLACE)',
            'did you mean "input"?',
        ),
        (
            '[prices]\n"openai/x" = { input = 1 }',
            2,
            'prices."openai/x" has no output (PLACE); input and output are needed',
            "agentctl config set 'prices.\"openai/x\".output' USD",
        ),
        (
            '[prices]\n"openai/x" = { input = 2500000, output = 1 }',
            2,
            f'prices."openai/x".input cannot be "2500000" (PLACE); allowed: {ALLOWED}',
            "did you mean 2.5?",
        ),
        (
            '[prices]\n"openai/x" = { input = 1, output = 1, above_200k = { input = 0.000002 } }',
            2,
            f'prices."openai/x".above_200k.input cannot be "0.000002" (PLACE); allowed: {ALLOWED}',
            "did you mean 2?",
        ),
        (
            '[prices]\n"openai/x" = { input = 1, output = 1, above_200k = { context_window = 2 } }',
            2,
            'unknown setting prices."openai/x".above_200k.context_window (PLACE)',
            "",
        ),
        (
            '[prices]\n"openai/x" = { input = 1, output = 1, above_200k = 2 }',
            2,
            (
                'prices."openai/x".above_200k cannot be "2" (PLACE); allowed: '
                "a table such as { input = 0.15, output = 0.60 }"
            ),
            "",
        ),
        (
            '[prices]\n"openai/x" = { input = 1, output = 1, certain = "yes" }',
            2,
            'prices."openai/x".certain can only be true or false (PLACE)',
            "",
        ),
        (
            '[prices]\n"openai/x" = { input = 1, output = 1, context_window = 0 }',
            2,
            'prices."openai/x".context_window cannot be "0" (PLACE); allowed: a whole number, 1 or more',
            "",
        ),
        (
            '[prices]\n"openai/x" = 0.15',
            2,
            'prices."openai/x" cannot be "0.15" (PLACE); allowed: a table such as { input = 0.15, output = 0.60 }',
            "",
        ),
        (
            "[prices]\nmax_turns = 3",
            2,
            'prices."max_turns" cannot be "3" (PLACE); allowed: a table such as { input = 0.15, output = 0.60 }',
            "move max_turns above the line [prices]",
        ),
        (
            '\nprices = "free"',
            2,
            (
                'prices cannot be "free" (PLACE); allowed: '
                'a table of lines such as "provider/model" = { input = 0.15, output = 0.60 }'
            ),
            "",
        ),
        (
            '[prices]\n"two words" = { input = 1, output = 1 }',
            2,
            f'prices."two words" cannot be a model\'s name (PLACE); allowed: {NAME_ALLOWED}',
            "",
        ),
    ],
)
def test_a_wrong_line_is_refused_with_its_place(tmp_path: Path, text: str, line: int, message: str, hint: str) -> None:
    desk = Desk(tmp_path)
    toml = desk.user_toml(text)
    said = message.replace("PLACE", f"user config {toml} line {line}")
    assert (f"{said} ({hint})" if hint else said) in desk.check().problems


def test_every_wrong_line_is_named_and_a_check_finds_them_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml('[prices]\na = { input = "x", output = 1 }\nb = { input = 1, output = true }\nc = { input = 1 }\n')
    lines = desk.refusal().message.splitlines()
    assert lines[0] == "3 settings are wrong:"
    assert [line.strip()[:11] for line in lines[1:]] == ['prices."a".', 'prices."b".', 'prices."c" ']
    assert len(desk.check().problems) == 3


def test_a_flood_of_wrong_lines_is_cut_and_cannot_move_the_cursor(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml("[prices]\n" + "".join(f'"\\u001b[{number}m" = 1\n' for number in range(2000)))
    message = desk.refusal().message
    assert message.startswith("50 settings are wrong:")
    assert len(message.splitlines()) == 11
    assert "\x1b" not in message


@pytest.mark.parametrize("name", ["PRICES", "AGENTCTL_PRICES"])
def test_neither_the_environment_nor_an_env_file_nor_a_flag_sets_prices(tmp_path: Path, name: str) -> None:
    desk = Desk(tmp_path)
    desk.file("x.env", f"{name}=x\n")
    assert dict(desk.load({name: "x"}, env_files=["x.env"]).settings.prices) == {}
    with pytest.raises(TypeError, match="no flag sets prices"):
        desk.load(flags={"prices": {}})


@pytest.mark.parametrize("text", ['"openai/gpt-4o" = { input = 0, output = 0 }', '"openai/gpt-4o" = 1'])
def test_an_untrusted_file_sets_no_prices_and_says_so(tmp_path: Path, text: str) -> None:
    desk = Desk(tmp_path)
    toml = desk.project_toml(f"[prices]\n{text}\n")
    loaded = desk.load()
    assert dict(loaded.settings.prices) == {}
    assert [(line.name, line.path) for line in loaded.ignored] == [("prices", toml)]
    assert loaded.notes == (
        (
            "./.agentctl.toml is not trusted, so this was ignored: prices. "
            "To use it: agentctl run --config .agentctl.toml   or for good: agentctl trust"
        ),
    )


@pytest.mark.parametrize(
    "written",
    [True, None, "", "none", "1e3", "-0.1", "nan", "inf", "1 000", "٣", [], "0.0009", 1000.5, Decimal("NaN")],
)
def test_invalid_price_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="dollars per million tokens"):
        per_million(written)
    with pytest.raises(ValueError, match="at most 20 decimal places"):
        per_million(Decimal("0.123456789012345678901"))


@given(st.decimals(LEAST_PRICE, MOST_PRICE, places=12).filter(lambda price: LEAST_PRICE < price < MOST_PRICE))
def test_a_price_that_is_out_by_a_million_is_never_taken(price: Decimal) -> None:
    for slip in (price.scaleb(-6), price.scaleb(6)):
        with pytest.raises(WrongUnit):
            per_million(f"{slip:f}" if slip < 1 else slip)
        asked = price_hint(slip)
        assert not asked or f"{price.normalize():f}" in asked or not Decimal("0.01") <= price <= 200


@pytest.mark.parametrize(
    ("slip", "asked"),
    [
        ("0.0000025", "did you mean 2.5?"),
        ("0.00018", "did you mean 180 or 0.18?"),
        ("0.0005", "did you mean 0.5?"),
        ("2500000", "did you mean 2.5?"),
        ("2500", "did you mean 2.5?"),
        ("1e-30", ""),
        ("1E+999999", ""),
    ],
)
def test_hint_names_the_price_that_was_probably_meant(slip: str, asked: str) -> None:
    assert price_hint(Decimal(slip)) == asked


def test_longer_requests_have_a_line_within_the_line(tmp_path: Path) -> None:
    """What a tier leaves out costs the dearer of the base's class and its own parent."""
    desk = Desk(tmp_path)
    desk.user_toml(
        '[prices."openai/x"]\ninput = 1\noutput = 4\ncached_input = 0.1\nreasoning = 5\n'
        "above_272000 = { input = 3, output = 9, cached_input = 0.3 }\nabove_200k = { input = 2 }\n"
    )
    line = desk.load().settings.prices["openai/x"]
    one, two, three, nine = map(Decimal, ("1", "2", "3", "9"))
    assert line == PriceLine(
        one,
        Decimal(4),
        Decimal("0.1"),
        None,
        Decimal(5),
        tiers=(
            (200_000, PriceLine(two, Decimal(4), two, None, Decimal(5))),
            (272_000, PriceLine(three, nine, Decimal("0.3"), None, nine)),
        ),
    )
    assert str(line).endswith("above 272000 (input 3, output 9, cached_input 0.3, reasoning 9)")


@given(st.decimals(LEAST_PRICE, MOST_PRICE, places=12) | st.just(Decimal(0)))
def test_a_price_is_the_same_as_number_and_as_text(price: Decimal) -> None:
    assert per_million(price) == per_million(f"{price:f}") == price
    (line,) = price_lines({"m": {"input": price, "output": f"{price:f}"}}).values()
    assert line == PriceLine(price, price)
    assert "E" not in str(line)
