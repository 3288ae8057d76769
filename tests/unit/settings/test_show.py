"""Settings as shown, and values that are never shown."""

from __future__ import annotations

from pathlib import Path

from agentctl.settings import ENV_NAMES, TABLE_FIELDS, Settings
from agentctl.settings.show import Place, SettingRow, explain, paths
from tests.support.desk import Desk


def test_every_setting_is_shown_with_its_origin(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml('deny = ["docker_logs", "read_file"]\nmax_cost_per_hour = "none"')
    rows = {row.name: row for row in explain(desk.load({"MAX_COST_PER_TASK": "0.000000001"}, flags={"timeout": "90"}))}
    assert set(rows) == {*ENV_NAMES, *TABLE_FIELDS} == set(Settings.model_fields)
    cost, toml = "cost", f"user config {desk.config / 'config.toml'}"
    for row in (
        SettingRow("max_cost_per_task", cost, "0.000000001", "environment MAX_COST_PER_TASK", "0.50", is_set=True),
        SettingRow("max_cost_per_hour", cost, "none", toml, "10.0", is_set=True),
        SettingRow("timeout", "work", "90 s", "flag --timeout", "1800 s", is_set=True),
        SettingRow("deny", "reach", "docker_logs, read_file", toml, "none", is_set=True),
        SettingRow("llm_model", "answer", "", "default", "the provider's default", is_set=False),
        SettingRow("read_only", "reach", "false", "default", "false", is_set=False),
    ):
        assert rows[row.name] == row
    assert rows["state_dir"][2:4] == (str(desk.state), "environment AGENTCTL_STATE_DIR")


def test_unset_setting_shows_the_default_that_holds(tmp_path: Path) -> None:
    rows = {row.name: row for row in explain(Desk(tmp_path).load())}
    assert {name: rows[name].default for name in ("openai_base_url", "groq_api_key", "tools", "max_cost_per_day")} == {
        "openai_base_url": "https://api.openai.com/v1",
        "groq_api_key": "not set",
        "tools": "all",
        "max_cost_per_day": "no limit",
    }
    assert [name for name, row in rows.items() if not row.default] == []


def test_no_key_and_no_password_is_ever_shown(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_env("ANTHROPIC_API_KEY=sk-ant-hidden-2\nOPENAI_API_KEY=sk-hidden-shadowed\n")
    loaded = desk.load({"OPENAI_API_KEY": "sk-hidden-1", "OPENAI_BASE_URL": "http://user:hidden-3@host/v1"})
    rows = {row.name: row.value for row in explain(loaded)}
    assert rows["openai_api_key"] == rows["anthropic_api_key"] == "********"
    assert rows["openai_base_url"] == "http://***@host/v1"
    assert "hidden" not in f"{rows} {loaded!r} {loaded.settings!r} {loaded.settings.model_dump_json()}".replace(
        "user:hidden-3@host", ""
    )
    assert set(loaded.secrets) == {"sk-ant-hidden-2", "sk-hidden-shadowed", "sk-hidden-1", "hidden-3"}


def test_the_paths_say_whether_they_are_there(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.user_toml("")
    assert tuple(paths(desk.load())) == (
        Place("config file", desk.config / "config.toml", exists=True),
        Place("MCP servers", desk.config / "mcp.json", exists=False),
        Place(".env", desk.config / ".env", exists=False),
        Place("config folder", desk.config, exists=True),
        Place("state folder", desk.state, exists=False),
        Place("ledger", desk.state / "ledger.db", exists=False),
        Place("runs", desk.state / "runs", exists=False),
        Place("cache", tmp_path / "cache", exists=False),
    )
