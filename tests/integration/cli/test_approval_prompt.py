"""The question before a change, at a real terminal: only a plain yes lets it run."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentctl.cli.ui.cells import cell_width
from agentctl.cli.ui.format import painter
from agentctl.cli.ui.question import question_rows
from agentctl.core.impact import Impact
from agentctl.core.messages import ToolCall
from agentctl.protocols import Question
from tests.support.screen.terminals import Person, until

AtTerminal = Callable[..., Person]
PLAIN = painter("never", terminal=True)
PROMPT = "Allow it? y yes · n no · a always · m more: "


def question(arguments: Mapping[str, object], rule: str = "f") -> Question:
    return Question(ToolCall("1", "f", arguments), "write", "because", rule)


def test_the_question_says_what_is_done_to_what_and_what_always_means() -> None:
    asked = Question(ToolCall("1", "docker_rm", {"name": "web"}), "destructive", "it changes", "docker_rm(name=web)")
    assert list(question_rows(asked, PLAIN, width=80)) == [
        "",
        "May docker_rm run?",
        '│   docker_rm(name="web")',
        "│",
        "│   effect  destructive: cannot be undone",
        "│   asked   it changes",
        "│   always  docker_rm(name=web), until this run ends",
    ]
    assert '\x1b[31mdocker_rm(name="web")\x1b[0m' in "\n".join(
        question_rows(asked, painter("always", terminal=True), width=80)
    )


@example("x" * 5000, 250)
@given(st.text(max_size=3000), st.integers(20, 200))
def test_every_argument_is_shown_in_full_and_no_row_is_too_wide_or_without_its_bar(text: str, width: int) -> None:
    rows = list(question_rows(question({"text": text}), PLAIN, width=width))
    assert all(cell_width(row) <= width and row.isprintable() for row in rows)
    assert all(row.startswith("│") for row in rows[2:])
    shown = "".join(row.removeprefix("│").strip(" ") for row in rows)
    visible = json.dumps(text, ensure_ascii=False).replace(" ", "")
    if visible.isascii() and visible.isprintable():
        assert visible in shown.replace(" ", "")


@pytest.mark.parametrize(
    "hidden", ["\u202e", "\x1b", "\x9b", "\u200b", "\u0336", "\u3000", "\u00a0", "\U000e0041", "\u2028"]
)
def test_characters_that_hide_or_reorder_text_are_shown_as_numbers(hidden: str) -> None:
    rows = "".join(question_rows(question({"text": f"a{hidden}b", f"n{hidden}": 1}, f"f({hidden})"), PLAIN, width=80))
    assert hidden not in rows
    assert rows.count(f"{ord(hidden):x}") >= 3


@pytest.mark.parametrize("typed", ["y\r", "YES\r", "a\r"])
def test_a_yes_lets_the_call_run(at_terminal: AtTerminal, tmp_path: Path, typed: str) -> None:
    person = at_terminal("remove", "run", "Remove the old one")
    person.sees('docker_rm(name="web-old")')
    person.sees(PROMPT)
    person.types(typed)
    code, seen = person.leaves()
    assert (code, (tmp_path / "removed").exists()) == (0, True)
    assert 'allowed: docker_rm(name="web-old") · you' in seen


@pytest.mark.parametrize("typed", ["n\r", "no\r", "\r", "\x04"])
def test_a_no_an_empty_line_and_the_end_of_input_refuse_it(at_terminal: AtTerminal, tmp_path: Path, typed: str) -> None:
    person = at_terminal("remove", "run", "Remove the old one")
    person.sees(PROMPT)
    person.types(typed)
    code, seen = person.leaves()
    assert (code, (tmp_path / "removed").exists()) == (5, False)
    assert 'denied: docker_rm(name="web-old") · you' in seen


def test_unknown_reply_is_asked_again(at_terminal: AtTerminal, tmp_path: Path) -> None:
    person = at_terminal("remove", "run", "Remove the old one")
    for typed in ("yess\r", "ja\r", "y y\r"):
        person.sees(PROMPT)
        person.types(typed)
        person.sees("Please answer y, n, a or m.")
    person.sees(PROMPT)
    assert not (tmp_path / "removed").exists()
    person.types("y\r")
    assert person.leaves()[0] == 0


@pytest.mark.parametrize("typed", ["m", "more", "s"])
def test_more_shows_what_was_cut_and_asks_again(at_terminal: AtTerminal, tmp_path: Path, typed: str) -> None:
    (tmp_path / ".envrc").write_text("".join(f"old {number}\n" for number in range(40)))
    person = at_terminal("overwrite", "run", "Look", rows=24, STORY_TEXT="title")
    person.sees("rows left out, m shows all")
    person.waits_at(PROMPT)
    person.types(f"{typed}\r")
    person.sees("--- the whole question ---")
    for number in range(40):
        person.sees(f"- old {number}")
    person.sees("--- end ---")
    person.sees("May write_file run?")
    person.waits_at(PROMPT)
    person.types("n\r")
    assert person.leaves()[0] == 5
    assert (tmp_path / ".envrc").read_text().startswith("old 0\n")


def test_whole_question_shows_the_whole_new_text(at_terminal: AtTerminal) -> None:
    person = at_terminal("overwrite", "run", "Look", rows=24, STORY_TEXT="long")
    person.waits_at(PROMPT)
    person.types("m\r")
    person.sees("--- the whole question ---")
    person.waits_at(PROMPT)
    assert person.raw.partition("--- the whole question ---")[2].count("x") >= 10_000
    person.types("n\r")
    person.leaves()


@pytest.mark.parametrize("rows", [10, 14, 24])
def test_question_fits_on_the_screen_and_keeps_its_dangers(rows: int) -> None:
    dangers = tuple(f"danger {number} {'x' * 90}" for number in range(6))
    impact = Impact("does " + "y " * 300, ("detail " * 60,) * 3, dangers, diff="@@ -1 +1,900 @@\n" + "+new\n" * 900)
    arguments = {"path": "p" * 200, "text": "z" * 5000}
    asked = Question(ToolCall("1", "write_file", arguments), "destructive", "why " * 200, "rule" * 100, impact, "other")
    shown = list(question_rows(asked, PLAIN, width=79, height=rows))
    assert len(shown) + 1 <= rows
    assert any("danger 0" in row for row in shown)
    assert sum("danger" in row for row in shown) == 6 or any(re.search(r"and \d more: m", row) for row in shown)
    whole = "\n".join(question_rows(asked, PLAIN, width=79))
    assert all(f"danger {number}" in whole for number in range(6))
    assert (whole.count("+ new"), whole.count("z")) == (900, 5000)


def test_always_is_asked_once(at_terminal: AtTerminal) -> None:
    person = at_terminal("again", "run", "Restart web")
    person.sees(PROMPT)
    person.types("a\r")
    code, seen = person.leaves()
    assert code == 0
    assert PROMPT not in seen
    assert "you, always in this run: docker_restart(name=web)" in seen


def test_yes_is_asked_each_time(at_terminal: AtTerminal) -> None:
    person = at_terminal("again", "run", "Restart web")
    for _ in range(2):
        person.sees(PROMPT)
        person.types("y\r")
    assert person.leaves()[0] == 0


@pytest.mark.parametrize("early", ["y\r", "y", "y\ry\ry\r"])
def test_input_typed_before_the_question_is_not_an_answer(at_terminal: AtTerminal, tmp_path: Path, early: str) -> None:
    person = at_terminal("waiting", "run", "Restart web")
    until((tmp_path / "reached").exists, "the tool")
    person.types(early)
    person.sees(early.strip()[-1])  # its echo: the terminal has it
    (tmp_path / "go").touch()
    person.sees(PROMPT)
    assert not (tmp_path / "restarted").exists()
    person.types("\r")
    assert person.leaves()[0] in (0, 5)
    assert not (tmp_path / "restarted").exists()


@pytest.mark.parametrize("end", ["\x03", "TERM", "timeout"])
def test_a_run_that_is_stopped_while_it_asks_ends_as_always(at_terminal: AtTerminal, tmp_path: Path, end: str) -> None:
    person = at_terminal("remove", "run", "Remove it", *(["--timeout", "10s"] if end == "timeout" else []))
    person.sees(PROMPT)
    if end == "TERM":
        person.process.send_signal(signal.SIGTERM)
    elif end != "timeout":
        person.types(end)
    code, seen = person.leaves()
    assert code == {"\x03": 130, "TERM": 143, "timeout": 124}[end]
    assert not (tmp_path / "removed").exists()
    assert "\nerror: " in seen
    assert "Traceback" not in seen


def test_a_hostile_argument_cannot_draw_a_question_of_its_own(at_terminal: AtTerminal) -> None:
    person = at_terminal("hostile", "run", "Remove it")
    person.sees("May docker_rm run?")
    person.sees(PROMPT)
    person.types("n\r")
    person.leaves()
    assert "\x1b[2J" not in person.raw
    assert "\u202e" not in person.raw


@pytest.mark.parametrize("flags", [["--json"], ["-q"], ["-o", "jsonl"]])
def test_a_person_is_asked_whatever_stdout_gets(at_terminal: AtTerminal, tmp_path: Path, flags: list[str]) -> None:
    person = at_terminal("remove", "run", "Remove it", *flags)
    person.sees(PROMPT)
    person.types("y\r")
    assert person.leaves()[0] == 0
    assert (tmp_path / "removed").exists()


def test_a_dumb_terminal_asks_in_plain_lines(at_terminal: AtTerminal, tmp_path: Path) -> None:
    person = at_terminal("remove", "run", "Remove it", TERM="dumb", NO_COLOR="1")
    person.sees(PROMPT)
    person.types("y\r")
    assert person.leaves()[0] == 0
    assert "\x1b" not in person.raw
    assert (tmp_path / "removed").exists()
