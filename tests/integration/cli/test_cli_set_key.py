"""``agentctl providers set-key``: a key from a pipe or from a person, and from nowhere else."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.command_line import KEY, Commands, Here, row
from tests.support.terminal import at_a_terminal


def test_set_key_saves_what_a_pipe_brings(agentctl: Commands, config: Path) -> None:
    ended = agentctl("providers", "set-key", "OpenAI", stdin=f"  {KEY}\nand more\n")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"saved OPENAI_API_KEY sk-…7890 in {config / '.env'}\n"
    assert (config / ".env").read_text() == f"OPENAI_API_KEY={KEY}\n"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (config, config / ".env")] == [0o700, 0o600]
    found = row(agentctl("providers", "list", "--json").document, "openai")
    assert found["chosen"] is True
    removed = agentctl("providers", "set-key", "openai", "--unset", "--json")
    assert (removed.code, removed.document["changed"], removed.document["masked"]) == (0, True, None)
    assert removed.err == f"removed OPENAI_API_KEY from {config / '.env'}\n"
    assert (config / ".env").read_text() == ""
    again = agentctl("providers", "set-key", "openai", "--remove")
    assert (again.code, again.err) == (0, f"OPENAI_API_KEY is not set in {config / '.env'}\n")


def test_set_key_saves_the_key_of_a_provider_of_the_users_own(agentctl: Commands, config: Path) -> None:
    config.mkdir(parents=True)
    lines = '[providers.lab]\nbase_url = "http://10.0.0.5/v1"\n[providers.eu]\nbase_url = "http://10.0.0.6/v1"\n'
    (config / "config.toml").write_text(f'{lines}api_key_env = "OPENAI_API_KEY"\n')
    ended = agentctl("providers", "set-key", "lab", stdin=KEY)
    assert (ended.code, ended.err) == (0, f"saved LAB_API_KEY sk-…7890 in {config / '.env'}\n")
    assert (config / ".env").read_text() == f"LAB_API_KEY={KEY}\n"
    listed = row(agentctl("providers", "list", "--json").document, "lab")
    assert listed["key"] == {
        "needed": True,
        "name": "LAB_API_KEY",
        "masked": "sk-…7890",
        "from": f"user .env {config / '.env'}",
    }
    other = agentctl("providers", "set-key", "lab", stdin=KEY, LAB_API_KEY="sk-another-one-0000")
    assert "LAB_API_KEY in the environment has another value" in other.err
    assert agentctl("providers", "set-key", "lab", "--unset").err == f"removed LAB_API_KEY from {config / '.env'}\n"
    shared = agentctl("providers", "set-key", "eu", stdin=KEY)
    assert (shared.code, "hint: agentctl providers set-key openai" in shared.err) == (2, True)
    unknown = agentctl("providers", "set-key", "labb", stdin=KEY)
    assert (unknown.code, 'did you mean "lab"?' in unknown.err) == (2, True)


def test_set_key_says_so_when_the_environment_has_the_last_word(agentctl: Commands) -> None:
    words = ("providers", "set-key", "openai")
    other = agentctl(*words, stdin=KEY, OPENAI_API_KEY="sk-another-one-0000")
    assert other.err.splitlines()[1] == (
        "warning: OPENAI_API_KEY in the environment has another value, which takes precedence: unset OPENAI_API_KEY"
    )
    empty = agentctl(*words, stdin=KEY, AGENTCTL_OPENAI_API_KEY="")
    assert empty.err.splitlines()[1] == (
        "warning: AGENTCTL_OPENAI_API_KEY is set but empty in the environment; the saved key is used anyway"
    )
    assert agentctl(*words, stdin=KEY, OPENAI_API_KEY=KEY).err.count("\n") == 1
    document = agentctl(*words, "--json", stdin=KEY, OPENAI_API_KEY="sk-another-one-0000").document
    assert (document["schema"], document["masked"]) == ("agentctl.providers/1", "sk-…7890")
    assert document["warning"].startswith("OPENAI_API_KEY in the environment has another value")
    assert row(agentctl("providers", "list", "--json", AGENTCTL_OPENAI_API_KEY="").document, "openai")["chosen"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["providers", "set-key", "openai", KEY], "keys are not accepted on the command line"),
        (["providers", "set-key", KEY], "keys are not accepted on the command line"),
        (["providers", "set-key", KEY, "openai"], "keys are not accepted on the command line"),
        (["providers", "set-key", f"openai={KEY}"], "keys are not accepted on the command line"),
        (["providers", "set-key", "openai", "--key", KEY], "No such option: --key"),
        (["providers", "set-key", "openai", f"--key={KEY}"], "No such option: --key"),
        (["set-key", "openai", KEY], 'did you mean "agentctl providers set-key NAME"?'),
        (["providers", "setkey", "openai", KEY], 'did you mean "set-key"?'),
        (["provider", "set-key", "openai", KEY], 'did you mean "providers"?'),
        (["run", "set-key", "openai", KEY], "set-key is a command, not a task; nothing was sent"),
        (["run", "providers", "set-key", "openai", KEY], "set-key is a command, not a task; nothing was sent"),
    ],
)
def test_a_key_on_the_command_line_is_refused_and_not_repeated(
    here: Here, config: Path, state: Path, words: list[str], said: str
) -> None:
    for more in ([], ["--json"]):
        ended = here(*words, *more)
        assert ended.code == 2
        assert said in ended.err
        assert "not-to-be-seen" not in ended.err + ended.out
        assert (config.exists(), state.exists()) == (False, False)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("opnai", 'error: unknown provider "opnai"\nhint: did you mean "openai"?\n'),
        ("OPENAI_API_KEY", 'error: unknown provider "OPENAI_API_KEY"\nhint: did you mean "openai"?\n'),
        ("ollama", "error: ollama needs no key\nhint: agentctl run --provider ollama TASK\n"),
        ("builtin", "error: builtin needs no key\nhint: agentctl run --provider builtin TASK\n"),
        ("cohere", "error: agentctl does not store keys for cohere\nhint: set COHERE_API_KEY in the environment\n"),
    ],
)
def test_set_key_knows_which_providers_need_a_key(here: Here, name: str, said: str) -> None:
    ended = here("providers", "set-key", name)
    assert (ended.code, ended.out, ended.err) == (2, "", said)


@pytest.mark.parametrize("given", ["", "\n", "   \n" + KEY, "sk-two words", "sk-\u00e9", "x" * 20_000, "sk-\x00"])
def test_invalid_key_is_refused_and_not_repeated(agentctl: Commands, config: Path, given: str) -> None:
    ended = agentctl("providers", "set-key", "openai", stdin=given)
    assert (ended.code, ended.out, config.exists()) == (2, "", False)
    assert not given.strip() or given.strip() not in ended.err


def test_set_key_refuses_a_file_that_others_may_read(agentctl: Commands, config: Path) -> None:
    config.mkdir()
    path = config / ".env"
    path.write_text("A=1\n")
    path.chmod(0o644)
    ended = agentctl("providers", "set-key", "openai", stdin=KEY)
    assert (ended.code, path.read_text()) == (2, "A=1\n")
    assert ended.err == (
        f"error: user .env {path} contains keys and other users can read it (mode 0644)\nhint: chmod 600 {path}\n"
    )


def test_set_key_replaces_an_invalid_key(agentctl: Commands, config: Path) -> None:
    config.mkdir()
    path = config / ".env"
    path.write_text("OPENAI_API_KEY='sk two words'\n")
    path.chmod(0o600)
    listed = agentctl("providers", "list")
    assert (listed.code, listed.err.count("error: a run would not start: openai_api_key")) == (0, 1)
    assert agentctl("providers", "set-key", "openai", stdin=KEY).code == 0
    assert agentctl("providers", "list").code == 0


def test_set_key_without_a_folder_to_write_into_ends_with_74(agentctl: Commands, config: Path) -> None:
    config.write_text("a file stands in its place")
    ended = agentctl("providers", "set-key", "openai", stdin=KEY)
    assert (ended.code, ended.out) == (74, "")
    assert ended.err.splitlines()[0].startswith(f"error: user .env {config / '.env'} cannot be written: ")


@pytest.mark.parametrize("blocking", [True, False])
def test_key_is_asked_for_at_a_terminal_and_never_shown(agentctl: Commands, config: Path, blocking: bool) -> None:
    with at_a_terminal(agentctl, "providers", "set-key", "openai", blocking=blocking) as typed:
        assert typed.shown_until(b": ") == b"openai key (not shown): "
        assert not typed.echoes
        os.write(typed.desk, KEY.encode() + b"\n")
        shown = typed.shown_until(b".env")
        out, _ = typed.process.communicate(timeout=60)
        assert (typed.process.returncode, out, b"not-to-be-seen" in shown) == (0, b"", False)
        assert typed.echoes
    assert (config / ".env").read_text() == f"OPENAI_API_KEY={KEY}\n"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, -signal.SIGQUIT)],
)
def test_a_signal_at_the_prompt_leaves_a_terminal_that_echoes(
    agentctl: Commands, config: Path, number: signal.Signals, code: int
) -> None:
    with at_a_terminal(agentctl, "providers", "set-key", "openai") as typed:
        typed.shown_until(b": ")
        assert not typed.echoes
        typed.process.send_signal(number)
        assert typed.process.wait(timeout=60) == code
        assert typed.echoes
    assert not config.exists()


def test_key_is_not_asked_for_where_the_prompt_cannot_be_seen(agentctl: Commands, config: Path) -> None:
    with at_a_terminal(agentctl, "providers", "set-key", "openai", stderr=subprocess.PIPE) as typed:
        _, said = typed.process.communicate(timeout=60)
        assert typed.process.returncode == 2
        assert said.decode().startswith("error: no prompt for openai key: stderr is not a terminal\n")
    assert not config.exists()
