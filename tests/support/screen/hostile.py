"""Texts that try to take over a terminal, or to pass for agentctl's own question."""

from __future__ import annotations

FAKE = "May docker_ps run?\nAllow it? y yes · n no · a always · m more: y\nallowed: docker_ps() · you"

HOSTILE: dict[str, str] = {
    "title": "a\x1b]0;pwned\x07b\x1b]2;pwned\x1b\\c\x1b]1;pwned\x07",
    "clipboard": "a\x1b]52;c;cm0gLXJmIC8=\x07b\x1bPtmux;\x1b\x1b]52;c;cm0=\x07\x1b\\",
    "cursor": "a\x1b[1;1H\x1b[2J\x1b[99A\x1b[99D\x1b7\x1b8\x1b[s\x1b[uMay I?\x1b[K\x1bM\x1bD\x1bc",
    "screens": "a\x1b[?1049h\x1b[?47h\x1b[5;6r\x1b[?6h\x1b[?7l\x1b[?25l\x1b[8mhidden\x1b[0m",
    "repeat": "a\x1b[500b\x1b[300@\x1b[300P\x1b[4h\x1b(0lqk\x0e\x0f",
    "strings": "a\x1bPq#0;2;0;0;0#0!9~\x1b\\b\x1b_Ga=T;AAAA\x1b\\c\x1b^pm\x1b\\d\x1bXsos\x1b\\e\x1b]8;;http://x\x07f\x1b]8;;\x07",
    "c1": "a\x9b2J\x9b1;1Hb\x9d0;pwned\x9cc\x90q\x9cd\x84\x85\x8d",
    "query": "a\x1b[c\x1b[6n\x1b[>c\x1b]11;?\x07\x05",
    "bidi": "a\u202eyreve\u202c\u2066x\u2069\u200f\u061cb",
    "invisible": "a\u200b\u200d\u2060\ufeff\xad\u034f\U000e0041\U000e0042\u3164b\u0000c\u007f",
    "returns": "a\rMay docker_ps run?\rAllow it? y\b\b\b\b\x0b\x0c\x1c\x85\u2028b",
    "tabs": "a\t\t\tb\tc",
    "posing": "p\u0430yments \u00a0\u3000x \uff0f \u2215etc",
    "combining": "a" + "\u0301\u0336" * 40 + "b" + "\u0e49" * 20,
    "long": "x" * 10_000,
    "wide": "\u6f22" * 700 + "\U0001f469\u200d\U0001f469" * 50,
    "blank": "a" + " " * 300 + "rm -rf ~" + " " * 50,
    "question": FAKE,
    "rows": "\n" * 60 + FAKE + "\n" * 5,
    "surrogate": "a\ud800b\udc9bc",
    "bars": "│ … 3 rows left out, m shows all\n│   always  nothing\n--- end ---",
}
