"""Find a known secret in a text in each of its spellings (escaped, wrapped, Base64, hex), in linear time."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable, Iterator
from functools import lru_cache

from agentctl.core.key_shapes import is_mixed

SHORTEST_SECRET = 8
_SHORTEST_CUT = 20  # half of a shorter secret could be a word
_SHORTEST_WRAPPED = 16  # a shorter secret, broken into pieces, could be ordinary words
_BLOCK, _OVERLAP = 512 * 1024, 8 * 1024  # characters searched at once, to save memory; longest wrapped secret
_BETWEEN = b" \t\r\n\\\"'"  # characters that wrapping and quoting insert into a secret
_BETWEEN_HEX = b" \t\r\n\\\"':-,;%{}()[]"
_DUMP = re.compile(
    r"^[0-9a-f]{6,16}:? {1,2}((?:[0-9a-f]{2} {1,2}){1,15}[0-9a-f]{2}|[0-9a-f]{2}|(?:[0-9a-f]{4} ){0,7}[0-9a-f]{2,4})"
    r"(?![0-9a-f]).*$",
    re.MULTILINE | re.IGNORECASE,
)
_ESCAPE = re.compile(r"(?:%|\\u00|\\x|&#x)([0-7][0-9A-Fa-f]);?")


def find_spellings(text: str, secrets: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield where ``secrets`` of eight characters or more are in ``text``; the places may overlap.

    Each is found as it is, URL-encoded, escaped as in JSON, as hex, reversed, and as Base64, alone or inside a longer
    text. A secret of sixteen characters or more is also found with line ends and quotes in it, with separators between
    its hex digits, and with some or all of its characters escaped. For one of twenty or more, half is enough, at either
    end: it may be where a long line was cut.
    """
    # A text shorter than half of a secret cannot contain it: most texts of a journal are a word or a number.
    known = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET and 2 * len(text) >= len(secret)]
    for secret in known:
        for form in _spell_secret(secret):
            yield from _find_literal(text, form)
        yield from _find_halves(text, secret)
    wrapped = [secret for secret in known if len(secret) >= _SHORTEST_WRAPPED]
    if wrapped:
        for start in range(0, len(text), _BLOCK):
            block = text[start : start + _BLOCK + _OVERLAP]
            for find, least in ((_find_wrapped, 1), (_find_hex, 2), (_find_dump, 3), (_find_escaped, 1)):
                fitting = [secret for secret in wrapped if len(block) >= least * len(secret)]
                if fitting:
                    yield from ((start + first, start + last) for first, last in find(block, fitting))


def find_learned(text: str, secrets: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    """Yield each of ``secrets`` and its place in ``text``: as it is, as Base64 and as hex."""
    for secret in secrets:
        for form in _short_list(secret):
            yield from ((secret, start, end) for start, end in _find_literal(text, form))
        yield from ((secret, start, end) for start, end in _find_halves(text, secret))


def _find_literal(text: str, form: str) -> Iterator[tuple[int, int]]:
    at = text.find(form)
    while at >= 0:
        yield at, at + len(form)
        at = text.find(form, at + len(form))


def _find_halves(text: str, secret: str) -> Iterator[tuple[int, int]]:
    """Yield the places of at least half of a secret, its beginning or its end; halves that are words do not count."""
    if len(secret) < _SHORTEST_CUT or not is_mixed(secret):
        return
    half = (len(secret) + 1) // 2
    for start, end in _find_literal(text, secret[:half]):
        while end - start < len(secret) and text[end : end + 1] == secret[end - start]:
            end += 1
        yield start, end
    for start, end in _find_literal(text, secret[-half:]):
        yield start, end


def _find_wrapped(text: str, secrets: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Search without blanks, line ends and quotes: fast if there is no match, else that place is searched again."""
    if not any(sign in text for sign in "\n\\\"'"):
        return
    flat = text.replace("\\n", "").replace("\\r", "") if "\\n" in text or "\\r" in text else text
    squeezed = flat.encode("utf-8", "surrogatepass").translate(None, _BETWEEN)
    for secret in secrets:
        for form in _wrappable_forms(secret):
            if form.encode("utf-8", "surrogatepass") in squeezed:
                yield from (match.span() for match in _wrapped_form(form).finditer(text))


def _find_hex(text: str, secrets: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Search the hex digits alone, without separators and the prefixes of byte escapes."""
    bare = text
    for prefix in ("0x", "\\x", "\\u00"):
        bare = bare.replace(prefix, "")
    digits = bare.encode("utf-8", "surrogatepass").translate(None, _BETWEEN_HEX).lower()
    for secret in secrets:
        if secret.encode("utf-8", "surrogatepass").hex().encode() in digits:
            yield from (match.span() for match in _hex_form(secret).finditer(text))


def _find_dump(text: str, secrets: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Search the bytes in lines of a hex dump, without the offsets and the text column."""
    lines = list(_DUMP.finditer(text))
    data = b"".join(bytes.fromhex(_even_digits(line[1])) for line in lines)
    for secret in secrets:
        raw = secret.encode("utf-8", "surrogatepass")
        at = data.find(raw)
        while at >= 0:
            done = 0
            for line in lines:
                size = len("".join(line[1].split())) // 2
                if done < at + len(raw) and at < done + size:
                    yield line.start(1), line.end()
                done += size
            at = data.find(raw, at + len(raw))


def _even_digits(digits: str) -> str:
    bare = "".join(digits.split())
    return bare[: len(bare) // 2 * 2]


def _find_escaped(text: str, secrets: Iterable[str]) -> Iterator[tuple[int, int]]:
    if not any(prefix in text for prefix in ("%", "\\u00", "\\x", "&#x")):
        return
    plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    for secret in secrets:
        if secret in plain:
            yield from (match.span() for match in _escaped_form(secret).finditer(text))


@lru_cache(maxsize=256)
def _spell_secret(secret: str) -> tuple[str, ...]:
    """Return each way in which tools print a whole secret."""
    import json  # noqa: PLC0415 - not needed without secrets
    from urllib.parse import quote, quote_plus  # noqa: PLC0415

    raw = secret.encode("utf-8", "surrogatepass")
    escaped = [secret.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"), json.dumps(secret)[1:-1]]
    escaped += [escaped[1].replace("/", "\\/"), escaped[0].replace("/", "\\/"), _without_html(escaped[0])]
    encoded = [quote(raw, safe=""), quote(raw), quote_plus(raw)]
    lowered = [re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in encoded]
    base64 = [form for shift in range(3) for form in _base64_within(raw, shift)]
    forms = {secret, *escaped, *encoded, *lowered, *base64, raw.hex(), raw.hex().upper()}
    if len(secret) >= _SHORTEST_WRAPPED:
        forms.add(secret[::-1])
    return tuple(form for form in forms if len(form) >= SHORTEST_SECRET)


def _without_html(text: str) -> str:
    """Escape ``&``, ``<`` and ``>`` as Go's JSON encoder does."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _base64_within(raw: bytes, shift: int) -> tuple[str, str]:
    """Return the characters that are the same whatever precedes (``shift`` bytes beyond a group) and follows."""
    whole = b2a_base64(b"\0" * shift + raw, newline=False).decode("ascii")
    known = whole[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
    return known, known.replace("+", "-").replace("/", "_")


@lru_cache(maxsize=64)
def _short_list(secret: str) -> tuple[str, ...]:
    raw = secret.encode("utf-8", "surrogatepass")
    return (secret, *(_base64_within(raw, shift)[0] for shift in range(3)), raw.hex())


@lru_cache(maxsize=256)
def _wrappable_forms(secret: str) -> tuple[str, ...]:
    raw = secret.encode("utf-8", "surrogatepass")
    base64 = {form for shift in range(3) for form in _base64_within(raw, shift)}
    plain = raw.translate(None, _BETWEEN).decode("utf-8", "surrogatepass")
    return tuple(form for form in (plain, *sorted(base64)) if len(form) >= _SHORTEST_WRAPPED)


@lru_cache(maxsize=64)
def _wrapped_form(form: str) -> re.Pattern[str]:
    # Possessive: a long run of separators without the next character must not be tried in many ways.
    return re.compile(r"(?>\\[nr]|[\s\\\"'])*+".join(map(re.escape, form)))


@lru_cache(maxsize=64)
def _hex_form(secret: str) -> re.Pattern[str]:
    digits = secret.encode("utf-8", "surrogatepass").hex()
    between = r"(?>0x|\\x|\\u00|[\s\\\"':,;%{}()\[\]-])*+"
    return re.compile(between.join(digits[at : at + 2] for at in range(0, len(digits), 2)), re.IGNORECASE)


@lru_cache(maxsize=64)
def _escaped_form(secret: str) -> re.Pattern[str]:
    def one(character: str) -> str:
        plain = re.escape(character)
        return rf"(?>(?:%|\\u00|\\x|&#x)(?i:{ord(character):02x});?|{plain})" if character.isascii() else plain

    return re.compile("".join(map(one, secret)))
