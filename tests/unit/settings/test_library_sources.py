"""The sources of the settings library: what they get, and what they never read on their own."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest

from agentctl.settings import Settings, Source
from agentctl.settings.sources import from_dotenv, from_environment, from_toml
from tests.support.desk import Desk


def dotenv(text: str) -> dict[str, object]:
    return {name: entry.value for name, entry in from_dotenv(text, kind="env file", path=Path("x")).entries.items()}


def test_settings_are_made_of_what_they_are_given_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("AGENTCTL_MAX_TURNS=7\nmax_turns=7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGENTCTL_MAX_TURNS", "8")
    monkeypatch.setenv("max_turns", "9")
    assert Settings().max_turns == Settings.model_validate({}).max_turns == 30
    assert Settings(max_turns=4).max_turns == 4
    assert from_environment({"HOME": "/"}).entries == {}
    assert dotenv("") == {}
    assert from_toml("", kind="user config", path=Path("x")).entries == {}


def test_a_variable_is_known_by_its_exact_name(tmp_path: Path) -> None:
    small = {name.lower(): "7" for name in ("AGENTCTL_MAX_TURNS", "MAX_COST_PER_TASK", "OPENAI_API_KEY")}
    bare = {"max_turns": "7", "color": "never", "agent": "docker", "COLOR": "never", "TIMEOUT": "1", "prices": "{}"}
    assert from_environment({**small, **bare}).entries == {}
    assert Desk(tmp_path).load({**small, **bare}).notes == ()


def test_a_list_is_never_decoded_as_json(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.load({"AGENTCTL_TOOLS": "docker_ps, docker_logs"}).settings.tools == ("docker_ps", "docker_logs")
    assert desk.load({"AGENTCTL_DENY": "a,b"}).settings.deny == ("a", "b")
    assert desk.load({"AGENTCTL_TOOLS": "7"}).settings.tools == ("7",)
    for written in ('["docker_ps"]', '"docker_ps"', '{"a": 1}'):
        assert from_environment({"AGENTCTL_TOOLS": written}).entries["tools"].value == written
        assert "comma-separated names" in desk.refusal({"AGENTCTL_TOOLS": written}).message
    loaded = desk.load({"AGENTCTL_PRICES": '{"a": 1}'})
    assert loaded.settings.prices == {}
    assert "an unknown name: AGENTCTL_PRICES" in loaded.notes[0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("export AGENTCTL_MAX_TURNS=5\n", {"max_turns": "5"}),
        ("AGENTCTL_MAX_TURNS = '5' # five\r\nX=1\r\n", {"max_turns": "5"}),
        ("AGENTCTL_MAX_TURNS=5\nAGENTCTL_MAX_TURNS=6\n", {"max_turns": "6"}),
        ("AGENTCTL_MAX_TURNS=\n", {}),
        ("AGENTCTL_MAX_TURNS\n", {}),
        ("MAX_COST_PER_TASK=1\nAGENTCTL_MAX_COST_PER_TASK=\n", {"max_cost_per_task": "1"}),
        ('LLM_MODEL="${HOME}$HOME$(id)`id`"\n', {"llm_model": "${HOME}$HOME$(id)`id`"}),
        ("DATABASE_URL=x\nMAX_TURNS=4\n", {}),
        ("A='unfinished\nAGENTCTL_MAX_TURNS=5\n", {"max_turns": "5"}),
        ("AGENTCTL_ALLOW='a(x=1),b'\n", {"allow": "a(x=1),b"}),
    ],
)
def test_a_dotenv_gives_what_is_written_and_nothing_more(text: str, found: dict[str, object]) -> None:
    before = dict(os.environ)
    assert dotenv(text) == found
    assert dict(os.environ) == before


def test_a_value_knows_its_variable_and_its_line() -> None:
    layer = from_dotenv("# x\n\nOPENAI_API_BASE=http://a\n\nAGENTCTL_AGENT=b\n", kind="env file", path=Path("/e"))
    assert {name: (entry.name, entry.line) for name, entry in layer.entries.items()} == {
        "openai_base_url": ("OPENAI_API_BASE", 3), "agent": ("AGENTCTL_AGENT", 5),
    }  # fmt: skip
    assert layer.entries["agent"].source == Source("env file", "/e")
    found = from_toml("# x\nagent = 'a'\n[prices]\n", kind="user config", path=Path("/t")).entries
    assert {name: (entry.name, entry.line) for name, entry in found.items()} == {
        "agent": ("agent", 2), "prices": ("prices", 3),
    }  # fmt: skip


def test_a_toml_key_is_a_field_never_a_variable(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for key in ("AGENTCTL_MAX_TURNS", "LLM_PROVIDER", "Max_Turns"):
        desk.user_toml(f"{key} = 3\n")
        assert desk.refusal().message.startswith(f'unknown setting "{key}"')


def test_a_number_in_toml_keeps_every_digit(tmp_path: Path) -> None:
    text = "max_cost_per_task = 0.10000000000000000000000001\n"
    found = from_toml(text, kind="user config", path=Path("/t")).entries["max_cost_per_task"].value
    assert found == Decimal("0.10000000000000000000000001")
    desk = Desk(tmp_path)
    desk.user_toml(text)
    assert "at most 9 decimal places" in desk.refusal().message


def test_an_empty_key_is_remembered_unless_a_stronger_name_has_one() -> None:
    assert from_environment({"OPENAI_API_KEY": " ", "AGENTCTL_OPENAI_API_KEY": ""}).empty_keys == (
        "AGENTCTL_OPENAI_API_KEY", "OPENAI_API_KEY",
    )  # fmt: skip
    found = from_environment({"OPENAI_API_KEY": "", "AGENTCTL_OPENAI_API_KEY": "sk-1"})
    assert (found.empty_keys, found.entries["openai_api_key"].value) == ((), "sk-1")
    found = from_environment({"OPENAI_API_KEY": "sk-1", "AGENTCTL_OPENAI_API_KEY": ""})
    assert (found.empty_keys, found.entries["openai_api_key"].value) == (("AGENTCTL_OPENAI_API_KEY",), "sk-1")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xef\xbb\xbfAGENTCTL_MAX_TURNS=5\n", ""),
        (b"AGENTCTL_MAX_TURNS=5\n\0", "is binary, not text"),
        (b"#" * (1024 * 1024 + 1), "is larger than 1 MiB"),
        (b"A=" + b" " * 1_000_000 + b"\nAGENTCTL_MAX_TURNS=5\n", ""),
        (b"AGENTCTL_MAX_TURNS=5\n\xff", "line 2 is not UTF-8 text"),
    ],
)
def test_a_hostile_dotenv_is_read_or_refused_at_once(tmp_path: Path, data: bytes, said: str) -> None:
    desk = Desk(tmp_path)
    (desk.cwd / "x.env").write_bytes(data)
    if said:
        assert said in desk.refusal(env_files=["x.env"]).message
    else:
        assert desk.load(env_files=["x.env"]).settings.max_turns == 5


def test_each_field_is_checked_as_the_whole_model_checks_it(tmp_path: Path) -> None:
    texts = {"max_cost_per_task": "0.1", "deny": "a,b", "tools": "x", "timeout": "1h", "read_only": "on"}
    whole = Settings.model_validate(texts)
    environ = {f"AGENTCTL_{name.upper()}": text for name, text in texts.items()}
    loaded = Desk(tmp_path).load(environ)
    assert {name: getattr(loaded.settings, name) for name in texts} == {name: getattr(whole, name) for name in texts}
    assert Settings.model_validate({}) == Settings.model_construct()
