"""The vocabularies: they count as their makers do, from files checked by their hashes, and send nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiktoken
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.context.tokens import rough_tokens
from agentctl.providers.tokenizers import Vocabulary, load_vocabulary, read_vocabulary, vocabulary_folder
from tests.support.counting import TEXTS

NAMES = ("o200k_base", "cl100k_base", "older Claude")
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)


def loaded(name: str, *, digits_apart: bool = False) -> Vocabulary:
    found = load_vocabulary(name, digits_apart=digits_apart)
    assert found is not None
    return found


def where() -> Path:
    found = vocabulary_folder()
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
def test_openais_vocabularies_count_as_its_own_package_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(where()))
    theirs, ours = tiktoken.get_encoding(name), loaded(name)
    assert {kind: ours(text) for kind, text in TEXTS.items()} == {
        kind: len(theirs.encode_ordinary(text)) for kind, text in TEXTS.items()
    }


def test_the_older_claude_counts_as_its_makers_file_says() -> None:
    theirs, ours = tokenizers.Tokenizer.from_file(str(where() / "anthropic_tokenizer.json")), loaded("older Claude")
    kinds = [kind for kind in TEXTS if kind != "surrogates"]  # which that package refuses
    assert {kind: ours(TEXTS[kind]) for kind in kinds} == {kind: len(theirs.encode(TEXTS[kind]).ids) for kind in kinds}


@pytest.mark.parametrize("name", NAMES)
def test_missing_or_changed_file_is_not_a_vocabulary(name: str, tmp_path: Path) -> None:
    assert read_vocabulary(name, tmp_path) is None
    shutil.copytree(where(), tmp_path, dirs_exist_ok=True)
    assert read_vocabulary(name, tmp_path) is not None
    for file in tmp_path.iterdir():
        if file.is_file():
            file.write_bytes(file.read_bytes().replace(b"1", b"2", 1))
    assert read_vocabulary(name, tmp_path) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("one", [" ", "a", "\n", "中", "\ud800", " \n", "1"])
def test_a_long_run_of_one_character_is_counted(name: str, one: str) -> None:
    """A million spaces make tiktoken panic when they come at once."""
    count = loaded(name)
    few = count(one * 10_000)
    assert 80 * few <= count(one * 1_000_000) <= 101 * few


def test_cutting_a_text_into_pieces_hardly_changes_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(where()))
    text = (TEXTS["prose"] + TEXTS["code"] + TEXTS["JSON"]) * 5
    whole = len(tiktoken.get_encoding("o200k_base").encode_ordinary(text))
    assert len(text) > 100_000
    assert whole <= loaded("o200k_base")(text) <= whole + 2 * (len(text) // 32_768)


@given(ANY_TEXT)
@settings(max_examples=100)
def test_every_text_has_a_count_and_special_tokens_are_words(text: str) -> None:
    for name in NAMES:
        tokens = loaded(name)(text)
        assert (tokens == 0) == (text == "")
        assert tokens <= 20 * len(text.encode("utf-8", "surrogatepass"))
    assert loaded("o200k_base")("<|endoftext|>") > 3


def test_a_digit_of_its_own_is_a_token() -> None:
    together, apart = loaded("cl100k_base"), loaded("cl100k_base", digits_apart=True)
    assert [together("20261124 web"), apart("20261124 web")] == [4, 9]
    assert apart(TEXTS["prose"]) >= together(TEXTS["prose"])
    assert apart(TEXTS["digits"]) == len(TEXTS["digits"])


def test_counts_are_remembered_without_their_texts_and_not_for_ever() -> None:
    encoding = read_vocabulary("cl100k_base", where())
    assert encoding is not None
    count = Vocabulary(encoding, most_remembered=10)
    first = [count(f"text {n}") for n in range(100)]
    assert count.remembered <= 10
    assert [count(f"text {n}") for n in range(100)] == first


@pytest.mark.parametrize("kind", TEXTS)
def test_the_rough_count_is_within_its_margin_of_every_vocabulary(kind: str) -> None:
    rough = rough_tokens(TEXTS[kind])
    for name in NAMES:
        assert loaded(name)(TEXTS[kind]) <= 1.6 * rough, name


def test_the_rough_count_is_a_sum_and_never_nothing() -> None:
    assert [rough_tokens(text) for text in ("", "a", " ", "\x00", "\ud800")] == [0, 1, 1, 1, 2]
    assert rough_tokens("abc" * 1000 + "123" * 1000 + "中" * 1000) == 840 + 2550 + 1500
