"""A wrong value stops the commands that need it, and no other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from agentctl.core.errors import AuthFailed, UsageError
from agentctl.settings import Loaded, ProviderChoice, choose_provider, load_settings, ollama_to_ask
from agentctl.settings.names import DECLARED
from tests.support.desk import Desk

WRONG = {
    "OPENAI_API_KEY": "sk x", "OPENAI_BASE_URL": "nowhere", "OLLAMA_HOST": "a b", "AGENTCTL_COLOR": "x",
    "MAX_COST_PER_HOUR": "-1", "AGENTCTL_DENY": "docker_rm(", "AGENTCTL_STATE_DIR": "\0", "AGENTCTL_OUTPUT": "x",
}  # fmt: skip
FIELDS = {name: next(field for field, one in DECLARED.items() if name in one.variables) for name in WRONG}


def load(desk: Desk, environ: dict[str, str], needs: Sequence[str], flags: dict[str, object] | None = None) -> Loaded:
    return load_settings(flags=flags or {}, environ={**desk.environ, **environ}, cwd=desk.cwd, needs=needs)


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("need", ["run", "report", "policy", "prices"])
def test_a_wrong_value_stops_what_needs_it_and_is_a_warning_elsewhere(tmp_path: Path, name: str, need: str) -> None:
    desk, field = Desk(tmp_path), FIELDS[name]
    default = getattr(load(desk, {}, ["run"]).settings, field)
    stopped = {
        "run": {"MAX_COST_PER_HOUR", "AGENTCTL_DENY", "AGENTCTL_STATE_DIR", "AGENTCTL_OUTPUT"},
        "report": {"AGENTCTL_STATE_DIR"},
        "policy": {"AGENTCTL_DENY"},
        "prices": set(),
    }[need]
    environ = {name: WRONG[name]}
    if name in stopped:
        with pytest.raises(UsageError, match=field):
            load(desk, environ, [need])
        return
    loaded = load(desk, environ, [need])
    (warning,) = loaded.warnings
    assert re.match(rf"warning: {field} .*\(environment {name}\)", warning)
    assert warning in loaded.notes
    assert loaded.sources[field].kind == "default"
    if field != "state_dir":
        assert getattr(loaded.settings, field) == default


@pytest.mark.parametrize("name", WRONG)
def test_command_that_needs_one_field_is_stopped_by_that_field_only(tmp_path: Path, name: str) -> None:
    desk, others = Desk(tmp_path), [field for field in FIELDS.values() if field != FIELDS[name]]
    assert len(load(desk, {name: WRONG[name]}, others).warnings) == 1
    with pytest.raises(UsageError):
        load(desk, {name: WRONG[name]}, [FIELDS[name]])


def test_a_check_finds_every_wrong_value(tmp_path: Path) -> None:
    checked = Desk(tmp_path).check(WRONG)
    assert len(checked.problems) == len(WRONG)
    named = [problem.split()[0] for problem in checked.problems]
    assert named == [field for field in DECLARED if field in FIELDS.values()]


def test_a_wrong_flag_stops_every_command_that_has_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for flags in ({"color": "x"}, {"max_turns": "many"}, {"workdir": "nowhere"}):
        with pytest.raises(UsageError):
            load(desk, {}, [], flags=flags)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="two providers are named at once"):
        load(desk, {"LLM_PROVIDER": "x"}, [], flags={"llm_provider": "anthropic", "llm_model": "openai/gpt-4o"})


@pytest.mark.parametrize("needs", ["run", ["rnu"], ["run", "max_trun"], ["provider nobody"]])
def test_unknown_need_is_a_type_error(tmp_path: Path, needs: Sequence[str]) -> None:
    with pytest.raises(TypeError, match="no command needs"):
        load(Desk(tmp_path), {}, needs)


def test_wrong_value_below_a_right_one_gives_no_warning(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml('color = "x"\n')
    assert load(desk, {"AGENTCTL_COLOR": "never"}, ["run"]).warnings == ()
    assert len(load(desk, {}, ["run"]).warnings) == 1


def test_a_wrong_value_above_a_right_one_does_not_give_way_to_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml("max_cost_per_hour = 3.0\n")
    assert load(desk, {}, ["report"]).settings.max_cost_per_hour == 3
    loaded = load(desk, {"MAX_COST_PER_HOUR": "x"}, ["report"])
    assert loaded.is_wrong("max_cost_per_hour")
    with pytest.raises(UsageError):
        load(desk, {"MAX_COST_PER_HOUR": "x"}, ["run"])


@pytest.mark.parametrize("text", ["max_cost_per_taks = 1\n", "denny = []\n", "x = = 1\n", "a = " + "[" * 5000])
def test_a_config_that_is_wrong_stops_a_run_but_no_report(tmp_path: Path, text: str) -> None:
    desk = Desk(tmp_path)
    path = desk.user_toml(text)
    assert len(load(desk, {}, ["report"]).warnings) == 1
    for need in ("run", "policy"):
        with pytest.raises(UsageError):
            load(desk, {}, [need])
    with pytest.raises(UsageError, match=r"max_cost_per_taks|denny|is not TOML"):
        load_settings(flags={}, environ=desk.environ, cwd=desk.cwd, config=path)


def test_a_broken_config_that_was_named_stops_everything(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.file("broken.toml", "x = = 1")
    for config in ("broken.toml", "gone.toml"):
        with pytest.raises(UsageError, match=r"broken\.toml is not TOML|gone\.toml cannot be read"):
            load_settings(flags={}, environ=desk.environ, cwd=desk.cwd, config=config, needs=[])
    with pytest.raises(UsageError, match=r"env file .* cannot be read"):
        load_settings(flags={}, environ=desk.environ, cwd=desk.cwd, env_files=["gone.env"], needs=[])


def test_unreadable_env_file_stops_commands_that_read_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_env(f"AGENTCTL_STATE_DIR={tmp_path / 'elsewhere'}\n", mode=0o644)
    assert len(load(desk, {}, ["report"]).warnings) == 1  # the environment says where the ledger is
    del desk.environ["AGENTCTL_STATE_DIR"]
    for needs in (["report"], ["run"], ["policy"], ["openai_api_key"]):
        with pytest.raises(UsageError, match="other users can read it"):
            load(desk, {}, needs)
    assert len(load(desk, {}, []).warnings) == 1


def test_config_folder_writable_by_others_stops_commands_that_read_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.config.chmod(0o777)
    (warning,) = load(desk, {}, ["report"]).warnings
    assert warning.startswith("warning: other users can write to the config folder ")
    del desk.environ["AGENTCTL_STATE_DIR"]
    for needs in (["report"], ["run"], ["policy"], ["groq_api_key"]):
        with pytest.raises(UsageError, match="other users can write to the config folder"):
            load(desk, {}, needs)


def test_a_state_folder_that_others_write_to_stops_a_report(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.state.mkdir()
    desk.state.chmod(0o777)
    for needs in (["report"], ["run"], ["state_dir"]):
        with pytest.raises(UsageError, match="other users can write to the state folder"):
            load(desk, {}, needs)
    assert len(load(desk, {}, ["policy"]).warnings) == 1


def test_a_state_folder_in_the_config_stops_a_report(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml("state_dir = '/x'\n")
    with pytest.raises(UsageError, match="can only be set by the environment"):
        load(desk, {}, ["report"])


def choice(desk: Desk, environ: dict[str, str], flags: dict[str, object] | None = None) -> ProviderChoice:
    return choose_provider(load(desk, environ, ["run"], flags))


def test_a_key_is_checked_when_its_provider_is_chosen(tmp_path: Path) -> None:
    desk, wrong = Desk(tmp_path), {"OPENAI_API_KEY": "sk x", "OPENAI_BASE_URL": "nowhere"}
    assert choice(desk, wrong, {"llm_provider": "builtin"}).provider == "builtin"
    assert choice(desk, {**wrong, "GROQ_API_KEY": "gsk-1"}, {"llm_provider": "groq"}).provider == "groq"
    with pytest.raises(UsageError) as caught:
        choice(desk, {**wrong, "LLM_PROVIDER": "openai"})
    assert caught.value.message.splitlines()[0] == "2 settings are wrong:"


def test_wrong_key_does_not_fall_back_to_another_provider(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with pytest.raises(UsageError, match=r"openai_api_key .* cannot be used"):
        choice(desk, {"OPENAI_API_KEY": "sk x"})
    with pytest.raises(UsageError, match="both OPENAI_API_KEY and GROQ_API_KEY are set"):
        choice(desk, {"OPENAI_API_KEY": "sk x", "GROQ_API_KEY": "gsk-1"})


def test_provider_is_not_named_where_no_run_would_start(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_env("OPENAI_API_KEY=sk-1\n", mode=0o644)
    with pytest.raises(UsageError, match="other users can read it"):
        choose_provider(load(desk, {}, []))


def test_wrong_ollama_address_stops_commands_that_use_it(tmp_path: Path) -> None:
    desk, wrong = Desk(tmp_path), {"OLLAMA_HOST": "a b"}
    loaded = load(desk, wrong, ["run"])
    assert ollama_to_ask(loaded) is None
    with pytest.raises(UsageError, match="ollama_host"):
        choose_provider(loaded)
    assert choice(desk, {**wrong, "GROQ_API_KEY": "gsk-1"}).provider == "groq"
    assert choice(desk, wrong, {"llm_provider": "builtin"}).provider == "builtin"
    with pytest.raises(AuthFailed, match="CI is set"):
        choice(desk, {**wrong, "CI": "1"})
