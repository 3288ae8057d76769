"""Count tokens as models do: a vocabulary for each kind of model, a factor, and the margin of error.

OpenAI publishes its vocabularies. Claude's present ones are secret: the older one replaces them, times a factor that
users measured against ``count_tokens`` (about 1.15, and 1.5 from Opus 4.7 on, by kind of text 1.0 to 1.65). Llama 3,
Qwen and most others derive from cl100k_base; many of them make each digit a token.

The vocabularies are data files of litellm: found without importing it, checked by their hashes, never downloaded.
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
from typing import TYPE_CHECKING, NamedTuple

from agentctl.context.counter import Calibration, CalibrationPrior, CountingMethod, TokenCounter
from agentctl.context.tokens import PLAIN, ROUGH, Measure, rough_tokens
from agentctl.providers.litellm_loader import litellm_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tiktoken import Encoding


_ROUGH_MARGIN = 0.6  # the margin of a count by kinds of characters
_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?([0-9]+)(?:[.-]([0-9]{1,2}))?(?![0-9])")
_NEW_CLAUDE = (4, 7)
_O200K_MODELS = re.compile(r"gpt-(?:4o|4\.[1-9]|[5-9])|chatgpt-|(?:^|[/:])(?:o[1-9](?![0-9a-z])|codex-|computer-use-)")
_CL100K_MODELS = re.compile(r"gpt-(?:4|3\.?5)")
_PUBLISHED = (
    (re.compile(r"gpt-5|(?:o1|o3|o4-mini|gpt-4\.1|(?:ft:)?gpt-4o)(?:[-:]|$)|chatgpt-4o-|gpt-4\.5-"), "o200k_base"),
    (re.compile(r"(?:ft:)?(?:gpt-4|gpt-3\.5-turbo)(?:[-:]|$)"), "cl100k_base"),
)
_NOT_ONLY_TEXT = re.compile(r"audio|realtime|search|image|vision|transcribe|tts|research|computer|live")

_FOLDER = ("litellm_core_utils", "tokenizers")
_PIECE = 32_768  # characters: on a million spaces tiktoken panics, and a million letters take it a third of a second
_SEAM = 16  # tokens: the pieces of a text may be this many fewer than the whole, at each cut
_MOST_REMEMBERED = 50_000  # texts: about 10 MB
_DIGITS = re.compile(r"[0-9]{1,3}")

#: How each vocabulary splits a text before it makes tokens of the pieces.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerProfile:
    """How models count: ``factor`` times the vocabulary's count, plus ``fixed`` tokens if tools are offered.

    ``doubt`` is the uncertainty of the factor, ``margin`` the part by which a provider's count may exceed ours,
    ``margin_learned`` the same after a report. ``digits_apart``: each digit is a token.
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
        """The method that counts by the vocabulary."""
        sure = self.doubt < 0.1
        way = self.vocabulary if sure else f"{self.vocabulary}, approximate"
        line, factor = Calibration(self.factor, float(self.fixed)), self.factor
        expected = CalibrationPrior(line, self.doubt * factor, 400.0 if sure else 300.0, least=0.75 * factor)
        return CountingMethod(way, expected, self.margin, self.margin_learned)

    @property
    def rough(self) -> CountingMethod:
        """The method that counts without the vocabulary; its excess is learned once the vocabulary is loaded."""
        line, factor = Calibration(self.factor, float(self.fixed)), self.factor
        expected = CalibrationPrior(line, 0.3 * factor, least=factor, least_fixed=0.0)
        return CountingMethod(ROUGH.way, expected, _ROUGH_MARGIN, _ROUGH_MARGIN)


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
    """Return the profile of a model by its name, None for a provider without tokens.

    Prefixes and fine-tunes do not matter: ``openrouter/openai/gpt-4o``, ``azure/gpt-4o`` and ``ft:gpt-4o:…`` are one.
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
    if _O200K_MODELS.search(name):
        return _OPENAI
    if _CL100K_MODELS.search(name):
        return _OPENAI_OLDER
    return _UNKNOWN


def published_vocabulary(model: str | None) -> str | None:
    """Return the vocabulary that OpenAI publishes for a model of its own, None for any other name.

    The name must be in tiktoken's table, whole or by its prefix, and must not mention audio, images or search, which
    add more than text to a prompt.
    """
    name = (model or "").lower()
    if _NOT_ONLY_TEXT.search(name):
        return None
    return next((found for pattern, found in _PUBLISHED if pattern.match(name)), None)


def measure_for(provider: str, model: str | None, *, known: Mapping[str, Calibration] | None = None) -> Measure:
    """Return how to count the tokens of a model, by its vocabulary if one is installed; nothing is sent.

    The first call takes about a quarter of a second. ``known`` are the calibrations learned from reports, by way of
    counting.

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
    """Return the counter of a run, which learns from reports; None for a provider without tokens."""
    profile = profile_of(provider, model)
    if profile is None:
        return None
    load = partial(load_vocabulary, profile.vocabulary, digits_apart=profile.digits_apart)
    return TokenCounter(profile.rough, rough_tokens, exact=profile.exact, load=load, known=known)


class _Data(NamedTuple):
    """One data file; ``normal``: texts are normalized to NFKC before they are split into tokens."""

    file: str
    sha256: str
    pattern: str
    read: Callable[[bytes], Ranks]
    normal: bool = False


class Vocabulary:
    """Counts the tokens of a text of any length and script; it remembers the counts, not the texts.

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
        """How many counts it remembers."""
        return len(self._remembered)

    def __call__(self, text: str) -> int:
        """Return the tokens of ``text``."""
        key = (hash(text), len(text))
        found = self._remembered.get(key)
        if found is None:
            found = self._count(text) if len(text) <= _PIECE else self._in_pieces(text)
            if len(self._remembered) >= self._most_remembered:
                self._remembered = dict(list(self._remembered.items())[self._most_remembered // 2 :])
            self._remembered[key] = found
        return found

    def at_most(self, text: str) -> int:
        """Return an upper bound of the tokens of ``text``: the larger of it and its NFKC form, nothing estimated.

        It is the number of bytes if the text is not valid Unicode or the vocabulary cannot encode it.
        """
        forms = {text} if text.isascii() else {text, unicodedata.normalize("NFKC", text)}
        return max(map(self._at_most, forms))

    def _at_most(self, text: str) -> int:
        size = len(text.encode("utf-8", "surrogatepass"))
        pieces = [text[place : place + _PIECE] for place in range(0, len(text), _PIECE)]
        try:
            text.encode()
            tokens = sum(len(self._encoding.encode_ordinary(piece)) for piece in pieces)
        except Exception:  # noqa: BLE001 - any text that it cannot encode
            return size
        return min(size, tokens + _SEAM * (len(pieces) - 1)) if pieces else 0

    def _in_pieces(self, text: str) -> int:
        counts: dict[str, int] = {}  # a very long text often repeats itself
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
        except Exception:  # noqa: BLE001 - estimate such a text: counting must not end a run
            tokens = rough_tokens(text)
        if self._digits_apart:
            tokens += sum(len(run) - 1 for run in _DIGITS.findall(text))
        return tokens


def load_vocabulary(name: str, *, digits_apart: bool = False) -> Vocabulary | None:
    """Load a vocabulary, once a process; return None if it is missing or not the known one: then estimate.

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
    """Read a vocabulary from the files in ``folder``; return None if they are missing or differ from the known hash."""
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
    """Return the folder of litellm's vocabularies, None without litellm, which is not imported."""
    folder = litellm_folder()
    return None if folder is None else folder.joinpath(*_FOLDER)


def _encoding(name: str) -> Encoding | None:
    found = _READ.get(name)
    if found is None and (place := vocabulary_folder()) is not None:
        found = _READ[name] = read_vocabulary(name, place)
    return found


def _read_tiktoken(content: bytes) -> Ranks:
    lines = (line.partition(b" ") for line in content.splitlines() if line)
    return {b64decode(token): int(rank) for token, _, rank in lines}


def _read_older_claude(content: bytes) -> Ranks:
    """Read the ranks from a list of merges, written in GPT-2's letters for bytes."""
    printable = [byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "]
    letters = {chr(byte): byte for byte in printable}
    letters |= {chr(256 + n): byte for n, byte in enumerate(sorted(set(range(256)) - set(printable)))}
    ranks = {bytes((byte,)): byte for byte in range(256)}
    for rank, merge in enumerate(json.loads(content)["model"]["merges"], 256):
        ranks.setdefault(bytes(letters[letter] for letter in merge.replace(" ", "", 1)), rank)
    return ranks


_DATA = {
    "o200k_base": _Data(
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        _O200K_PATTERN,
        _read_tiktoken,
    ),
    "cl100k_base": _Data(
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        _CL100K_PATTERN,
        _read_tiktoken,
    ),
    "older Claude": _Data(
        "anthropic_tokenizer.json",
        "c241737df24b4e7f7c9af4fdcee29a0ca903dcb288a8b753bc346a3092911767",
        _GPT_2,
        _read_older_claude,
        normal=True,
    ),
}
_LOCK = threading.Lock()
_READ: dict[str, Encoding | None] = {}
_LOADED: dict[tuple[str, bool], Vocabulary | None] = {}
