"""Parsers of settings values."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.settings import Settings
from agentctl.settings.parsers import (
    address,
    boolean,
    count,
    dollars,
    duration,
    folder,
    names,
    ollama_address,
    one_of,
    provider,
    secret,
    temperature,
    word,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("90", 90),
        (" 0.5 ", 0.5),
        (7, 7),
        (Decimal("2.5"), 2.5),
        (0.25, 0.25),
        ("2H", 7200),
    ],
)
def test_durations_are_parsed(written: object, seconds: float) -> None:
    assert duration(zero=False)(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        "5x",
        "m",
        "-5",
        "-5s",
        "nan",
        "inf",
        "1e3",
        "5 m",
        "none",
        "9999999h",
        "1..5s",
        True,
        None,
        [],
        Decimal("NaN"),
        Decimal("1e400000"),
        float("inf"),
        "٣",
        "0",
        "0s",
    ],
)
def test_invalid_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="a duration such as"):
        duration(zero=False)(written)


def test_waiting_may_be_nothing() -> None:
    assert duration(zero=True)("0") == 0


@pytest.mark.parametrize(
    "written",
    [
        "-1",
        "NaN",
        "inf",
        "",
        "$1",
        "1,5",
        "1_000",
        "1e3",
        "0x1",
        True,
        [],
        "٣",
        "0.0000000001",
        1e-10,
        Decimal("NaN"),
        Decimal("-0.1"),
        Decimal("sNaN"),
        Decimal("1e-400000"),
        "1" * 21,
    ],
)
def test_invalid_amount_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"dollars, 0 or more|less than 1000000"):
        dollars(written)


@pytest.mark.parametrize("written", ["1000000", Decimal("1e999999"), 10**30, float("1e300")])
def test_amounts_have_a_ceiling(written: object) -> None:
    with pytest.raises(ValueError, match="less than 1000000 dollars"):
        dollars(written)


def test_a_zero_is_a_zero_however_it_is_written() -> None:
    assert [dollars(zero) for zero in ("0", "0.000", Decimal("0e999999"), Decimal("-0"), 0)] == [Decimal(0)] * 5


@given(st.decimals(min_value=0, max_value=999_999, places=9))
def test_amounts_are_exact(amount: Decimal) -> None:
    assert dollars(f"{amount:f}") == dollars(amount) == amount


@pytest.mark.parametrize("written", ["-1", "1.5", Decimal("2"), 2.0, True, "", "1e3", None, "0"])
def test_invalid_count_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="a whole number, 1 or more"):
        count(1)(written)


def test_counts_have_a_ceiling() -> None:
    with pytest.raises(ValueError, match="at most"):
        count(0)("9" * 20)


def test_names_come_as_a_list_or_with_commas() -> None:
    assert names("docker_ps, docker_logs,,docker_ps") == ("docker_ps", "docker_logs")
    assert names(["a,b", "c"]) == ("a", "b", "c")
    assert names([]) == ()


@pytest.mark.parametrize("written", [3, ["a", 3], {"a": 1}, "rm -rf", "ünï", b"a"])
def test_invalid_names_are_refused(written: object) -> None:
    with pytest.raises(ValueError, match="comma-separated names"):
        names(written)


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:11434"),  # noqa: S104 - read, not bound
        ("0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("[::]:8000", "http://[::1]:8000"),
        (":8000", "http://127.0.0.1:8000"),
        ("box", "http://box:11434"),
        ("http://box", "http://box:80"),
        ("https://box/ollama/", "https://box:443/ollama"),
        ("http://0.0.0.0:11434", "http://127.0.0.1:11434"),
        ("http://u:p@box:1", "http://u:p@box:1"),
        ("::1", "http://[::1]:11434"),
        ("::", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("2001:db8::7", "http://[2001:db8::7]:11434"),
        ("http://[::1]", "http://[::1]:80"),
        (' "box:1234" ', "http://box:1234"),
        ("'box'", "http://box:11434"),
        ("box:", "http://box:11434"),
        ("box:99999", "http://box:11434"),
        ("box:x", "http://box:11434"),
        ("https://box:-1", "https://box:443"),
        ("box/ollama", "http://box:11434/ollama"),
        ("ollama.com", "https://ollama.com:443"),
        ("HTTPS://box", "https://box:443"),
        ("http://", "http://127.0.0.1:80"),
    ],
)
def test_ollamas_short_addresses_are_completed(written: str, url: str) -> None:
    assert ollama_address(written) == url


@pytest.mark.parametrize(
    "written", ["", "ftp://box", "a b", "box:0", 3, "http://[::", "unix:///run/x", "box?x=1", "fe80::1%eth0"]
)
def test_invalid_host_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="a host, host:port or address"):
        ollama_address(written)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "box",
        "file:///etc",
        "http://",
        "http://a b",
        "http://x:y",
        "http://\x1b[0m",
        3,
        "http://a/v1?key=x",
        "http://a/v1#x",
        "http://a/v1?",
    ],
)
def test_invalid_address_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="an address such as"):
        address(written)


def test_an_address_loses_its_last_slash() -> None:
    assert address("http://127.0.0.1:1234/v1/") == "http://127.0.0.1:1234/v1"


@pytest.mark.parametrize("written", ["sk-…abc", "two words", "", 3, "a\x00b"])
def test_invalid_key_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="a key"):
        secret(written)


def test_a_key_loses_the_newline_that_was_pasted_with_it() -> None:
    assert secret("sk-12345678\n").get_secret_value() == "sk-12345678"


def test_words_choices_and_booleans_are_parsed() -> None:
    assert word(" gpt-4o ") == "gpt-4o"
    assert one_of("text", "json")("JSON") == "json"
    assert [boolean(value) for value in ("1", "on", "Yes", True)] == [True] * 4
    assert [boolean(value) for value in ("0", "off", "no", False)] == [False] * 4
    for wrong in ("maybe", 1, None):
        with pytest.raises(ValueError, match="true or false"):
            boolean(wrong)
    for bad in ("two words", "", "x" * 201, "a\x1b"):
        with pytest.raises(ValueError, match="a name"):
            word(bad)
    with pytest.raises(ValueError, match="a folder"):
        folder("relative")


def test_near_misses_are_named() -> None:
    for written, near in (
        *(("opnai", "openai"), ("claude", "anthropic"), ("google", "gemini"), ("gpt", "openai")),
        *(("grok", "xai"), ("vertex", "vertex_ai"), ("togetherai", "together_ai"), ("azur", "azure")),
    ):
        with pytest.raises(ValueError, match=f'did you mean "{near}"'):
            provider(written)
    with pytest.raises(ValueError, match='did you mean "text"'):
        one_of("text", "json")("txt")


def test_a_key_is_not_in_the_repr() -> None:
    shown = repr(Settings.model_validate({"openai_api_key": "sk-12345678", "openai_base_url": "http://u:hidden@h"}))
    assert "sk-12345678" not in shown
    assert "hidden" not in shown


def test_the_defaults_are_what_checking_them_would_make_of_them() -> None:
    assert Settings.model_construct() == Settings.model_validate({})


@pytest.mark.parametrize(
    ("written", "found"),
    [("0", 0), (" 0.7 ", Decimal("0.7")), (2, 2), (0.1, Decimal("0.1")), (-0.0, 0), ("AUTO", "auto"), ("None", "none")],
)
def test_temperatures_are_parsed(written: object, found: object) -> None:
    assert temperature(written) == found


@pytest.mark.parametrize(
    "written", ["", "-1", "2.1", "nan", "1e0", "0,5", "warm", True, None, float("nan"), 10**400, []]
)
def test_other_temperatures_are_refused_with_what_is_allowed(written: object) -> None:
    with pytest.raises(ValueError, match=r'a number from 0 to 2, such as 0\.2, or "auto" or "none"'):
        temperature(written)
