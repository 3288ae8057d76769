"""TAB in a real bash, zsh and fish, with the scripts that `agentctl completion` prints; and the page for a real man."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.command_line import Commands

#: Each shell without the user's files, and what it is told at its start.
SHELLS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        "bind 'set bell-style none'; bind 'set show-all-if-ambiguous on'",
    ),
    "zsh": (["zsh", "-f", "-i"], "unsetopt beep listambiguous; PROMPT_EOL_MARK="),
}
#: A line up to TAB, and what then stands on the screen: the completed line, or words that are offered.
LINES = {
    "agentctl run --provider ope": ("openai", "openrouter"),
    "agentctl run --provider=anthr": ("--provider=anthropic",),
    "agentctl run -m ollama/llama3.1:la": ("ollama/llama3.1:latest",),
    "agentctl run --agent d": ("--agent docker",),
    "agentctl costs --by model,d": ("--by model,day",),
    "agentctl help exi": ("help exit-codes",),
    "agentctl config set approve den": ("approve deny",),
    "agentctl run --input a-fi": ("--input a-file.txt",),
    "agentctl run --input=a-fi": ("--input=a-file.txt",),
    "agentctl run --workdir=a-fo": ("--workdir=a-folder",),
    "agentctl run --workdir a-fo": ("--workdir a-folder",),
}


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A folder with the command ``agentctl``, and beside it a file and a folder to complete."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "agentctl").write_text(f'#!/bin/sh\nexec {fork_server.command()} "$@"\n')
    (folder / "agentctl").chmod(0o755)
    (tmp_path / "a-file.txt").touch()
    (tmp_path / "a-folder").mkdir()
    return folder


class Shell:
    """An interactive shell at a terminal of its own."""

    def __init__(self, desk: int) -> None:
        self.desk = desk

    def types(self, text: str, *expected: str) -> str:
        """Type ``text``; return what the shell showed until ``expected`` was all there."""
        os.write(self.desk, text.encode())
        shown, until = "", time.monotonic() + 20
        while not all(word in shown for word in expected) and time.monotonic() < until:
            if select.select([self.desk], [], [], 0.2)[0]:
                shown += os.read(self.desk, 65536).decode(errors="replace")
        return shown

    def is_quiet_after(self, text: str, *, seconds: float) -> str:
        """Type ``text``; return what the shell shows within ``seconds``."""
        os.write(self.desk, text.encode())
        shown, until = "", time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self.desk], [], [], left)[0]:
                shown += os.read(self.desk, 65536).decode(errors="replace")
        return shown


@contextmanager
def interactive(name: str, bin_folder: Path) -> Iterator[Shell]:
    argv, begin = SHELLS[name]
    home = bin_folder.parent
    env = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(home), "TERM": "xterm", "PS1": "$ "}
    desk, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    process = subprocess.Popen(
        argv, cwd=home, env=env, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    try:
        shell = Shell(desk)
        shell.types(f"{begin}; source <(agentctl completion {name}); echo rea''dy\n", "ready\r\n")
        yield shell
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(desk)


@pytest.mark.needs("bash", "zsh")
@pytest.mark.parametrize("name", SHELLS)
def test_tab_completes_values_files_and_folders(name: str, bin_folder: Path) -> None:
    with interactive(name, bin_folder) as shell:
        for line, expected in LINES.items():
            missing = [word for word in expected if word not in shell.types(f"{line}\t", *expected)]
            assert missing == [], line
            shell.is_quiet_after("\x15", seconds=0.2)
        shown = shell.is_quiet_after("agentctl run --max-turns \t\t", seconds=1.5)
        assert "a-file" not in shown
        assert "a-folder" not in shown


@pytest.mark.needs("fish")
def test_tab_in_fish_offers_values_files_and_folders(bin_folder: Path) -> None:
    asked = [*LINES, "agentctl run --max-turns "]
    lines = "\n".join(f"echo \"> {line}\"; complete -C '{line}'" for line in asked)
    script = f"agentctl completion fish | source\n{lines}\n"
    env = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(bin_folder.parent)}
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        cwd=bin_folder.parent,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    offered = dict(part.split("\n", 1) for part in done.stdout.split("> ")[1:])
    for line, expected in LINES.items():
        found = [word.partition("\t")[0].removesuffix("/") for word in offered[line].splitlines()]
        assert found == [word.split()[-1] for word in expected], line
    assert offered["agentctl run --max-turns "] == ""


@pytest.mark.needs("groff")
@pytest.mark.parametrize("width", [60, 80])
def test_the_manual_is_set_without_a_warning(agentctl: Commands, width: int) -> None:
    page = agentctl("completion", "man")
    assert (page.code, page.err) == (0, "")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", f"-rLL={width}n"],
        input=page.out,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    text = done.stdout
    assert "--keep-last-n-assistant-messages N" in text
    assert "agentctl run --allow 'docker_restart(name=web)' \"Fix web\"" in text
    assert "exit-codes" in text
