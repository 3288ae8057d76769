"""stdout and stderr that take a part, or nothing for a while: small disks, and descriptors set to O_NONBLOCK."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.integration.cli.parts import run_into_closed_pipe, wait_for_file
from tests.support.command_line import Commands
from tests.support.disks import small_disk
from tests.support.output_schemas import check_output
from tests.support.screen.terminals import Person, until

LENGTH = 100_000  # of the answer of the script "long"
#: As the interpreter starts by itself, and as it does in most container images.
BUFFERING = pytest.mark.parametrize("env", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "-u"])


class Sink:
    """A descriptor for a command to write to, and what a slow reader gets from it."""

    def __init__(self, ours: int, theirs: int) -> None:
        os.set_blocking(theirs, False)
        self.theirs, self.taken = theirs, b""
        self._ours = ours
        self._reader = threading.Thread(target=self._read)

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._ours, 2000)
            except OSError:  # a terminal whose other end is closed
                return
            if not piece:
                return
            self.taken += piece
            time.sleep(0.001)  # slower than the command

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read until all that wrote have closed it."""
        self._reader.start()
        yield
        os.close(self.theirs)
        self._reader.join(60)
        os.close(self._ours)


def pipe() -> Sink:
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    return Sink(ours, theirs)


def terminal() -> Sink:
    return Sink(*pty.openpty())


def line() -> Sink:
    one, other = socket.socketpair()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return Sink(one.detach(), other.detach())


SINKS = pytest.mark.parametrize("make", [pipe, terminal, line], ids=["pipe", "terminal", "socket"])


def journal() -> str:
    """Return what the journal of the only run holds so far."""
    return "".join(file.read_text() for file in Path(os.environ["AGENTCTL_STATE_DIR"], "runs").glob("*.jsonl"))


@BUFFERING
def test_a_disk_that_takes_a_part_of_the_document_ends_with_74(
    agentctl: Commands, tmp_path: Path, env: dict[str, str]
) -> None:
    with small_disk(tmp_path / "small", "size=16k") as disk, (disk / "out").open("wb") as out:
        with agentctl.start("run", "-q", "--json", "say it", script="long", stdout=out, env=env) as process:
            _, err = process.communicate(timeout=60)
        assert 0 < (disk / "out").stat().st_size <= 16_384
    assert process.returncode == 74
    assert err.startswith(b"error: stdout cannot be written: No space left on device\n")
    assert b"Traceback" not in err


@BUFFERING
@SINKS
def test_an_answer_is_whole_on_a_descriptor_that_does_not_block(
    agentctl: Commands, make: Callable[[], Sink], env: dict[str, str]
) -> None:
    sink = make()
    with (
        sink.reading(),
        agentctl.start("run", "-q", "--json", "say it", script="long", stdout=sink.theirs, env=env) as p,
    ):
        _, err = p.communicate(timeout=60)
    assert (p.returncode, err) == (0, b"")
    check_output(sink.taken.decode())
    assert len(json.loads(sink.taken)["answer"]) == LENGTH


@SINKS
def test_records_are_whole_on_a_descriptor_that_does_not_block(agentctl: Commands, make: Callable[[], Sink]) -> None:
    sink = make()
    with sink.reading(), agentctl.start("run", "-q", "-o", "jsonl", "say it", script="long", stdout=sink.theirs) as p:
        p.communicate(timeout=60)
    check_output(sink.taken.decode())
    *_, last = map(json.loads, sink.taken.splitlines())
    assert (p.returncode, last["event"], len(last["answer"])) == (0, "run_finished", LENGTH)


@BUFFERING
def test_answer_summary_and_errors_are_all_on_a_terminal_that_does_not_block(
    agentctl: Commands, env: dict[str, str]
) -> None:
    sink = terminal()
    with sink.reading():
        for code, words in ((0, ("run", "say it")), (2, ("run", "--provider", "nosuch", "say it"))):
            given = {**env, "TERM": "dumb"}
            with agentctl.start(*words, script="long", stdout=sink.theirs, stderr=sink.theirs, env=given) as process:
                assert process.wait(60) == code
    assert sink.taken.count(b"x") >= LENGTH
    *_, summary, error = [row for row in sink.taken.decode().splitlines() if not row.startswith("x")]
    assert re.match(r"\[\w{6}\] done · 1 turn · ", summary)
    assert error.startswith("error: ")
    assert error.endswith(" supports, such as xai")


def test_help_is_whole_on_a_pipe_that_does_not_block(agentctl: Commands) -> None:
    sink = pipe()
    with sink.reading(), agentctl.start("run", "--help", stdout=sink.theirs) as process:
        process.communicate(timeout=60)
    assert (process.returncode, sink.taken.decode()) == (0, agentctl("run", "--help").out)


def test_a_stderr_that_nobody_reads_costs_lines_and_never_the_answer(agentctl: Commands) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    os.write(writing, b"#" * 4095 + b"\n")
    with agentctl.start("run", "-v", "look around", script="a tool when told", stderr=writing) as process:
        wait_for_file(agentctl.folder / "reached", process)
        os.read(reading, 4096)  # from now on somebody reads
        (agentctl.folder / "go").touch()
        out, _ = process.communicate(timeout=60)
    os.close(writing)
    with os.fdopen(reading, "rb") as rest:
        said = rest.read().decode().splitlines()
    assert (process.returncode, out) == (0, b"never said\n")
    assert said[0].startswith("agentctl: ")
    assert said[0].endswith(" left out here: stderr had no reader")
    assert said[1:3] == ["Looking with system_memory.", "turn 1 · system_memory() · $0.013"]
    assert said[-1].startswith("done · 2 turns · ")


def test_the_live_view_is_whole_on_a_terminal_that_does_not_block_and_is_read_late(
    at_terminal: Callable[..., Person],
) -> None:
    person = at_terminal("restart", "run", "Restart it", "--yes", STORY_NONBLOCKING="1", STORY_PACE="0.03")
    until(lambda: journal().count('"event":"turn_started"') > 1, "another turn, without a reader")
    code, shown = person.leaves()
    assert code == 0, shown
    assert person.raw.count("\x1b[?25l") == person.raw.count("\x1b[?25h")
    assert [row for row in shown.splitlines() if row.startswith("done · 3 turns · ")]
    assert "is healthy again" in shown


# --- a reader that leaves ---------------------------------------------------------------------------------------


def leaves_in_mid_call(agentctl: Commands, form: str, script: str) -> tuple[int, str, str]:
    """Run until the first call is under way, go away, and let it be answered; return the code, stdout, stderr."""
    with agentctl.start("run", "-q", "-o", form, "look around", script=script) as process:
        wait_for_file(agentctl.folder / "reached", process)
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.readline() if form == "jsonl" else b""
        process.stdout.close()
        (agentctl.folder / "go").touch()
        err = process.stderr.read()
        return process.wait(60), said.decode(), err.decode()


def calls_sent() -> int:
    return journal().count('"event":"call_sent"')


@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
@pytest.mark.parametrize("script", ["a tool when told", "cut when told"], ids=["the next turn", "a retry"])
def test_no_further_call_is_sent_when_the_reader_has_left(agentctl: Commands, form: str, script: str) -> None:
    code, said, err = leaves_in_mid_call(agentctl, form, script)
    assert (code, calls_sent()) == (141, 1)
    assert "error: stdout has no reader any more; no further call was sent\nhint: agentctl runs show " in err
    assert form != "jsonl" or json.loads(said)["event"] == "run_started"
    (run,) = agentctl("runs", "list", "--json").document["runs"]
    assert (run["status"], agentctl("ledger", "check").code) == ("reader_gone", 0)


@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_nothing_is_sent_when_nobody_reads_from_the_start(agentctl: Commands, form: str) -> None:
    ended = run_into_closed_pipe(agentctl, "run", "-q", "-o", form, "say it", script="long")
    assert (ended.code, calls_sent()) == (141, 0)
    assert agentctl("costs", "--json").document["total"]["calls"] == 0


@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_nothing_is_sent_when_stdout_is_closed_or_open_for_reading(agentctl: Commands, form: str) -> None:
    with Path(os.devnull).open("rb") as reading:  # as a closed stdout is opened
        process = agentctl.start("run", "-q", "-o", form, "say it", script="long", stdout=reading)
        with process:
            _, err = process.communicate(timeout=60)
    assert (process.returncode, calls_sent()) == (74, 0)
    assert form != "text" or b"error: stdout is not open for writing; no call was sent\nhint: " in err


@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_a_reader_that_leaves_during_the_last_call_changes_nothing(agentctl: Commands, form: str) -> None:
    code, _, err = leaves_in_mid_call(agentctl, form, "long, when told")
    assert (code, err, calls_sent()) == (0, "", 1)


def test_a_failed_run_whose_reader_has_left_keeps_its_code(agentctl: Commands) -> None:
    code, _, err = leaves_in_mid_call(agentctl, "json", "refused when told")
    assert (code, err) == (77, "error: the key was rejected\nhint: set another\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sent", "code", "status"),
    [((), signal.SIGTERM, 143, "terminated"), (("--timeout", "1s"), None, 124, "timeout")],
    ids=["SIGTERM", "--timeout"],
)
def test_reader_that_takes_nothing_keeps_no_run_from_ending(
    agentctl: Commands, words: tuple[str, ...], sent: int | None, code: int, status: str
) -> None:
    full = pipe()
    with suppress(BlockingIOError):
        while os.write(full.theirs, bytes(4096)):
            pass
    os.set_blocking(full.theirs, True)
    with agentctl.start(
        "run", "-q", "-o", "jsonl", *words, "look around", script="mid-call", stdout=full.theirs
    ) as run:
        until(journal, "a journal")
        if sent is not None:
            run.send_signal(sent)
        assert run.wait(60) == code
    assert f'"status":"{status}"' in journal()


def test_a_free_lookup_into_a_closed_pipe_ends_silently(agentctl: Commands) -> None:
    ended = run_into_closed_pipe(agentctl, "run", "-q", "--provider", "builtin", "How much memory is used?")
    assert (ended.code, ended.err) == (0, "")


# --- colours ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("term", ["dumb", "", "unknown"])
@pytest.mark.parametrize(
    "words", [("run", "look around"), ("doctor", "--offline"), ("--help",)], ids=["run", "doctor", "help"]
)
def test_a_terminal_without_capabilities_gets_no_colours(agentctl: Commands, words: tuple[str, ...], term: str) -> None:
    script = "tools" if words[0] == "run" else None
    sink = terminal()
    with (
        sink.reading(),
        agentctl.start(*words, script=script, env={"TERM": term}, stdout=sink.theirs, stderr=sink.theirs) as process,
    ):
        process.wait(60)
    assert b"agentctl" in sink.taken or b"done looking" in sink.taken
    assert b"\x1b" not in sink.taken


@pytest.mark.parametrize("env", [{"FORCE_COLOR": "0"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}], ids=["0", "and-no"])
def test_help_in_a_pipe_obeys_force_color_as_every_command_does(env: dict[str, str]) -> None:
    """A cold process: rich and typer read the environment when they are imported."""
    given = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "TERM": "xterm", **env}
    words = (sys.executable, "-P", "-m", "agentctl", "--help")
    ended = subprocess.run(words, env=given, capture_output=True, timeout=60, check=True)
    assert b"agentctl" in ended.stdout
    assert b"\x1b" not in ended.stdout
