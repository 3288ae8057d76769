"""``agentctl config get|set|init``: one value at a time, for scripts and for people."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agentctl.settings.config_file import PRESETS, preset_text
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
    values = {"timeout": "1h30m", "deny": "docker_stop,docker_rm(name=x)", "max_cost_per_hour": "none", "network": "on"}
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
        (["set", "prices", "x"], "error: prices is a table: set the price of one model\n"),
    ],
)
def test_wrong_value_is_refused_and_no_key_is_repeated(here: Here, config: Path, words: list[str], said: str) -> None:
    ended = here("config", *words)
    assert (ended.code, ended.out, config.exists()) == (2, "", False)
    assert said in ended.err
    assert "not-to-be-seen" not in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tools", "docker_ps", "docker_log"], 'error: tools names "docker_log", and there is no such tool\n'),
        (["tools", "docker_ps,x"], 'error: tools names "x", and there is no such tool\n'),
        (["allow", "x"], 'error: allow names "x", and there is no such tool\n'),
        (["deny", "docker_lgs(name=db*)"], 'hint: did you mean "docker_logs"?\n'),
        (["ask", "docker_rm(nam=db)"], 'hint: did you mean "name"?\n'),
        (["agent", "dockr"], 'error: no agent is called "dockr"\nhint: did you mean "docker"?\n'),
    ],
)
def test_name_that_would_stop_every_run_is_refused(here: Here, config: Path, words: list[str], said: str) -> None:
    ended = here("config", "set", *words)
    assert (ended.code, ended.out, config.exists()) == (2, "", False)
    assert said in ended.err


def test_known_names_are_set_even_beside_a_wrong_one(here: Here, config: Path) -> None:
    config.mkdir()
    (config / "config.toml").write_text('deny = ["nosuch"]\n')
    for words in (["allow", "docker_restart(name=web)"], ["tools", "docker_ps", "docker_logs"], ["agent", "docker"]):
        assert here("config", "set", *words).code == 0
    assert here("config", "set", "deny", "docker_rm").code == 0
    assert here("config", "get", "deny").out == "docker_rm\n"


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


def test_price_is_set_line_by_line_without_an_editor(here: Here, config: Path) -> None:
    first = here("config", "set", 'prices."openai/my-model".input', "0")
    file = config / "config.toml"
    assert (first.code, first.out) == (0, "")
    rest = "agentctl config set 'prices.\"openai/my-model\".output' USD"
    assert first.err.splitlines() == [
        f'set prices."openai/my-model".input = 0 in {file}',
        f'warning: runs of a model need prices."openai/my-model".output too: {rest}',
    ]
    assert here("config", "check").code == 2
    assert here("run", "--provider", "builtin", "How much disk is free?").code == 0
    second = here("config", "set", "prices.openai/my-model.output", "0.60", "--json")
    assert second.document == {
        **second.document,
        "name": 'prices."openai/my-model".output',
        "value": "0.60",
        "path": str(file),
        "changed": True,
        "warning": None,
    }
    assert here("config", "check").code == 0
    assert here("config", "get", "prices.openai/my-model.output").out == "0.60\n"
    assert here("config", "get", "prices.openai/my-model").out == "input 0, output 0.60\n"
    assert here("config", "set", "prices.openai/my-model", "--unset").code == 0
    assert here("config", "get", "prices.openai/my-model").out == "\n"


def test_price_without_a_value_or_with_a_wrong_one_is_refused(here: Here, config: Path) -> None:
    for words, hint in (
        (["prices.openai/m.input"], "hint: agentctl config set 'prices.\"openai/m\".input' 0.15   or: "),
        (["prices.openai/m.input=0.15"], "hint: agentctl config set 'prices.\"openai/m\".input' 0.15   or: "),
        (["prices.openai/m.inptu", "1"], 'hint: did you mean "input"?'),
        (["prices", "1"], "hint: agentctl config set 'prices.\"openai/my-model\"' input=0.15 output=0.60"),
        (["prices.openai/m.input", "x"], "; nothing was changed"),
    ):
        ended = here("config", "set", *words)
        assert ended.code == 2, words
        assert hint in ended.err
    assert not (config / "config.toml").exists()


def test_preset_is_written_for_this_user_only_and_where_it_says(here: Here, config: Path, tmp_path: Path) -> None:
    file = config / "config.toml"
    ended = here("config", "init", "--preset", "ci")
    assert (ended.code, ended.out, ended.err) == (0, "", f"wrote {file}\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shown = here("config", "show", "--json").document["settings"]
    assert (shown["max_cost_per_task"]["value"], shown["read_only"]["value"]) == ("0.25", "true")
    again = here("config", "init", "--preset", "default")
    assert (again.code, file.read_text()) == (2, preset_text("ci"))
    assert "hint: use --force to replace it" in again.err
    forced = here("config", "init", "--preset", "default", "--force", "--json")
    assert forced.document == {**forced.document, "path": str(file), "preset": "default", "kept": f"{file}.old"}
    assert file.read_text() == preset_text("default")


def test_preset_is_written_to_a_named_file(here: Here, config: Path, tmp_path: Path) -> None:
    ended = here("config", "init", "--preset", "ci", "--config", "ci.toml")
    assert (ended.code, ended.err) == (0, f"wrote {tmp_path / 'ci.toml'}\n")
    assert not config.exists()
    assert [path.name for path in tmp_path.glob("ci.toml*")] == ["ci.toml"]
    assert here("config", "get", "max_turns", "--config", "ci.toml").out == "20\n"
    assert here("config", "init", "--preset", "ci", "--config", "ci.toml").code == 2
    gone = here("config", "init", "--config", "gone/ci.toml")
    assert (gone.code, "cannot be written: no such file or directory" in gone.err) == (74, True)


def test_presets_are_in_the_help_and_an_unknown_one_is_refused(here: Here, config: Path) -> None:
    text = " ".join(here("config", "init", "--help").out.split())
    for name in PRESETS:
        assert f"{name} (" in text
    ended = here("config", "init", "--preset", "cii")
    assert (ended.code, ended.err) == (2, 'error: no preset "cii"\nhint: did you mean "ci"?\n')
    assert not config.exists()


def test_password_in_an_address_that_is_set_is_not_repeated(here: Here, config: Path) -> None:
    ended = here("config", "set", "openai_base_url", "https://me:hidden@box/v1", "--json")
    assert ended.document["value"] == "https://***@box/v1"
    assert "hidden" not in ended.out + ended.err
    assert "https://me:hidden@box/v1" in (config / "config.toml").read_text()
