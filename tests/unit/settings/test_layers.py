"""Where a value comes from, and which place wins."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.core.limits import CostLimit
from agentctl.settings import ENV_NAMES, Settings, Source, load_settings
from agentctl.settings.show import explain
from tests.support.desk import Desk


def test_a_machine_where_nothing_is_set_gets_the_defaults(tmp_path: Path) -> None:
    loaded = Desk(tmp_path).load()
    settings = loaded.settings
    assert settings.max_cost_per_task == Decimal("0.50")
    assert settings.max_cost_per_hour == Decimal("10.0")
    assert settings.max_tokens_per_task == 100_000
    assert settings.max_context_tokens == 8000
    assert settings.keep_last_n_user_messages == 3
    assert settings.keep_last_n_assistant_messages == 3
    assert (settings.max_turns, settings.timeout, settings.llm_timeout, settings.budget_wait) == (30, 1800, 60, 60)
    assert (settings.llm_provider, settings.llm_model, settings.agent, settings.tools) == (None, None, None, None)
    assert (settings.output, settings.color, settings.doubt) == ("text", "auto", "normal")
    assert settings.ollama_host == "http://127.0.0.1:11434"
    assert loaded.sources["max_turns"] == Source("default")
    assert loaded.notes == ()
    assert not (tmp_path / "state").exists()


def test_the_limits_of_the_settings_fit_the_budget(tmp_path: Path) -> None:
    settings = Desk(tmp_path).load({"MAX_COST_PER_TASK": "999999.999999999", "MAX_COST_PER_HOUR": "none"}).settings
    limits = CostLimit(max_cost_per_task=settings.max_cost_per_task, max_cost_per_hour=settings.max_cost_per_hour)
    assert limits.max_cost_per_task == Decimal("999999.999999999")
    assert limits.max_cost_per_hour is None


def test_each_place_in_turn_overrules_the_ones_below_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    toml = desk.user_toml("max_turns = 11")
    assert _turns(desk) == (11, Source("user config", str(toml)))
    env = desk.user_env("AGENTCTL_MAX_TURNS=12\n")
    assert _turns(desk) == (12, Source("user .env", str(env)))
    first, second = desk.file("a.env", "AGENTCTL_MAX_TURNS=13"), desk.file("b.env", "AGENTCTL_MAX_TURNS=14")
    loaded = desk.load(env_files=["a.env"])
    assert (loaded.settings.max_turns, loaded.sources["max_turns"]) == (13, Source("env file", str(first)))
    loaded = desk.load(env_files=["a.env", "b.env"])
    assert (loaded.settings.max_turns, loaded.sources["max_turns"]) == (14, Source("env file", str(second)))
    loaded = desk.load({"AGENTCTL_MAX_TURNS": "15"}, env_files=["a.env"])
    assert (loaded.settings.max_turns, loaded.sources["max_turns"]) == (15, Source("environment", "AGENTCTL_MAX_TURNS"))
    loaded = desk.load({"AGENTCTL_MAX_TURNS": "15"}, flags={"max_turns": 16, "timeout": None})
    assert (loaded.settings.max_turns, loaded.sources["max_turns"]) == (16, Source("flag", "--max-turns"))
    assert loaded.sources["timeout"] == Source("default")


def _turns(desk: Desk) -> tuple[int, Source]:
    loaded = desk.load()
    return loaded.settings.max_turns, loaded.sources["max_turns"]


def test_named_config_replaces_the_users_own(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml('max_turns = 11\ntimeout = "1m"')
    other = desk.file("other.toml", "max_turns = 5")
    loaded = desk.load(config="other.toml")
    assert (loaded.settings.max_turns, loaded.settings.timeout) == (5, 1800)
    assert loaded.config_file == other


@pytest.mark.parametrize("name", [name for names in ENV_NAMES.values() for name in names])
def test_every_name_is_read_from_the_environment(tmp_path: Path, name: str) -> None:
    field = next(field for field, names in ENV_NAMES.items() if name in names)
    value = _sample(field, tmp_path)
    environ = {**Desk(tmp_path).environ, name: value}
    loaded = load_settings(flags={}, environ=environ, cwd=tmp_path)
    assert loaded.sources[field] == Source("environment", name)
    assert loaded.notes == ()


def _sample(field: str, folder: Path) -> str:
    if field.endswith("_dir") or field == "workdir":
        return str(folder)
    special = {"llm_provider": "ollama", "doubt": "strict", "output": "json", "color": "never", "read_only": "yes"}
    special |= {"approve": "deny", "llm_client": "lean", "sandbox": "none", "network": "on", "auto_labels": "off"}
    special |= {
        "mcp_also_user": "yes",
        "summaries": "never",
        "max_result_tokens": "300",
        "summary_tokens": "200",
        "context_cut_percent": "20",
    }
    special |= {"temperature": "0.5", "sandbox_env": "EDITOR", "require_lease": "yes"}
    special |= {"lease_keys": f"agentctl-lease-public-1:{'A' * 43}"}
    special |= {"temperature": "0.5", "sandbox_env": "EDITOR"}
    special |= {"ledger": "postgresql://me@localhost/book", "strict": "yes", "accept_lost_holds": "yes"}
    if field in ("sandbox_read", "sandbox_write"):
        (folder / "data").mkdir()
        return f"{folder}/data"
    if field in special:
        return special[field]
    if field.endswith(("_url", "_host")):
        return "http://127.0.0.1:1234"
    return "7"


def test_the_prefixed_name_wins_in_the_same_place(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    both = {"MAX_COST_PER_TASK": "1", "AGENTCTL_MAX_COST_PER_TASK": "2"}
    assert desk.load(both).settings.max_cost_per_task == 2
    desk.file("a.env", "AGENTCTL_MAX_COST_PER_TASK=3")
    loaded = desk.load({"MAX_COST_PER_TASK": "1"}, env_files=["a.env"])
    assert loaded.settings.max_cost_per_task == 1


def test_an_empty_value_counts_as_unset(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml("max_turns = 11")
    loaded = desk.load({"AGENTCTL_MAX_TURNS": " ", "AGENTCTL_LLM_MODEL": "", "LLM_MODEL": "m"})
    assert (loaded.settings.max_turns, loaded.settings.llm_model) == (11, "m")
    assert loaded.empty_keys == ()


def test_an_empty_key_variable_is_remembered(tmp_path: Path) -> None:
    loaded = Desk(tmp_path).load({"OPENAI_API_KEY": "", "AGENTCTL_GROQ_API_KEY": "\n"})
    assert set(loaded.empty_keys) == {"OPENAI_API_KEY", "AGENTCTL_GROQ_API_KEY"}
    assert loaded.settings.openai_api_key is None


def test_money_keeps_every_digit(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml("max_cost_per_task = 0.123456789\nmax_cost_per_hour = 1e1")
    settings = desk.load().settings
    assert (settings.max_cost_per_task, settings.max_cost_per_hour) == (Decimal("0.123456789"), Decimal(10))


def test_none_lifts_a_limit_anywhere(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml('max_tokens_per_task = "none"')
    settings = desk.load({"MAX_COST_PER_HOUR": "None"}, flags={"max_cost_per_task": "none"}).settings
    assert (settings.max_cost_per_task, settings.max_cost_per_hour, settings.max_tokens_per_task) == (None, None, None)


def test_a_dotenv_is_neither_interpolated_nor_put_into_the_environment(tmp_path: Path) -> None:
    import os

    desk = Desk(tmp_path)
    desk.file(
        "x.env", "export LLM_PROVIDER='ollama'  # a comment\nLLM_MODEL=\"${HOME}\"\n\n\nAGENTCTL_AGENT=docker # one\n"
    )
    loaded = desk.load(env_files=["x.env"])
    assert (loaded.settings.llm_provider, loaded.settings.llm_model, loaded.settings.agent) == (
        "ollama",
        "${HOME}",
        "docker",
    )
    assert "AGENTCTL_AGENT" not in os.environ
    assert "LLM_MODEL" not in os.environ


def test_an_env_file_may_hold_what_is_not_ours(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.file("x.env", "DATABASE_URL=postgres://u:p@h/d\nMAX_CONNECTIONS=5\n\nAGENTCTL_MAX_TRUNS=3\n=\nLLM_MODLE=x\n")
    loaded = desk.load(env_files=["x.env"])
    (unknown, broken) = loaded.notes
    assert 'AGENTCTL_MAX_TRUNS (did you mean "AGENTCTL_MAX_TURNS"?)' in unknown
    assert 'LLM_MODLE (did you mean "LLM_MODEL"?)' in unknown
    assert "DATABASE_URL" not in unknown
    assert "MAX_CONNECTIONS" not in unknown
    assert broken.endswith("line 5 is not NAME=value")


def test_an_unknown_variable_with_our_prefix_gets_one_note(tmp_path: Path) -> None:
    loaded = Desk(tmp_path).load({"AGENTCTL_MAX_COST": "1", "AGENTCTL_ZZZZZZZZZZ": "1"})
    (note,) = loaded.notes
    assert note.startswith("the environment has unknown names: AGENTCTL_MAX_COST (did you mean ")
    assert "AGENTCTL_ZZZZZZZZZZ" in note


def test_model_with_a_provider_prefix_sets_both(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml('llm_provider = "ollama"\nllm_model = "llama3.1"')
    loaded = desk.load(flags={"llm_model": "openai/gpt-4o"})
    assert (loaded.settings.llm_provider, loaded.settings.llm_model) == ("openai", "gpt-4o")
    assert loaded.sources["llm_provider"] == Source("flag", "--model")


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        ("openai", "openai/gpt-4o", ("openai", "gpt-4o")),
        ("groq", "openai/gpt-oss-120b", ("groq", "openai/gpt-oss-120b")),
        ("openrouter", "openrouter/openai/gpt-4o", ("openrouter", "openai/gpt-4o")),
        ("ollama", "hf.co/someone/model:Q4", ("ollama", "hf.co/someone/model:Q4")),
    ],
)
def test_provider_and_prefixed_model_can_be_set_together(
    tmp_path: Path, provider: str, model: str, found: tuple[str, str]
) -> None:
    settings = Desk(tmp_path).load({"LLM_PROVIDER": provider, "LLM_MODEL": model}).settings
    assert (settings.llm_provider, settings.llm_model) == found


def test_two_providers_named_at_once_are_refused(tmp_path: Path) -> None:
    error = Desk(tmp_path).refusal(flags={"llm_provider": "anthropic", "llm_model": "openai/gpt-4o"})
    assert error.message == "two providers are named at once: anthropic (flag --provider) and openai (flag --model)"


def test_a_model_does_not_follow_when_another_provider_is_chosen_above_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml('llm_provider = "openai"\nllm_model = "gpt-4o"')
    loaded = desk.load({"LLM_PROVIDER": "ollama"})
    assert (loaded.settings.llm_provider, loaded.settings.llm_model) == ("ollama", None)
    assert loaded.notes[0].startswith("model gpt-4o (user config ")
    assert loaded.notes[0].endswith(" belongs to openai and is not used with ollama")
    assert desk.load({"LLM_PROVIDER": "openai"}).settings.llm_model == "gpt-4o"
    assert desk.load(flags={"llm_provider": "builtin"}).notes == ()


@pytest.mark.parametrize(
    ("environ", "color", "name"),
    [
        ({"NO_COLOR": "1"}, "never", "NO_COLOR"),
        ({"FORCE_COLOR": "1"}, "always", "FORCE_COLOR"),
        ({"CLICOLOR_FORCE": "1"}, "always", "CLICOLOR_FORCE"),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, "never", "NO_COLOR"),
        ({"NO_COLOR": "1", "AGENTCTL_COLOR": "always"}, "always", "AGENTCTL_COLOR"),
        ({"NO_COLOR": "", "CLICOLOR_FORCE": "0"}, "auto", ""),
    ],
)
def test_usual_colour_variables_are_respected(tmp_path: Path, environ: dict[str, str], color: str, name: str) -> None:
    loaded = Desk(tmp_path).load(environ)
    assert loaded.settings.color == color
    assert loaded.sources["color"] == (Source("environment", name) if name else Source("default"))


def test_folders_become_absolute(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    (desk.cwd / "sub").mkdir()
    settings = desk.load({"AGENTCTL_STATE_DIR": "st"}, flags={"workdir": "sub"}).settings
    assert (settings.state_dir, settings.workdir) == (desk.cwd / "st", desk.cwd / "sub")
    assert settings.ledger_path.parent == settings.state_dir
    assert settings.runs_dir.parent == settings.state_dir


def test_the_users_env_cannot_move_the_folder_it_was_found_in(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_env("AGENTCTL_CONFIG_DIR=/elsewhere\n")
    loaded = desk.load()
    assert loaded.settings.config_dir == desk.config
    del desk.environ["AGENTCTL_CONFIG_DIR"]
    desk.file("x.env", f"AGENTCTL_CONFIG_DIR={desk.config}\n")
    assert desk.load(env_files=["x.env"]).settings.config_dir == desk.config


@pytest.mark.parametrize(("value", "is_ci"), [("true", True), ("1", True), ("", False), ("false", False), ("0", False)])
def test_ci_is_seen(tmp_path: Path, value: str, is_ci: bool) -> None:
    assert Desk(tmp_path).load({"CI": value}).ci is is_ci


def test_settings_are_frozen_and_know_no_other_names() -> None:
    settings = Settings(max_turns=3, llm_provider=None)
    with pytest.raises(ValueError, match="frozen"):
        settings.max_turns = 4
    with pytest.raises(ValueError, match="Extra inputs"):
        Settings.model_validate({"max_trun": 4})


def test_a_flag_never_carries_a_key(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no flag sets openai_api_key"):
        Desk(tmp_path).load(flags={"openai_api_key": "sk-12345678"})


def test_the_text_of_a_lease_is_masked_and_redacted(tmp_path: Path) -> None:
    text = "agentctl-lease-1.AAAA.BBBB"
    loaded = load_settings(flags={}, environ={**Desk(tmp_path).environ, "AGENTCTL_LEASE": text}, cwd=tmp_path)
    assert text in loaded.secrets
    assert text not in str([row.value for row in explain(loaded)])


@pytest.mark.parametrize("given", ["agentctl-lease-1.0123.4567", "env:LEASE_3", "lease.txt"])
def test_a_lease_is_a_secret_whatever_variable_holds_it(tmp_path: Path, given: str) -> None:
    lease = "agentctl-lease-1.0123.4567"
    loaded = Desk(tmp_path).load(
        {"LEASE_3": f"{lease}\n", "SIGNER": "agentctl-lease-private-1:abc"}, flags={"lease": given}
    )
    assert {*loaded.secrets} == {lease, "agentctl-lease-private-1:abc"}
