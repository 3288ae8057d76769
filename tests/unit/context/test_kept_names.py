"""Names: identifiers, paths and numbers of what was cut stay in the notes, to the letter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentctl.context.digest import Digest, split_digest
from agentctl.context.kept_names import best_names, names_in, names_of
from agentctl.context.pruning import prune
from agentctl.context.tokens import PLAIN
from agentctl.core.messages import Message, ToolCall
from tests.support.context.parts import SYSTEM, TASK, turn


def fit(messages: tuple[Message, ...], max_tokens: int) -> tuple[Message, ...]:
    return prune(messages, max_tokens=max_tokens, keep_user=1, keep_assistant=1)


def test_names_are_words_that_cannot_be_guessed() -> None:
    text = (
        """File "src/app/fields.py", line 633, in _load: TimeDelta(precision='ms') of req-a6fb22 at 10.2.6.17:5432."""
    )
    assert names_in(text) == {"src/app/fields.py", "633", "_load", "TimeDelta", "req-a6fb22", "10.2.6.17:5432"}
    assert names_in("Now I look at the file, and then I say what happened. Plain words are none, nor is 42.") == set()
    assert names_of(Message("assistant", "", (ToolCall("c", "read_file", {"path": "etc/app.conf"}),))) == {
        "read_file",
        "etc/app.conf",
    }


def test_names_in_the_middle_of_a_long_text_are_found() -> None:
    assert names_in("plain words " * 400 + "shard orders-7f3a " + "plain words " * 400) == {"orders-7f3a"}


@given(st.text(max_size=400))
def test_a_name_has_no_blank_and_stands_in_its_text(text: str) -> None:
    for name in names_in(text):
        assert name in text
        assert not any(map(str.isspace, name))
        assert 3 <= len(name) <= 60


def test_often_and_late_names_of_the_assistant_come_first() -> None:
    gone = [
        Message("tool", "old_one and res_x"),
        Message("tool", "res_x"),
        Message("assistant", "said_it needs late_one"),
    ]
    assert list(best_names(gone, ["kept_name"], []))[:2] == ["late_one", "said_it"]
    assert set(best_names(gone, ["kept_name"], [])) == {"late_one", "said_it", "res_x", "old_one", "kept_name"}
    assert "res_x" not in best_names(gone, [], [Message("tool", "res_x is still there")])


def test_names_of_a_cut_result_are_still_sent() -> None:
    result = (
        "padding words of a long answer\n" * 20 + "shard orders-7f3a is at db-9.internal:6543\n" + "more of it\n" * 20
    )
    said = (SYSTEM, TASK, *turn(0, result), *(message for n in range(1, 16) for message in turn(n, f"words {n} " * 60)))
    kept = fit(said, 2_000)
    assert not any("orders-7f3a" in message.text for message in kept if message.role == "tool"), "it was cut"
    assert "orders-7f3a" in kept[1].text
    assert "db-9.internal:6543" in kept[1].text


def test_names_survive_the_next_cuts() -> None:
    said: tuple[Message, ...] = (SYSTEM, TASK, *turn(0, "the table is pay_ledger_v2 " + "and more words " * 40))
    cuts = 0
    for n in range(1, 60):
        said = (*said, *turn(n, "plain words without any name " * 12))
        fitted = fit(said, 2_000)
        cuts += fitted is not said
        said = fitted
    assert cuts >= 3
    assert "pay_ledger_v2" in split_digest(said[1].text)[1].names


@given(st.lists(st.from_regex(r"[a-z]{1,9}_[a-z0-9]{1,9}", fullmatch=True), max_size=40), st.integers(0, 400))
def test_notes_with_names_are_found_again(names: list[str], room: int) -> None:
    digest = Digest(9, ("a line", "names of nothing: x")).name(names, room)
    text = digest.text(100_000)
    assert split_digest(f"task{text}") == ("task", digest)
    assert PLAIN.text(text) <= PLAIN.text(Digest(9, digest.lines).text(100_000)) + room + 1
