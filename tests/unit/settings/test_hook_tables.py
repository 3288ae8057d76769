"""The tables [[hook]]: what they take, what each mistake is answered with, and whose files may have them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.settings import load_settings
from agentctl.settings.config_file import check_settable
from agentctl.settings.hook_tables import Hook
from agentctl.settings.show import explain, format_for_set
from agentctl.settings.trust_store import TrustStore
from agentctl.settings.untrusted_files import read_project_file
from tests.support.desk import Desk

BEFORE = '[[hook]]\non = "pre_tool"\nmatch = "run_shell(git push*)"\ncommand = ["/usr/bin/check", "a b"]\n'
AFTER = '[[hook]]\non = "run_finished"\ncommand = ["~/bin/notify"]\ntimeout = "1m30s"\n'


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Desk(tmp_path)


def test_hooks_are_read_in_the_order_of_the_file(desk: Desk, tmp_path: Path) -> None:
    desk.user_toml(f"max_turns = 7\n{BEFORE}{AFTER}")
    loaded = desk.load()
    assert loaded.settings.hook == (
        Hook("pre_tool", ("/usr/bin/check", "a b"), "run_shell(git push*)", 10.0),
        Hook("run_finished", (f"{tmp_path}/bin/notify",), "", 90.0),
    )
    row = next(row for row in explain(loaded) if row.name == "hook")
    shown = f"pre_tool run_shell(git push*): /usr/bin/check 'a b' (10 s); run_finished: {tmp_path}/bin/notify (90 s)"
    assert format_for_set("hook", loaded.settings.hook) == shown
    assert (row.is_set, row.source) == (True, f"user config {desk.config}/config.toml")
    assert row.value.startswith("pre_tool run_shell(git push*): /usr/bin/check 'a b' (10 s); run_finished")


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ('on = "pretooluse"', 'on cannot be "pretooluse" (PLACE line 5)', ""),
        ('when = "pre_tool"', "unknown setting when of hook 2 (PLACE line 5)", 'did you mean "on"?'),
        ("max_turns = 3", "unknown setting max_turns of hook 2", "move max_turns above the first line [[hook]]"),
        ('command = ["sh", "x"]', 'command cannot be "["sh", "x"]" (PLACE line 5)', 'command = ["/'),
        ('command = "/bin/sh -c x"', "command cannot be", 'command = ["/bin/sh", "-c", "x"]'),
        ('command = ["./check"]', "command cannot be", 'command = ["/usr/local/bin/check"]'),
        ("command = []", "command cannot be", 'command = ["/usr/local/bin/check"]'),
        ('command = ["/bin/sh", 1]', "command cannot be", 'command = ["/usr/local/bin/check"]'),
        ('command = ["/bin/sh", "a\\u0000"]', "command cannot be", ""),
        ('match = "run_shell("', 'match cannot be "run_shell("', ""),
        ('match = ["docker_rm", "docker_rmi"]', "match cannot be", "write one [[hook]] for each rule"),
        ('timeout = "0s"', 'timeout cannot be "0s"', ""),
        ('timeout = "11m"', 'timeout cannot be "11m"', ""),
        ('on = "pre_tool"\ncommand = ["/bin/sh"]', "hook 2 has no match", 'match = "*"'),
        ('on = "run_finished"', "hook 2 has no command", 'command = ["/usr/local/bin/check"]'),
        ('command = ["/bin/sh"]', "hook 2 has no on", 'on = "pre_tool"'),
    ],
)
def test_a_wrong_hook_stops_a_run_with_its_place_and_a_hint(desk: Desk, text: str, said: str, hint: str) -> None:
    first = '[[hook]]\non = "run_finished"\ncommand = ["/bin/true"]\n'
    path = desk.user_toml(f"{first}[[hook]]\n{text}\n")
    place = f"user config {path}"
    refused = desk.refusal()
    lines = f"{refused.message}\n{refused.hint}"
    assert said.replace("PLACE", place) in lines
    assert hint in lines


@pytest.mark.parametrize("text", ["hook = 3\n", 'hook = ["x"]\n', '[hook]\non = "pre_tool"\n'])
def test_what_is_no_list_of_tables_stops_a_run(desk: Desk, text: str) -> None:
    desk.user_toml(text)
    assert "[[hook]]" in str(desk.refusal().message)


def test_a_wrong_hook_does_not_stop_a_report(desk: Desk) -> None:
    desk.user_toml('[[hook]]\non = "never"\n')
    assert desk.check().problems
    loaded = load_settings(flags={}, environ=desk.environ, cwd=desk.cwd, needs=("report",))
    assert loaded.settings.hook == ()


def test_hooks_of_an_untrusted_file_are_ignored_with_one_line(desk: Desk) -> None:
    desk.user_toml(BEFORE)
    desk.project_toml(AFTER)
    loaded = desk.load()
    assert [hook.on for hook in loaded.settings.hook] == ["pre_tool"]
    (note,) = loaded.notes
    assert note.startswith("./.agentctl.toml is not trusted, so this was ignored: hook. To use it: ")
    (offer,) = loaded.offers
    assert offer.consequences == ("hook decides which programs agentctl starts, outside of the sandbox",)
    assert desk.load().notes == (), "once per content"


def test_hooks_of_a_trusted_file_follow_the_users_own_and_replace_none(desk: Desk) -> None:
    mine = desk.user_toml(BEFORE)
    theirs = desk.project_toml(AFTER)
    file = read_project_file(theirs)
    assert file is not None
    TrustStore(desk.state).grant([file], now=datetime(2026, 11, 30, tzinfo=UTC))
    loaded = desk.load()
    assert [hook.on for hook in loaded.settings.hook] == ["pre_tool", "run_finished"]
    assert str(loaded.sources["hook"]) == f"user config {mine}, trusted project file {theirs}"
    mine.write_text(BEFORE.replace("pre_tool", "prior"))
    assert f"(user config {mine} line 2)" in desk.refusal().message, "a wrong hook of the user's own stops the run, too"


def test_no_environment_variable_or_env_file_has_hooks(desk: Desk) -> None:
    desk.user_env('HOOK=[{on="run_finished"}]\nAGENTCTL_HOOK=x\n')
    assert desk.load({"AGENTCTL_HOOK": "x", "HOOK": "y"}).settings.hook == ()


def test_hooks_are_not_set_word_by_word(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        check_settable("hook", tmp_path / "config.toml")
    assert refused.value.hint == "agentctl help hooks"
