"""``agentctl costs --watch``: redrawn at each change, as a table or as JSON lines, until its reader leaves."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, NamedTuple

import anyio
import anyio.to_thread
import pytest

from tests.support.command_line import Commands
from tests.support.ledger.spending import Spender

CTRL_C = b"\x03"


class Screen(NamedTuple):
    """A command whose stdout is a terminal, and the other side of that terminal."""

    desk: int
    process: subprocess.Popen[bytes]

    def until(self, pattern: bytes) -> str:
        """Return what was written up to something that matches ``pattern``."""
        shown = b""
        while not re.search(pattern, shown):
            assert select.select([self.desk], [], [], 60)[0], shown
            shown += os.read(self.desk, 4096)
        return shown.decode()

    def rest(self) -> str:
        """Return what was written until the command ended."""
        shown = b""
        while True:
            try:
                piece = os.read(self.desk, 4096)
            except OSError:
                return shown.decode()
            if not piece:
                return shown.decode()
            shown += piece


@contextmanager
def on_a_screen(agentctl: Commands, *words: str, columns: int = 120, rows: int = 40) -> Iterator[Screen]:
    """Run a command whose stdin and stdout are a terminal of that size, which it can be interrupted from."""
    desk, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        agentctl.argv(words, None),
        cwd=agentctl.folder,
        env={**os.environ, **agentctl.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(terminal)
    try:
        with process:
            try:
                yield Screen(desk, process)
            finally:
                process.kill()
    finally:
        os.close(desk)


@pytest.fixture
async def spender(state: Path) -> AsyncIterator[Spender]:
    """A ledger with one call of $0.10, half a minute ago."""
    found = Spender(state / "ledger.db", datetime.now(UTC) - timedelta(seconds=30))
    await found.run("7f3a")
    await found.call("7f3a", 100, model="big")
    yield found
    await found.ledger.aclose()


@contextmanager
def watching(agentctl: Commands, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Follow the last hour in JSON; killed if it does not end."""
    with agentctl.start("costs", "--last-hour", "--watch", "--json", *words) as process:
        try:
            yield process
        finally:
            process.kill()  # gone already, unless the test failed


async def line_of(stream: IO[bytes] | None) -> dict[str, object]:
    """Return the next line of JSON, read beside the test."""
    assert stream is not None
    found = json.loads(await anyio.to_thread.run_sync(stream.readline))
    assert isinstance(found, dict)
    return found


def spent(document: dict[str, object]) -> object:
    total = document["total"]
    assert isinstance(total, dict)
    return total["known_usd"]


async def test_each_change_is_a_line_of_json_and_ctrl_c_ends_it(agentctl: Commands, spender: Spender) -> None:
    with watching(agentctl) as process:
        first = await line_of(process.stdout)
        assert (first["schema"], spent(first)) == ("agentctl.costs/1", 0.1)
        await spender.call("7f3a", 50)
        while spent(second := await line_of(process.stdout)) != 0.15:  # held, sent: each may be seen or not
            assert second["since"] != first["since"], "the window moves on"
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
    assert (process.returncode, rest, err) == (130, b"", b"")


async def test_watch_writes_nothing_while_nothing_changes(agentctl: Commands, spender: Spender) -> None:
    with watching(agentctl) as process:
        await line_of(process.stdout)
        counts = Path(f"/proc/{process.pid}/io")
        looks = set[str]()
        with anyio.fail_after(60):
            while len(looks) < 4:  # each look reads
                looks.add(counts.read_text().split("syscr: ")[1].split()[0])
                await anyio.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == (b"", b"")


async def test_watch_ends_as_soon_as_the_gate_closes(agentctl: Commands, spender: Spender) -> None:
    with watching(agentctl, "--fail-above", "0.12") as process:
        assert (await line_of(process.stdout))["error"] is None
        await spender.call("7f3a", 50)
        out, err = await anyio.to_thread.run_sync(lambda: process.communicate(timeout=60))
    assert (process.returncode, json.loads(out.splitlines()[-1])["exit_code"]) == (3, 3)
    assert err.startswith(b"error: $0.15 is above --fail-above $0.12\n")


async def test_watch_ends_silently_when_its_reader_leaves_without_a_change(
    agentctl: Commands, spender: Spender
) -> None:
    with watching(agentctl) as process:
        await line_of(process.stdout)
        assert process.stdout is not None
        process.stdout.close()
        assert await anyio.to_thread.run_sync(lambda: process.wait(60)) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


async def test_watch_redraws_in_place_on_a_terminal(agentctl: Commands, spender: Spender) -> None:
    with on_a_screen(agentctl, "costs", "--last-hour", "--by", "model", "--watch") as screen:
        first = await anyio.to_thread.run_sync(screen.until, rb"Ctrl-C to stop\r\n")
        assert "p/big" in first
        assert "\x1b" not in first, "the first time there is nothing to take away"
        await spender.call("7f3a", 300, model="small")
        again = await anyio.to_thread.run_sync(screen.until, rb"\$0\.40 used.*\r\n.*Ctrl-C to stop\r\n")
        drawn = first.count("\n")
        assert f"\x1b[{drawn}A\r\x1b[J" in again
        assert "75 % ████████████████████" in again
        os.write(screen.desk, CTRL_C)
        assert await anyio.to_thread.run_sync(lambda: screen.process.wait(60)) == 130
        assert screen.process.stderr is not None
        assert screen.process.stderr.read() == b""


async def test_table_higher_than_the_screen_keeps_its_totals(agentctl: Commands, spender: Spender) -> None:
    for at in range(20):
        await spender.call("7f3a", 1, model=f"model-{at}")
    with on_a_screen(agentctl, "costs", "--last-hour", "--by", "model", "--watch", rows=12, columns=60) as screen:
        shown = await anyio.to_thread.run_sync(screen.until, rb"Ctrl-C to stop\r\n")
        os.write(screen.desk, CTRL_C)
        assert await anyio.to_thread.run_sync(lambda: screen.process.wait(60)) == 130
    lines = shown.splitlines()
    assert len(lines) == 11
    assert max(map(len, lines)) <= 60
    assert lines[0].startswith("model")
    assert any("more rows)" in line for line in lines)
    assert lines[-3].startswith("the last hour: 1 run, 21 calls, $0.12")


@pytest.mark.parametrize(("columns", "bars", "cached"), [(100, True, True), (52, False, True), (42, False, False)])
async def test_narrow_terminal_drops_the_bars_first(
    agentctl: Commands, spender: Spender, columns: int, bars: bool, cached: bool
) -> None:
    await spender.call("7f3a", 300, model="small", cached=3)
    with on_a_screen(agentctl, "costs", "--last-hour", "--by", "model", columns=columns) as screen:
        shown = await anyio.to_thread.run_sync(screen.rest)
        assert screen.process.wait(60) == 0
    assert (" % █" in shown, "cached" in shown.split("\r\n")[0]) == (bars, cached)
    assert ("(too narrow for: cached)" in shown) == (not cached)
    assert max(map(len, shown.split("\r\n")[:4])) <= columns
    assert shown.split("\r\n")[1].split()[0] == "p/small"


def test_an_error_too_is_one_line_of_json(agentctl: Commands, state: Path) -> None:
    state.mkdir()
    (state / "ledger.db").write_bytes(b"no database at all" * 100)
    ended = agentctl("costs", "--watch", "-o", "json")
    assert (ended.code, ended.out.count("\n"), json.loads(ended.out)["error"]["kind"]) == (74, 1, "state")


def test_a_terminal_that_cannot_move_its_cursor_is_not_drawn_on(agentctl: Commands) -> None:
    agentctl.environ["TERM"] = "dumb"
    desk, terminal = pty.openpty()
    with agentctl.start("costs", "--watch", stdout=terminal, env={"TERM": "dumb"}) as process:
        _, err = process.communicate(timeout=60)
    os.close(desk)
    os.close(terminal)
    assert process.returncode == 2
    assert err.splitlines()[1] == b"hint: agentctl costs --watch -o json   prints a line of JSON per change"
