"""The drawing thread: lines are never lost, the run never waits for it, and a broken terminal ends in lines."""

from __future__ import annotations

import io
import os
import re
import threading
from functools import partial

import anyio
import pytest

from agentctl.cli.ui.lines import ScreenLine
from agentctl.cli.ui.terminal import FRAME, restore_sequence, restore_terminal
from agentctl.core.events import AnswerStreamed, ModelAnswered, Noted, ToolStarted, TurnStarted
from agentctl.core.messages import ToolCall
from agentctl.core.results import LimitUse
from tests.support.screen.live import KEY, STARTED, open_screen, tell
from tests.support.screen.terminals import until


class Stuck(io.StringIO):
    """A terminal that somebody has stopped with Ctrl-S, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.free = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.free.wait(30)
        return super().write(text)


def lasting(text: str) -> list[str]:
    """Return what stays: rows that were erased again are left out."""
    rows = [""]
    column_up = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[\?\d+[hl]|\r|\n|[^\x1b\r\n]+")
    at = 0
    for match in column_up.finditer(text):
        piece = match[0]
        if piece == "\n":
            at += 1
            rows += [""] * (at + 1 - len(rows))
        elif match[2] == "A":
            at -= int(match[1] or 1)
        elif match[2] == "K":
            rows[at] = ""
        elif not piece.startswith(("\x1b", "\r")):
            rows[at] += piece
    return [row for row in rows if row]


async def test_lines_stay_and_the_region_goes() -> None:
    file = io.StringIO()
    screen = open_screen(file)
    await tell(screen, STARTED, TurnStarted(1), Noted("first"))
    await anyio.to_thread.run_sync(lambda: until(lambda: "docker · openai/gpt" in file.getvalue(), "the region"))
    await tell(screen, AnswerStreamed("half an answer"), Noted("second", "warning"), Noted("third " + "word " * 40))
    screen.close()
    found = lasting(file.getvalue())
    assert found[:3] == ["openai/gpt · key", "first", "warning: second"]
    assert " ".join(found[3:]).split() == ["third", *["word"] * 40]
    assert all(len(row) <= 80 for row in found)
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h")
    assert restore_sequence() == b""


class Interrupted(io.StringIO):
    """A terminal where a forced exit begins while the first frame is written, and a second one while it waits."""

    def __init__(self, *, is_stuck: bool) -> None:
        super().__init__()
        self.is_stuck, self.restored = is_stuck, threading.Event()
        self._leaving = threading.Thread(target=self._leave)
        self.first_row = ""

    def write(self, text: str) -> int:
        written = super().write(text)
        if "docker" in text and not self.first_row:
            self.first_row = text
            self._leaving.start()
            self.restored.wait(30 if self.is_stuck else 0.2)
        return written

    def _leave(self) -> None:
        restore_terminal()
        self.restored.set()


@pytest.mark.parametrize("is_stuck", [False, True])
async def test_a_forced_exit_in_the_middle_of_a_frame_erases_the_whole_frame(
    is_stuck: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    file = Interrupted(is_stuck=is_stuck)  # with it, the frame is never complete: only the cursor can be shown
    screen = open_screen(file)
    try:
        await tell(screen, STARTED)
        await anyio.to_thread.run_sync(lambda: until(file.restored.is_set, "the exit"))
        drawn = file.getvalue()
        await tell(screen, TurnStarted(1), AnswerStreamed("more"))
        await anyio.sleep(0.3)
        if not is_stuck:
            assert file.getvalue() == drawn  # nothing follows what was restored
    finally:
        if not is_stuck:
            FRAME.release()
        screen.close()
    restored = capfd.readouterr().err
    assert restored.endswith("\x1b[?25h" if is_stuck else "\x1b[J\x1b[?25h")
    assert ("\x1b[J" in restored) is not is_stuck


async def test_a_run_does_not_wait_for_a_terminal_that_is_stuck() -> None:
    file = Stuck()
    screen = open_screen(file)
    with anyio.fail_after(30):
        await tell(screen, STARTED)
        await anyio.to_thread.run_sync(file.reached.wait)
        await tell(screen, *(AnswerStreamed("x") for _ in range(1000)), Noted("last"))
    file.free.set()
    screen.close()
    assert lasting(file.getvalue())[-1] == "last"


async def test_a_terminal_that_cannot_be_measured_gets_plain_lines() -> None:
    def gone() -> os.terminal_size:
        raise OSError("not a terminal any more")

    file = io.StringIO()
    screen = open_screen(file, size=gone)
    await tell(screen, STARTED, Noted("one"), Noted("two"))
    screen.close()
    assert file.getvalue() == "openai/gpt · key\none\ntwo\n"


async def test_drawing_that_breaks_on_the_way_goes_on_with_lines() -> None:
    broken = threading.Event()

    def size() -> os.terminal_size:
        if broken.is_set():
            raise OSError("gone")
        return os.terminal_size((80, 24))

    file = io.StringIO()
    screen = open_screen(file, size=size)
    await tell(screen, STARTED)
    await anyio.to_thread.run_sync(lambda: until(lambda: "docker · openai/gpt" in file.getvalue(), "the region"))
    broken.set()
    await tell(screen, Noted("one"), Noted("two"))
    screen.close()
    assert lasting(file.getvalue())[-3:] == ["openai/gpt · key", "one", "two"]
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h")


async def test_a_pause_takes_the_region_away_until_it_ends() -> None:
    file = io.StringIO()
    screen = open_screen(file)
    await tell(screen, STARTED, ToolStarted(ToolCall("1", "docker_ps", {})))
    await anyio.to_thread.run_sync(lambda: until(lambda: "docker_ps()" in file.getvalue(), "the region"))
    await tell(screen, Noted("before"))
    screen.pause()
    before = file.getvalue()
    assert lasting(before)[-1] == "before"
    assert before.endswith("\x1b[2K")
    screen.resume()
    await anyio.to_thread.run_sync(lambda: until(lambda: "docker_ps()" in file.getvalue()[len(before) :], "the region"))
    screen.close()
    assert lasting(file.getvalue())[-1] == "before"


class Noting(io.StringIO):
    """Notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


async def test_a_narrower_window_has_all_rows_erased_that_it_made_of_ours() -> None:
    sizes, file = [os.terminal_size((140, 24))], Noting()
    screen = open_screen(file, size=lambda: sizes[-1])
    limits = tuple(LimitUse(name, "nano_usd", 10**9, 1) for name in ("max_cost_per_task", "max_cost_per_hour"))
    await tell(screen, STARTED._replace(limits=limits))
    await anyio.to_thread.run_sync(lambda: until(lambda: "hour" in file.getvalue(), "the region"))
    sizes.append(os.terminal_size((70, 24)))
    frames = len(file.writes)
    await anyio.to_thread.run_sync(lambda: until(lambda: len(file.writes) > frames + 1, "another region"))
    screen.close()
    # The rule and two meters side by side have become two rows each: two more to erase than were drawn.
    assert "\r\x1b[2K" + 2 * "\x1b[1A\x1b[2K" in file.writes


async def test_secrets_are_not_drawn_also_not_while_they_stream_in() -> None:
    file = io.StringIO()
    screen = open_screen(file)
    await tell(screen, STARTED, AnswerStreamed(f"the key is {KEY[:15]}"))
    await anyio.to_thread.run_sync(lambda: until(lambda: "the key is" in file.getvalue(), "the answer"))
    await tell(screen, AnswerStreamed(KEY[15:] + " and so on"), Noted(f"{'x ' * 30}{KEY}"))
    await anyio.to_thread.run_sync(lambda: until(lambda: "and so on" in file.getvalue(), "the rest"))
    screen.close()
    assert KEY[:8] not in file.getvalue()
    assert "[redacted]" in file.getvalue()


async def test_foreign_escapes_are_shown_and_not_obeyed() -> None:
    file = io.StringIO()
    screen = open_screen(file, colour=True)
    hostile = "a\x1b[2Jb\x1b]0;title\x07[bold]c[/bold]\u202e"
    await tell(screen, STARTED._replace(task=hostile), AnswerStreamed(hostile), Noted(hostile))
    await anyio.to_thread.run_sync(lambda: until(lambda: "gpt is answering" in file.getvalue(), "the answer"))
    screen.close()
    for escape in ("\x1b[2J", "\x1b]", "\x07", "\u202e"):
        assert escape not in file.getvalue()
    assert "[bold]c[/bold]" in file.getvalue()


async def test_markdown_is_drawn_while_it_streams() -> None:
    file = io.StringIO()
    screen = open_screen(file, colour=True, markdown=True)
    pieces = (
        "**we",
        "b** is `do",
        "wn`\n\n``",
        "`sh\nls -l\n``",
        "`\n\n| na",
        "me | st |\n|--",
        "-|---|\n| 界 | u",
        "p |\n",
    )
    await tell(screen, STARTED)
    for piece in pieces:
        await tell(screen, AnswerStreamed(piece))
        frames = len(file.getvalue())
        is_drawn = partial(lambda seen: "gpt is answering" in file.getvalue()[seen:], frames)
        await anyio.to_thread.run_sync(until, is_drawn, "the next frame")
    screen.close()
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    for row in ("  web is down\n", "      ls -l\n", "   name  st\n", "   ────────\n", "   界    up\n"):
        assert row in drawn.replace("\r", "")
    for mark in ("**", "`", "|", "--"):
        assert mark not in drawn
    assert "\x1b[1mweb\x1b[0m is \x1b[36mdown" in file.getvalue()


async def test_text_before_a_tool_call_looks_different_from_an_answer() -> None:
    file = io.StringIO()
    screen = open_screen(file, markdown=True)
    call = ToolCall("1", "docker_ps", {})
    await tell(screen, STARTED, ModelAnswered(1, "I look at **all** of them. " * 5, (call,), "tool_calls", None))
    screen.close()
    said = "I look at all of them. " * 5
    rows = [row for row in lasting(file.getvalue()) if row.startswith("│ ")]
    assert " ".join(row.removeprefix("│ ") for row in rows) == said.strip()
    assert all(len(row) <= 80 for row in rows)


async def test_screen_without_colour_is_not_painted() -> None:
    file = io.StringIO()
    screen = open_screen(file)
    await tell(screen, STARTED)
    await anyio.to_thread.run_sync(lambda: until(lambda: "docker · openai/gpt" in file.getvalue(), "the region"))
    screen.close()
    assert re.search(r"\x1b\[[0-9;]*m", file.getvalue()) is None


@pytest.mark.parametrize("never_began", [True, False])
def test_closing_a_screen_never_opened_or_closed_already_does_nothing(never_began: bool) -> None:
    file = io.StringIO()
    screen = open_screen(file)
    if not never_began:
        anyio.run(tell, screen, STARTED)
        screen.close()
    written = file.getvalue()
    screen.close()
    screen.pause()
    screen.resume()
    assert file.getvalue() == written


async def test_lines_printed_beside_the_run_stay_also_after_its_end() -> None:
    file = io.StringIO()
    screen = open_screen(file)
    screen.print_lines(ScreenLine("before"))
    await tell(screen, STARTED)
    await anyio.to_thread.run_sync(lambda: until(lambda: "docker · openai/gpt" in file.getvalue(), "the region"))
    screen.print_lines(ScreenLine("meanwhile", "yellow", "warning:"))
    screen.close()
    screen.print_lines(ScreenLine("after"))
    assert lasting(file.getvalue()) == ["before", "openai/gpt · key", "warning: meanwhile", "after"]
