"""Every list at a terminal of 40 to 100 columns, and in a pipe."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import sys
import termios
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from agentctl.cli.error_output import print_error
from agentctl.cli.ui.cells import cell_width
from tests.support.command_line import Here
from tests.support.ledger.spending import Spender
from tests.support.terminal import read_until

#: Amounts, run ids and times: what must stand in one piece.
EXACT = re.compile(r"\$[\d.,]*\d|\b[0-9a-f]{12}\b|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
#: What is left in one piece though it is wider: a command to paste, a path.
WHOLE = re.compile(r"agentctl |sudo |--allow |^\S+$")
LISTS = (
    *("runs list", "ledger check", "costs --by model,run", "costs --by day,purpose", "ledger reprice --by model"),
    *("providers list", "agents list", "agents show docker", "tools list", "tools show read_file"),
    *("config show", "config show --all", "config path", "trust --list", "doctor --offline"),
    *("policy check docker_restart(name=web)", "run --estimate Why?", "models", "models gpt-4o"),
)
AtTerminal = Callable[..., list[str]]


@pytest.fixture
def at_terminal(here: Here, monkeypatch: pytest.MonkeyPatch) -> AtTerminal:
    """Run a command in this process whose stdout is a terminal; return the lines that it shows."""

    def run(*words: str, width: int) -> list[str]:
        desk, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        shown: list[bytes] = []

        def read() -> None:
            try:
                while piece := os.read(desk, 65536):
                    shown.append(piece)
            except OSError:  # the command's end is closed
                pass

        reader = threading.Thread(target=read)
        reader.start()
        with os.fdopen(slave, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            here(*words)
        reader.join()
        os.close(desk)
        text = re.sub(r"\x1b\[[0-9;]*m", "", b"".join(shown).decode().replace("\r\n", "\n"))
        return text.rstrip("\n").split("\n")

    return run


@pytest.fixture
def past(here: Here, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs with long names, one of them in doubt; a trusted folder; settings of all kinds."""
    monkeypatch.setenv("AGENTCTL_SANDBOX", "none")
    monkeypatch.setenv("MAX_COST_PER_TASK", "0.000099")
    monkeypatch.setenv("AGENTCTL_DENY", "docker_rm,docker_stop(name=web-frontend-production-eu-west-1)")
    (tmp_path / ".env").write_text("AGENTCTL_MAX_TURNS=7\n")
    assert here("trust", "--yes").code == 0
    for task, script in (
        ("Why did web-frontend-production-eu-west-1 restart three times within the last hour?", "answer"),
        ("数据库容器为什么重启了 and 🐳\nin two lines", "tools"),
        ("broken", "auth"),
    ):
        assert "run " in here("run", "--max-cost", "1.5", task, script=script).err
    anyio.run(_leave_in_doubt, state / "ledger.db")


async def _leave_in_doubt(path: Path) -> None:
    spender = Spender(path, datetime.now(UTC) - timedelta(minutes=30))
    await spender.run("b6bedc4ff1e0")
    await spender.call("b6bedc4ff1e0", 12345, model="a-fine-tuned-model-2026-11-01-with-a-long-name")
    await spender.call("b6bedc4ff1e0", 99, model="openai/gpt-4o-mini-2026-07-18", end="doubt")
    await spender.call("b6bedc4ff1e0", 1, model="small", end="sent")
    await spender.ledger.aclose()


@pytest.mark.usefixtures("past")
def test_each_list_fits_the_terminal_and_cuts_no_amount_id_or_time(here: Here, at_terminal: AtTerminal) -> None:
    for command in LISTS:
        plain = here(*command.split())
        assert (plain.code in (0, 3, 5), len(plain.out.splitlines()) > 1) == (True, True), (command, plain)
        whole = set(EXACT.findall(plain.out))
        for width in (100, 80, 60, 40):
            lines = at_terminal(*command.split(), width=width)
            wide = [line for line in lines if cell_width(line) > width and not WHOLE.search(line.strip())]
            assert wide == [], (command, width)
            shown = {word for line in lines for word in EXACT.findall(line)}
            assert {word for word in shown - whole if "-" not in word} == set(), (command, width)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_model_can_be_pasted_from_the_list_at_any_width(here: Here, at_terminal: AtTerminal, width: int) -> None:
    names = {line.split()[1] for line in here("models", "openai/gpt-4o").out.split("\n\n")[0].splitlines()[1:]}
    lines = at_terminal("models", "openai/gpt-4o", width=width)
    assert names <= {word for line in lines for word in line.split()}
    assert max(map(len, lines)) <= width


def test_empty_note_is_no_column_where_room_is_short(at_terminal: AtTerminal) -> None:
    header, *_ = at_terminal("models", "sonnet-4", "anthropic/", width=80)
    assert header.split() == ["provider", "model", "key", "context", "in/M", "out/M"]


@pytest.mark.parametrize("width", [60, 80])
def test_list_of_topics_is_wrapped_between_words(here: Here, at_terminal: AtTerminal, width: int) -> None:
    lines = at_terminal("help", width=width)
    assert max(map(len, lines)) <= width
    assert " ".join(" ".join(lines).split()) == " ".join(here("help").out.split())


def test_error_before_a_run_is_wrapped_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "the price of openai/nosuch-xyz is unknown, and a dollar limit is set"
    desk, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 40, 0, 0))
    with os.fdopen(slave, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        print_error(said, "set its price in config.toml, or lift the limit")
        print_error(f"no key: agentctl providers set-key {'x' * 40}", "")
        stream.flush()
        lines = read_until(desk, b"x\r\n").decode().split("\r\n")
    os.close(desk)
    assert lines[:5] == ["error: the price of openai/nosuch-xyz is", "  unknown, and a dollar limit is set",
                         "hint: set its price in config.toml, or", "  lift the limit",
                         f"error: no key: agentctl providers set-key {'x' * 40}"]  # fmt: skip


def test_table_of_an_answer_fits_the_terminal(here: Here, at_terminal: AtTerminal) -> None:
    asked = ("run", "--provider", "builtin", "How much memory is free?")
    assert max(map(len, here(*asked).out.splitlines())) > 36
    lines = at_terminal(*asked, width=36)
    assert max(map(len, lines)) <= 36
    assert lines[0].split() == ["memory", "RAM"]


@pytest.mark.usefixtures("past")
def test_list_in_a_pipe_is_cut_by_nothing(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    lines = here("runs", "list").out.splitlines()
    assert len(lines) == 4
    assert lines[1].endswith("  broken")
    assert lines[2].endswith("  数据库容器为什么重启了 and 🐳 in two lines")
    assert lines[3].endswith("  Why did web-frontend-production-eu-west-1 restart three times within the last hour?")


@pytest.mark.usefixtures("past")
def test_config_show_prints_what_is_set_and_all_the_rest_by_section(here: Here, tmp_path: Path) -> None:
    out = here("config", "show").out
    rows = out[: out.index("\n\n")].splitlines()
    assert [row.split()[0] for row in rows] == [
        *("setting", "ollama_host", "max_cost_per_task", "max_turns", "deny", "sandbox"),
        *("state_dir", "config_dir", "cache_dir"),
    ]
    assert rows[3].split()[1:3] == ["7", "30"]
    assert rows[3].endswith(f"trusted project file {tmp_path / '.env'}")
    count = re.search(r"^(\d+) settings are at their defaults:\n  agentctl config show --all$", out, re.MULTILINE)
    every = here("config", "show", "--all").out
    assert '\n\nLimits; "none" disables one:\nmax_cost_per_task ' in every
    assert re.search(r"^llm_model +the provider's default +default$", every, re.MULTILINE)
    document = here("config", "show", "--json").document["settings"]
    assert count is not None
    assert int(count[1]) == sum(not found["is_set"] for found in document.values())
    assert document["llm_model"] == {
        "value": "", "source": "default", "default": "the provider's default", "is_set": False,
    }  # fmt: skip
