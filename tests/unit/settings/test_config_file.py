"""The user's config.toml: one line of it changes, and nothing else."""

from __future__ import annotations

import os
import stat
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.errors import StateError, UsageError
from agentctl.settings import ENV_NAMES, TABLE_FIELDS, TOML_FIELDS
from agentctl.settings.config_file import default_text, find_field, save_value, start_file, with_value
from tests.support.desk import Desk

ROOT = Path(__file__).parents[3]

LINES = (
    "# max_turns = 30\n", "max_turns = 9  # mine\n", "\n", '# why\nagent = "a # b"\n', 'timeout = "1m"\r\n',
    'tools = [\n  "a", # one\n  "b",\n]\n', 'llm_model = """\nmax_turns = 4\n"""\n', "'max_output_tokens' = 5\n",
    "deny = []\n", '[prices]\n"openai/x" = { input = 1 }\n', '# a table\n[prices."openai/y"]\nmax_turns = 1\n',
)  # fmt: skip


@given(st.lists(st.sampled_from(LINES), unique=True), st.sampled_from(["5", None]))
def test_changed_setting_leaves_everything_else(lines: list[str], literal: str | None) -> None:
    text = "".join(lines)
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(UsageError, match="is not TOML"):
            with_value(text, "max_turns", literal)
        return
    after = with_value(text, "max_turns", literal)
    wanted = {name: value for name, value in before.items() if name != "max_turns"}
    assert tomllib.loads(after) == (wanted if literal is None else wanted | {"max_turns": 5})
    kept = [line for line in text.splitlines() if line.strip() and not line.startswith("max_turns = 9")]
    assert [line for line in after.splitlines() if line in kept] == kept
    assert with_value(after, "max_turns", literal) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "max_turns = 5\n"),
        ("max_turns = 30 # so\nagent = 'x'", "max_turns = 5 # so\nagent = 'x'"),
        ("# max_turns = 30\n# timeout = 1\n", "# max_turns = 30\nmax_turns = 5\n# timeout = 1\n"),
        ("agent = 'x'", "agent = 'x'\nmax_turns = 5\n"),
        ("agent = 'x'\r\n", "agent = 'x'\r\nmax_turns = 5\r\n"),
        ("\ufeffagent = 'x'\n", "\ufeffagent = 'x'\nmax_turns = 5\n"),
        ("# mine\n[prices]\n", "max_turns = 5\n# mine\n[prices]\n"),
        ("agent = 'x'\n\n# mine\n# [prices]\n", "agent = 'x'\n\nmax_turns = 5\n\n# mine\n# [prices]\n"),
        ('max_turns = [\n  1, # one\n  "#"\n] # so\n', "max_turns = 5 # so\n"),
        ('llm_model = """\nmax_turns = 1\n"""\n', 'llm_model = """\nmax_turns = 1\n"""\nmax_turns = 5\n'),
    ],
)
def test_a_line_stands_where_a_person_would_look_for_it(before: str, after: str) -> None:
    assert with_value(before, "max_turns", "5") == after


def test_every_value_reads_back_as_it_was_meant(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.config / "config.toml"
    words = {
        "llm_provider": ["OpenAI"], "llm_model": ["gpt-4o"], "max_cost_per_task": [".5"], "max_cost_per_hour": ["none"],
        "max_tokens_per_task": ["7"], "openai_base_url": ["http://h/v1/"], "timeout": ["1h30m"], "budget_wait": ["0"],
        "read_only": ["yes"], "tools": ["a,b", "c"], "allow": ['docker_run(image="a,b")', "x"], "network": ["off"],
        "workdir": [str(tmp_path)], "cost_history_file": [str(tmp_path / "h \"q\" \\ é.json")], "approve": ["deny"],
    }  # fmt: skip
    for field, given_words in words.items():
        assert save_value(path, field, given_words)
        assert not save_value(path, field, given_words)
    settings = desk.load().settings
    assert {field: getattr(settings, field) for field in words} == {
        "llm_provider": "openai", "llm_model": "gpt-4o", "max_cost_per_task": Decimal("0.5"), "max_cost_per_hour": None,
        "max_tokens_per_task": 7, "openai_base_url": "http://h/v1", "timeout": 5400, "budget_wait": 0,
        "read_only": True, "tools": ("a", "b", "c"), "allow": ('docker_run(image="a,b")', "x"), "network": False,
        "workdir": tmp_path, "cost_history_file": tmp_path / "h \"q\" \\ é.json", "approve": "deny",
    }  # fmt: skip
    for field in words:
        assert save_value(path, field, ())
        assert not save_value(path, field, ())
    assert path.read_text() == ""


@pytest.mark.parametrize(
    ("field", "words", "said"),
    [
        ("max_turns", ["many"], 'max_turns cannot be "many"; allowed: a whole number, 1 or more'),
        ("max_turns", ["1", "2"], "max_turns cannot be "),
        ("llm_provider", ["opnai"], 'did you mean "openai"?'),
        ("llm_provider", ["a\nb"], "llm_provider cannot be "),
        ("openai_api_key", ["sk-secret-secret"], "OPENAI_API_KEY is a key: keys do not belong in config.toml"),
        ("state_dir", ["/x"], "state_dir can only be set by the environment"),
        ("prices", ["x"], "prices is a table: set the price of one model"),
        ("workdir", ["/\udcff"], "contains invalid UTF-8"),
        ("llm_model", ["anthropic/x"], "two providers are named at once"),
    ],
)
def test_value_that_the_file_cannot_hold_is_refused_and_nothing_changes(
    tmp_path: Path, field: str, words: list[str], said: str
) -> None:
    path = Desk(tmp_path).user_toml('llm_provider = "openai"\n')
    with pytest.raises(UsageError) as caught:
        save_value(path, field, words)
    assert said in caught.value.message
    assert "secret-secret" not in f"{caught.value.message} {caught.value.hint}"
    assert path.read_text() == 'llm_provider = "openai"\n'


def test_file_with_another_mistake_can_be_fixed_line_by_line(tmp_path: Path) -> None:
    path = Desk(tmp_path).user_toml('max_turns = "many"\nmax_trns = 3\n')
    assert save_value(path, "timeout", ["1m"])
    assert save_value(path, "max_turns", ["4"])
    assert path.read_text() == 'max_turns = 4\nmax_trns = 3\ntimeout = "1m"\n'


def test_links_pipes_and_what_is_not_toml_are_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("max_turns = 1\n")
    (tmp_path / "link").symlink_to(elsewhere)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "broken").write_text("max_turns = = 3")
    cases = {"link": "symbolic link", "pipe": "regular file", "folder": "regular file", "bytes": "not UTF-8 text"}
    for name, said in {**cases, "broken": "is not TOML"}.items():
        with pytest.raises(UsageError, match=said):
            save_value(tmp_path / name, "max_turns", ["3"])
    assert elsewhere.read_text() == "max_turns = 1\n"


def test_new_file_is_private_to_the_user_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config.toml"
    assert save_value(path, "max_turns", ["3"])
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path.parent, path)] == [0o700, 0o600]
    path.chmod(0o644)
    assert save_value(path, "max_turns", ["4"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_folder_that_cannot_be_written_is_reported(as_nobody: Path) -> None:
    path = as_nobody / "config.toml"
    path.write_text("max_turns = 1\n")
    as_nobody.chmod(0o500)
    try:
        with pytest.raises(StateError, match="cannot be written: permission denied"):
            save_value(path, "max_turns", ["3"])
        with pytest.raises(StateError, match="cannot be written: permission denied"):
            start_file(path, "max_turns = 2\n", force=True)
    finally:
        as_nobody.chmod(0o700)
    assert path.read_text() == "max_turns = 1\n"


def test_the_file_to_start_with_is_the_one_we_ship_and_every_line_of_it_is_a_comment(tmp_path: Path) -> None:
    shipped = (ROOT / "configs" / "default.toml").read_text()
    inside = ROOT / "agentctl" / "settings" / "default.toml"
    assert inside.read_text() == shipped, "copy configs/default.toml over it"
    text = default_text()
    assert all(line.startswith("#") for line in text.splitlines() if line)
    assert [line.removeprefix("# ") for line in text.splitlines()] == [
        line.removeprefix("# ") for line in shipped.splitlines()
    ]
    desk = Desk(tmp_path)
    assert start_file(desk.config / "config.toml", default_text(), force=False) is None
    assert {source.kind for source in desk.load().sources.values()} == {"default", "environment"}
    for field in TOML_FIELDS:
        if field not in TABLE_FIELDS:
            assert f"# {field} = " in text


def test_existing_file_is_not_replaced_unless_forced(tmp_path: Path) -> None:
    path = Desk(tmp_path).user_toml("max_turns = 3\n")
    with pytest.raises(UsageError, match="already exists; nothing was changed"):
        start_file(path, default_text(), force=False)
    assert path.read_text() == "max_turns = 3\n"
    kept = start_file(path, default_text(), force=True)
    assert kept is not None
    assert (kept.read_text(), path.read_text()) == ("max_turns = 3\n", default_text())
    save_value(path, "max_turns", ["5"])
    lines = path.read_text().splitlines()
    commented = next(at for at, line in enumerate(lines) if line.startswith("# max_turns = 30 "))
    assert lines[commented + 1] == "max_turns = 5"


@pytest.mark.parametrize("field", [*ENV_NAMES, *TABLE_FIELDS])
def test_a_setting_is_known_by_each_of_its_names(field: str) -> None:
    for name in (field, field.upper(), f"--{field.replace('_', '-')}", *ENV_NAMES.get(field, ())):
        assert find_field(name) == field


def test_setting_is_known_by_its_flag_too_and_a_key_is_not_a_name() -> None:
    assert [find_field(word) for word in ("--max-cost", "model", "provider")] == [
        "max_cost_per_task", "llm_model", "llm_provider",
    ]  # fmt: skip
    with pytest.raises(UsageError) as caught:
        find_field("max_truns")
    assert caught.value.hint == 'did you mean "max_turns"?'
    for key in ("sk-not-to-be-seen-1234567890", "x" * 50):
        with pytest.raises(UsageError) as caught:
            find_field(key)
        assert key not in caught.value.message
