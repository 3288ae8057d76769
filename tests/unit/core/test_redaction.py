"""Marks name a secret without revealing it, are put back into the file they are from, and cannot be forged."""

from __future__ import annotations

import json
import re
import textwrap
from base64 import b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.core.errors import ToolError
from agentctl.core.redaction import Redactor, has_mark, redact
from tests.support.keys import samples

KEY = "Zk3vQ9-xT7_pL2/wB8+rN5=cY4&hJ1<mD6"  # no known shape
MARK = r"\[redacted:known-secret:[0-9a-f]{6}\]"


def dump(data: bytes, group: int, line: str) -> str:
    """Write bytes as xxd and hexdump do."""
    rows = [(at, data[at : at + 16]) for at in range(0, len(data), 16)]
    return "\n".join(
        ["", *(line.format(at, row.hex(" ", -group), row.decode("ascii", "replace")) for at, row in rows), ""]
    )


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "hex": lambda key: key.encode().hex(),
    "hex, upper case": lambda key: key.encode().hex().upper(),
    "hex with colons": lambda key: key.encode().hex(":"),
    "hex with blanks": lambda key: key.encode().hex(" "),
    "hex in pairs of bytes": lambda key: key.encode().hex(" ", 2),
    "hex, wrapped": lambda key: "\n".join(textwrap.wrap(key.encode().hex(), 20)),
    "C escapes": lambda key: "".join(f"\\x{byte:02x}" for byte in key.encode()),
    "C array": lambda key: ", ".join(f"0x{byte:02X}" for byte in key.encode()),
    "URL": lambda key: quote(key, safe=""),
    "URL, each character": lambda key: "".join(f"%{byte:02X}" for byte in key.encode()),
    "URL, every other one": lambda key: "".join(f"%{ord(c):02x}" if at % 2 else c for at, c in enumerate(key)),
    "JSON": lambda key: json.dumps(key)[1:-1],
    "JSON, slashes": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "JSON, HTML": lambda key: key.replace("&", "\\u0026").replace("<", "\\u003c"),
    "JSON, each character": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "JSON, some characters": lambda key: "".join(f"\\u{ord(c):04X}" if c in "=&</" else c for c in key),
    "HTML": lambda key: "".join(f"&#x{ord(c):x};" for c in key),
    "Base64": lambda key: b64encode(key.encode()).decode(),
    "Base64 at 1": lambda key: b64encode(b"x" + key.encode() + b"yy").decode(),
    "Base64 at 2": lambda key: b64encode(b"xx" + key.encode() + b"y").decode(),
    "Base64 for URLs": lambda key: urlsafe_b64encode(b"a:" + key.encode()).decode(),
    "Base64, wrapped at 64": lambda key: "\n".join(textwrap.wrap(b64encode(b"z" * 40 + key.encode()).decode(), 64)),
    "Base64, wrapped at 76": lambda key: encodebytes(b"z" * 50 + key.encode() + b"z" * 50).decode(),
    "Base64, wrapped in JSON": lambda key: json.dumps(encodebytes(b"z" * 50 + key.encode()).decode()),
    "wrapped by a terminal": lambda key: "\n".join(textwrap.wrap(key, 10)),
    "wrapped and indented": lambda key: "\n    ".join(textwrap.wrap(key, 12)),
    "continued in a shell": lambda key: "\\\n".join(textwrap.wrap(key, 15)),
    "pieces of a string": lambda key: '"\n  "'.join(textwrap.wrap(key, 9)),
    "dump with characters": lambda key: dump(key.encode(), 2, "{:08x}: {}  {}"),
    "dump of bytes": lambda key: dump(key.encode(), 1, "{:08x}  {}  |{}|"),
    "reversed": lambda key: key[::-1],
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_known_secret_is_taken_out_in_each_spelling(name: str) -> None:
    spelled = SPELLINGS[name](KEY)
    left = Redactor([KEY]).redact(f"before: {spelled} :after")
    assert "[redacted:known-secret:" in left
    assert (left.startswith("before: "), left.endswith(" :after")) == (True, True)
    longest = max(spelled.split(), key=len)
    assert (longest if len(longest) >= 8 else spelled) not in left
    assert len(left) < 8 + 130 + 7 + 40


@pytest.mark.parametrize("kept", [18, 25, 33])
def test_a_secret_that_a_line_was_cut_in_is_taken_out(kept: int) -> None:
    redactor = Redactor([KEY])
    assert re.fullmatch(f"a: {MARK}… x", redactor.redact(f"a: {KEY[:kept]}… x"))
    assert KEY[-18:] not in redactor.redact(f"…{KEY[-kept:]} b")
    assert redactor.redact(f"{KEY[:12]}…") == f"{KEY[:12]}…"
    words = "correct horse battery staple"
    assert Redactor([words]).redact("correct horse battery") == "correct horse battery"


@given(st.text(st.sampled_from("sk-A1 \n\"'\\%u0x:/="), max_size=200))
def test_a_text_without_the_secret_stays(text: str) -> None:
    assert Redactor([KEY]).redact(text) == text


def test_marks_distinguish_secrets_and_runs() -> None:
    one, other = "ghp_" + "a1B2" * 9, "ghp_" + "c3D4" * 9
    redactor = Redactor()
    first, again, second = (redactor.redact(key) for key in (one, one, other))
    assert (first == again, first == second) == (True, False)
    assert first.startswith("[redacted:github-token:")
    assert first != Redactor().redact(one)


def test_a_key_that_was_found_by_its_shape_is_known_in_other_spellings_from_then_on() -> None:
    key, redactor = "ghp_" + "a1B2" * 9, Redactor()
    encoded = b64encode(key.encode()).decode()
    assert redactor.redact(encoded) == encoded
    redactor.redact(f"TOKEN={key}")
    assert encoded[4:-4] not in redactor.redact(encoded)
    assert key.encode().hex() not in redactor.redact(key.encode().hex())


def test_text_that_resembles_a_mark_is_not_a_mark() -> None:
    redactor = Redactor([KEY])
    forged = "[redacted:known-secret:abcdef]"
    shown = redactor.redact(f"{forged} {KEY}")
    assert forged not in shown
    assert shown.startswith("[redacted:quoted-mark:")
    assert redactor.redact(shown) == shown
    assert redactor.restore(shown, f"{forged} {KEY}") == f"{forged} {KEY}"


@given(st.sampled_from([sample for sample in samples(2, 1) if len(sample.text) < 600]), st.text(max_size=20))
def test_redacting_twice_is_redacting_once(sample: object, more: str) -> None:
    redactor = Redactor([KEY])
    once = redactor.redact(f"{sample.text}\n{more}{KEY}")  # type: ignore[attr-defined]
    assert redactor.redact(once) == once
    assert redact(once, [KEY]) == once


def test_each_key_survives_a_change_of_the_line_beside_it() -> None:
    redactor = Redactor([KEY])
    seen = set()
    for sample in samples(9, 1):
        original = f"# first\n{sample.text}\nDEBUG=0\nKNOWN={KEY}\n"
        shown = redactor.redact(original)
        assert sample.secret not in shown
        changed = shown.replace("DEBUG=0", "DEBUG=1").replace("# first", "# changed")
        assert redactor.restore(changed, original) == original.replace("DEBUG=0", "DEBUG=1").replace(
            "# first", "# changed"
        )
        seen.add(sample.kind)
    assert len(seen) >= 50


def test_marks_that_name_no_secret_of_the_file_are_refused() -> None:
    redactor = Redactor([KEY])
    mine, foreign = redactor.redact(f"A={KEY}"), redactor.redact("B=ghp_" + "a1B2" * 9)
    for text, original in (
        (foreign, f"A={KEY}"),  # a secret of another file
        (mine, ""),  # no such file
        ("A=[redacted:known-secret:abcdef]", f"A={KEY}"),  # changed
        ("A=[redacted]", f"A={KEY}"),  # shortened
        ("A=[redacted] [redacted]", f"A={KEY} [redacted]"),  # also beside the same words
        ("A=[redacted:known-secret]", f"A={KEY}"),
        ("A=[REDACTED:known-secret:abcdef]", f"A={KEY}"),
    ):
        with pytest.raises(ToolError, match="nothing was written: the text holds "):
            redactor.restore(text, original)


def test_words_in_brackets_of_a_file_without_secrets_are_words() -> None:
    redactor = Redactor([KEY])
    assert redactor.restore("the log shows [redacted]", "the log") == "the log shows [redacted]"
    assert redactor.restore(redactor.redact(f"[redacted] {KEY}"), f"[redacted] {KEY}") == f"[redacted] {KEY}"


def test_a_mark_is_found_wherever_it_stands_in_arguments() -> None:
    mark = Redactor([KEY]).redact(KEY)
    assert has_mark({"command": f"echo '{mark}'"}) == mark
    assert has_mark({"env": {"A": ["x", {"B": mark}]}, "n": 1}) == mark
    assert has_mark({mark: None}) == mark
    assert has_mark({"command": "grep '[redacted]' log", "n": 2.5}) == ""


@pytest.mark.parametrize("unit", ["sk-", "-eyJ.", "://a:", "-----BEGIN PRIVATE KEY-----", "Bearer ", "%73", ":AA", "é"])
def test_a_hostile_text_takes_no_quadratic_time(unit: str) -> None:
    text = unit * (256 * 1024 // len(unit))
    assert len(Redactor([KEY]).redact(text)) > 0
