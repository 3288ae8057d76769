"""The answer on a terminal: Markdown is drawn, and nothing of it is lost, hidden or obeyed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.cli.ui.cells import cell_width
from agentctl.cli.ui.markdown import render_markdown
from agentctl.core.text import safe_text


def plain(text: str, width: int = 60) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", render_markdown(text, width=width))


def test_headings_lists_tables_and_code_are_drawn() -> None:
    text = "# Found\n\n**web** is `down`:\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n- two\n\n```sh\nls -la\n```"
    assert plain(text).splitlines() == [
        "Found",
        "",
        "web is down:",
        "",
        " a  b",
        " ────",
        " 1  2",
        "",
        " • one",
        " • two",
        "",
        "    ls -la",
    ]
    assert "\x1b[1mweb\x1b[0m is \x1b[36mdown\x1b[0m:" in render_markdown(text, width=60)


@pytest.mark.parametrize(
    "text",
    [
        "42 containers\nof which 7 run",
        "NAME   STATE\nweb    running",
        "",
        "a table in a cell too narrow: **x**\n\n| a | b |\n|---|---|\n| " + "x" * 100 + " | 1 |",
    ],
)
def test_text_that_is_not_markdown_or_would_lose_something_stays_as_it_is(text: str) -> None:
    assert render_markdown(text, width=60) == text


@pytest.mark.parametrize(
    "kept",
    [
        "*.log and *.txt",
        "**/*.py and src/**",
        "<none>:<none>",
        "__init__.py",
        "a &amp; b",
        "\\*x\\*",
        "[a](http://b/c)",
        "x\ny",
    ],
)
def test_technical_words_are_not_markup(kept: str) -> None:
    said = plain(f"- `code`\n\n{kept}")
    assert " • code" in said
    assert (kept if "](" not in kept else "a (http://b/c)") in said


def test_links_are_text_and_hide_nothing() -> None:
    found = render_markdown("**see** [https://good.example](https://evil.example/x)", width=80)
    assert "https://good.example (" in re.sub(r"\x1b\[[0-9;]*m", "", found)
    assert "https://evil.example/x" in found
    assert "\x1b]8" not in found


@given(st.text(st.characters() | st.sampled_from("*_`#|-[]()<>\n 1.~\\&")), st.integers(1, 100))
def test_every_letter_is_still_there_and_nothing_but_styles_is_added(text: str, width: int) -> None:
    text = safe_text("**a** " + text)
    found = render_markdown(text, width=width)
    bare = re.sub(r"\x1b\[[0-9;]*m", "", found)
    assert "\x1b" not in bare
    assert [c for c in set(filter(str.isalnum, text)) if c not in bare] == []
    assert found == text or all(cell_width(row) <= width for row in bare.split("\n"))
