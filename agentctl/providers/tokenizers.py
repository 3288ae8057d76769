"""Which models count their tokens how: a vocabulary for each family, and by how much it may be off.

OpenAI's vocabularies are its own. Claude's of today are secret: its older one, times what users measured of it against
``count_tokens`` (about 1.15, and 1.5 from Opus 4.7 on, by kind of text 1.0 to 1.65). Llama 3, Qwen and most others
grew out of cl100k_base; many of them make a token of each digit.

The vocabularies that litellm brings as data files: found without it, believed by their hashes, never fetched.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import unicodedata
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agentctl.context.counter import Calibration, CalibrationPrior, CountingMethod, TokenCounter
from agentctl.context.tokens import PLAIN, ROUGH, Measure, rough_tokens

if TYPE_CHECKING:
    from tiktoken import Encoding


_ROUGHLY = 0.6  # the margin of a count by kinds of characters
_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?([0-9]+)(?:[.-]([0-9]{1,2}))?(?![0-9])")
_NEW_CLAUDE = (4, 7)
_O200K = re.compile(r"gpt-(?:4o|4\.[1-9]|[5-9])|chatgpt-|(?:^|[/:])(?:o[1-9](?![0-9a-z])|codex-|computer-use-)")
_CL100K = re.compile(r"gpt-(?:4|3\.?5)")
_PUBLISHED = (
    (re.compile(r"gpt-5|(?:o1|o3|o4-mini|gpt-4\.1|(?:ft:)?gpt-4o)(?:[-:]|$)|chatgpt-4o-|gpt-4\.5-"), "o200k_base"),
    (re.compile(r"(?:ft:)?(?:gpt-4|gpt-3\.5-turbo)(?:[-:]|$)"), "cl100k_base"),
)
_NOT_ONLY_TEXT = re.compile(r"audio|realtime|search|image|vision|transcribe|tts|research|computer|live")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerProfile:
    """How models count. ``factor`` times the vocabulary's count, and ``fixed`` tokens where tools are offered.

    ``doubt`` is by how much the factor may be off, ``margin`` by how much a provider's count may be above ours,
    ``margin_learned`` the same after a report.
    """

    vocabulary: str
    digits_apart: bool = False
    factor: float = 1.1
    fixed: int = 0
    doubt: float = 0.2
    margin: float = 0.3
    margin_learned: float = 0.2

    @property
    def exact(self) -> CountingMethod:
        """How to count by the vocabulary."""
        sure = self.doubt < 0.1
        way = self.vocabulary if sure else f"{self.vocabulary}, approximate"
        line, factor = Calibration(self.factor, float(self.fixed)), self.factor
        expected = CalibrationPrior(line, self.doubt * factor, 400.0 if sure else 300.0, least=0.75 * factor)
        return CountingMethod(way, expected, self.margin, self.margin_learned)

    @property
    def rough(self) -> CountingMethod:
        """How to count without it: too much is only learned once it is loaded."""
        line, factor = Calibration(self.factor, float(self.fixed)), self.factor
        expected = CalibrationPrior(line, 0.3 * factor, least=factor, least_fixed=0.0)
        return CountingMethod(ROUGH.way, expected, _ROUGHLY, _ROUGHLY)


_OPENAI = TokenizerProfile(vocabulary="o200k_base", factor=1.0, doubt=0.03, margin=0.05, margin_learned=0.05)
_OPENAI_OLDER = TokenizerProfile(vocabulary="cl100k_base", factor=1.0, doubt=0.03, margin=0.05, margin_learned=0.05)
_CLAUDE_OLDER = TokenizerProfile(vocabulary="older Claude", factor=1.15, fixed=500, doubt=0.15)
_CLAUDE_NEW = TokenizerProfile(vocabulary="older Claude", factor=1.5, fixed=500, doubt=0.2)
_UNKNOWN = TokenizerProfile(vocabulary="cl100k_base", digits_apart=True)
_OTHERS = (
    (re.compile(r"gemini|gemma|learnlm"), TokenizerProfile(vocabulary="o200k_base", digits_apart=True)),
    (re.compile(r"llama-?[3-9]|deepseek|phi-?4"), TokenizerProfile(vocabulary="cl100k_base")),
    (re.compile(r"gpt-oss"), TokenizerProfile(vocabulary="o200k_base", factor=1.0, margin=0.2)),
)


def profile_of(provider: str, model: str | None) -> TokenizerProfile | None:
    """Return how a model counts; None for what has no tokens. Names may have prefixes and say of what they are tuned.

    A family is told by the name alone: ``openrouter/openai/gpt-4o``, ``azure/gpt-4o`` and ``ft:gpt-4o:…`` are one.
    """
    if provider in ("builtin", "scripted"):
        return None
    name = (model or "").lower()
    if "claude" in name or provider == "anthropic":
        found = _CLAUDE.search(name)
        version = (int(found[1]), int(found[2] or 0)) if found else _NEW_CLAUDE
        return _CLAUDE_OLDER if version < _NEW_CLAUDE else _CLAUDE_NEW
    for pattern, profile in _OTHERS:
        if pattern.search(name):
            return profile
    if _O200K.search(name):
        return _OPENAI
    if _CL100K.search(name):
        return _OPENAI_OLDER
    return _UNKNOWN


def published_vocabulary(model: str | None) -> str | None:
    """Return the vocabulary that OpenAI publishes for a model of its own, None for any other name.

    A name has to be one of tiktoken's table, whole or by its beginning, and say nothing of sound, images or searches:
    what those bring into a prompt is no text.
    """
    name = (model or "").lower()
    if _NOT_ONLY_TEXT.search(name):
        return None
    return next((found for pattern, found in _PUBLISHED if pattern.match(name)), None)


def measure_for(provider: str, model: str | None, *, known: Mapping[str, Calibration] | None = None) -> Measure:
    """Return how the tokens of a model are counted, by its vocabulary where one is installed; nothing is sent.

    The first time takes about a quarter of a second. ``known`` is what its reports have taught, by way.

    >>> from agentctl import measure_for
    >>> measure = measure_for("openai", "gpt-4o")
    >>> measure.way, measure.text("Why is the container called web restarting?")
    ('o200k_base', 8)
    """
    profile = profile_of(provider, model)
    if profile is None:
        return PLAIN
    count = load_vocabulary(profile.vocabulary, digits_apart=profile.digits_apart)
    yardstick = profile.rough if count is None else profile.exact
    return yardstick.measure(count or rough_tokens, (known or {}).get(yardstick.way))


def counter_for(
    provider: str, model: str | None, *, known: Mapping[str, Calibration] | None = None
) -> TokenCounter | None:
    """Return how a run counts, and learns to; None for what has no tokens."""
    profile = profile_of(provider, model)
    if profile is None:
        return None
    load = partial(load_vocabulary, profile.vocabulary, digits_apart=profile.digits_apart)
    return TokenCounter(profile.rough, rough_tokens, exact=profile.exact, load=load, known=known)


_FOLDER = ("litellm_core_utils", "tokenizers")
_PIECE = 32_768  # characters: on a million spaces tiktoken panics, and a million letters take it a third of a second
_SEAM = 16  # tokens: two pieces of a text may be so many fewer than the whole
_MOST_REMEMBERED = 50_000  # texts: some 10 MB
_DIGITS = re.compile(r"[0-9]{1,3}")

_GPT_2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
_CL100K_PATTERN = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"""
    r"""|\s+(?!\S)|\s"""
)
_O200K_PATTERN = "|".join(
    (
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""\p{N}{1,3}""",
        r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
        r"""\s*[\r\n]+""",
        r"""\s+(?!\S)""",
        r"""\s+""",
    )
)

Ranks = dict[bytes, int]


class _Data(NamedTuple):
    """One data file. ``normal``: texts are brought into the form NFKC before they are cut into tokens."""

    file: str
    sha256: str
    pattern: str
    read: Callable[[bytes], Ranks]
    normal: bool = False


class Vocabulary:
    """Counts the tokens of a text of any length and script; what it has counted it remembers, without the text.

    ``digits_apart``: each digit is a token of its own.
    """

    def __init__(
        self,
        encoding: Encoding,
        *,
        normal: bool = False,
        digits_apart: bool = False,
        most_remembered: int = _MOST_REMEMBERED,
    ) -> None:
        self._encoding, self._normal, self._digits_apart = encoding, normal, digits_apart
        self._most_remembered = most_remembered
        self._remembered: dict[tuple[int, int], int] = {}

    @property
    def remembered(self) -> int:
        """How many counts it has in mind."""
        return len(self._remembered)

    def __call__(self, text: str) -> int:
        """Return how many tokens ``text`` is."""
        key = (hash(text), len(text))
        found = self._remembered.get(key)
        if found is None:
            found = self._count(text) if len(text) <= _PIECE else self._in_pieces(text)
            if len(self._remembered) >= self._most_remembered:
                self._remembered = dict(list(self._remembered.items())[self._most_remembered // 2 :])
            self._remembered[key] = found
        return found

    def at_most(self, text: str) -> int:
        """Return how many tokens ``text`` can be: the larger of it and its NFKC form, or its bytes where it is odd.

        Odd is what is no text in Unicode, and what this vocabulary cannot read; nothing is estimated.
        """
        forms = {text} if text.isascii() else {text, unicodedata.normalize("NFKC", text)}
        return max(map(self._at_most, forms))

    def _at_most(self, text: str) -> int:
        size = len(text.encode("utf-8", "surrogatepass"))
        pieces = [text[place : place + _PIECE] for place in range(0, len(text), _PIECE)]
        try:
            text.encode()
            tokens = sum(len(self._encoding.encode_ordinary(piece)) for piece in pieces)
        except Exception:  # noqa: BLE001 - whatever it cannot read
            return size
        return min(size, tokens + _SEAM * (len(pieces) - 1)) if pieces else 0

    def _in_pieces(self, text: str) -> int:
        counts: dict[str, int] = {}  # what is very long is often all the same
        pieces = [text[place : place + _PIECE] for place in range(0, len(text), _PIECE)]
        for piece in pieces:
            if piece not in counts:
                counts[piece] = self._count(piece)
        return sum(map(counts.__getitem__, pieces))

    def _count(self, text: str) -> int:
        if self._normal and not text.isascii():
            text = unicodedata.normalize("NFKC", text)
        try:
            tokens = len(self._encoding.encode_ordinary(text))
        except Exception:  # noqa: BLE001 - whatever it cannot read is estimated: counting ends no run
            tokens = rough_tokens(text)
        if self._digits_apart:
            tokens += sum(len(run) - 1 for run in _DIGITS.findall(text))
        return tokens


def load_vocabulary(name: str, *, digits_apart: bool = False) -> Vocabulary | None:
    """Return a vocabulary (once loaded it stays), None where it is missing or not the one we know: then estimate.

    It takes about a quarter of a second and 70 MB.
    """
    with _LOCK:
        key = (name, digits_apart)
        if key not in _LOADED:
            encoding, data = _encoding(name), _DATA[name]
            _LOADED[key] = (
                None if encoding is None else Vocabulary(encoding, normal=data.normal, digits_apart=digits_apart)
            )
        return _LOADED[key]


def read_vocabulary(name: str, folder: Path) -> Encoding | None:
    """Return a vocabulary from the files in ``folder``, None where they are not what they should be."""
    data = _DATA[name]
    try:
        import tiktoken

        content = (folder / data.file).read_bytes()
        if hashlib.sha256(content).hexdigest() != data.sha256:
            return None
        return tiktoken.Encoding(name, pat_str=data.pattern, mergeable_ranks=data.read(content), special_tokens={})
    except (ImportError, OSError, ValueError):
        return None


def vocabulary_folder() -> Path | None:
    """Return where litellm keeps its vocabularies, None without litellm; it is not imported."""
    try:
        found = find_spec("litellm")
    except ValueError:  # something stands in its place that was not imported from a file
        found = None
    return None if found is None or found.origin is None else Path(found.origin).parent.joinpath(*_FOLDER)


def _encoding(name: str) -> Encoding | None:
    found = _READ.get(name)
    if found is None and (place := vocabulary_folder()) is not None:
        found = _READ[name] = read_vocabulary(name, place)
    return found


def _tiktoken(content: bytes) -> Ranks:
    lines = (line.partition(b" ") for line in content.splitlines() if line)
    return {b64decode(token): int(rank) for token, _, rank in lines}


def _older_claude(content: bytes) -> Ranks:
    """Read the ranks off a list of merges, written in GPT-2's letters for bytes."""
    shown = [byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "]
    letters = {chr(byte): byte for byte in shown}
    letters |= {chr(256 + n): byte for n, byte in enumerate(sorted(set(range(256)) - set(shown)))}
    ranks = {bytes((byte,)): byte for byte in range(256)}
    for rank, merge in enumerate(json.loads(content)["model"]["merges"], 256):
        ranks.setdefault(bytes(letters[letter] for letter in merge.replace(" ", "", 1)), rank)
    return ranks


_DATA = {
    "o200k_base": _Data(
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        _O200K_PATTERN,
        _tiktoken,
    ),
    "cl100k_base": _Data(
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        _CL100K_PATTERN,
        _tiktoken,
    ),
    "older Claude": _Data(
        "anthropic_tokenizer.json",
        "c241737df24b4e7f7c9af4fdcee29a0ca903dcb288a8b753bc346a3092911767",
        _GPT_2,
        _older_claude,
        normal=True,
    ),
}
_LOCK = threading.Lock()
_READ: dict[str, Encoding | None] = {}
_LOADED: dict[tuple[str, bool], Vocabulary | None] = {}
