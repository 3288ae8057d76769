"""Relevance: groups that the task still needs stay, others are cut first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.context.relevance import extract_features, message_words, passage, rank_groups, relevances, word_weights
from agentctl.core.messages import Message, ToolCall
from tests.support.context.parts import ANY_TEXT

TASK = Message("user", "Find out why the payments database refuses logins")


def scored(groups: list[list[Message]], latest: list[Message] | None = None, task: Message = TASK) -> tuple[float, ...]:
    """Return the relevance of each group, none of them newer than the others."""
    looks = [extract_features(group) for group in groups]
    return relevances(looks, word_weights(looks, task=[task], latest=latest or []), recent=0)


def plain(text: str) -> list[Message]:
    return [Message("tool", text)]


def test_group_that_shares_rare_words_with_the_task_scores_higher() -> None:
    groups = [plain("the web server is up"), plain("payments has 3 logins"), plain("the cache is up")]
    scores = scored(groups)
    assert scores[1] == 1.0
    assert max(scores[0], scores[2]) < 0.5


@pytest.mark.parametrize(
    ("told", "plainly"),
    [
        (Message("tool", "exited with code 137"), Message("tool", "running for 137 days")),
        (Message("tool", "permission denied"), Message("tool", "permission granted")),
        (Message("assistant", "I decided for the second"), Message("assistant", "I looked at the second")),
        (Message("user", "use the second"), Message("tool", "use the second")),
    ],
)
def test_errors_decisions_and_the_users_words_score_higher(told: Message, plainly: Message) -> None:
    more, less = scored([[told], [plainly]])
    assert more >= less + 0.5


def test_the_newer_of_two_groups_counts_more_and_what_the_task_asks_for_counts_most() -> None:
    said = ["payments has logins", "the cache is up", "the cache is up", "the disk is full"]
    looks = [extract_features(plain(text)) for text in said]
    asked, older, newer, newest = relevances(looks, word_weights(looks, task=[TASK], latest=[]))
    assert asked > newest > newer > older
    assert newest <= 0.2


def test_ubiquitous_words_and_stop_words_do_not_score() -> None:
    groups = [plain(f"payments row {n} and the rest") for n in range(9)]
    looks = [extract_features(group) for group in groups]
    worth = word_weights(looks, task=[Message("user", "and why does the payments row 3 lack logins")], latest=[])
    assert worth.keys() == {"3", "lack", "logins"}
    assert worth["logins"] > worth["3"] > 0
    assert all(type(value) is int for value in worth.values()), "their sum is the same in any order"


def test_latest_messages_count_together_as_a_few_words_of_the_task() -> None:
    heard = [Message("tool", " ".join(f"word{n}" for n in range(300)))]
    worth = word_weights(
        [extract_features(plain("payments")), *[extract_features(plain("other"))] * 9], task=[TASK], latest=heard
    )
    assert sum(value for word, value in worth.items() if word.startswith("word")) < 5 * worth["logins"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("one\ntwo payments\nthree", "two payments"),
        ("x " * 200 + "the payments port is 5432 " + "y " * 200, "payments port is 5432"),
        ("start\n" * 900 + "error: payments gone\n", "error: payments gone"),
        ("a\nb", "a"),
        ("", ""),
    ],
    ids=["a line", "a part of a long line", "the tail", "the first", "nothing"],
)
def test_the_passage_that_is_shown_is_what_the_task_asks_for(text: str, told: str) -> None:
    shown = passage(text, {"payments": 9, "port": 5, "start": 1}, 80)
    assert told in shown
    assert len(shown) <= 80
    assert "\n" not in shown


@given(ANY_TEXT.map(lambda text: text * 40), st.integers(8, 200))
def test_a_passage_of_any_text_is_one_line_of_its_length(text: str, most: int) -> None:
    shown = passage(text, {"a": 2, "b": 1}, most)
    assert len(shown) <= most
    assert len(shown.splitlines()) <= 1


def test_lines_that_tell_something_new_come_before_lines_that_tell_it_again() -> None:
    looks = [extract_features(plain(text)) for text in ("old images none", "old images none", "registry token is 7")]
    order = list(rank_groups(looks, {"old": 5, "images": 5, "registry": 4}))
    assert order == [1, 2, 0]


@pytest.mark.parametrize(
    ("task", "fitting"),
    [
        ("Почему база платежей медленная", "база ответила за минуту"),
        ("支付数据库为什么变慢", "这个数据库的日志"),
        ("ทำไมฐานข้อมูลช้า", "ดูฐานข้อมูลแล้ว"),
        ("ما سبب بطء قاعدة البيانات", "قاعدة جاهزة"),
    ],
)
def test_words_are_found_in_any_script(task: str, fitting: str) -> None:
    scores = scored([plain("all is well"), plain(fitting)], task=Message("user", task))
    assert scores == (0.0, 1.0)


@given(st.lists(st.lists(ANY_TEXT.map(lambda text: Message("tool", text)), min_size=1, max_size=3), max_size=6))
def test_any_text_gets_a_score_from_zero_on_and_always_the_same(groups: list[list[Message]]) -> None:
    scores = scored(groups, groups[-1] if groups else [])
    assert len(scores) == len(groups)
    assert all(0 <= score <= 2.5 for score in scores)
    assert scores == scored(groups, groups[-1] if groups else [])


def test_long_text_is_scored_by_its_head_and_tail() -> None:
    found = message_words(Message("tool", "head " + "x " * 1_000_000 + "tail"))
    assert (found[0], found[-1]) == ("head", "tail")
    assert len(found) < 3_000


def test_the_arguments_of_a_call_are_words_too() -> None:
    assert message_words(Message("assistant", "", (ToolCall("1", "docker_logs", {"name": "Web"}),))) == [
        "docker",
        "logs",
        "name",
        "web",
    ]
