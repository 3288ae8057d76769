"""Questions show names without lookalikes: no character in them can be taken for another."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.cli.ui.question import question_rows
from agentctl.core.lookalikes import escape_lookalikes
from agentctl.core.messages import ToolCall
from agentctl.protocols import Question


def asked(name: str) -> str:
    """Return the question about a call with ``name`` in its argument, its reason and its rule, as it is drawn."""
    call = ToolCall("1", "docker_rm", {"name": name})
    question = Question(call, "destructive", f"it removes {name}", f"docker_rm(name={name})")
    return "".join(question_rows(question, lambda text, style: text, width=4000))


BLANKS = [*"\u00a0\u1680\u2002\u2003\u2007\u2009\u200a\u202f\u205f\u3000\u2800\u3164\u115f\uffa0\u00ad\u200b\ufeff"]


@pytest.mark.parametrize("blank", BLANKS, ids=[f"{ord(blank):04x}" for blank in BLANKS])
def test_blank_other_than_a_space_is_an_escape(blank: str) -> None:
    shown = asked(f"web{blank}1")
    assert blank not in shown
    assert len(re.findall(rf"web\\[ux](?:00)?{ord(blank):0{2 if ord(blank) < 256 else 4}x}1", shown)) == 3


POSING = {
    "Cyrillic a": ("p\u0430yments", "p\\u0430yments"),
    "Cyrillic o behind a sign": ("web-\u043ene", "web-\\u043ene"),
    "a part that is Cyrillic as a whole": ("/usr/bin/\u0441\u0440", "/usr/bin/\\u0441\\u0440"),
    "one Cyrillic letter": ("\u0430", "\\u0430"),
    "Greek o": ("d\u03bfcker", "d\\u03bfcker"),
    "Greek capitals": ("\u0391\u03a1\u0399", "\\u0391\\u03a1\\u0399"),
    "Armenian": ("\u0570\u0578st", "\\u0570\\u0578st"),
    "Cherokee": ("\u13aaroot", "\\u13aaroot"),
    "a Latin letter in a Cyrillic word": (
        "\u043fa\u043f\u043a\u0430",
        "\\u043fa\\u043f\\u043a\\u0430",
    ),
    "fullwidth": ("\uff52\uff4d", "\\uff52\\uff4d"),
    "mathematical": ("\U0001d42b\U0001d426", "\\U0001d42b\\U0001d426"),
    "a ligature": ("\ufb01le", "\\ufb01le"),
    "division slash": ("etc\u2215passwd", "etc\\u2215passwd"),
    "fraction slash": ("etc\u2044passwd", "etc\\u2044passwd"),
    "hyphen": ("web\u20101", "web\\u20101"),
    "minus": ("\u2212rf", "\\u2212rf"),
    "ratio": ("nginx\u2236latest", "nginx\\u2236latest"),
    "one dot leader": ("\u2024\u2024/x", "\\u2024\\u2024/x"),
    "Greek question mark": ("ls\u037e rm", "ls\\u037e rm"),
    "click letter": ("a\u01c0sh", "a\\u01c0sh"),
    "small capital": ("\u1d00dmin", "\\u1d00dmin"),
    "script g": ("\u0261it", "\\u0261it"),
    "a mark over a letter": ("we\u0336b", "we\\u0336b"),
    "a stack of marks": ("a" + "\u0301\u0336" * 9, "a" + "\\u0301\\u0336" * 9),
    "a stack of marks of one script": ("\u0e19" + "\u0e49" * 5, "\u0e19\u0e49\u0e49\u0e49" + "\\u0e49" * 2),
    "variation selector": ("web\ufe0f", "web\\ufe0f"),
    "enclosing mark": ("web\u20dd", "web\\u20dd"),
}


@pytest.mark.parametrize(("name", "shown"), POSING.values(), ids=POSING)
def test_character_that_imitates_another_is_an_escape(name: str, shown: str) -> None:
    assert escape_lookalikes(name) == shown
    assert asked(name).count(shown) == 3


@pytest.mark.parametrize(
    "name",
    [
        "r\u00e9sum\u00e9 na\u00efve \u00fcber stra\u00dfe \u0142\u00f3d\u017a \u0131\u015f\u0131k",
        "/home/\u0438\u0432\u0430\u043d/\u0434\u043e\u043a\u0443\u043c\u0435\u043d\u0442\u044b/\u043e\u0442\u0447\u0451\u0442.txt",
        "\u043e\u0442\u0447\u0451\u0442 \u0437\u0430 \u043c\u0430\u0439 2026.txt",
        "\u0443 \u043c\u0435\u043d\u044f \u0435\u0441\u0442\u044c web-1",
        "\u03b1\u03c1\u03c7\u03b5\u03af\u03bf",
        "\u65e5\u672c\u8a9e\u7248README.md \u30c6\u30b9\u30c8 \u3072\u3089\u304c\u306a",
        "\ud55c\uad6d\uc5b4 \ud30c\uc77c",
        "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
        "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0e17\u0e35\u0e48",
        "\u0939\u093f\u0928\u094d\u0926\u0940",
        "caf\u00e9 \u2013 \u201cquoted\u201d \u2026 5 \u20ac \u00d7 2 m\u00b2 \U0001f600",
        "web-1_a.b/c@d:e",
    ],
)  # fmt: skip
def test_ordinary_names_of_any_language_stay_readable(name: str) -> None:
    assert escape_lookalikes(name) == name
    assert asked(name).count(name) == 3


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_escaped_text_stays_unchanged(text: str) -> None:
    once = escape_lookalikes(text)
    assert "\n" not in once
    assert escape_lookalikes(once) == once
