"""``agentctl policy check``: the outcome of a tool call, with its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.runner.toolset import NEED_SANDBOX
from agentctl.tools.toolbox import TOOLS, arguments_of
from tests.support.command_line import Here

TARGET = arguments_of("docker_logs")[0]
LOGS = f"docker_logs({TARGET}=web)"
SHELLS = [name for name in NEED_SANDBOX if name in TOOLS]


def test_read_only_call_runs(here: Here) -> None:
    ended = here("policy", "check", "docker_ps(all=true)")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "docker_ps(all=true): runs\nbecause  it only reads\neffect   read\nrule     docker_ps\n"
    document = here("policy", "check", "docker_ps(all=true)", "--json").document
    assert (document["schema"], document["status"], document["exit_code"]) == ("agentctl.policy/1", "done", 0)
    assert document["call"] == {"name": "docker_ps", "arguments": {"all": True}}
    assert (document["outcome"], document["rule"], document["error"]) == ("runs", "docker_ps", None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "code", "word"),
    [
        ((), 0, "runs"),
        (("--deny", "docker_logs"), 5, "denied"),
        (("--deny", f"docker_logs({TARGET}=w*)"), 5, "denied"),
        (("--deny", f"docker_logs({TARGET}=db*)"), 0, "runs"),
        (("--deny", "docker_logs", "--allow", LOGS), 5, "denied"),
        (("--deny", "docker_logs", "--yes"), 5, "denied"),
        (("--tools", "docker_ps"), 5, "denied"),
        (("--tools", "docker_ps,docker_logs"), 0, "runs"),
        (("--read-only",), 0, "runs"),
    ],
)
def test_flags_count_as_for_a_run(here: Here, flags: tuple[str, ...], code: int, word: str) -> None:
    ended = here("policy", "check", LOGS, *flags)
    assert (ended.code, ended.err) == (code, "")
    assert ended.out.splitlines()[0] == f'docker_logs({TARGET}="web"): {word}'
    document = here("policy", "check", LOGS, *flags, "--json").document
    assert (document["exit_code"], document["status"]) == (code, "denied" if code else "done")


def test_an_ask_rule_needs_a_person_and_the_hint_is_the_rule_to_paste(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTCTL_ASK", "docker_logs")
    ended = here("policy", "check", LOGS)
    assert ended.code == 5
    first, why, _, rule, hint = ended.out.splitlines()
    assert first.endswith(": needs approval (denied without a terminal)")
    assert why == "because  the rule ask docker_logs"
    assert rule == f"rule     {LOGS}"
    assert hint == f"hint     to allow it: --allow '{LOGS}'"
    assert here("policy", "check", LOGS, "--yes").code == 0
    denied = here("policy", "check", LOGS, "--approve", "deny")
    assert (denied.code, denied.out.splitlines()[0].rpartition(": ")[2]) == (5, "denied")


def test_rules_of_a_configuration_count(here: Here, tmp_path: Path) -> None:
    (tmp_path / "ci.toml").write_text(f'deny = ["{LOGS}"]\n')
    assert here("policy", "check", LOGS, "--config", "ci.toml").code == 5
    (tmp_path / "ci.env").write_text("AGENTCTL_DENY=docker_logs\n")
    assert here("policy", "check", LOGS, "--env-file", "ci.env").code == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "CALL is missing"),
        (("docker_log(x=web)",), 'there is no tool "docker_log"'),
        (("docker_logs",), f'docker_logs needs "{TARGET}"'),
        ((f"docker_logs({TARGET}=web, tail=many)",), '"tail" must be a whole number'),
        ((f"docker_logs({TARGET}=web, colour=red)",), 'no argument "colour"'),
        (("docker_logs(web)",), "is not a valid call"),
        ((LOGS, "--deny", "docker_lgos"), "and there is no such tool"),
        ((LOGS, "--deny", "docker_logs("), "allowed: a rule such as"),
        ((LOGS, "--yes", "--approve", "deny"), "cannot be combined"),
    ],
)
def test_invalid_policy_call_ends_with_2(here: Here, words: tuple[str, ...], said: str) -> None:
    ended = here("policy", "check", *words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    document = here("policy", "check", *words, "--json").document
    assert (document["schema"], document["exit_code"]) == ("agentctl.error/1", 2)


def test_text_that_is_not_a_call_is_a_shell_command(here: Here) -> None:
    ended = here("policy", "check", "ls -la | wc -l", "--sandbox", "none")
    if not SHELLS:
        assert (ended.code, ended.out) == (2, "")
        assert "no tool here runs commands of a shell" in ended.err
        return
    assert ended.code in (0, 5)
    assert ended.out.startswith(f'{SHELLS[0]}(command="ls -la | wc -l"): ')


def test_escapes_in_a_call_cannot_move_the_cursor(here: Here) -> None:
    ended = here("policy", "check", "docker_\x1b[2Jx(y=1)")
    assert ended.code in (0, 2, 5, 6)  # a command, where there is a shell
    assert "\x1b" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("command", "code", "covered"),
    [
        ("git log -c x", 0, "yes, by run_shell(git log *)"),
        (
            "git log --output=x", 5,
            "no: run_shell(git log *) does not cover it: git log --output=x is not known to only read",
        ),
        ("git -c a=b log", 5, "no: no rule covers git -c a=b log"),
        ("git log $(id)", 5, "no: a rule covers plain words only, and the command has a command substitution"),
    ],
)  # fmt: skip
def test_rule_before_a_command_shows_whether_it_covers_the_command(
    here: Here, command: str, code: int, covered: str
) -> None:
    ended = here("policy", "check", "--sandbox", "none", "run_shell(git log *)", command)
    assert (ended.code, ended.err) == (code, "")
    assert f"covered  {covered}" in ended.out.splitlines()
    document = here(
        "policy", "check", "--sandbox", "none", "--allow", "run_shell(git log *)", command, "--json"
    ).document
    assert document["exit_code"] == code
    assert document["command"]["covered"] is (code == 0)
    assert document["command"]["rules"] == (["run_shell(git log *)"] if code == 0 else [])


def test_call_of_another_tool_has_no_line_about_commands(here: Here) -> None:
    ended = here("policy", "check", "--allow", "run_shell(git log *)", "docker_ps(all=true)", "--json")
    assert ended.document["command"] is None
    assert here("policy", "check", "run_shell(git log *)", "docker_ps(all=true)").code == 0


def test_rule_before_a_command_is_checked_like_any_rule(here: Here) -> None:
    ended = here("policy", "check", "run_shel(git log *)", "git log")
    assert ended.code == 2
    assert 'no tool "run_shel"' in ended.err
    assert here("policy", "check", "run_shell(lines=git log *)", "git log").code == 2
