"""Questions before a run begins; without a terminal it never waits for an answer."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.command_line import KEY, Commands
from tests.support.terminal import at_a_terminal

ENV = f"OPENAI_API_KEY={KEY}\nLLM_MODEL=gpt-4o\nOPENAI_BASE_URL=http://127.0.0.1:9\n"
RUN = ("run", "-o", "json", "hello")
QUESTION = b"Trust this content? y: use it now and from now on; n: ignore it and do not ask again for it [y/N] "


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o644)
    return path


def test_yes_uses_the_project_file_in_this_run_and_later_ones(agentctl: Commands, tmp_path: Path) -> None:
    write(tmp_path / ".env", ENV)
    with at_a_terminal(agentctl, *RUN, script="answer") as at:
        shown = at.shown_until(QUESTION).decode().replace("\r\n", "\n")
        assert shown.startswith(
            "./.env is not trusted. It would set: LLM_MODEL, OPENAI_API_KEY, OPENAI_BASE_URL\n"
            "  OPENAI_BASE_URL decides where tasks and keys are sent\n"
        )
        at.types("y\n")
        code, out, said = at.ended()
    assert code == 0
    document = json.loads(out)
    assert (document["provider"], document["provider_chosen_by"]) == ("scripted", "key OPENAI_API_KEY")
    assert "is not trusted" not in said
    assert "not-to-be-seen" not in shown + said
    ended = agentctl(*RUN, script="answer")
    assert ended.document["provider_chosen_by"] == "key OPENAI_API_KEY"


@pytest.mark.parametrize("typed", ["n\n", "\n", "\x04"])
def test_no_is_remembered_for_this_content(agentctl: Commands, tmp_path: Path, typed: str) -> None:
    path = write(tmp_path / ".env", ENV)
    with at_a_terminal(agentctl, *RUN, script="answer") as at:
        at.shown_until(QUESTION)
        at.types(typed)
        code, out, said = at.ended()
    assert (code, json.loads(out)["provider_chosen_by"]) == (0, "no key, no server")
    assert "is not trusted" not in said
    with at_a_terminal(agentctl, *RUN, script="answer") as at:
        assert QUESTION.decode() not in at.ended()[2]
    write(path, ENV + "# changed\n")
    with at_a_terminal(agentctl, *RUN, script="answer") as at:
        at.shown_until(QUESTION)
        at.types("n\n")
        assert at.ended()[0] == 0


def test_a_trusted_file_that_changed_is_asked_about_as_changed(agentctl: Commands, tmp_path: Path) -> None:
    path = write(tmp_path / ".env", "AGENTCTL_MAX_TURNS=60\n")
    assert agentctl("trust", "--yes").code == 0
    write(path, "AGENTCTL_MAX_TURNS=61\n")
    with at_a_terminal(agentctl, *RUN, script="answer") as at:
        shown = at.shown_until(QUESTION)
        assert shown.startswith(b"./.env has changed since you trusted it. It would set: AGENTCTL_MAX_TURNS\r\n")
        write(path, "AGENTCTL_MAX_TURNS=62\n")
        at.types("y\n")
        _, _, said = at.ended()
    assert "./.env has changed since it was trusted, so this was ignored: AGENTCTL_MAX_TURNS." in said


def test_ctrl_c_at_the_question_sends_nothing(agentctl: Commands, tmp_path: Path, state: Path) -> None:
    write(tmp_path / ".env", ENV)
    with at_a_terminal(agentctl, *RUN, script="answer") as at:
        at.shown_until(QUESTION)
        at.process.send_signal(signal.SIGINT)
        code, out, said = at.ended()
    assert (code, json.loads(out)["status"]) == (130, "interrupted")
    assert "interrupted before the run began; nothing was sent" in said
    assert {path.name for path in state.iterdir()} == {"told"}


def test_sigterm_at_the_question_sends_nothing(agentctl: Commands, tmp_path: Path) -> None:
    write(tmp_path / ".env", ENV)
    with at_a_terminal(agentctl, *RUN, script="answer") as at:
        at.shown_until(QUESTION)
        at.process.send_signal(signal.SIGTERM)
        assert at.ended()[0] == 143


@pytest.mark.parametrize(
    ("words", "env"),
    [(["-q"], {}), (["--yes"], {}), (["--approve", "deny"], {}), (["--provider", "builtin"], {"CI": "true"})],
)
def test_run_without_questions_asks_nothing_and_trusts_nothing(
    agentctl: Commands, tmp_path: Path, words: list[str], env: dict[str, str]
) -> None:
    write(tmp_path / ".env", ENV)
    with at_a_terminal(agentctl, *RUN, *words, script="answer", env=env) as at:
        code, _, said = at.ended()
    assert (code, QUESTION.decode() in said) == (0, False)
    assert ("./.env is not trusted, so this was ignored: " in said) is (words != ["-q"])
    assert agentctl("trust", "--list").out == "no trusted files\n"


def test_untrusted_file_without_a_terminal_is_one_line_once(agentctl: Commands, tmp_path: Path) -> None:
    write(tmp_path / ".env", ENV)
    first, second = agentctl(*RUN, script="answer"), agentctl(*RUN, script="answer")
    assert (first.code, first.err.count("./.env is not trusted")) == (0, 1)
    assert "agentctl trust" in first.err
    assert (second.code, second.err.count("./.env is not trusted")) == (0, 0)
    with at_a_terminal(agentctl, *RUN, script="answer") as at:  # told is not asked
        at.shown_until(QUESTION)
        at.types("n\n")
        assert at.ended()[0] == 0


BACKGROUND = """
import contextlib, os, sys
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.execv(sys.executable, sys.argv[1:])
with contextlib.suppress(PermissionError):  # the child came first, and runs its program already
    os.setpgid(pid, pid)
_, status = os.waitpid(pid, os.WUNTRACED)
if os.WIFSTOPPED(status):
    os.kill(pid, 9)
    sys.exit("stopped")
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_run_in_the_background_is_not_stopped_by_a_question(agentctl: Commands, tmp_path: Path) -> None:
    write(tmp_path / ".env", ENV)
    pid, desk = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        argv = agentctl.argv(["run", "hello"], "answer")
        os.execve(argv[0], [argv[0], "-c", BACKGROUND, *argv], {**os.environ, **agentctl.environ})  # noqa: S606
    shown = b""
    while select.select([desk], [], [], 60)[0]:
        try:
            shown += os.read(desk, 4096)
        except OSError:
            break
    _, status = os.waitpid(pid, 0)
    os.close(desk)
    assert (os.waitstatus_to_exitcode(status), QUESTION in shown) == (0, False), shown


TWO = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}


def test_two_keys_are_asked_about_and_the_choice_is_saved_if_wanted(agentctl: Commands, config: Path) -> None:
    with at_a_terminal(agentctl, *RUN, script="answer", env=TWO) as at:
        shown = at.shown_until(b"Which provider? [1-2] ").decode().replace("\r\n", "\n")
        assert shown.splitlines()[:3] == [
            "keys are set for 2 providers, and none is selected:",
            "  1  openai     gpt-4o-mini (default), key OPENAI_API_KEY",
            "  2  anthropic  claude-haiku-4-5 (default), key ANTHROPIC_API_KEY",
        ]
        at.types("7\n")
        at.shown_until(b"please answer with a number from 1 to 2\r\nWhich provider? [1-2] ")
        at.types("2\n")
        at.shown_until(b"Save it as your default? [y/N] ")
        at.types("y\n")
        code, out, said = at.ended()
    assert (code, json.loads(out)["provider_chosen_by"]) == (0, "your answer")
    assert f"saved llm_provider = anthropic in {config / 'config.toml'}" in said
    assert (config / "config.toml").read_text() == 'llm_provider = "anthropic"\n'
    assert agentctl(*RUN, script="answer", **TWO).document["provider_chosen_by"] == "user config"


def test_two_keys_are_not_asked_about_where_the_model_decides(agentctl: Commands, config: Path) -> None:
    with at_a_terminal(agentctl, *RUN, "-m", "claude-haiku-4-5", script="answer", env=TWO) as at:
        code, out, said = at.ended()
    assert (code, "Which provider?" in said) == (0, False)
    assert json.loads(out)["provider_chosen_by"] == "the model is Anthropic's, key ANTHROPIC_API_KEY"
    ended = agentctl(*RUN, "-m", "gpt-4o", script="answer", ANTHROPIC_API_KEY=KEY)
    assert (ended.code, ended.document["status"]) == (77, "auth")
    assert ended.document["error"] == {
        "kind": "auth",
        "message": "gpt-4o is OpenAI's; no key for it: agentctl providers set-key openai",
        "hint": "or set OPENAI_API_KEY; agentctl models lists the models that you have a key for",
    }


def test_a_choice_that_is_not_saved_holds_for_one_run(agentctl: Commands, config: Path) -> None:
    with at_a_terminal(agentctl, *RUN, script="answer", env=TWO) as at:
        at.shown_until(b"[1-2] ")
        at.types("1\n")
        at.shown_until(b"[y/N] ")
        at.types("n\n")
        assert at.ended()[0] == 0
    assert not config.exists()


def test_no_choice_and_no_terminal_end_with_the_line_to_paste(agentctl: Commands, config: Path) -> None:
    with at_a_terminal(agentctl, *RUN, script="answer", env=TWO) as at:
        at.shown_until(b"[1-2] ")
        at.types("\n")
        code, _, said = at.ended()
    assert (code, "add --provider openai to the run" in said) == (2, True)
    ended = agentctl(*RUN, script="answer", **TWO)
    assert (ended.code, "add --provider openai to the run" in ended.err) == (2, True)
    with at_a_terminal(agentctl, *RUN, script="answer", stderr=subprocess.PIPE, env=TWO) as at:
        assert at.process.wait(timeout=60) == 2


def test_a_choice_that_cannot_be_saved_does_not_stop_the_run(agentctl: Commands, config: Path) -> None:
    config.mkdir()
    (config / "config.toml").symlink_to("elsewhere")
    (config / "elsewhere").write_text("")
    with at_a_terminal(agentctl, *RUN, script="answer", env=TWO) as at:
        at.shown_until(b"[1-2] ")
        at.types("1\n")
        at.shown_until(b"[y/N] ")
        at.types("y\n")
        code, _, said = at.ended()
    assert (code, "warning: llm_provider was not saved: user config" in said) == (0, True)


def test_answer_at_a_non_blocking_terminal_is_waited_for(agentctl: Commands, tmp_path: Path) -> None:
    write(tmp_path / ".env", ENV)
    with at_a_terminal(agentctl, *RUN, script="answer", blocking=False) as at:
        at.shown_until(QUESTION)
        at.types("y\n")
        code, out, _ = at.ended()
    assert (code, json.loads(out)["provider_chosen_by"]) == (0, "key OPENAI_API_KEY")
