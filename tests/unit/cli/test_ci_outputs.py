"""What GitHub gets of a run: outputs, masks and an annotation; read as its runner reads them."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.cli.app import main
from agentctl.cli.ci.ci_flags import CiFlags
from agentctl.cli.ci.log_commands import command, is_step_log, mask_commands
from agentctl.cli.ci.report_files import append_whole
from agentctl.cli.ci.reports import RunReports
from agentctl.cli.ci.step_outputs import output_block
from agentctl.cli.ui.meter import Meter
from agentctl.core.errors import AuthFailed, ProviderUnavailable
from agentctl.core.results import RunResult
from agentctl.settings.ci_system import CiSystem
from tests.support.ci_step import Step, annotated
from tests.support.command_line import Ended
from tests.support.github_runner import RunnerCommand, commands_of, read_file_command
from tests.support.scripted_cli import answer, call

NAMES = ["status", "exit_code", "run_id", "cost_usd", "answer", "structured"]


def test_outputs_are_those_that_the_documentation_names(step: Step) -> None:
    ended = step([call("system_memory"), answer("Two lines:\nall is well.")], "How much memory is used?")
    assert (ended.code, ended.out) == (0, "Two lines:\nall is well.\n")
    outputs = step.outputs
    assert list(outputs) == NAMES
    run_id = outputs.pop("run_id")
    assert run_id in ended.err or run_id[:6] in ended.err
    assert outputs == {
        "status": "done",
        "exit_code": "0",
        "cost_usd": "0.026",
        "answer": "Two lines:\nall is well.",
        "structured": "",
    }
    assert annotated(ended) == []


def test_structured_is_the_line_that_stdout_has(step: Step) -> None:
    ended = step([answer('{"used": 7, "name": "a\\n##[error]b"}')], "--schema", "used:int,name:string", "Look")
    assert step.outputs["structured"] + "\n" == ended.out
    assert "##[" not in ended.out
    assert annotated(ended) == []


def test_an_answer_cannot_set_another_output(step: Step) -> None:
    text = "a\nstatus=failed\nagentctl_0000\nowned<<agentctl_0000\nx\nagentctl_0000\nEOF"
    step([answer(text)], "Look")
    assert list(step.outputs) == NAMES
    assert (step.outputs["status"], step.outputs["answer"]) == ("done", text)


@given(st.dictionaries(st.sampled_from(NAMES), st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_every_value_is_read_back_as_it_is(values: dict[str, str]) -> None:
    assert read_file_command(output_block(values)) == values


def test_a_partial_answer_is_no_output(step: Step) -> None:
    ended = step([call("system_memory"), call("system_load"), answer("So far.")], "--max-turns", "1", "Look")
    assert (ended.code, step.outputs["status"], step.outputs["answer"]) == (1, "failed", "")


def test_a_later_run_overwrites_the_outputs_of_an_earlier_one(step: Step) -> None:
    step([answer("One.")], "Look")
    step.output.write_text(step.output.read_text() + "mine=1")  # without an end of the line
    step([answer("Two.")], "Look")
    assert step.outputs["answer"] == "Two."
    assert step.outputs["mine"] == "1"


def test_a_long_answer_is_cut_with_a_note_and_stays_an_environment_variable(step: Step) -> None:
    step([answer("é" * 90_000)], "Look")
    value = step.outputs["answer"]
    assert value.endswith(f"\n[cut, 180,000 bytes in all: agentctl runs show {step.outputs['run_id']}]")
    assert len(value.encode()) <= 100_000


FAILURES: list[tuple[list[Any], tuple[str, ...], str, str]] = [
    ([AuthFailed("no such key")], (), "auth", "error"),
    ([ProviderUnavailable("it is down")] * 9, (), "unavailable", "error"),
    ([call("write_file", path=".envrc", text="b"), answer("I may not.")], ("Write",), "denied", "error"),
    ([call("system_memory"), answer("x")], ("--max-cost", "0.0001"), "budget", "error"),
    ([call("system_memory")] * 3, ("--max-turns", "1"), "failed", "error"),
    ([], ("--max-turns", "none"), "usage", "error"),
    ([], ("--no-such-flag",), "usage", "error"),
    ([], ("--timeout", "1s", "--input", "missing"), "usage", "error"),
]


@pytest.mark.parametrize(("script", "words", "status", "level"), FAILURES, ids=lambda value: str(value)[:20])
def test_each_end_has_one_annotation_last_and_its_outputs(
    step: Step, script: list[Any], words: tuple[str, ...], status: str, level: str
) -> None:
    ended = step(script, *words, "Look")
    (found,) = annotated(ended)
    assert (found.name, found.properties) == (level, {"title": f"agentctl: {status}"})
    assert commands_of(ended.err.splitlines()[-1]) == [found]
    outputs = step.outputs
    assert list(outputs) == NAMES
    assert (outputs["status"], outputs["exit_code"], outputs["answer"]) == (status, str(ended.code), "")
    said = next(line for line in ended.err.splitlines() if line.startswith("error: ")).removeprefix("error: ")
    assert said in found.data


def test_a_ledger_that_cannot_be_opened_has_its_annotation_and_outputs(step: Step, state: Path) -> None:
    (state / "ledger.db").mkdir(parents=True)
    ended = step([answer("Never.")], "Look")
    (found,) = annotated(ended)
    assert (ended.code, found.name, found.properties) == (74, "error", {"title": "agentctl: state"})
    assert (step.outputs["status"], step.outputs["exit_code"], step.outputs["answer"]) == ("state", "74", "")


def test_no_ci_writes_nothing(step: Step) -> None:
    ended = step([AuthFailed("no such key")], "--no-ci", "-v", "Look")
    assert (ended.code, step.output.read_text(), step.summary.read_text()) == (77, "", "")
    assert commands_of(ended.err) == []
    assert step([], "--no-ci", "--no-such-flag", "Look").code == 2
    assert step.output.read_text() == ""


def test_a_run_that_is_done_is_a_warning_only_where_something_is_to_be_seen(step: Step) -> None:
    ended = step([call("write_file", path="Makefile", text="all:\n"), answer("Made.")], "Write", "-q")
    assert ended.code == 0
    assert annotated(ended) == []
    (found,) = annotated(step([call("write_file", path="Makefile", text="all:\n"), answer("Made.")], "Write"))
    assert (found.name, found.data) == ("warning", "changed files that other programs run later: Makefile")


@pytest.mark.parametrize("place", ["missing/file", ".", "full"])
def test_outputs_that_cannot_be_written_are_one_warning(
    step: Step, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", "/dev/full" if place == "full" else place)
    ended = step([answer("Well.")], "Look")
    assert (ended.code, ended.out) == (0, "Well.\n")
    (line,) = [line for line in ended.err.splitlines() if line.startswith("warning: ")]
    assert line.startswith(f"warning: not written: GITHUB_OUTPUT {'/dev/full' if place == 'full' else place}: ")


def test_a_step_without_the_variables_gets_no_files_and_no_warning(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_OUTPUT")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    ended = step([answer("Well.")], "Look")
    assert (ended.code, step.output.read_text()) == (0, "")
    assert "warning" not in ended.err


def test_a_run_that_does_not_go_on_has_its_id_and_what_it_has_cost(
    step: Step, capsys: pytest.CaptureFixture[str]
) -> None:
    step([call("system_memory"), answer("Well.")], "Look")
    run_id = step.outputs["run_id"]
    code = main(("runs", "resume", run_id))  # without words: there is nothing to go on with
    ended = Ended(code, *capsys.readouterr())
    assert [one.properties for one in annotated(ended)] == [{"title": "agentctl: usage"}]
    outputs = step.outputs
    assert (code, outputs["run_id"], outputs["cost_usd"], outputs["status"]) == (2, run_id, "0.026", "usage")
    code = main(("runs", "resume", "nosuch", "--bad"))
    assert (code, step.outputs["run_id"], step.outputs["cost_usd"]) == (2, "", "0")


def test_a_bug_in_a_report_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    reports = RunReports(CiSystem("github"), CiFlags())
    reports.take(cast("RunResult", None), meter=Meter(), steps=())
    reports.finish()
    assert capsys.readouterr().err == "warning: not written: reports: AttributeError\n"


# --- masks ------------------------------------------------------------------------------------------------------


def masked(ended: Ended) -> list[str]:
    """Return what the runner masks before any other line; the run makes the last secret itself, later."""
    found = commands_of(ended.err)
    *masks, own = [one.data for one in found if one.name == "add-mask"]
    assert re.fullmatch(r"[0-9a-f]{64}", own)
    lines = ended.err.splitlines()
    assert all(line.startswith("::add-mask::") for line in lines[: len(masks)])
    return masks


def test_every_key_is_masked_before_anything_else(step: Step, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-100%25-of-it")
    monkeypatch.setenv("DEPLOY_TOKEN", "-----BEGIN KEY-----\nline-of-the-key\n{\n-----END KEY-----")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    monkeypatch.setenv("SHARE", "agentctl-lease-1.of-this-job")
    monkeypatch.setenv("AGENTCTL_NOSUCH", "x")  # of which a note tells at once
    monkeypatch.setenv("OLLAMA_HOST", "http://me:pass-of-ollama@127.0.0.1:9")
    config = Path(os.environ["AGENTCTL_CONFIG_DIR"])
    config.mkdir(mode=0o700)
    (config / ".env").write_text("ANTHROPIC_API_KEY=sk-ant-of-the-user\n")
    (config / ".env").chmod(0o600)
    (tmp_path / "more.env").write_text("GROQ_API_KEY=gsk-of-the-env-file\n")
    ended = step([answer("Well.")], "--env-file", "more.env", "Look")
    masks = masked(ended)
    assert ended.code == 0
    assert masks[:4] == ["sk-100%25-of-it", "-----BEGIN KEY-----", "line-of-the-key", "-----END KEY-----"]
    assert masks[4] == "agentctl-lease-1.of-this-job"
    assert "AGENTCTL_NOSUCH" in ended.err
    assert {"pass-of-ollama", "sk-ant-of-the-user", "gsk-of-the-env-file"} <= set(masks)
    assert not {"abc", "{"} & set(masks)
    assert len(masks) == len(set(masks))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_each_line_of_a_secret_is_one_mask_as_it_stands(secret: str) -> None:
    found = [one for line in mask_commands(secret) for one in commands_of(line)]
    whole = [line.strip() for line in secret.replace("\r", "\n").split("\n")]
    assert [one.data for one in found] == list(dict.fromkeys(line for line in whole if len(line) >= 8))
    assert all(one.name == "add-mask" for one in found)


@given(st.text(), st.text().map(str.strip).filter(bool))
def test_a_command_is_read_as_it_was_written(data: str, title: str) -> None:
    (found,) = commands_of(command("error", data, {"title": title}))
    assert found == RunnerCommand("error", data, {"title": title})


def test_masks_are_written_only_where_stderr_is_the_log_of_the_step(tmp_path: Path) -> None:
    # the runner's program starts a shell, whose stderr is a pipe of the runner
    program = "from agentctl.cli.ci.log_commands import is_step_log; print(is_step_log(2))"
    script = tmp_path / "step.sh"
    asked = f'{sys.executable} -c "{program}"'
    script.write_text(
        f"{asked}\nsh -c '{asked.replace(chr(39), '')}'; :\n{asked} 2>file\n{{ {asked}; }} 2>&1 | tee all\n"
        f"(sh -c '{asked}; :') 2>&1 | tee all\n"
    )
    runner = (
        "import ctypes, subprocess, sys\n"
        "ctypes.CDLL(None).prctl(15, b'Runner.Worker', 0, 0, 0)\n"
        f"done = subprocess.run(['bash', {str(script)!r}], capture_output=True, text=True)\n"
        "print(done.stdout, done.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", runner], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split() == ["True", "True", "False", "False", "False"]
    assert not is_step_log(os.open(tmp_path / "file", os.O_RDONLY))


# --- files that others write, too -------------------------------------------------------------------------------


def test_blocks_of_many_writers_are_not_torn(tmp_path: Path) -> None:
    file = tmp_path / "output"
    file.touch()
    blocks = [output_block({"answer": f"{number}\n" * 20_000}) for number in range(8)]
    threads = [
        threading.Thread(target=append_whole, args=(str(file), lambda size, block=block: block.encode()))
        for block in blocks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(file.read_text().split("answer<<")[1:]) == sorted(block.split("answer<<")[1] for block in blocks)


def test_a_block_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    import resource
    import signal

    file = tmp_path / "output"
    file.write_text("mine=1\n")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            append_whole(str(file), lambda size: b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_text() == "mine=1\n"


def test_a_lock_that_nobody_gives_back_delays_a_block_and_loses_nothing(tmp_path: Path) -> None:
    file = tmp_path / "output"
    file.touch()
    with file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        append_whole(str(file), lambda size: b"a=1\n", patience_s=0.05)
    assert file.read_text() == "a=1\n"
