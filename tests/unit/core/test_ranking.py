"""The ranker: words, synonyms, unknown words."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.core.ranking import Field, Ranker, group_meanings, split_name, split_words
from agentctl.core.synonyms import MEANINGS

DOCUMENTS = ("delete a file", "list the files of a directory", "screenshot of the page", "send a message to a channel")


def first(query: str, documents: tuple[str, ...] = DOCUMENTS) -> str | None:
    found = Ranker([[Field(text)] for text in documents], meanings=MEANINGS).rank(query, 1)
    return documents[found[0].place] if found else None


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("delete file", "delete a file"),
        ("removing files", "delete a file"),
        ("dleete a file", "delete a file"),
        ("what is in this folder", "list the files of a directory"),
        ("Verzeichnis auflisten", "list the files of a directory"),
        ("screenshott", "screenshot of the page"),
        ("Bildschirmfoto der Seite", "screenshot of the page"),
        ("enviar un mensaje", "send a message to a channel"),
        ("SENDMESSAGE", "send a message to a channel"),
        ("sendMessage", "send a message to a channel"),
        ("zzyzx frobnicate 12", None),
        ("", None),
        ("of the and", None),
    ],
)
def test_a_query_finds_by_words_synonyms_and_shape(query: str, document: str | None) -> None:
    assert first(query) == document


def test_a_word_of_the_query_counts_more_than_its_synonym() -> None:
    assert first("erase it", ("remove it", "erase it")) == "erase it"


def test_a_rare_word_counts_more_than_a_frequent_one() -> None:
    assert first("list pods", ("list files", "list users", "list tags", "show pods")) == "show pods"


def test_fields_count_by_their_weight() -> None:
    ranker = Ranker([[Field("one", 3.0), Field("two")], [Field("two", 3.0), Field("one")]])
    assert [found.place for found in ranker.rank("one")] == [0, 1]
    assert [found.place for found in ranker.rank("two")] == [1, 0]


def test_equal_documents_keep_their_order_and_most_limits_them() -> None:
    found = Ranker([[Field("same")]] * 3).rank("same", 2)
    assert [one.place for one in found] == [0, 1]
    assert found[0].score == found[1].score > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listFiles list_files list-files", ["list", "fil"] * 3),
        ("GitHub p95", ["github", "p95"]),
        ("Größe der Übersicht", ["gross", "ubersicht"]),
        ("支付数据", ["支付", "付数", "数据"]),
        ("x" * 100, []),
    ],
)
def test_texts_are_split_into_stems(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_name_is_taken_apart() -> None:
    assert split_name("ListHTTPRequests_by-id") == "List HTTP Requests by id"


def test_meanings_of_a_word_are_the_others_of_its_groups() -> None:
    assert group_meanings(["files documents", "document record"])["document"] == ("fil", "record")


def test_a_long_query_compares_few_unknown_words() -> None:
    words = " ".join(f"qq{chr(97 + n % 26)}{chr(97 + n // 26)}zz" for n in range(600))
    ranker = Ranker([[Field(text)] for text in DOCUMENTS])
    assert [found.place for found in ranker.rank(f"{words} channel")] == [3]
    assert ranker.rank(f"{words} chanel") == (), "an unknown word behind the first few is ignored"


def test_scores_are_the_same_in_each_process() -> None:
    program = (
        "from agentctl.core.ranking import *; from agentctl.core.synonyms import MEANINGS\n"
        f"print(Ranker([[Field(text)] for text in {DOCUMENTS!r}], meanings=MEANINGS).rank('remove or show mesages'))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    ).stdout
    here = Ranker([[Field(text)] for text in DOCUMENTS], meanings=MEANINGS).rank("remove or show mesages")
    assert said.strip() == str(here)


@settings(max_examples=30)
@given(st.lists(st.text(max_size=40), max_size=6), st.text(max_size=60))
def test_any_text_is_ranked_with_scores_above_zero(documents: list[str], query: str) -> None:
    found = Ranker([[Field(text)] for text in documents], meanings=MEANINGS).rank(query)
    assert all(one.score > 0 for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
