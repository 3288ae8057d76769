"""A wrong setting is refused with its name, value, source, allowed values and the nearest match."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.settings import choose_provider
from tests.support.desk import Desk


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"MAX_COST_PER_TASK": "-1"},
            (
                'max_cost_per_task cannot be "-1" (environment MAX_COST_PER_TASK); allowed: '
                'dollars, 0 or more, such as 0.50 (at most 9 decimal places), or "none"'
            ),
        ),
        (
            {"AGENTCTL_MAX_TURNS": "0"},
            'max_turns cannot be "0" (environment AGENTCTL_MAX_TURNS); allowed: a whole number, 1 or more',
        ),
        (
            {"MAX_TOKENS_PER_TASK": "NaN"},
            (
                'max_tokens_per_task cannot be "NaN" (environment MAX_TOKENS_PER_TASK); '
                'allowed: a whole number, 0 or more, or "none"'
            ),
        ),
        (
            {"LLM_PROVIDER": "olama"},
            (
                'llm_provider cannot be "olama" (environment LLM_PROVIDER); allowed: one of builtin, ollama, openai, '
                "anthropic, gemini, mistral, groq, deepseek, openrouter, or another that litellm supports, "
                "such as xai; "
                'did you mean "ollama"?'
            ),
        ),
        (
            {"AGENTCTL_OUTPUT": "jsno"},
            (
                'output cannot be "jsno" (environment AGENTCTL_OUTPUT); allowed: one of text, json, jsonl; '
                'did you mean "json"?'
            ),
        ),
        (
            {"AGENTCTL_AGENT": "a\x1b[31mb"},
            (
                'agent cannot be "a\\x1b[31mb" (environment AGENTCTL_AGENT); allowed: '
                "a name without blanks or control characters"
            ),
        ),
    ],
)
def test_wrong_value_in_the_environment_is_refused(tmp_path: Path, environ: dict[str, str], message: str) -> None:
    assert Desk(tmp_path).refusal(environ).message == message


def test_wrong_flag_is_refused(tmp_path: Path) -> None:
    error = Desk(tmp_path).refusal(flags={"timeout": "5x"})
    assert error.message.startswith('timeout cannot be "5x" (flag --timeout); allowed: a duration')
    assert error.status == "usage"


def test_a_wrong_value_in_a_file_names_file_and_line(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    toml = desk.user_toml("# mine\n\nmax_turns = -3\n")
    assert desk.refusal().message.startswith(f'max_turns cannot be "-3" (user config {toml} line 3)')
    desk.user_toml("")
    env = desk.file("x.env", "\nA=1\nAGENTCTL_MAX_TURNS=x\n")
    assert f"(env file {env} line 3)" in desk.refusal(env_files=["x.env"]).message


def test_misspelt_key_in_the_config_gets_the_nearest_name(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    toml = desk.user_toml("max_turns = 3\nmax_cost_per_taks = 1\n")
    error = desk.refusal()
    assert error.message == f'unknown setting "max_cost_per_taks" (user config {toml} line 2)'
    assert error.hint == 'did you mean "max_cost_per_task"?'
    desk.user_toml("LLM_PROVIDER = 'ollama'\n")
    assert desk.refusal().hint == 'did you mean "llm_provider"?'


def test_a_key_in_the_config_is_refused_and_not_shown(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml("openai_api_key = 'sk-very-secret'\n")
    loaded = desk.load()
    with pytest.raises(UsageError, match="keys do not belong there") as caught:
        choose_provider(loaded)  # openai, which it names
    assert caught.value.hint == "remove the line, and save the key: agentctl providers set-key openai"
    assert "sk-very-secret" not in f"{caught.value.message} {caught.value.hint} {loaded.notes}"
    assert choose_provider(desk.load({"LLM_PROVIDER": "builtin"})).provider == "builtin"
    desk.user_toml("state_dir = '/x'\n")
    assert "can only be set by the environment: AGENTCTL_STATE_DIR" in desk.refusal().message


def test_a_wrong_key_is_not_shown(tmp_path: Path) -> None:
    loaded = Desk(tmp_path).load({"OPENAI_API_KEY": "sk-secret…"})
    with pytest.raises(UsageError) as caught:
        choose_provider(loaded)
    assert caught.value.message.startswith("openai_api_key (environment OPENAI_API_KEY) cannot be used")
    assert "sk-secret" not in f"{caught.value.message} {loaded.notes}"


def test_a_password_in_a_wrong_address_is_not_shown(tmp_path: Path) -> None:
    loaded = Desk(tmp_path).load({"OPENAI_BASE_URL": "ftp://user:hidden@host/", "LLM_PROVIDER": "openai"})
    with pytest.raises(UsageError) as caught:
        choose_provider(loaded)
    assert "hidden" not in f"{caught.value.message} {loaded.notes}"
    assert '"ftp://***@host/"' in caught.value.message


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    toml = desk.user_toml("max_turns = 3\nthis is = = not\n")
    error = desk.refusal()
    assert error.message.startswith(f"user config {toml} is not TOML: ")
    assert "line 2" in error.message


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "max_turns = " + "1" * 5000, "\ufeff"])
def test_hostile_toml_does_not_crash(tmp_path: Path, text: str) -> None:
    desk = Desk(tmp_path)
    desk.user_toml(text)
    if text == "\ufeff":
        assert desk.load().settings.max_turns == 30
    else:
        assert "is not TOML" in desk.refusal().message


def test_files_that_cannot_be_read_are_reported(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert (
        desk.refusal(env_files=["nope"]).message
        == f"env file {desk.cwd / 'nope'} cannot be read: no such file or directory"
    )
    assert desk.refusal(env_files=["."]).message == f"env file {desk.cwd} is a folder, not a file"
    assert desk.refusal(config="gone.toml").message.endswith("gone.toml cannot be read: no such file or directory")
    assert desk.refusal(env_files=["a\0b"]).message.endswith("cannot be read: not a file name")
    (desk.cwd / "latin").write_bytes(b"A=1\nB=\xe9\n")
    error = desk.refusal(env_files=["latin"])
    assert (error.message, error.hint) == (
        f"env file {desk.cwd / 'latin'} line 2 is not UTF-8 text",
        "save it as UTF-8",
    )
    (desk.cwd / "binary").write_bytes(b"A=1\0\n")
    assert desk.refusal(env_files=["binary"]).message.endswith("is binary, not text")
    (desk.cwd / "huge").write_bytes(b"#" * (1024 * 1024 + 1))
    assert "larger than 1 MiB" in desk.refusal(env_files=["huge"]).message
    (desk.config / "config.toml").mkdir()
    assert desk.refusal().message.endswith("config.toml is a folder, not a file")


def test_file_without_permission_is_reported(as_nobody: Path) -> None:
    desk = Desk(as_nobody)
    desk.user_toml("").chmod(0)
    assert desk.refusal().message.endswith("cannot be read: permission denied")


def test_the_users_env_must_be_private(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.user_env("OPENAI_API_KEY=sk-12345678\n", mode=0o644)
    error = desk.refusal()
    assert error.message == f"user .env {path} contains keys and other users can read it (mode 0644)"
    assert error.hint == f"chmod 600 {path}"
    path.chmod(0o400)
    key = desk.load().settings.openai_api_key
    assert key is not None
    assert key.get_secret_value() == "sk-12345678"


@pytest.mark.needs("root")
def test_the_users_env_must_be_the_users_own(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.user_env("OPENAI_API_KEY=sk-12345678\n")
    os.chown(path, 12345, -1)
    error = desk.refusal()
    assert error.message == f"user .env {path} belongs to another user (uid 12345)"
    assert error.hint == f'sudo chown "$(id -u)" {path} && chmod 600 {path}'


def test_all_wrong_values_are_reported_at_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml("max_trun = 1\nagnet = 'x'\n")
    desk.user_env("AGENTCTL_COLOR=red\n", mode=0o660)
    error = desk.refusal({"LLM_PROVIDER": "x"}, flags={"max_turns": 0, "workdir": "nowhere"}, env_files=["nope"])
    lines = error.message.splitlines()
    assert lines[0] == "7 settings are wrong:"
    for line, beginning in zip(
        lines[1:],
        (
            "env file ",
            "user .env ",
            'unknown setting "max_trun"',
            'unknown setting "agnet"',
            "llm_provider",
            "max_turns",
            "workdir ",
        ),
        strict=True,
    ):
        assert line.strip().startswith(beginning)
    assert f"(chmod 600 {desk.config / '.env'})" in lines[2]
    assert '(did you mean "max_turns"?)' in lines[3]


def test_a_flood_of_problems_is_cut(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml("".join(f"unknown_{number} = 1\n" for number in range(25)))
    lines = desk.refusal().message.splitlines()
    assert len(lines) == 11
    assert lines[-1].strip() == "and 16 more"


def test_a_wrong_value_that_has_no_effect_stops_nothing_but_is_found_by_a_check(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml("max_turns = -3\n")
    assert desk.load(flags={"max_turns": 4}).settings.max_turns == 4
    checked = desk.check(flags={"max_turns": 4})
    assert checked.problems == ()
    assert checked.loaded is not None
    assert checked.notes[0].startswith('max_turns cannot be "-3" (user config ')
    assert checked.notes[0].endswith("it has no effect, because a stronger source sets it")
    failed = desk.check()
    assert failed.loaded is None
    assert len(failed.problems) == 1
    assert failed.notes == ()


def test_missing_working_directory_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agentctl.settings import check_settings, load_settings

    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="the working directory no longer exists"):
        load_settings(flags={}, environ={})
    assert check_settings(flags={}, environ={}).problems == (
        "the working directory no longer exists (change to another directory)",
    )
