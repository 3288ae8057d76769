"""Which calls a hook is about, and which hooks no run starts with."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.core.targets import Subject, Target
from agentctl.core.tool_rules import parse_rule
from agentctl.permissions.hook_rules import HookRule, hook_rules_of
from tests.support.desk import Desk


def before(match: str) -> HookRule:
    return HookRule("pre_tool", ("/bin/true",), 10.0, parse_rule(match))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    desk = Desk(tmp_path)
    monkeypatch.chdir(desk.cwd)
    return desk


def test_a_hook_matches_by_each_part_of_a_command() -> None:
    rule, command = before("run_shell(git push*)"), {"command": "cd x && git push --force"}
    assert rule.matches("run_shell", command, Subject(command))
    other = {"command": "git pull"}
    assert not rule.matches("run_shell", other, Subject(other))
    assert not rule.matches("docker_ps", {}, Subject({}))
    assert before("*").matches("docker_ps", {}, Subject({}))


def test_a_hook_matches_by_every_name_of_the_target() -> None:
    rule, given = before("docker_rm(name=db)"), {"name": "4be1c09d22af"}
    target = Target("container", ("db", "4be1c09d22af"), identity="4be1c09d22af")
    assert rule.matches("docker_rm", given, Subject({"name": "db"}, {"name": target}))
    assert rule.needs_names("docker_rm")
    assert not before("docker_rm").needs_names("docker_rm")


def test_a_hook_about_an_unknown_tool_stops_the_run_with_the_nearest_name(desk: Desk) -> None:
    path = desk.user_toml('[[hook]]\non = "pre_tool"\nmatch = "docker_pss"\ncommand = ["/bin/true"]\n')
    with pytest.raises(UsageError) as refused:
        hook_rules_of(desk.load())
    said = f'hook 1 (user config {path}): match names "docker_pss", and there is no such tool'
    assert (refused.value.message, refused.value.hint) == (said, 'did you mean "docker_ps"?')


@pytest.mark.parametrize("words", ['["WORK/check"]', '["/bin/sh", "WORK/check"]', '["/bin/sh", "--rcfile=WORK/rc"]'])
def test_a_hook_in_the_workspace_stops_the_run_as_a_model_can_change_it(desk: Desk, words: str) -> None:
    command = words.replace("WORK", str(desk.cwd))
    desk.user_toml(f'[[hook]]\non = "run_finished"\ncommand = {command}\n')
    with pytest.raises(UsageError, match="is in a folder that commands of a model can change") as refused:
        hook_rules_of(desk.load())
    assert str(desk.config) in refused.value.hint


def test_a_link_into_the_workspace_is_a_file_of_the_workspace(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "check").symlink_to(desk.cwd / "real")
    desk.user_toml(f'[[hook]]\non = "run_finished"\ncommand = ["{tmp_path}/check"]\n')
    with pytest.raises(UsageError, match="can change"):
        hook_rules_of(desk.load())


def test_a_hook_in_sandbox_write_stops_the_run(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    desk.user_toml(
        f'sandbox_write = ["{tmp_path}/shared"]\n[[hook]]\non = "run_finished"\ncommand = ["{tmp_path}/shared/x"]\n'
    )
    with pytest.raises(UsageError, match="can change"):
        hook_rules_of(desk.load())


def test_a_hook_in_agentctls_own_folder_is_out_of_reach_inside_a_workspace_too(desk: Desk) -> None:
    own = desk.cwd / "own"
    own.mkdir()
    (own / "config.toml").write_text(f'[[hook]]\non = "run_finished"\ncommand = ["{own}/notify"]\n')
    (rule,) = hook_rules_of(desk.load({"AGENTCTL_CONFIG_DIR": str(own)}))
    assert rule == HookRule("run_finished", (f"{own}/notify",), 10.0, None)
