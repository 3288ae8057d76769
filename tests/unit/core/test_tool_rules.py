"""Permission rules as the user writes them: what they match, and what they never permit."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentctl.core.tool_rules import Rule, parse_rule, rule_for, split_rules


@pytest.mark.parametrize(
    ("text", "tool", "arguments"),
    [
        ("docker_restart", "docker_restart", ()),
        (" docker_restart ( name = web ) ", "docker_restart", (("name", "web"),)),
        ("docker_rm(name=web,force=true)", "docker_rm", (("name", "web"), ("force", "true"))),
        ('docker_run(image="a,b(c)")', "docker_run", (("image", "a,b(c)"),)),
        (r'run_shell(command="say \"hi\", then go")', "run_shell", (("command", 'say "hi", then go'),)),
        ("docker_*", "docker_*", ()),
        ("write_file()", "write_file", ()),
        (r"write_file(path=a\*b)", "write_file", (("path", r"a\*b"),)),
        ('docker_run(name="")', "docker_run", (("name", ""),)),
    ],
)
def test_rule_names_a_tool_and_patterns_of_its_arguments(
    text: str, tool: str, arguments: tuple[tuple[str, str], ...]
) -> None:
    assert parse_rule(text) == Rule(tool, arguments, text.strip())


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "  ",
            "()",
            "docker restart",
            "docker_restart(web)",
            "docker_restart(name=web",
            "docker_restart name=web)",
        ),
        *("docker_restart(name=)", 'docker_restart(name="web)', "docker_restart(name=a(b))", "docker_restart(=web)"),
        *('docker_restart(name="a" b=c)', "docker_restart(name=web))", "docker_restart(name=a\x1b[2J)", "a" * 5000),
    ],
)
def test_invalid_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a rule such as"):
        parse_rule(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ("a", "b")),
        ("docker_rm(name=a,force=true), docker_ps", ("docker_rm(name=a,force=true)", "docker_ps")),
        ('docker_run(image="a),b"),c', ('docker_run(image="a),b")', "c")),
        (" , ,a,", ("a",)),
        ("", ()),
    ],
)
def test_a_list_is_split_at_the_commas_outside_brackets(text: str, parts: tuple[str, ...]) -> None:
    assert split_rules(text) == parts


@pytest.mark.parametrize(
    ("rule", "name", "arguments", "matches"),
    [
        ("docker_restart", "docker_restart", {"name": "web"}, True),
        ("docker_restart", "docker_restarts", {"name": "web"}, False),
        ("docker_*", "docker_rm", {}, True),
        ("docker_restart(name=web)", "docker_restart", {"name": "web", "timeout": 3}, True),
        ("docker_restart(name=web)", "docker_restart", {"name": "web2"}, False),
        ("docker_restart(name=web)", "docker_restart", {"name": "WEB"}, False),
        ("docker_restart(name=web*)", "docker_restart", {"name": "web-2"}, True),
        ("docker_restart(name=we?)", "docker_restart", {"name": "web"}, True),
        (r"docker_restart(name=we\?)", "docker_restart", {"name": "web"}, False),
        ("docker_restart(name=[a-z]eb)", "docker_restart", {"name": "web"}, False),
        ("docker_restart(name=w.b)", "docker_restart", {"name": "web"}, False),
        ("docker_rm(force=true)", "docker_rm", {"name": "web", "force": True}, True),
        ("docker_rm(force=true)", "docker_rm", {"name": "web"}, False),
        ("docker_rm(force=*)", "docker_rm", {"name": "web", "force": None}, False),
        ("docker_stop(timeout=10)", "docker_stop", {"timeout": 10}, True),
        ('docker_run(ports="[80,443]")', "docker_run", {"ports": [80, 443]}, True),
        ("write_file(path=a*)", "write_file", {"path": "a\nb"}, True),
    ],
)
def test_a_rule_matches_what_it_names_and_nothing_else(
    rule: str, name: str, arguments: dict[str, object], matches: bool
) -> None:
    assert parse_rule(rule).permits(name, arguments) is matches
    assert parse_rule(rule).forbids(name, arguments) is matches


@pytest.mark.parametrize(
    "command",
    [
        *("git status; rm -rf .", "git status && rm x", "git status | sh", "git status $(rm x)", "git status `rm x`"),
        *(
            "git status\nrm x",
            "git status > x",
            "git status < x",
            "git status & rm x",
            "git status ${X}",
            "git \\\n rm",
        ),
    ],
)
def test_a_pattern_alone_lets_no_shell_command_go(command: str) -> None:
    assert not parse_rule("run_shell(command=git *)").permits("run_shell", {"command": "git status -s"})
    assert not parse_rule("run_shell(command=git *)").permits("run_shell", {"command": command})
    exact = Rule("run_shell", (("command", command.replace("\\", "\\\\")),))
    assert exact.permits("run_shell", {"command": command}), "said in full it may go"


@pytest.mark.parametrize("command", ["rm -rf x", "true; rm -rf x", "ls && rm -rf x", "echo $(rm -rf x)", "a\nrm -rf x"])
def test_a_denied_command_is_found_among_others(command: str) -> None:
    assert parse_rule("run_shell(command=rm *)").forbids("run_shell", {"command": command})


@given(st.text(max_size=60))
@example('a "b", (c) * \\')
def test_the_rule_made_for_a_call_permits_that_call_and_no_other_value(value: str) -> None:
    rule = rule_for("docker_exec", {"name": value, "command": "x"}, "name")
    assert rule.permits("docker_exec", {"name": value, "command": "y"})
    assert not rule.permits("docker_exec", {"name": value + "x", "command": "y"})
    if value.isprintable():
        assert parse_rule(str(rule)) == rule
        assert split_rules(str(rule)) == (str(rule),)


@pytest.mark.parametrize("command", ["git status; rm x", "printf 'a\\n' > *.txt", "a\nb"])
def test_always_means_that_very_command(command: str) -> None:
    rule = rule_for("run_shell", {"command": command, "timeout": 5}, "command")
    assert rule.permits("run_shell", {"command": command})
    assert not rule.permits("run_shell", {"command": command + " "})


@given(st.text(max_size=200))
def test_parsing_any_text_returns_a_rule_or_the_documented_error(text: str) -> None:
    split_rules(text)
    with contextlib.suppress(ValueError):
        parse_rule(text)


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_a_pattern_means_what_a_plain_reading_of_it_means(pattern: str, text: str) -> None:
    plain = re.compile("".join({"*": ".*", "?": "."}.get(char, char) for char in pattern))
    rule = Rule("write_file", (("path", pattern),))
    assert rule.permits("write_file", {"path": text}) is (plain.fullmatch(text) is not None)


def test_pattern_of_an_untrusted_file_cannot_hang_a_run() -> None:
    rule = parse_rule("write_file(path=" + "*a" * 40 + "*b)")
    assert not rule.forbids("write_file", {"path": "a" * 20_000}), "with a star that gives back this would never end"
