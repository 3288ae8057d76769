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
    assert rows["max_cost_per_task"] == SettingRow("max_cost_per_task", "0.000000001", "environment MAX_COST_PER_TASK")
    assert rows["max_cost_per_hour"] == SettingRow(
        "max_cost_per_hour", "none", f"user config {desk.config / 'config.toml'}"
    )
    assert rows["timeout"] == SettingRow("timeout", "90 s", "flag --timeout")
    assert rows["deny"].value == "docker_logs, read_file"
    assert rows["llm_model"] == SettingRow("llm_model", "", "default")
    assert rows["read_only"] == SettingRow("read_only", "false", "default")
    assert rows["state_dir"] == SettingRow("state_dir", str(desk.state), "environment AGENTCTL_STATE_DIR")


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
        Place(".env", desk.config / ".env", exists=False),
        Place("config folder", desk.config, exists=True),
        Place("state folder", desk.state, exists=False),
        Place("ledger", desk.state / "ledger.db", exists=False),
        Place("runs", desk.state / "runs", exists=False),
        Place("cache", tmp_path / "cache", exists=False),
    )
