"""configs/ask.sh acts on each way in which a run can end, and passes nothing on as an answer that is none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agentctl.cli.exit_codes import ExitStatus
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Fault
from tests.support.workflows.machines import KEY, ROOT, model_environ, put_agentctl, put_command

SCRIPT = ROOT / "configs" / "ask.sh"
#: The exit code of a run -> that of the script, and a word of what it says.
ENDS = {
    0: (0, ""),
    1: (1, "no answer"),
    2: (78, "the set-up is wrong"),
    3: (75, "a limit was reached"),
    4: (75, "the provider is down"),
    5: (78, "it needed what it may not do"),
    6: (78, "a sandbox that is not here"),
    7: (78, "a log that does not fit"),
    69: (78, "an unknown model"),
    70: (1, "agentctl itself failed"),
    74: (1, "its ledger or disk"),
    75: (75, "busy"),
    77: (78, "a key"),
    124: (75, "the time is up"),
    129: (129, "stopped"),
    130: (130, "stopped"),
    131: (131, "stopped"),
    141: (141, "stopped"),
    143: (143, "stopped"),
}


def ask(tmp_path: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the script with the programs of a folder before the others."""
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", **environ}
    return subprocess.run(
        [str(SCRIPT), *words],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("code", [*ENDS, 127, 137])
def test_each_end_of_a_run_has_its_branch(tmp_path: Path, code: int) -> None:
    put_command(tmp_path / "bin", "agentctl", f'echo "half an answer"; exit {code}')
    done = ask(tmp_path, "log")
    wanted, said = ENDS.get(code, (code, "did not start, or was killed"))
    assert (done.returncode, said in done.stderr) == (wanted, True), done.stderr
    assert done.stdout == ("half an answer\n" if code == 0 else "")


def test_each_exit_code_of_the_program_has_its_branch() -> None:
    assert {int(status) for status in ExitStatus} == set(ENDS)


@pytest.mark.parametrize(
    ("answer", "most_usd", "code"),
    [
        (Answer("Line 3."), "0.10", 0),
        (Fault(401), "0.10", 78),
        (Answer("no"), "0.0000001", 75),
        (Answer("no"), "x", 78),
    ],
)
def test_script_asks_a_model(tmp_path: Path, wire: OpenWire, answer: Answer | Fault, most_usd: str, code: int) -> None:
    (tmp_path / "log").write_text('1 fine\n2 $(touch pwned)\n3 error: "disk full"\n')
    put_agentctl(tmp_path / "bin")
    server = wire(answer, repeat=True)
    env = {"OPENAI_API_KEY": KEY, "LLM_PROVIDER": "openai", **model_environ(server)}
    done = ask(tmp_path, "log", ASK_MOST_USD=most_usd, **env)
    assert (done.returncode, done.stdout) == (code, "Line 3.\n" if code == 0 else ""), done.stderr
    assert not (tmp_path / "pwned").exists()


def test_script_without_a_log_says_what_it_wants(tmp_path: Path) -> None:
    done = ask(tmp_path)
    assert (done.returncode != 0, "the log to read: ask.sh LOG" in done.stderr) == (True, True)
