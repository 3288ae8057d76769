"""Which models count their tokens how: a vocabulary for each family, and by how much it may be off.

OpenAI's vocabularies are its own. Claude's of today are secret: its older one, times what users measured of it against
``count_tokens`` (about 1.15, and 1.5 from Opus 4.7 on, by kind of text 1.0 to 1.65). Llama 3, Qwen and most others
grew out of cl100k_base; many of them make a token of each digit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from agentctl.context.calibration import Calibration, CalibrationPrior
from agentctl.context.counter import CountingMethod, TokenCounter
from agentctl.context.measure import PLAIN, ROUGH, Measure
from agentctl.context.tokens import rough_tokens
from agentctl.providers import vocabulary

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
    count = vocabulary.load(profile.vocabulary, digits_apart=profile.digits_apart)
    yardstick = profile.rough if count is None else profile.exact
    return yardstick.measure(count or rough_tokens, (known or {}).get(yardstick.way))


def counter_for(
    provider: str, model: str | None, *, known: Mapping[str, Calibration] | None = None
) -> TokenCounter | None:
    """Return how a run counts, and learns to; None for what has no tokens."""
    profile = profile_of(provider, model)
    if profile is None:
        return None
    load = partial(vocabulary.load, profile.vocabulary, digits_apart=profile.digits_apart)
    return TokenCounter(profile.rough, rough_tokens, exact=profile.exact, load=load, known=known)
