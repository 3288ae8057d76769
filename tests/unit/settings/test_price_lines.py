"""``config set`` and ``prices``: one line of the table changes, the rest stays, and a wrong price is refused."""

from __future__ import annotations

import stat
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.settings.config_file import default_text, save_price
from agentctl.settings.price_lines import PricePath, parse_price_path, price_value
from tests.support.desk import Desk

LINE = PricePath("openai/my-model")
INPUT, OUTPUT = PricePath("openai/my-model", ("input",)), PricePath("openai/my-model", ("output",))
BEGINNINGS = [
    "",
    "max_turns = 3",
    'max_turns = 3 # c\r\n[prices]\r\n"a/b" = { input = 1, output = 2 } # d\r\n',
    '[prices."a/b"]\ninput = 1\noutput = 2\n',
    '# a\n[prices]\n\n[prices."a/b"]  # c\ninput = 1\noutput = 2\n',
    'prices = { "a/b" = { input = 1, output = 2 } }\n',
    '\ufeffprices."a/b" = { input = 1, output = 2 }\n',
    default_text(),
]


@pytest.mark.parametrize("before", BEGINNINGS)
def test_price_is_added_changed_and_removed_and_the_rest_stays(tmp_path: Path, before: str) -> None:
    desk = Desk(tmp_path)
    path = desk.config / "config.toml"
    if before:
        path.write_bytes(before.encode())
    others = dict(desk.load().settings.prices)
    assert save_price(path, INPUT, ["0.15"]) == (True, (OUTPUT,))
    assert save_price(path, OUTPUT, ["0.60"]) == (True, ())
    line = desk.load().settings.prices["openai/my-model"]
    assert (line.input, line.output) == (Decimal("0.15"), Decimal("0.60"))
    assert save_price(path, INPUT, ["0"]) == (True, ())
    assert save_price(path, INPUT, ["0"]) == (False, ())
    assert desk.load().settings.prices["openai/my-model"].input == 0
    kept = path.read_bytes().decode()
    assert all(text.rstrip(" }") in kept for text in before.splitlines())
    assert save_price(path, LINE, []) == (True, ())
    assert save_price(path, LINE, []) == (False, ())
    assert dict(desk.load().settings.prices) == others
    assert stat.S_IMODE(path.stat().st_mode) == (0o644 if before else 0o600)


def test_line_is_set_at_once_as_words_or_as_a_table(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.config / "config.toml"
    for words in (
        ["input=2", "output=8", "cached_input=.5", "context_window=128000", "certain=true"],
        ["input=2,output=8, cached_input=0.5 context_window=128000 certain=true"],
        ["{ input = 2, output = 8, cached_input = 0.5, context_window = 128000, certain = true }"],
    ):
        save_price(path, LINE, words)
        prices = desk.load().settings.prices
        assert (prices["openai/my-model"].cached_input, prices["openai/my-model"].certain) == (Decimal("0.5"), True)
        path.unlink()
    save_price(path, LINE, ["input=2", "output=8"])
    save_price(path, PricePath("openai/my-model", ("above_200k", "input")), ["4"])
    assert desk.load().settings.prices["openai/my-model"].tiers[0][1].input == 4


@pytest.mark.parametrize(
    ("path", "words", "message", "hint"),
    [
        (INPUT, ["abc"], 'input cannot be "abc"', ""),
        (INPUT, ["-1"], 'input cannot be "-1"', ""),
        (INPUT, ["0.0000025"], "dollars per million tokens", "did you mean 2.5?"),
        (INPUT, ["1", "2"], "takes one value", "agentctl config set 'prices.\"openai/my-model\".input' 0.15"),
        (LINE, ["3"], "a line of several prices", "input=0.15 output=0.60"),
        (LINE, ["input=1", "ouput=2"], 'unknown setting prices."openai/my-model".ouput', 'did you mean "output"?'),
        (LINE, ["{ input = 1"], "is not a TOML table", ""),
    ],
)
def test_wrong_price_is_refused_and_nothing_changes(
    tmp_path: Path, path: PricePath, words: list[str], message: str, hint: str
) -> None:
    file = Desk(tmp_path).user_toml('max_turns = 3\n[prices]\n"a/b" = { input = 1, output = 2 }\n')
    before = file.read_bytes()
    with pytest.raises(UsageError) as caught:
        save_price(file, path, words)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert file.read_bytes() == before


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_price_written_with_dots_is_removed_whole(tmp_path: Path, end: str) -> None:
    rest = ["max_turns = 3 # c", ""]
    dotted = [f'prices."openai/my-model".{part} = 1' for part in ("input", "output", "above_200k.input")]
    file = Desk(tmp_path).user_toml("")
    file.write_bytes(end.join((*dotted, *rest)).encode())
    assert save_price(file, LINE, []) == (True, ())
    assert file.read_bytes() == end.join(rest).encode()


def test_new_price_ends_its_line_as_the_file_does(tmp_path: Path) -> None:
    file = Desk(tmp_path).user_toml("")
    file.write_bytes(b"max_turns = 3\r\n")
    save_price(file, LINE, ["input=1", "output=2"])
    assert file.read_bytes().count(b"\n") == file.read_bytes().count(b"\r\n") == 4


def test_price_that_a_line_needs_is_not_removed_alone(tmp_path: Path) -> None:
    file = Desk(tmp_path).user_toml('[prices]\n"openai/my-model" = { input = 1, output = 2, reasoning = 3 }\n')
    assert save_price(file, PricePath("openai/my-model", ("reasoning",)), []) == (True, ())
    with pytest.raises(UsageError) as caught:
        save_price(file, INPUT, [])
    assert caught.value.hint == "agentctl config set 'prices.\"openai/my-model\"' --unset"
    assert tomllib.loads(file.read_text())["prices"] == {"openai/my-model": {"input": 1, "output": 2}}


def test_broken_file_is_not_written_over(tmp_path: Path) -> None:
    file = Desk(tmp_path).user_toml("x = = 1\n")
    with pytest.raises(UsageError, match="is not TOML"):
        save_price(file, INPUT, ["1"])
    assert file.read_text() == "x = = 1\n"


@pytest.mark.parametrize(
    ("word", "path"),
    [
        ('prices."openai/my-model".input', INPUT),
        ("prices.'openai/my-model'.input", INPUT),
        ("prices.openai/my-model.input", INPUT),
        ("prices.openai/my-model", LINE),
        ("prices.openai/gpt-4.1.output", PricePath("openai/gpt-4.1", ("output",))),
        ("prices.openai/gpt-4.1", PricePath("openai/gpt-4.1")),
        ("prices.x.above_200k.input", PricePath("x", ("above_200k", "input"))),
        ("max_turns", None),
    ],
)
def test_path_of_a_price_is_parsed_with_and_without_quotes(word: str, path: PricePath | None) -> None:
    assert parse_price_path(word) == path


@pytest.mark.parametrize(
    "word",
    [
        "prices.",
        'prices.""',
        'prices."a"b',
        'prices."a".inptu',
        "prices.a.inptu",
        'prices."a".input.output',
        'prices."a',
    ],
)
def test_path_that_names_no_price_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        parse_price_path(word)


def test_price_is_read_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml('[prices]\n"a" = { input = 0.10, output = 2, certain = true, above_200k = { input = 4 } }\n')
    prices = desk.load().settings.prices
    read = {
        part: price_value(prices, PricePath("a", tuple(part.split(".")))) for part in ("input", "certain", "reasoning")
    }
    assert read == {"input": "0.10", "certain": "true", "reasoning": ""}
    assert price_value(prices, PricePath("a", ("above_200k", "input"))) == "4"
    assert price_value(prices, PricePath("b", ("input",))) == ""
