"""A wrong setting stops the commands that need it; the others warn once and go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import Here

WRONG = {
    "OPENAI_API_KEY": "sk x", "OPENAI_BASE_URL": "nowhere", "OLLAMA_HOST": "a b", "AGENTCTL_COLOR": "x",
    "MAX_COST_PER_HOUR": "-1", "AGENTCTL_MAX_TURNS": "many", "AGENTCTL_DENY": "docker_rm(",
}  # fmt: skip
UNNEEDED = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_HOST", "AGENTCTL_COLOR")
REPORTS = (
    ["costs"], ["costs", "--fail-above", "1"], ["costs", "--json"], ["runs", "list"], ["runs", "list", "--json"],
    ["ledger", "check"], ["ledger", "check", "--json"], ["ledger", "reprice", "--since", "1h"],
)  # fmt: skip
TASK = ("run", "--provider", "builtin", "How much disk is free?")


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in WRONG.items():
        monkeypatch.setenv(name, value)
    return WRONG


def warned(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("warning: ")]


@pytest.mark.parametrize("words", REPORTS, ids=" ".join)
def test_a_report_warns_once_of_each_wrong_value_and_goes_on(
    here: Here, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    assert here(*words).code == 0
    for name, value in WRONG.items():
        monkeypatch.setenv(name, value)
    ended = here(*words)
    assert ended.code == 0
    assert len(warned(ended.err)) == len(WRONG)
    for name in WRONG:
        assert sum(f"(environment {name})" in line for line in warned(ended.err)) == 1
    assert "sk x" not in ended.out + ended.err


def test_unknown_limit_is_in_no_report(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    assert here("costs", "--json").document["max_cost_per_hour"]["limit"] == 10
    monkeypatch.setenv("MAX_COST_PER_HOUR", "-1")
    found = here("costs", "--json").document
    assert (found["max_cost_per_hour"], found["limits"]) == (None, {})
    assert "$10" not in here("costs").out


@pytest.mark.parametrize("name", UNNEEDED)
def test_a_run_of_builtin_needs_no_key_no_address_and_no_colour(
    here: Here, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, WRONG[name])
    ended = here(*TASK)
    assert ended.code == 0
    assert len(warned(ended.err)) == 1
    assert warned(here(*TASK[:1], "-q", *TASK[1:]).err) == []


@pytest.mark.parametrize(
    "wrong", [{"LLM_MODEL": "gpt 4"}, {"LLM_PROVIDER": "anthropic", "LLM_MODEL": "openai/gpt-4o"}, {"prices": "x"}]
)
def test_a_run_of_builtin_needs_no_model_and_no_prices(
    here: Here, config: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]
) -> None:
    if "prices" in wrong:
        config.mkdir()
        (config / "config.toml").write_text('[prices]\n"openai/x" = { input = "x", output = 1 }\n')
    else:
        for name, value in wrong.items():
            monkeypatch.setenv(name, value)
    assert here(*TASK).code == 0
    monkeypatch.setenv("OPENAI_API_KEY", "sk-right-0123456789")
    for words in (["run", "Why?"], ["config", "check"]):
        ended = here(*words)
        assert (ended.code, ended.out) == (2, ""), words
    monkeypatch.delenv("OPENAI_API_KEY")
    if "LLM_MODEL" in wrong:
        assert here("run", "How much disk is free?").code == 2


def test_address_of_the_engine_is_judged_by_the_tools_that_need_it(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://a b:2375/x")
    assert here(*TASK).code == 0
    ended = here("run", "--provider", "builtin", "List all containers")
    assert ended.code == 4
    assert 'DOCKER_HOST is "tcp://a b:2375/x", which is not an engine\'s address' in ended.err


@pytest.mark.parametrize("name", ["AGENTCTL_COLOR", "OPENAI_API_KEY", "MAX_COST_PER_HOUR", "AGENTCTL_STATE_DIR"])
def test_doctor_checks_the_rest_in_spite_of_a_wrong_setting(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    monkeypatch.setenv("LLM_PROVIDER", "builtin")
    monkeypatch.setenv(name, {**WRONG, "AGENTCTL_STATE_DIR": "open"}[name])
    is_needed = name not in UNNEEDED
    ended = here("doctor", "--offline", "--json")
    checks = {found["about"]: found for found in ended.document["checks"]}
    assert (ended.code, ended.document["would_use"]) == ((1, None) if is_needed else (0, "builtin"))
    assert checks["settings"]["state"] == ("lack" if is_needed else "warning")
    assert checks["settings"]["stops_run"] == is_needed
    assert {"engine", "sandbox", "price table", "provider", "terminal"} <= checks.keys()
    assert ("ledger" in checks, "state folder" in checks) == (name != "AGENTCTL_STATE_DIR",) * 2
    assert ("limits" in checks) == (name in UNNEEDED)  # a default would stand in place of the wrong one


@pytest.mark.parametrize("folder", ["here", "~nobody-here/x"])
def test_a_relative_folder_is_right_in_every_check(here: Here, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.setenv("AGENTCTL_STATE_DIR", folder)
    checked = here("config", "check")
    assert (checked.code, checked.err) == (0, "")
    assert here("doctor", "--offline").code == 0


def test_doctor_checks_the_rest_in_spite_of_a_broken_config(here: Here, config: Path) -> None:
    config.mkdir()
    (config / "config.toml").write_text("x = = 1\n")
    ended = here("doctor", "--offline", "--json")
    checks = {found["about"]: found for found in ended.document["checks"]}
    assert ended.code == 1
    assert "is not TOML" in ended.document["headline"]
    assert {"engine", "sandbox", "ledger", "state folder"} <= checks.keys()


@pytest.mark.parametrize("name", ["MAX_COST_PER_HOUR", "AGENTCTL_OUTPUT", "AGENTCTL_MAX_TURNS", "AGENTCTL_DENY"])
def test_a_free_test_of_a_provider_needs_no_limit_and_no_permission(
    here: Here, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, WRONG.get(name, "x"))
    assert here("providers", "test", "--free", "builtin").code == 0


@pytest.mark.parametrize("name", ["MAX_COST_PER_HOUR", "AGENTCTL_MAX_TURNS", "AGENTCTL_DENY", "AGENTCTL_OUTPUT"])
def test_a_run_never_starts_with_a_wrong_limit_or_permission(
    here: Here, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, WRONG.get(name, "x"))
    ended = here(*TASK)
    assert (ended.code, ended.out) == (2, "")
    assert f"(environment {name}); allowed: " in ended.err or f"(environment {name}) " in ended.err
    assert here("runs", "list", "--json").document["runs"] == []


@pytest.mark.parametrize("provider", [["--provider", "openai"], ["--model", "openai/gpt-4o-mini"], []])
def test_a_run_of_a_provider_needs_its_key_to_be_right(
    here: Here, monkeypatch: pytest.MonkeyPatch, provider: list[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk x")
    ended = here("run", *provider, "Why?")
    assert (ended.code, ended.out) == (2, "")
    assert "error: openai_api_key (environment OPENAI_API_KEY) cannot be used" in ended.err
    assert "sk x" not in ended.err
    assert ended.err.count("cannot be used") == 1


def test_two_providers_at_once_are_reported_once_and_other_warnings_stay(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LLM_PROVIDER": "anthropic", "LLM_MODEL": "openai/gpt-4o", "OPENAI_BASE_URL": "x y"}.items():
        monkeypatch.setenv(name, value)
    ended = here("run", "Why?")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("two providers are named at once") == 1
    assert "warning: openai_base_url" in ended.err


def test_a_wrong_flag_stops_every_command_that_has_it(here: Here) -> None:
    for words in (
        ["run", "--provider", "builtin", "--max-turns", "many", "x"],
        ["run", "--provider", "builtin", "--workdir", "nowhere", "x"],
        ["config", "show", "--config", "gone.toml"],
        ["policy", "check", "docker_ps", "--deny", "docker_rm("],
        ["tools", "list", "--env-file", "gone.env"],
    ):
        assert here(*words).code == 2, words


def test_config_show_and_check_report_every_wrong_value(here: Here, wrong: dict[str, str]) -> None:
    shown = here("config", "show")
    assert (shown.code, len(warned(shown.err))) == (0, len(wrong))
    assert here("config", "path").code == 0
    checked = here("config", "check", "--json")
    assert checked.code == 2
    assert len(checked.document["problems"]) == len(wrong)
    examined = here("doctor", "--offline")
    assert examined.code == 1
    for name in wrong:
        assert f"(environment {name})" in examined.out, name


def test_a_value_that_is_asked_for_must_be_right(here: Here, wrong: dict[str, str]) -> None:
    assert here("config", "get", "max_turns").code == 2
    assert (here("config", "get", "timeout").code, here("config", "get", "timeout").out) == (0, "1800\n")


def test_rules_are_needed_where_calls_are_judged(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_COST_PER_HOUR", "AGENTCTL_MAX_TURNS", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, WRONG[name])
    for words in (["policy", "check", "docker_ps"], ["tools", "list"], ["agents", "list"]):
        assert here(*words).code == 0, words
    monkeypatch.setenv("AGENTCTL_DENY", "docker_rm(")
    assert [here("policy", "check", "docker_ps").code, here("tools", "list").code] == [2, 2]


def test_providers_list_runs_and_providers_test_checks_the_settings(here: Here, wrong: dict[str, str]) -> None:
    listed = here("providers", "list")
    assert listed.code == 0
    assert "a run would not start: " in listed.err


def test_providers_test_needs_a_valid_key(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk x")
    for words in (["openai"], []):
        ended = here("providers", "test", "--free", *words)
        assert ended.code == 2, words
        assert "openai_api_key" in ended.err
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    assert here("providers", "test", "--free", "ollama").code == 4


@pytest.mark.parametrize("text", ["x = = 1\n", "max_trun = 3\n", "max_turns = 'many'\n"])
def test_a_broken_config_stops_a_run_and_no_report(here: Here, config: Path, text: str) -> None:
    config.mkdir(exist_ok=True)
    (config / "config.toml").write_text(text)
    for words in (["costs"], ["runs", "list"], ["ledger", "check"], ["config", "show"]):
        ended = here(*words)
        assert (ended.code, len(warned(ended.err))) == (0, 1), words
    listed = here("providers", "list")  # says it once: a run would not start
    assert (listed.code, warned(listed.err), listed.err.count(f"{config}/")) == (0, [], 1)
    assert [here(*TASK).code, here("config", "check").code, here("doctor", "--offline").code] == [2, 2, 1]


def test_a_provider_made_in_python_needs_its_own_settings_only(monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
    from agentctl import create_llm_provider
    from agentctl.core.errors import UsageError

    for name, value in WRONG.items():
        monkeypatch.setenv(name, value)
    given = create_llm_provider("openai", "gpt-4o", api_key="sk-1", base_url="http://127.0.0.1:9/v1")
    assert given.facts.model == "gpt-4o"
    for name, model in (("anthropic", "claude-haiku-4-5"), ("groq", "openai/gpt-oss-120b"), ("xai", "grok-4")):
        assert create_llm_provider(name, model).facts.provider == name
    with pytest.raises(UsageError, match="openai_api_key"):
        create_llm_provider("openai", "gpt-4o", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(UsageError, match="openai_base_url"):
        create_llm_provider("openai", "gpt-4o", api_key="sk-1")
    with pytest.raises(UsageError, match="ollama_host"):
        create_llm_provider("ollama", "llama3.1:latest")
