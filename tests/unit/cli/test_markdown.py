"""The answer on a terminal: Markdown is drawn, and nothing of it is lost, hidden or obeyed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.cli.ui.cells import cell_width
from agentctl.cli.ui.markdown import draw_end, render_markdown
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


STREAMED = """\
# Found

The **web** container is `down -f` since **10:00**, and *.log is full.

| container | state |
|-----------|-------|
| **web**   | 12    |
| 数据库    | `up`  |

```sh
docker logs web | grep '**'

ls --all
```

1. Restart **web**.
2. Look at `db`.

- [the docs](http://x/y)
- done: **all** good
"""


def bare(rows: list[str]) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(rows))


@pytest.mark.parametrize("end", range(1, len(STREAMED) + 1))
def test_no_mark_is_shown_while_markdown_streams(end: int) -> None:
    seen = bare(draw_end(STREAMED[:end], width=60, most=40))
    shown = seen.replace("grep '**'", "").replace("grep '**", "").replace("ls --all", "").replace("ls --", "")
    assert [mark for mark in ("**", "`", "# ", "| c", "| *", "|-", "--") if mark in shown] == []


def test_a_finished_stream_is_drawn_as_the_answer_will_be() -> None:
    assert "\n".join(draw_end(STREAMED, width=60, most=100)) == render_markdown(STREAMED, width=60)
    assert draw_end(STREAMED, width=60, most=2) == render_markdown(STREAMED, width=60).split("\n")[-2:]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("word\n\n```sh\n" + "ls -l\n\n" * 900, ["    ls -l"]),
        ("| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 900, [" 1  2"]),
        ("**one** word " * 900 + "\n\n- two", ["one word", " • two"]),
        ("word " * 900 + "\n\nend **now**", ["end now"]),
    ],
)
def test_the_end_of_a_long_stream_is_drawn_in_its_block(text: str, rows: list[str]) -> None:
    drawn = bare(draw_end(text, width=60, most=8)).split("\n")
    assert len(drawn) <= 8
    assert drawn[-1] == rows[-1]
    assert not {"`", "|", "*"} & set("".join(drawn))


@given(st.text(st.characters() | st.sampled_from("*_`#|-[]()<>\n 1.~\\&界"), max_size=300), st.integers(1, 100))
def test_rows_of_a_stream_fit_and_contain_nothing_but_styles(text: str, width: int) -> None:
    rows = draw_end(safe_text("**a** " + text), width=width, most=5)
    assert len(rows) <= 5
    assert "\x1b" not in bare(rows)
    assert all(cell_width(row) <= max(2, width) for row in bare(rows).split("\n"))
