"""The mark in a text that was cut: its numbers are right, and it outlives further cuts."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentctl.context.tokens import PLAIN
from agentctl.context.truncation import Excerpt, Origin, find_mark, split_text

LINE = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=40)
TEXT = st.builds(
    lambda lines, times, end: "\n".join(lines * times) + end,
    st.lists(LINE, min_size=1, max_size=8),
    st.integers(20, 80),
    st.sampled_from(["", "\n"]),
)
PATH = "run:12-docker_logs.txt"
FULL = re.compile(r"\[\.\.\. ([\d,]+) characters, lines ([\d,]+) to ([\d,]+) of ([\d,]+), are left out here; ")


def number(digits: str) -> int:
    return int(digits.replace(",", ""))


def reads_on_where_it_stops(text: str, cut: str) -> None:
    """Check a cut text against the whole: what stands before the mark, and what the mark says comes next."""
    found = find_mark(cut)
    assert found is not None
    assert found.origin == Origin(PATH)
    data, head = text.encode(), found.head
    if not data.startswith(head):  # within a line: the mark brought the line end
        head = head.removesuffix(b"\n")
    assert data.startswith(head)
    assert data.endswith(found.tail)
    if found.byte is not None:
        assert data[: found.byte] == head
    elif found.line is not None:
        lines = text.split("\n")
        assert "".join(f"{line}\n" for line in lines[: found.line - 1]).encode() in (
            head,
            head[: head.rfind(b"\n") + 1],
        )
    numbers = FULL.search(cut)
    if numbers is not None:
        characters, first, last, lines_there = map(number, numbers.groups())
        assert characters == len(text) - len(head.decode()) - len(found.tail.decode())
        assert lines_there == text.count("\n") + (not text.endswith("\n"))
        assert 1 <= first <= last <= lines_there


@given(TEXT, st.integers(120, 2000))
@example("x" * 5000, 400)
@example("\n" * 5000, 400)
@example("界" * 5000, 401)
@example("\n".join(["x" * 33, "x" * 20, "x" * 6, "x" * 26] * 40), 1782)  # its numbers grow by a byte each time
def test_a_cut_text_fits_and_says_what_comes_next(text: str, most: int) -> None:
    if len(text.encode()) <= most:
        return
    cut = split_text(text, Origin(PATH)).cut(most)
    assert len(cut.encode()) <= most
    assert '[... cut here; read_file(path="run:12-docker_logs.txt") ...]' in cut or FULL.search(cut)
    reads_on_where_it_stops(text, cut)


@given(TEXT, st.lists(st.integers(32, 400), min_size=2, max_size=4))
@example("line\n" * 2000, [300, 200, 100, 40])
@example("x" * 9000, [300, 200, 100, 40])
@example(f"\nab\nab\nb¶\x08uo\n{'x' * 77}\n" * 20, [97, 89])
@example(f"a\n{'x' * 119}\nbc\n" * 40, [97, 96])
@example(f"a\n{'x' * 120}\nbc\n" * 40, [97, 96])
def test_the_name_outlives_every_further_cut(text: str, rooms: list[int]) -> None:
    cut = text
    if PLAIN.text(text) > max(rooms):
        cut = split_text(text, Origin(PATH)).cut(4 * max(rooms))
    for room in sorted(rooms, reverse=True):
        again = PLAIN.cut_middle(cut, room)
        assert PLAIN.text(again) <= room
        assert PLAIN.cut_middle(again, room) == again
        if cut != text:
            assert PATH in again
            reads_on_where_it_stops(text, again)
        cut = again if PATH in again else cut


def test_a_text_cut_twice_tells_the_lines_of_the_second_cut() -> None:
    text = "".join(f"line {n}\n" for n in range(1, 5001))
    once = split_text(text, Origin(PATH)).cut(1200)
    twice = PLAIN.cut_middle(once, 120)
    found = find_mark(twice)
    assert found is not None
    assert f"line {(found.line or 0) - 1}\n[... " in twice
    assert f"...]\nline {found.to + 1}\n" in twice
    assert found.tail.endswith(b"line 5000\n")


def test_a_notice_behind_the_text_does_not_spoil_the_numbers() -> None:
    text = "".join(f"line {n}\n" for n in range(1, 5001))
    once = split_text(text, Origin(PATH)).cut(1200) + "\n\n[Half of the budget is used.]"
    found = find_mark(PLAIN.cut_middle(once, 200))
    assert found is not None
    assert found.tail.startswith(f"line {found.to + 1}\n".encode())


def test_text_read_onward_is_cut_at_its_end_each_time() -> None:
    text = "".join(f"line {n}\n" for n in range(41, 2000))
    cut = split_text(text, Origin(PATH, 41, 280, onward=True, last=1999)).cut(1000)
    for most in (1000, 700, 400):
        cut = PLAIN.cut_middle(cut, most // 4)
        found = find_mark(cut)
        assert found is not None
        assert text.encode().startswith(found.head)
        assert (found.line, found.tail) == (41 + found.head.count(b"\n"), b"")
        assert cut.endswith(f'read_file(path="{PATH}", from_line={found.line}, to_line=1999) reads on ...]\n')


def test_a_path_with_quotes_comes_back_as_it_was() -> None:
    path = 'lögs/"a\\b".txt'
    cut = split_text("x\n" * 5000, Origin(path)).cut(600)
    found = find_mark(PLAIN.cut_middle(cut, 120))
    assert found is not None
    assert found.origin.path == path


def test_a_path_too_long_for_a_mark_gives_way_to_a_plain_one() -> None:
    cut = split_text("x\n" * 5000, Origin("d/" * 400)).cut(300)
    assert "[... the middle is cut here ...]" in cut
    assert len(cut.encode()) <= 300


def test_a_mark_that_the_text_quotes_is_not_taken_for_its_own() -> None:
    quoted = '[... the rest is left out here; read_file(path="other", from_line=3) reads on ...]\n'
    text = f"line\n{quoted}" * 3 + "line\n" * 5000 + quoted + "end\n"
    once = split_text(text, Origin(PATH)).cut(1600)
    for cut in (once, PLAIN.cut_middle(once, 380)):
        found = find_mark(cut)
        assert found is not None
        assert found.origin.path == PATH


def test_text_without_a_mark_parses_to_none() -> None:
    for text in ("", "plain", "[... ", "[... 12 characters: the middle is cut here; ask for less ...]"):
        assert find_mark(text) is None


@pytest.mark.parametrize(
    "forged",
    [
        '[... , characters, lines , to , of ,, are left out here; read_file(path="x", from_line=1) reads on ...]',
        '[... 9 characters, lines 1 to 2 of 3, are left out here; read_file(path="\\q", from_line=1) reads on ...]',
        '[... cut here; read_file(path="\\u12") ...]',
        r'[... cut here; "\x" has all of it ...]',
    ],
)
def test_a_forged_mark_that_cannot_be_read_is_text_like_any_other(forged: str) -> None:
    text = "a\n" * 500 + forged + "\n" + "b\n" * 500
    assert find_mark(text) is None
    assert PLAIN.text(PLAIN.cut_middle(text, 100)) <= 100


def test_excerpt_equals_its_text_and_keeps_its_origin() -> None:
    excerpt = Excerpt.of("text", Origin("a"))
    assert excerpt == "text"
    assert excerpt.origin.path == "a"
