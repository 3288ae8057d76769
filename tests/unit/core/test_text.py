"""Text shown can neither move a cursor nor hide a word, and holds no secret."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.messages import ToolCall
from agentctl.core.redaction import redact
from agentctl.core.text import (
    WIDENING,
    did_you_mean,
    is_widening,
    join_surrogates,
    map_texts,
    nearest,
    replace_lone_escapes,
    safe_text,
    split_at_half,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()))
HOSTILE = st.text(
    st.sampled_from(
        ":#[]vsotea c\n\t\r\x00\x07\x1b\x7f\x85\x9b\xad\u200b\u200e\u2028\u202e\u2066\ufeff\ud800\U000e0041\U000e0100"
    )
)
CI_COMMAND = re.compile(r"^\s*::[A-Za-z][^\n]*::|##(vso|teamcity)?\[", re.MULTILINE)


@given(ANY_TEXT | HOSTILE)
def test_no_unsafe_character_is_left(text: str) -> None:
    for character in safe_text(text):
        assert character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert not 0xE0000 <= ord(character) <= 0xE0FFF


@given(ANY_TEXT | HOSTILE)
def test_safe_text_stays_as_it_is(text: str) -> None:
    assert safe_text(safe_text(text)) == safe_text(text)


@given(HOSTILE)
def test_no_command_for_a_ci_system_is_left(text: str) -> None:
    assert not CI_COMMAND.search(safe_text(text))


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters=":#\u115f\u1160\u3164\uffa0")))
def test_ordinary_words_of_any_language_are_untouched(text: str) -> None:
    assert safe_text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]52;c;aGk=\x07", "\\x1b[2J\\x1b]52;c;aGk=\\x07"),
        ("one\r\ntwo\rthree", "one\ntwo\\x0dthree"),
        ("pay \u202etxt.exe", "pay \\u202etxt.exe"),
        ("a\U000e0041b", "a\\U000e0041b"),
        ("half \ud83d pair", "half \\ud83d pair"),
        ("table │ ├─ über 数 😀\tend\n", "table │ ├─ über 数 😀\tend\n"),
        ("::set-output name=a::b", "\\x3a:set-output name=a::b"),
        ("x\n \t::add-mask::y", "x\n \t\\x3a:add-mask::y"),
        ("##vso[task.setvariable]x", "\\x23#vso[task.setvariable]x"),
        ("log ##[group]x", "log \\x23#[group]x"),
        ("##teamcity[message]", "\\x23#teamcity[message]"),
        ("::1 listens, std::vec::Vec, ## Heading", "::1 listens, std::vec::Vec, ## Heading"),
    ],
)
def test_unsafe_character_is_escaped(text: str, shown: str) -> None:
    assert safe_text(text) == shown


SECRETS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_categories=["Cs"]), min_size=8, max_size=60
)


@given(secret=SECRETS, before=st.binary(max_size=9), after=st.binary(max_size=9))
def test_a_secret_is_found_in_each_of_its_spellings(secret: str, before: bytes, after: bytes) -> None:
    if secret in "[redacted]":  # noqa: S105 - the mark
        return
    spelled = [secret, quote(secret), quote(secret, safe=""), quote_plus(secret)]
    spelled += [re.sub("%..", lambda match: match[0].lower(), form) for form in spelled[1:]]
    spelled.append(json.dumps(secret, ensure_ascii=False)[1:-1])
    for form in spelled:
        assert form not in redact(f"key={form};", [secret])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(before + secret.encode() + after).decode()
        kept = redact(whole, [secret]).split("[redacted]")
        assert len(kept) > 1
        assert all(len(piece) <= 4 * 9 for piece in kept)


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-abcDEF0123456789abcDEF",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\ncut off",
    ],
)
def test_text_with_the_shape_of_a_key_is_redacted_by_default(text: str) -> None:
    assert redact(f"before {text}", []) == "before [redacted]"


def test_a_password_in_an_address_is_taken_out() -> None:
    assert redact("postgres://app:hunter2@db:5432/x", []) == "postgres://[redacted]@db:5432/x"


@pytest.mark.parametrize(
    "text", ["task-management-of-everything-here", "https://host:8080/a:b", "ask-1-2-3", "a@b.c", "sk-short1"]
)
def test_text_that_only_resembles_a_key_stays(text: str) -> None:
    assert redact(text, []) == text


def test_short_value_is_not_a_secret() -> None:
    assert redact("the cat sat", ["cat", ""]) == "the cat sat"


def test_the_longer_of_two_secrets_goes_first() -> None:
    assert redact("x=password-and-more", ["password", "password-and-more"]) == "x=[redacted]"


@given(ANY_TEXT, SECRETS)
def test_redacting_twice_is_redacting_once(text: str, secret: str) -> None:
    once = redact(f"{text}{secret}", [secret])
    assert redact(once, [secret]) == once


def test_the_nearest_name_is_offered() -> None:
    assert did_you_mean("opnai", ["ollama", "openai"]) == 'did you mean "openai"?'
    assert did_you_mean("zzz", ["ollama", "openai"]) == ""


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("rusn", ["run", "runs"], "runs"),
        ("max_trun", ["max_turns", "max_cost_per_task"], "max_turns"),
        ("MAX-TURNS", ["max_turns"], "max_turns"),
        ("gpt4o-mini", ["gpt-4o", "gpt-4o-mini"], "gpt-4o-mini"),
        ("exit", ["exit-codes", "builtin"], "exit-codes"),
        ("max", ["max_turns", "max_cost_per_task"], ""),
        ("docker_list", ["docker_stats", "docker_images", "docker_logs", "docker_ps"], ""),
        ("docker_cp", ["docker_ps"], ""),
        ("--system", ["--yes", "--read-only", "--timeout"], ""),
        ("--resume", ["--estimate", "--read-only"], ""),
        ("", ["a"], ""),
        ("--", ["--x"], ""),
    ],
)
def test_a_near_name_is_a_typing_error_away(word: str, known: list[str], near: str) -> None:
    assert nearest(word, known) == near


def test_no_name_that_widens_is_suggested_nor_another_in_its_place() -> None:
    for name in WIDENING:
        for written in (name, f"--{name.replace('_', '-')}", f"AGENTCTL_{name.upper()}"):
            assert is_widening(written)
            assert did_you_mean(f"{written}x", [written]) == ""
            assert did_you_mean(f"{written}x", [written, f"{written}xyz"]) == ""
            assert did_you_mean("meant", [written], {"meant": written}) == ""


def test_a_meaning_counts_only_where_its_name_is_known() -> None:
    assert did_you_mean("Claude", ["openai", "anthropic"], {"claude": "anthropic"}) == 'did you mean "anthropic"?'
    assert did_you_mean("cluade", ["openai", "anthropic"], {"claude": "anthropic"}) == 'did you mean "anthropic"?'
    assert did_you_mean("claude", ["openai"], {"claude": "anthropic"}) == ""


# --- half of a UTF-16 pair --------------------------------------------------------------------------------------

_PARTS = ["\ud83d", "\udc3a", "\ude00", "\udbff", "\\", "u", "d83d", '"', "é", "🐺", "a"]
HALVES = st.lists(st.sampled_from(_PARTS)).map("".join)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("a \ud83d\udc3a b", "a 🐺 b"),
        ("a \ud83d b", "a \ufffd b"),
        ("\udc3a\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ud83d\udc3a", "\ufffd🐺"),
        ("caf\udce9", "caf\ufffd"),
        ("naïve 🐺", "naïve 🐺"),
    ],
)
def test_halves_are_joined_and_lone_ones_replaced(text: str, whole: str) -> None:
    assert join_surrogates(text) == whole


@given(HALVES | ANY_TEXT)
def test_text_without_halves_can_be_encoded(text: str) -> None:
    join_surrogates(text).encode()


@given(HALVES | ANY_TEXT)
def test_document_is_repaired_as_its_texts_would_be(text: str) -> None:
    repaired = replace_lone_escapes(json.dumps({text: [text]}))
    assert json.loads(repaired) == map_texts({text: [text]}, join_surrogates)


@given(st.lists(HALVES))
def test_text_in_pieces_is_repaired_as_the_whole_would_be(pieces: list[str]) -> None:
    half, said = "", ""
    for piece in pieces:
        whole, half = split_at_half(half + piece)
        said += join_surrogates(whole)
    assert said + join_surrogates(half) == join_surrogates("".join(pieces))


def test_arguments_that_are_deep_or_contain_themselves_are_kept() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    circle: dict[str, object] = {"half": "\ud83d"}
    circle["self"] = circle
    assert ToolCall("a", "x", {"deep": deep}).arguments == {"deep": deep}
    assert ToolCall("a", "x", circle).arguments is circle
