"""The text of a .env with a key in it: one line, everything else as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from agentctl.settings.key_file import EnvironmentKey, environment_key, mask_key, own_env_file, with_key
from agentctl.settings.sources import from_dotenv

KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
LINES = st.sampled_from(
    [
        "# a comment with OPENAI_API_KEY=old in it",
        "#OPENAI_API_KEY=sk-out-commented",
        "MAX_COST_PER_TASK=0.25   # cents",
        "export ANTHROPIC_API_KEY='sk-ant \\' quoted'",
        'NOTE="several\nOPENAI_API_KEY=no-line\nlines"',
        "OPENAI_API_KEY=sk-old",
        "  export OPENAI_API_KEY = 'sk-older'   # from the vault, don't lose",
        'AGENTCTL_OPENAI_API_KEY="sk-oldest"',
        "OPENAI_API_KEY",
        "OPENAI_API_KEY=",
        "no name here",
        "LLM_MODEL='gpt",
        "",
        "   ",
        "größe=1",
    ]
)
ENDS = st.sampled_from(["\n", "\r\n"])


def read_back(text: str) -> dict[str, object]:
    layer = from_dotenv(text, kind="user .env", path=Path(".env"))
    return {name: entry.value for name, entry in layer.entries.items()}


def others(text: str) -> list[str]:
    """Return the lines that have nothing to do with the key."""
    return [line for line in text.splitlines() if "OPENAI_API_KEY" not in line]


@given(KEYS)
def test_any_key_reads_back_as_it_was(key: str) -> None:
    text = with_key("", "OPENAI_API_KEY", SecretStr(key))
    assert (read_back(text), text.count("\n")) == ({"openai_api_key": key}, 1)


@given(st.lists(LINES, max_size=8), ENDS, st.booleans(), KEYS)
def test_key_has_one_line_and_every_other_byte_stays(lines: list[str], end: str, last: bool, key: str) -> None:
    text = end.join(lines) + (end if last else "")
    fresh = with_key(text, "OPENAI_API_KEY", SecretStr(key))
    assert read_back(fresh) == {**read_back(text), "openai_api_key": key}
    assert others(fresh) == others(text)
    assert with_key(fresh, "OPENAI_API_KEY", SecretStr(key)) == fresh
    bare = with_key(fresh, "OPENAI_API_KEY", None)
    assert "openai_api_key" not in read_back(bare)
    assert others(bare) == others(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "OPENAI_API_KEY=sk-new\n"),
        ("A=1", "A=1\nOPENAI_API_KEY=sk-new\n"),
        ("A=1\r\n", "A=1\r\nOPENAI_API_KEY=sk-new\r\n"),
        ("\n\nOPENAI_API_KEY=old # mine\n\nA=1\n", "\n\nOPENAI_API_KEY=sk-new # mine\n\nA=1\n"),
        ("OPENAI_API_KEY=a\nB=2\nexport OPENAI_API_KEY='b'\nC=3", "OPENAI_API_KEY=sk-new\nB=2\nC=3"),
        ("AGENTCTL_OPENAI_API_KEY=a\n", "OPENAI_API_KEY=sk-new\n"),
        ("\ufeffA=1\n", "\ufeffA=1\nOPENAI_API_KEY=sk-new\n"),
        ("B='two\nlines'\n", "B='two\nlines'\nOPENAI_API_KEY=sk-new\n"),
    ],
)
def test_the_line_stands_where_the_first_one_stood_or_at_the_end(before: str, after: str) -> None:
    assert with_key(before, "OPENAI_API_KEY", SecretStr("sk-new")) == after


def test_unterminated_quote_swallows_no_other_line() -> None:
    text = "A='open\nB=2\n"
    fresh = with_key(text, "OPENAI_API_KEY", SecretStr("it's"))
    assert read_back(fresh) == {"openai_api_key": "it's"}
    assert fresh.endswith(text)
    assert with_key(text, "OPENAI_API_KEY", SecretStr("plain")) == text + "OPENAI_API_KEY=plain\n"


@pytest.mark.parametrize(
    ("key", "shown"),
    [("sk-abcdefgh123456", "sk-…3456"), ("twelve-chars", "twe…hars"), ("eleven-char", "********"), ("x", "********")],
)
def test_a_mask_shows_only_a_part_of_what_is_long(key: str, shown: str) -> None:
    assert mask_key(key) == shown


def test_environment_variable_that_overrides_the_key_is_found() -> None:
    assert environment_key("openai", "k", {}) == EnvironmentKey()
    assert environment_key("openai", "k", {"OPENAI_API_KEY": "k"}) == EnvironmentKey()
    assert environment_key("openai", "k", {"OPENAI_API_KEY": "other"}) == EnvironmentKey(wins="OPENAI_API_KEY")
    both = {"OPENAI_API_KEY": "k", "AGENTCTL_OPENAI_API_KEY": "other"}
    assert environment_key("openai", "k", both) == EnvironmentKey(wins="AGENTCTL_OPENAI_API_KEY")
    assert environment_key("openai", "k", {"OPENAI_API_KEY": " "}) == EnvironmentKey(empty="OPENAI_API_KEY")
    assert environment_key("openai", None, {"OPENAI_API_KEY": "other"}) == EnvironmentKey(wins="OPENAI_API_KEY")
    assert environment_key("openai", "k", {"GROQ_API_KEY": "other"}) == EnvironmentKey()


def test_the_file_lies_in_the_config_folder_whatever_else_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert own_env_file({"AGENTCTL_CONFIG_DIR": "/x/y", "MAX_TURNS": "wrong"}) == Path("/x/y/.env")
    assert own_env_file({"AGENTCTL_CONFIG_DIR": "rel"}) == tmp_path / "rel" / ".env"
    assert own_env_file({}).name == ".env"
