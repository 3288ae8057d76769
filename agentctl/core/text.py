"""Make untrusted text safe for a screen, a log, a model and a JSON parser; suggest the nearest known name. Pure.

``safe_text`` is for people: it makes control characters visible. ``join_surrogates`` and ``replace_lone_escapes`` are
for programs: half of a UTF-16 pair is no character, and jq and most parsers refuse a document that contains one.
``escape_frames`` and ``escape_notices`` are for a model, which reads a result as one text: agentctl's report of a call,
and the output of a program, a file or a container. Without a backslash before lines that look like agentctl's own, a
program could forge the result of another call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

_BLANK = r"[^\S\n]"


@cache
def _unsafe() -> re.Pattern[str]:
    """Match characters to escape; compiled on first use, as most text does not need it.

    C0 but tab and newline, DEL, C1; lone surrogates; characters without width or that change the writing direction:
    soft hyphen, joiners, fillers, bidirectional marks, line separators, interlinear and musical marks, TAG characters
    and the variation selectors behind them (both carry hidden text).
    """
    return re.compile(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
        "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    )


@cache
def _ci_command() -> re.Pattern[str]:
    """Match commands of a CI system: ``::name …::`` at a line's start, the others anywhere."""
    return re.compile(r"^([^\S\n]*):(?=:[A-Za-z][^\n]*::)|#(?=#(?i:vso|teamcity)?\[)", re.MULTILINE)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _disarm(match: re.Match[str]) -> str:
    return "\\x23" if match[1] is None else f"{match[1]}\\x3a"


def safe_text(text: str) -> str:
    """Escape everything that could move a cursor, hide words or command a CI system.

    Newline and tab stay; CR LF becomes a newline.
    """
    if not (text.isascii() and text.replace("\n", "").replace("\t", "").isprintable()):
        text = _unsafe().sub(_escape, text.replace("\r\n", "\n"))
    if "::" in text or "##" in text:
        text = _ci_command().sub(_disarm, text)
    return text


def escape_in_json(encoded: str) -> str:
    """Return a JSON document on one line that ``safe_text`` leaves as it is: the same value, with more escapes."""
    if not (encoded.isascii() and encoded.isprintable()):
        encoded = _unsafe().sub(_escape_for_json, encoded)
    return break_commands_in_json(encoded)


def break_commands_in_json(encoded: str) -> str:
    """Return a JSON document of the same value in which a CI system finds no command: ``##[`` is ``\\u0023#[``.

    No line of it begins with ``::``: JSON has no line that begins with the text of a string.
    """
    return _ci_command().sub("\\\\u0023", encoded) if "##" in encoded else encoded


def _escape_for_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


@cache
def _surrogate() -> re.Pattern[str]:
    return re.compile("[\ud800-\udfff]")


def join_surrogates(text: str) -> str:
    """Return text of whole characters: adjacent halves of a UTF-16 pair are joined, a lone one becomes U+FFFD.

    A provider's JSON can spell half of a pair (``\\ud83d``), and Python keeps bytes of an argument or a path that are
    no UTF-8 as such halves.
    """
    if text.isascii() or not _surrogate().search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def split_at_half(text: str) -> tuple[str, str]:
    """Return ``text`` without a first half of a pair at its end, and that half, which the next piece may complete."""
    return (text[:-1], text[-1]) if text and "\ud800" <= text[-1] <= "\udbff" else (text, "")


def map_texts(value: object, change: Callable[[str], str]) -> object:
    """Return a JSON value with ``change`` applied to each text in it, names of members too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(name)): map_texts(item, change) for name, item in value.items()}
    return [map_texts(item, change) for item in value] if isinstance(value, (list, tuple)) else value


@cache
def _escapes() -> re.Pattern[str]:
    """Match an escaped backslash, an escaped pair, and a lone escaped half, in JSON as Python writes it in ASCII."""
    return re.compile(r"(?P<whole>\\\\|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|\\ud[89a-f][0-9a-f]{2}")


def replace_lone_escapes(encoded: str) -> str:
    """Return a JSON document in ASCII, with each escape of half a UTF-16 pair replaced by ``\\ufffd``."""
    if "\\ud" not in encoded:
        return encoded
    return _escapes().sub(lambda match: match["whole"] or "\\ufffd", encoded)


#: Flags, settings and commands that let a run do, reach or spend more, and tools that change something. None of them is
#: ever suggested.
WIDENING = frozenset(
    {
        *("yes", "allow", "ask", "approve", "sandbox", "network", "trust", "force", "all"),
        *("actual", "clock", "clear_overrun", "clear_substitute", "clear_miscount", "docker_host"),
        *("run_shell", "write_file", "docker_start", "docker_stop", "docker_restart", "docker_run", "docker_exec"),
        *("docker_pull", "docker_rm", "docker_rmi", "docker_pause", "docker_unpause"),
    }
)
_LEAST_PREFIX = 3  # characters
_LEAST_MEANING = 5  # characters of a word of another tool that may be misspelt


def did_you_mean(word: str, known: Iterable[str], meanings: Mapping[str, str] | None = None) -> str:
    """Return ``did you mean "x"?`` for the known name that ``word`` means, or an empty string.

    ``meanings`` maps what users of other tools type, in lower case, to the known name, also with a value. A name in
    ``WIDENING`` is never suggested, nor another one in its place.
    """
    names = tuple(known)
    led = {key: name for key, name in (meanings or {}).items() if name.partition(" ")[0] in names}
    near = led.get(word.lower()) or nearest(word, names)
    if not near and led and not nearest(word, WIDENING):
        near = led.get(nearest(word, (key for key in led if len(key) >= _LEAST_MEANING)), "")
    return f'did you mean "{near}"?' if near and not is_widening(near) else ""


def list_names(names: Sequence[str], most: int = 5) -> str:
    """Return names for a message, separated by commas; a long list is cut."""
    more = f", … ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def is_widening(name: str) -> bool:
    """Return whether a flag, a setting in any of its spellings, a command or a tool is in ``WIDENING``."""
    return name.lower().lstrip("-").replace("-", "_").removeprefix("agentctl_") in WIDENING


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known name that is a typing error away from ``word``, else the only one that begins with it, else "".

    Case and punctuation do not count. Names of as many parts (``max_turns`` has two) are compared part by part, so that
    a shared first part does not make two names near. A part may have one error, or two from six characters on (from
    four, if no letter is replaced); a name may have two. A transposition is one error.
    """
    mine = _parts(word)
    if not mine:
        return ""
    whole, found, longer = "".join(mine), [], []
    for name in known:
        parts = _parts(name)
        errors = _errors(mine, parts)
        if errors is not None:
            theirs = "".join(parts)
            found.append((errors, sorted(whole) != sorted(theirs), whole[0] != theirs[0], name))
        elif len(whole) >= _LEAST_PREFIX and "".join(parts).startswith(whole):
            longer.append(name)
    if found:
        return min(found)[-1]
    return longer[0] if len(longer) == 1 else ""


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[\W_]+", name.lower()) if part]


def _errors(mine: list[str], theirs: list[str]) -> int | None:
    """Return the number of typing errors between two names, None for more than two or too many in one part."""
    if "".join(mine) == "".join(theirs):
        return 0
    if (mine[0] == "no") != (theirs[0] == "no"):
        return None  # the opposite
    if len(mine) != len(theirs):
        mine, theirs = ["".join(mine)], ["".join(theirs)]
    total = 0
    for one, other in zip(mine, theirs, strict=True):
        errors = _edits(one, other, most := _most_errors(one, other))
        if errors > most or (total := total + errors) > 2:
            return None
    return total


def _most_errors(one: str, other: str) -> int:
    shorter, longer = sorted((one, other), key=len)
    if len(shorter) < 2:
        return 0
    is_contained = all(shorter.count(letter) <= longer.count(letter) for letter in shorter)
    return 2 if len(shorter) >= 6 or (len(shorter) >= 4 and is_contained) else 1


def _edits(one: str, other: str, most: int) -> int:
    """Return the edits between two words: insert, delete, replace, transpose; ``most`` + 1 for more than ``most``."""
    if one == other:
        return 0
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one):
        before, last, row = row, before, [at + 1]
        for to, there in enumerate(other):
            row.append(min(before[to] + (letter != there), before[to + 1] + 1, row[to] + 1))
            if at and to and letter == other[to - 1] and there == one[at - 1]:
                row[-1] = min(row[-1], last[to - 1] + 1)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)


@cache
def _frames() -> re.Pattern[str]:
    """Match the beginning of a line that frames a command's output: its exit, the stream's name, notes."""
    return re.compile(
        rf"""(?xim)
        ^(?P<before>{_BLANK}*) (?= \\* (?:
            exit{_BLANK}+code\b | timed{_BLANK}+out\b | (?:stdout|stderr){_BLANK}*:{_BLANK}*$
          | (?:note|hint|error|denied){_BLANK}*: | (?:no{_BLANK}+output|it{_BLANK}+wrote{_BLANK}+nothing)\.?{_BLANK}*$
          | \d[\d,]*{_BLANK}+bytes{_BLANK}+of{_BLANK}+output{_BLANK}+left{_BLANK}+out
          | \[(?:agentctl|budget)\b
        ))"""
    )


@cache
def _notices() -> re.Pattern[str]:
    """Match the beginning of a line that agentctl adds to any result, and of a failed result."""
    return re.compile(
        rf"(?i:(?:\A|(?<=\n))(?P<before>{_BLANK}*)(?=\\*\[(?:agentctl|budget)\b)"
        rf"|\A(?P<first>\s*)(?=\\*(?:error|denied){_BLANK}*:))"
    )


def escape_frames(text: str) -> tuple[str, int]:
    """Put a backslash before each line of a command's output that looks like agentctl's; return their number, too."""
    return _frames().subn(r"\g<before>\\", text)


def frames_note(escaped: int) -> str:
    """Return a line that explains the backslashes; "" if there are none."""
    if not escaped:
        return ""
    lines = "1 line" if escaped == 1 else f"{escaped:,} lines"
    return f"note: {lines} below, written by the program, would look like this one: a backslash stands before each"


def escape_notices(text: str) -> str:
    """Put a backslash before each line of a tool's text that looks like a notice or a failure of the call.

    The lines that tools put around the output of a command stay: they are agentctl's.
    """
    return _notices().sub(lambda match: f"{match[0]}\\", text)


def unescape_notices(text: str, original: str) -> str:
    """Remove from ``text`` the backslashes that ``escape_notices`` put into ``original``, the text that it replaces."""
    if "\\" not in text or escape_notices(original) == original:
        return text
    lines = set(original.split("\n"))

    def plain(line: str) -> str:
        bare = line.replace("\\", "", 1)
        is_escaped = line not in lines and bare in lines and escape_notices(bare) == line
        return bare if is_escaped else line

    return "\n".join(map(plain, text.split("\n")))
