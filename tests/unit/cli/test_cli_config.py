"""``agentctl config get|set|init``: one value at a time, for scripts and for people."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import KEY, Here


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_cost_per_task", "0.50"), ("MAX_COST_PER_TASK", "0.50"), ("max-cost", "0.50"), ("timeout", "1800"),
        ("read_only", "false"), ("deny", ""), ("llm_model", ""), ("approve", "ask"), ("ollama_host", "http://127.0.0.1:9"),
    ],
)  # fmt: skip
def test_get_prints_the_value_alone(here: Here, name: str, value: str) -> None:
    ended = here("config", "get", name)
    assert (ended.code, ended.out, ended.err) == (0, f"{value}\n", "")


def test_get_distinguishes_unset_from_empty_in_json(here: Here) -> None:
    document = here("config", "get", "model", "--json").document
    assert {name: document[name] for name in ("schema", "name", "value", "source")} == {
        "schema": "agentctl.config/1", "name": "llm_model", "value": None, "source": "default",
    }  # fmt: skip
    assert here("config", "get", "deny", "--json").document["value"] == ""


def test_value_printed_by_get_is_accepted_by_set(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"timeout": "1h30m", "deny": "a,docker_rm(name=x)", "max_cost_per_hour": "none", "network": "on"}
    for name, value in values.items():
        assert here("config", "set", name, value).code == 0
    printed = {name: here("config", "get", name).out.rstrip("\n") for name in values}
    assert printed == {**values, "timeout": "5400", "network": "true"}
    for name, value in printed.items():
        assert here("config", "set", name, value).code == 0
    assert {name: here("config", "get", name).out.rstrip("\n") for name in values} == printed
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://me:{KEY}@h/{'x' * 100}")
    assert here("config", "get", "OPENAI_BASE_URL").out == f"http://***@h/{'x' * 100}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["get", "OPENAI_API_KEY"], "error: keys are never printed\nhint: agentctl providers list "),
        (["get", "max_truns"], 'error: no setting "max_truns"\nhint: did you mean "max_turns"?\n'),
        (["set", "max_truns", "3"], 'hint: did you mean "max_turns"?\n'),
        (["set", "openai_api_key", KEY], "hint: agentctl providers set-key openai\n"),
        (["set", f"openai_api_key={KEY}"], "hint: agentctl providers set-key openai\n"),
        (["set", KEY, KEY], "error: this is not the name of a setting\n"),
        (["set", "max_turns"], "error: give either a value or --unset\nhint: agentctl config set max_turns VALUE "),
        (["set", "max_turns=5"], "hint: agentctl config set max_turns VALUE "),
        (["set", "max_turns", "5", "--unset"], "error: give either a value or --unset\n"),
        (["set", "max_turns", "many"], 'error: max_turns cannot be "many"; allowed: a whole number, 1 or more\n'),
        (["set", "AGENTCTL_STATE_DIR", "/x"], "hint: set AGENTCTL_STATE_DIR in the environment\n"),
        (["set", "prices", "x"], "error: prices is a table; `config set` cannot set tables\n"),
    ],
)
def test_wrong_value_is_refused_and_no_key_is_repeated(here: Here, config: Path, words: list[str], said: str) -> None:
    ended = here("config", *words)
    assert (ended.code, ended.out, config.exists()) == (2, "", False)
    assert said in ended.err
    assert "not-to-be-seen" not in ended.err


def test_set_says_what_it_did_and_which_source_overrides_it(
    here: Here, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = config / "config.toml"
    assert here("config", "set", "max_turns", "5").err == f"set max_turns = 5 in {file}\n"
    assert here("config", "set", "max_turns", "5").err == f"max_turns = 5 is already set in {file}\n"
    (tmp_path / ".env").write_text("AGENTCTL_MAX_TURNS=60\n")
    (tmp_path / ".env").chmod(0o644)
    assert here("trust", "-y").code == 0
    assert here("config", "set", "max_turns", "6").err.splitlines()[1] == (
        f"warning: trusted project file {tmp_path / '.env'} also sets max_turns and takes precedence"
    )
    monkeypatch.setenv("AGENTCTL_MAX_TURNS", "7")
    document = here("config", "set", "max_turns", "8", "--json").document
    assert {name: document[name] for name in ("name", "value", "path", "changed", "warning")} == {
        "name": "max_turns", "value": "8", "path": str(file), "changed": True,
        "warning": "environment AGENTCTL_MAX_TURNS also sets max_turns and takes precedence",
    }  # fmt: skip
    assert here("config", "set", "max_turns", "--unset").err == f"removed max_turns from {file}\n"
    assert here("config", "set", "max_turns", "--remove").err == f"max_turns is not set in {file}\n"


def test_init_writes_a_file_that_changes_nothing(here: Here, config: Path) -> None:
    before = here("config", "show").out
    file = config / "config.toml"
    assert here("config", "init").err == f"wrote {file}\n"
    assert here("config", "show").out == before
    again = here("config", "init")
    assert (again.code, again.err) == (
        2, f"error: {file} already exists; nothing was changed\nhint: use --force to replace it\n",
    )  # fmt: skip
    assert here("config", "init", "--force", "--json").document["kept"] == f"{file}.old"


def test_invalid_config_folder_ends_with_74(here: Here, config: Path) -> None:
    config.write_text("a file stands in its place")
    for words in (["set", "max_turns", "5"], ["init"]):
        ended = here("config", *words)
        assert (ended.code, "cannot be written: " in ended.err) == (74, True)


def test_the_new_settings_are_shown(here: Here) -> None:
    rows = here("config", "show", "--json").document["settings"]
    names = ("approve", "allow", "ask", "deny", "sandbox", "network", "cost_history_file")
    assert [rows[name]["value"] for name in names] == ["ask", "", "", "", "auto", "false", ""]
