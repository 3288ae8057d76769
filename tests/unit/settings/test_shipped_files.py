"""The files that we ship load, and name exactly what there is to set."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentctl.settings import DOCUMENTED_NAMES, TABLE_FIELDS, TOML_FIELDS
from tests.support.desk import Desk

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_every_configuration_loads(tmp_path: Path, path: Path) -> None:
    assert Desk(tmp_path).load(config=path).notes == ()


def test_the_default_configuration_is_the_default(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.load(config=ROOT / "configs" / "default.toml").settings == desk.load().settings


def test_the_default_configuration_names_every_setting() -> None:
    text = (ROOT / "configs" / "default.toml").read_text()
    text = re.sub(r"(?:^# \[\[hook\]\].*\n(?:# [a-z]+ = .*\n)+)+", "# [hook]\n", text, flags=re.MULTILINE)
    text = re.sub(r"^# \[mcp\..*\n(?:# [a-z]+ = .*\n)+", "# [mcp]\n", text, flags=re.MULTILINE)
    lines = re.findall(r"^(?:# )?([a-z_]+) = ", text, re.MULTILINE)
    tables = re.findall(r"^# \[([a-z_]+)\]", text, re.MULTILINE)
    assert tables == list(TABLE_FIELDS)
    assert sorted([*lines, *tables]) == sorted(TOML_FIELDS)


def test_commented_lines_of_the_default_configuration_are_valid(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    text = (ROOT / "configs" / "default.toml").read_text()
    whole = re.sub(r"^# ([a-z_]+ = |\[|\")", r"\1", text, flags=re.MULTILINE)
    desk.user_toml(whole.replace('"builtin"', '"openai"'))
    settings = desk.load().settings
    assert settings.llm_model == "gpt-4o-mini"
    assert None not in settings.prices["openai/my-model"]


def test_the_pipeline_configuration_only_tightens(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    ci, default = desk.load(config=ROOT / "configs" / "ci.toml").settings, desk.load().settings
    assert (ci.output, ci.color, ci.read_only) == ("json", "never", True)
    for name in ("max_cost_per_task", "max_cost_per_hour", "max_tokens_per_task", "max_turns", "timeout"):
        assert getattr(ci, name) < getattr(default, name)


def test_the_example_env_names_exactly_the_settings() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert "--env-file .env" in lines[0]
    assert "not trusted" in lines[0]
    found = [match[1] for line in lines if (match := re.match(r"#?([A-Z_]+)=", line))]
    assert sorted(found) == sorted(DOCUMENTED_NAMES)


def test_the_example_env_loads_with_its_defaults_taken_in(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    text = (ROOT / ".env.example").read_text()
    desk.user_env(text)
    assert desk.load().notes == ()
    desk.file("x.env", text)
    assert desk.refusal(env_files=["x.env"]).hint == "uncomment or write one, such as MAX_COST_PER_TASK=0.25"
    desk.file("y.env", re.sub(r"^#([A-Z_]+=.+)$", r"\1", text, flags=re.MULTILINE).replace("LLM_PROVIDER=builtin", ""))
    loaded = desk.load(env_files=["y.env"])
    assert loaded.settings == desk.load().settings
    assert loaded.notes == ()
