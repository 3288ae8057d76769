"""The question on a real terminal, read by an emulator: no text of others can move it, the title or the clipboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agentctl.cli.ui.format import painter
from agentctl.cli.ui.question import prompt_for, question_rows
from agentctl.core.impact import Impact
from agentctl.core.messages import ToolCall
from agentctl.core.text import join_surrogates
from agentctl.core.tool_rules import rule_for
from agentctl.protocols import Question
from tests.support.screen.emulated import TITLE, Shown, foreign_controls, show
from tests.support.screen.hostile import HOSTILE
from tests.support.screen.terminals import Person

AtTerminal = Callable[..., Person]
PLAIN = painter("never", terminal=True)
SIZES = [(80, 24), (40, 12)]


#: Texts of several rows: what becomes of them depends on the size.
OF_ROWS = {"combining", "long", "wide", "blank", "question", "rows", "bars"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Show each hostile text at one of the sizes; those of several rows, and with ``--full`` all, at both."""
    if {"text", "size"} <= set(metafunc.fixturenames):
        full = metafunc.config.getoption("full")
        pairs = [
            pytest.param(text, size, id=f"{text}-{size[0]}x{size[1]}")
            for number, text in enumerate(HOSTILE)
            for size in (SIZES if full or text in OF_ROWS else SIZES[number % 2 :][:1])
            if text != "surrogate" or metafunc.function is not test_hostile_content_of_a_file_stays_inside_the_diff
        ]
        metafunc.parametrize(("text", "size"), pairs)


def asked(
    at_terminal: AtTerminal, story: str, text: str, size: tuple[int, int], **environ: str
) -> tuple[Person, Shown]:
    """Start a story up to its question; return the person, and the screen at that moment."""
    columns, rows = size
    person = at_terminal(story, "run", "Look", columns=columns, rows=rows, STORY_TEXT=text, **environ)
    person.waits_at(prompt_for(columns))
    assert foreign_controls(person.bytes) == []
    return person, show(person.bytes, columns=columns, rows=rows)


def stands(shown: Shown, size: tuple[int, int]) -> list[str]:
    """Return the rows of the question, after a look at all that must hold for any."""
    prompt = prompt_for(size[0])
    last = shown.cursor[0]
    assert (shown.title, shown.is_cursor_hidden) == (TITLE, False)
    assert shown.rows[last] == prompt.rstrip()
    assert shown.cursor[1] == len(prompt)
    assert set(shown.rows[last + 1 :]) <= {""}
    titles = [place for place, row in enumerate(shown.rows) if row.startswith("May ")]
    assert len(titles) == 1
    asked_rows = list(shown.rows[titles[0] : last])
    assert all(row.startswith("│") for row in asked_rows[1:])
    return asked_rows


def hostile_exec(text: str) -> Question:
    text = join_surrogates(text)  # as a model's arguments arrive
    whole = {"name": text, "command": text}
    call = ToolCall("call-docker_exec", "docker_exec", whole)
    impact = Impact(f"runs {text} in {text}", (f"as {text}",), (f"mounts {text}",))
    why = "docker_exec would change something outside the workspace"
    return Question(call, "destructive", why, str(rule_for("docker_exec", whole, "name")), impact)


def test_hostile_names_and_output_leave_the_rows_of_a_question_alone(
    at_terminal: AtTerminal, tmp_path: Path, text: str, size: tuple[int, int]
) -> None:
    person, shown = asked(at_terminal, "exec", text, size)
    expected = list(question_rows(hostile_exec(HOSTILE[text]), PLAIN, width=size[0] - 1, height=size[1]))
    assert stands(shown, size) == [row.rstrip() for row in expected if row]
    person.types("n\r")
    code, _ = person.leaves()
    assert (code, (tmp_path / "executed").exists()) == (5, False)
    assert foreign_controls(person.bytes) == []
    assert show(person.bytes, columns=size[0], rows=size[1]).title == TITLE


def test_hostile_content_of_a_file_stays_inside_the_diff(
    at_terminal: AtTerminal, tmp_path: Path, text: str, size: tuple[int, int]
) -> None:
    (tmp_path / ".envrc").write_text(f"{HOSTILE[text]}\nfirst\n", newline="")
    person, shown = asked(at_terminal, "overwrite", text, size)
    rows = stands(shown, size)
    assert rows[0] == "May write_file run?"
    assert rows[1].startswith("│   write_file")
    person.types("y\r")
    assert person.leaves()[0] == 0
    assert (tmp_path / ".envrc").read_bytes() == f"{HOSTILE[text]}\nlast\n".encode()


def test_hostile_command_is_shown_behind_its_bar(at_terminal: AtTerminal, text: str, size: tuple[int, int]) -> None:
    person, shown = asked(at_terminal, "shell", text, size)
    rows = stands(shown, size)
    assert rows[0] == "May run_shell run?"
    assert rows[1].startswith("│   $ true")
    person.types("n\r")
    person.leaves()
    assert foreign_controls(person.bytes) == []
