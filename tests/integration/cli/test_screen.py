"""The screen of a real terminal during a run, after it, and where nothing can be drawn."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.screen.terminals import Person, Screen, until

OnScreen = Callable[..., Screen]
AtTerminal = Callable[..., Person]
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def test_screen_after_a_run_has_only_the_lasting_lines_and_the_answer(on_screen: OnScreen) -> None:
    screen = on_screen("restart", "run", "Restart what is sick", "--yes", environ="STORY_PACE=0.03")
    screen.shows("Restart what is sick")
    screen.shows("task     $0.0258 of $0.50")
    assert screen.ended() == 0
    rows = screen.text().splitlines()
    assert rows[0] == "openai/gpt-4o-mini · key OPENAI_API_KEY"
    assert [row for row in rows if row.startswith(("task ", "───", "◐", "hour ", "context "))] == []
    assert [row for row in rows if "web is healthy again" in row] == ["web is healthy again."]
    assert rows[-1].startswith("done · 3 turns · $0.1017 of $0.50 · hour $0.1017 of $10 · ")
    assert screen.cursor_is_visible
    assert rows.count("") == 4  # two around the table, two around the answer
    said = [row for row in rows if row.startswith("│")]
    assert (said[0], said[-2:]) == (
        "│ Let me look at the containers first.",
        ["│", "│ A restart opens its connections anew."],
    )
    assert "**" not in screen.text()


def test_a_question_takes_the_place_of_the_region_and_leaves_one_line(on_screen: OnScreen) -> None:
    screen = on_screen("restart", "run", "Restart what is sick", environ="STORY_PACE=0.03")
    screen.shows("Allow it? y yes · n no · a always · m more:")
    assert "task     $" not in screen.text()
    assert screen.cursor_is_visible
    screen.types("q", "Enter")
    screen.shows("Please answer y, n, a or m.")
    screen.types("y", "Enter")
    screen.shows('allowed: docker_restart(name="web") · you')
    screen.shows("task     $")
    assert "Allow it?" not in screen.text()
    assert screen.ended() == 0
    text = screen.text()
    assert text.count('allowed: docker_restart(name="web") · you') == 1
    assert "Allow it?" not in text
    assert "Please answer" not in text


@pytest.mark.parametrize(("columns", "narrower"), [(110, 64), (64, 110)])
def test_the_region_fits_again_after_the_window_has_another_width(
    on_screen: OnScreen, columns: int, narrower: int
) -> None:
    above = 8  # lines that tmux scrolls away when rows of the region are wrapped
    screen = on_screen("streaming", "run", "Look", columns=columns, above=above)
    until((screen.folder / "reached").exists, "the stream")
    screen.shows("The first half")
    screen.resize(narrower, 30)
    screen.shows("gpt-4o-mini is answering  2.")  # some frames later
    assert screen.text().count("gpt-4o-mini is answering") == 1
    (screen.folder / "go").touch()
    assert screen.ended() == 0
    rows = screen.text().splitlines()
    assert rows[: above + 1] == [*map(str, range(1, above + 1)), "openai/gpt-4o-mini · key OPENAI_API_KEY"]
    assert rows[above + 1].startswith("turn 1 · answer")
    assert rows[above + 2 : above + 5] == ["", "The first half", "and the rest"]


def test_markdown_is_drawn_on_the_screen_while_it_streams(on_screen: OnScreen) -> None:
    screen = on_screen("halfway", "run", "Look", columns=100)
    until((screen.folder / "reached").exists, "the stream")
    screen.shows("web is healthy again")
    screen.shows("   container  before")
    assert not {"**", "|"} & set(screen.text())
    (screen.folder / "go").touch()
    assert screen.ended() == 0
    assert screen.text().count("healthy again") == 1


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 140, 200])
def test_breaker_screen_breaks_no_word_and_no_amount_at_any_width(on_screen: OnScreen, columns: int) -> None:
    screen = on_screen("restart", "run", "--max-cost", "0.07", "--yes", "Restart it", columns=columns, rows=60)
    assert screen.ended() == 3
    rows = screen.rows()
    heads = ("error:", "hint:", "--- so far", "call ", "limit ", "tool ", "agent ", "budget ")
    assert list(dict.fromkeys(head for row in rows for head in heads if row.startswith(head))) == list(heads)
    text = screen.text()
    assert text.count("max_cost_per_task is $0.07") == 1
    assert [said for said in ("last answer", "so far:") if said in text] == []
    whole = " ".join(row.removeprefix("│ ").strip() for row in rows)
    assert whole.count("its log repeats connection refused") == 1  # it is not repeated below
    assert re.search(r"\$0\.0621 spent, the next call could make it \$0\.11\d{0,2} ", whole)
    assert re.search(r"docker_restart( calls)? +1 .* show +agentctl runs show [0-9a-f]{6}", whole)


def test_ctrl_c_removes_the_region_and_says_how_the_run_ended(on_screen: OnScreen) -> None:
    screen = on_screen("stuck", "run", "Look")
    screen.shows("gpt-4o-mini is answering")
    screen.types("C-c")
    assert screen.ended() == 130
    text = screen.text()
    assert "task     $" not in text
    assert text.count("error: stopped by Ctrl-C\n") == 1
    assert screen.cursor_is_visible


def test_a_second_ctrl_c_leaves_a_visible_cursor_and_no_region(on_screen: OnScreen, tmp_path: Path) -> None:
    screen = on_screen("stubborn", "run", "Look")
    screen.shows("gpt-4o-mini is answering")
    assert not screen.cursor_is_visible
    screen.types("C-c")
    until((tmp_path / "unmoved").exists, "the first Ctrl-C")
    time.sleep(0.1)  # at once it would be taken for the same key
    screen.types("C-c")
    assert screen.ended() == 130
    text = screen.text()
    assert screen.cursor_is_visible
    assert "forced exit: calls already sent count as spent" in text
    assert "task     $" not in text


@pytest.mark.parametrize(
    ("columns", "flags", "environ"),
    [
        (100, [], {"TERM": "dumb"}),
        (100, [], {"TERM": ""}),
        (40, [], {}),
        (100, [], {"PYTHONIOENCODING": "ascii"}),
        (100, ["-o", "jsonl"], {}),
        (100, ["-q"], {}),
    ],
)
def test_terminal_that_cannot_draw_gets_lines(
    at_terminal: AtTerminal, columns: int, flags: list[str], environ: dict[str, str]
) -> None:
    person = at_terminal("markdown", "run", "Look", *flags, columns=columns, STORY_PACE="0.03", **environ)
    assert person.leaves()[0] == 0
    assert HIDE not in person.raw
    assert (" 1 turn " in person.raw) == ("-q" not in flags)


def test_quiet_draws_nothing(at_terminal: AtTerminal) -> None:
    person = at_terminal("plain", "run", "-q", "Look")
    assert person.leaves() == (0, "42 containers\nof which 7 run\n")
    assert "\x1b" not in person.raw


def test_forced_colour_does_not_turn_drawing_on(at_terminal: AtTerminal) -> None:
    person = at_terminal("plain", "run", "--color", "always", "Look", TERM="dumb", STORY_PACE="0.2")
    person.leaves()
    assert HIDE not in person.raw
    assert "\x1b[32mdone\x1b[0m" in person.raw


def test_region_without_colour_is_drawn_and_not_painted(at_terminal: AtTerminal) -> None:
    person = at_terminal("markdown", "run", "Look", NO_COLOR="1", STORY_PACE="0.05")
    person.leaves()
    assert person.raw.count(HIDE) == person.raw.count(SHOW) == 1
    assert "\x1b[1m" not in person.raw
    assert "**web** is healthy again." in person.raw


def test_an_answer_in_a_pipe_is_untouched(at_terminal: AtTerminal, tmp_path: Path) -> None:
    from tests.support.screen.played import DONE

    person = at_terminal("markdown", "run", "Look", STORY_PACE="0.05", STORY_STDOUT="answer")
    code, seen = person.leaves()
    assert (code, (tmp_path / "answer").read_text()) == (0, DONE)
    assert HIDE in person.raw
    assert "healthy again" in seen  # while it streamed


def test_a_reader_of_stderr_that_leaves_ends_nothing(at_terminal: AtTerminal, tmp_path: Path) -> None:
    person = at_terminal("streaming", "run", "Look", STORY_STDOUT="answer", STORY_NOHUP="1")
    until((tmp_path / "reached").exists, "the stream")
    person.hang_up()
    (tmp_path / "go").touch()
    assert person.process.wait(30) == 0
    assert (tmp_path / "answer").read_text() == "The first half\nand the rest\n"


def test_the_shells_prompt_comes_back_to_a_terminal_as_it_was(at_terminal: AtTerminal) -> None:
    import termios

    person = at_terminal("streaming", "run", "Look")
    before = termios.tcgetattr(person.terminal)
    person.sees("The first half")
    person.types("\x03")
    assert person.leaves()[0] == 130
    assert termios.tcgetattr(person.terminal) == before
    assert os.get_terminal_size(person.terminal).columns == 100


def test_a_question_at_a_terminal_that_has_closed_is_denied(at_terminal: AtTerminal, tmp_path: Path) -> None:
    person = at_terminal("remove", "run", "Look", STORY_NOHUP="1", STORY_STDOUT="answer")
    person.sees("Allow it?")
    person.hang_up()
    assert person.process.wait(30) == 5
    assert not (tmp_path / "removed").exists()


def test_sigquit_leaves_the_screen_as_any_end_does(at_terminal: AtTerminal) -> None:
    import termios

    person = at_terminal("streaming", "run", "Look")
    before = termios.tcgetattr(person.terminal)
    person.sees("The first half")
    person.types("\x1c")
    code, seen = person.leaves()
    assert (code, seen.endswith(f"\x1b[J{SHOW}")) == (-signal.SIGQUIT, True)
    assert termios.tcgetattr(person.terminal) == before


@pytest.mark.parametrize(("story", "text"), [("streaming", "The first half"), ("remove", "Allow it?")])
@pytest.mark.parametrize("flags", [(), ("--json",), ("-o", "jsonl")])
def test_a_terminal_that_closes_ends_the_run_and_its_journal(
    at_terminal: AtTerminal, tmp_path: Path, state: Path, story: str, text: str, flags: tuple[str, ...]
) -> None:
    """The document is lost with the terminal, and no reason for another exit code."""
    person = at_terminal(story, "run", "Look", *flags)
    # Events hold back a text that may turn out to be reasoning until the end of the first answer.
    person.sees("call_sent" if "jsonl" in flags and story == "streaming" else text)
    person.hang_up()
    assert person.process.wait(30) == 129
    assert not (tmp_path / "removed").exists()
    (journal,) = (state / "runs").glob("*.jsonl")
    last = json.loads(journal.read_text().splitlines()[-1])
    assert (last["event"], last["result"]["status"]) == ("run_finished", "hung_up")
