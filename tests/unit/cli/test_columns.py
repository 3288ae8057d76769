"""Tables, labelled values and prose at every width: what shrinks, what is left out, and what is never cut."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.cli.ui.cells import cell_width
from agentctl.cli.ui.columns import Column, Page, page_of
from agentctl.cli.ui.format import money
from agentctl.core.text import safe_text

COLUMNS = (
    *(Column("run"), Column("started", drop=2), Column("model", "name", drop=3), Column("cost", right=True)),
    *(Column("held", drop=1, right=True), Column("task", "text", lines=2), Column("command", "line")),
)
ROWS = (
    ("b6bedc4ff1e0", "2026-11-29 14:55:28", "openai/gpt-4o-mini-2026-07-18", "$0.0149", "$1.00",
     "Why did web-1 restart three times within the last hour?", "agentctl ledger reconcile --run b6bedc4ff1e0"),
    ("9ddb21a1f47e", "2026-11-29 14:55:05", "llama3.1", "$0.000099", "", "数据库容器为什么重启了", ""),
)  # fmt: skip
EXACT = re.compile(r"\$[\d.,]+|\b[0-9a-f]{12}\b|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")

#: Untrusted text: wide and combining characters, emoji, control characters, long words, amounts.
TEXT = st.text(st.sampled_from("ab e\u0301数据🐳 -/,.\x1b\n\t$"), max_size=90) | st.sampled_from(
    ("x" * 70, "$0.000099 of $10 at 2026-11-29 14:55:28", "e\u0301" * 40, "数据库容器" * 20)
)
ROW = st.tuples(
    st.integers(0, 16**12 - 1).map(lambda number: f"{number:012x}"),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)).map(lambda at: f"{at:%Y-%m-%d %H:%M:%S}"),
    TEXT,
    st.integers(0, 10**13).map(money),
    st.integers(0, 10**13).map(money),
    TEXT,
    st.sampled_from(("", "agentctl ledger reconcile --run b6bedc4ff1e0 --actual 0")),
)


@settings(deadline=None)
@given(st.lists(ROW, max_size=4), st.integers(16, 160))
def test_no_line_is_wider_than_the_terminal_and_no_amount_id_or_time_is_cut(
    rows: list[tuple[str, ...]], width: int
) -> None:
    table = Page(width).table(COLUMNS, rows)
    whole = {cell for row in rows for at, cell in enumerate(row) if COLUMNS[at].kind in ("whole", "line")}
    for line in table.split("\n"):
        assert cell_width(line) <= width or line.strip() in whole
    exact = {word for row in rows for cell in row for word in EXACT.findall(safe_text(cell))}
    assert {word for word in EXACT.findall(table) if not word.endswith(("$", "."))} <= exact | {"$"}
    for row in rows:
        assert {row[0], row[3]} <= set(EXACT.findall(table))


@settings(deadline=None)
@given(st.lists(ROW, min_size=1, max_size=4))
def test_without_a_terminal_each_row_is_one_line_and_nothing_is_cut(rows: list[tuple[str, ...]]) -> None:
    lines = Page().table(COLUMNS, rows).split("\n")
    assert len(lines) == 1 + len(rows)
    for line, row in zip(lines[1:], rows, strict=True):
        cells = [safe_text(cell).replace("\n", " ").replace("\t", " ") for cell in row]
        assert re.sub(" +", " ", line).strip() == re.sub(" +", " ", " ".join(cells)).strip()
        assert "\x1b" not in line


def test_table_without_a_terminal_is_as_wide_as_its_cells() -> None:
    table = Page().table((Column("a"), Column("n", right=True)), [("x" * 300, "1"), ("y", "10")])
    assert table.splitlines() == [f"a{' ' * 299}   n", f"{'x' * 300}   1", f"y{' ' * 299}  10"]


def test_columns_shrink_then_leave_then_names_are_cut() -> None:
    heads = {width: Page(width).table(COLUMNS, ROWS).split("\n")[0].split() for width in (200, 110, 85, 70, 50)}
    assert heads == {
        200: ["run", "started", "model", "cost", "held", "task", "command"],
        110: ["run", "started", "model", "cost", "held", "task"],
        85: ["run", "started", "cost", "held", "task"],
        70: ["run", "cost", "held", "task"],
        50: ["run", "cost", "task"],
    }


def test_table_at_60_columns_wraps_text_in_its_column_and_names_what_is_missing() -> None:
    assert Page(60).table(COLUMNS, ROWS) == (
        "run                cost   held  task\n"
        "  command\n"
        "b6bedc4ff1e0    $0.0149  $1.00  Why did web-1 restart three\n"
        "                                times within the last hour?\n"
        "  agentctl ledger reconcile --run b6bedc4ff1e0\n"
        "9ddb21a1f47e  $0.000099         数据库容器为什么重启了\n"
        "(too narrow for: started, model)"
    )


def test_table_at_20_columns_is_a_block_of_labelled_lines_for_each_row() -> None:
    assert Page(20).table(COLUMNS, ROWS[1:]) == (
        "run\n  9ddb21a1f47e\nstarted\n2026-11-29 14:55:05\nmodel    llama3.1\ncost     $0.000099\n"
        "task\n  数据库容器为什么重\n  启了"
    )


def test_name_keeps_both_ends_and_a_long_text_ends_in_an_ellipsis() -> None:
    columns = (Column("model", "name"), Column("task", "text", lines=2))
    table = Page(40).table(columns, [("openai/gpt-4o-mini-2026-07-18", "word " * 30)])
    assert table.splitlines() == [
        "model              task",
        "openai…2026-07-18  word word word word",
        "                   word word word word…",
    ]


def test_megabyte_of_text_is_laid_out_as_far_as_it_is_shown() -> None:
    task = "数据" * 250_000
    table = Page(60).table((Column("run", "name"), Column("task", "text", lines=2)), [(task, task)])
    assert [len(line) for line in table.splitlines()] == [33, 31, 45]


def test_text_is_broken_between_words_or_behind_a_mark() -> None:
    columns = (Column("a" * 26), Column("value", "text"), Column("from", "text"))
    rows = [("x", "deny run_shell(command=rm *)", "~/.local/state/agentctl")]
    parts = [part for line in Page(60).table(columns, rows).splitlines()[1:] for part in line.split()]
    assert parts == ["x", "deny", "~/.local/", "run_", "state/agentctl", "shell(command=rm", "*)"]


def test_id_is_never_cut_and_the_rest_of_its_row_moves_below() -> None:
    columns = (Column("at"), Column("model", "id"), Column("in", right=True), Column("note", drop=1))
    rows = [("a", "short", "$1", ""), ("b", "gpt-4o-mini-search-preview-2025-03-11", "$10", "")]
    assert Page(30).table(columns, rows) == (
        "at  model                   in\n"
        "a   short                   $1\n"
        "b\n"
        "  gpt-4o-mini-search-preview-2025-03-11\n"
        "                           $10"
    )
    assert Page(44).table(columns, rows).splitlines()[2:] == [
        "b   gpt-4o-mini-search-preview-2025-03-11", f"{'$10':>44}"
    ]  # fmt: skip
    assert "$10" in Page(46).table(columns, rows).splitlines()[2]
    assert "gpt-4o-mini-search-preview-2025-03-11" in Page(16).table(columns, rows)


def test_column_without_a_cell_leaves_first_and_is_not_named() -> None:
    columns = (Column("model", "id"), Column("key", drop=2), Column("note", "text", drop=1))
    assert (
        Page(20).table(columns, [("gpt-4o-mini-long", "no", "")]) == "model\ngpt-4o-mini-long\n(too narrow for:\n  key)"
    )
    assert Page(21).table(columns, [("gpt-4o-mini-long", "no", "")]) == "model             key\ngpt-4o-mini-long  no"
    assert Page(50).table(columns, [("x", "no", "")]).startswith("model  key  note")


def test_wide_table_in_an_answer_is_laid_out_anew_and_all_else_stays() -> None:
    table = (
        "name    id            status                     ports    size\n"
        "failed  060134b4360a  Exited (3) 26 seconds ago  -      1.5 GB\n"
        "web     4263516f9e54  Up 26 seconds              -        9 KB"
    )
    text = f"{'a long line ' * 9}\n\n{table}\n\n3 containers\n"
    assert Page().refit(text) == Page(200).refit(text) == text
    assert Page(56).refit(text).replace(text.split("\n")[0], "") == (
        "\n\n"
        "name    id            status               ports    size\n"
        "failed  060134b4360a  Exited (3) 26        -      1.5 GB\n"
        "                      seconds ago\n"
        "web     4263516f9e54  Up 26 seconds        -        9 KB\n\n"
        "3 containers\n"
    )
    assert Page(44).refit(f"{table}\nno more\n").endswith("status  Up 26 seconds\nports   -\nsize    9 KB\nno more\n")
    for other in ("One  two\n" + "x" * 80, "2026-11-01  12:00  started  " + "y" * 80 + "\nb  c  d"):
        assert Page(40).refit(other) == other


def test_string_among_the_rows_is_a_heading() -> None:
    rows = ["Limits:", ("max_turns", "30"), "Output:", ("color", "auto")]
    assert Page().table((Column("setting"), Column("value")), rows) == (
        "setting    value\n\nLimits:\nmax_turns  30\n\nOutput:\ncolor      auto"
    )


def test_encoding_without_an_ellipsis_is_measured_as_it_is_printed() -> None:
    table = Page(30, "latin-1").table((Column("model", "name"), Column("cost")), [("é数" + "x" * 40, "$0.0149")])
    assert table.splitlines()[1] == "é\\u6570xx...xxxxxxxxx  $0.0149"
    assert table.encode("latin-1")


def test_cells_cannot_move_the_cursor_or_break_the_row() -> None:
    table = Page(80).table((Column("task", "text"), Column("cost")), [("a\x1b[2J\nb\tc\u202e", "$1.00")])
    assert table.splitlines()[1:] == ["a\\x1b[2J b c\\u202e  $1.00"]


def test_labelled_values_have_a_hanging_indent_and_commands_stay_whole() -> None:
    rows = [("because", "it would change something outside of the workspace"), ("hint", "agentctl " + "x" * 40)]
    assert Page(40).fields(rows, whole=("hint",)) == (
        f"because  it would change something\n         outside of the workspace\nhint\n  agentctl {'x' * 40}"
    )
    assert Page().fields(rows) == f"because  {rows[0][1]}\nhint     {rows[1][1]}"


def test_value_with_a_path_stands_below_its_label_where_the_path_fits() -> None:
    fields = Page(50).fields([("ledger", "/home/anna/.local/state/agentctl/ledger.db is fine"), ("a label", "b")])
    assert fields == "ledger\n  /home/anna/.local/state/agentctl/ledger.db is\n  fine\na label  b"


def test_prose_wraps_between_words_and_keeps_times_and_units_together() -> None:
    said = "last charge 2026-11-29 14:55 UTC after 70.8 GB"
    assert Page(30).prose(said) == "last charge\n  2026-11-29 14:55 UTC after\n  70.8 GB"
    assert Page(12).prose("  a /home/anna/x/y/z b") == "  a\n    /home/anna/x/y/z\n    b"
    assert Page().prose(said) == said


@contextmanager
def terminal(columns: int) -> Iterator[TextIO]:
    desk, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        yield stream
    os.close(desk)


@pytest.mark.parametrize(
    ("real", "variable", "width"),
    [
        (100, None, 100), (100, "80", 80), (100, "200", 100), (100, "wide", 100), (100, "-5", 100), (100, "0", 100),
        (0, None, None), (0, "80", 80), (0, "", None),
    ],
)  # fmt: skip
def test_columns_variable_narrows_a_terminal_and_never_widens_it(
    real: int, variable: str | None, width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if variable is not None:
        monkeypatch.setenv("COLUMNS", variable)
    with terminal(real) as stream:
        assert page_of(stream) == Page(width, "utf-8")


def test_pipe_has_no_width_whatever_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    with Path(os.devnull).open("w", encoding="utf-8") as stream:
        assert page_of(stream).width is None
