"""The words of a shell command as rules see them, compared with those that bash itself passes to the programs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentctl.permissions.shell_commands import NotPlain, plain_commands
from tests.support.commands import bypasses, read_by_bash, reads

_NAMES = r"""ls git cat find eval exec command time nice echo printf test cd . : [ ! { } if then coproc export a=b a+=b
    a.b=c select function in [[ let x[0]=1 \ls 'ls' l"s" $x ~ -"""
_PIECES = r"""
    -l --x=y a/b HEAD~1 HEAD^ ~ ~root x~y a:~ a=~ ^a a^b ~~ = == a= =a @ @{u} % %1 + , 5 05 2 -5 1.5 # a#b #a ! !!
    !$ a!b '' "" 'a_b' "a_b" 'a*' "a$b" "a\b" 'a"b' "a'b" a'b'c "a"'b' a\_b a\b \ $x ${x} $'a' $"a" $(ls) `ls` *
    a? [a] {a,b} {a {1..2} <(ls) x{ } - -- ... ; ;; & && || | |& > >> < 2> 2>&1 >&2 1>&2 >/dev/null 2>/dev/null
    &>/dev/null &>>/dev/null >_/dev/null >/dev/nullx 2>_/dev/null a2>/dev/null >|/dev/null (ls) ( ) << <<< in do
    done esac fi é 'é'
"""
_PROGRAMS = st.sampled_from(_NAMES.split())
_WORDS = st.one_of(
    st.sampled_from(_PIECES.split()).map(lambda word: word.replace("_", " ")),
    st.text("ab-=~^'\"\\$`!*?[]{}()<>|&;# .,:@%+/\t\r\n5\u2028é", max_size=6),
)
_COMMANDS = st.builds(
    lambda first, rest: "".join([first, *(gap + word for gap, word in rest)]),
    _PROGRAMS,
    st.lists(
        st.tuples(st.sampled_from((" ", " ", " ", "  ", "", " | ", " && ", " || ", " ; ", "; ", "\t", "\\\n")), _WORDS),
        max_size=6,
    ),
)


def _accepted(commands: list[str]) -> dict[str, set[tuple[str, ...]]]:
    found = {}
    for command in commands:
        try:
            parts = plain_commands(command)
        except NotPlain:
            continue
        if not any("/" in words[0] or words[0] == "next-command" for words in parts):
            found[command.strip(" \n")] = set(parts)
    return found


def _compare(commands: list[str], cwd: Path) -> int:
    """Compare the words of the commands that a rule could cover with bash's, and return how many those were."""
    expected = _accepted(commands)
    # A program that succeeds and one that fails: together they reach both sides of && and ||.
    succeeded, failed = (read_by_bash(list(expected), status, cwd) for status in (0, 1))
    seen = {command: one | two for command, one, two in zip(expected, succeeded, failed, strict=True)}
    assert seen == expected
    return len(expected)


@settings(max_examples=1000, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(_COMMANDS, min_size=20, max_size=100))
def test_words_that_a_rule_sees_are_those_that_bash_passes_on(tmp_path: Path, commands: list[str]) -> None:
    _compare(commands, tmp_path)


def test_everyday_commands_have_the_words_that_bash_passes_on(tmp_path: Path) -> None:
    assert _compare(list(reads()), tmp_path) > 180


def test_plain_bypasses_have_the_words_that_bash_passes_on(tmp_path: Path) -> None:
    assert _compare(list(bypasses()), tmp_path) > 300


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("git 'log;id' \"a b\"", ("git", "log;id", "a b")),
        ("ls ''", ("ls", "")),
        ("ls a'b'\"c\"", ("ls", "abc")),
        ("eval x", ("eval", "x")),
        ("printf x 2>&1 >/dev/null", ("printf", "x")),
    ],
)
def test_the_oracle_itself_sees_the_words(tmp_path: Path, command: str, words: tuple[str, ...]) -> None:
    assert read_by_bash([command], 0, tmp_path) == [{words}]
    assert read_by_bash(["ls $((1+1)) {a,b}; cat"], 0, tmp_path) == [{("ls", "2", "a", "b"), ("cat",)}]
