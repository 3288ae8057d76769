"""Weigh what a cut of the conversation costs and saves with prompt caches, in estimated nano-dollars. Pure.

A provider that caches sells what was sent before for a part of the price, as long as each request begins with the one
before. A cut ends that: what is kept behind it is read anew, once, and each later request is shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal, localcontext
from typing import NamedTuple

from agentctl.context.tokens import Measure
from agentctl.core.messages import Message, Usage
from agentctl.core.pricing import Price

_REQUEST = 150  # tokens: what asks for a summary
_NANO_PER_TOKEN = 1000  # for each dollar per million tokens


class CutSize(NamedTuple):
    """A cut in tokens: those of the request without it and with it, schemas included.

    ``again`` are kept, were sent before, and stand behind the first place that is no longer what it was. ``fresh`` were
    never sent. ``written`` are the most that a model may write as the summary of what goes; 0: none is asked for.
    """

    before: int
    after: int
    again: int
    fresh: int = 0
    written: int = 0


class CutBalance(NamedTuple):
    """What a cut costs now and saves in each of the ``turns`` that are expected; None where the price is unknown."""

    cost_nano: int | None
    saves_nano: int | None
    turns: int


def cut_size(
    before: Sequence[Message], after: Sequence[Message], *, sent: int, measure: Measure, tools_tokens: int = 0
) -> CutSize:
    """Measure a cut in tokens; the first ``sent`` messages of ``before`` were in the request before this one."""
    same = next((place for place, pair in enumerate(zip(before, after, strict=False)) if pair[0] is not pair[1]), 0)
    new = len(before) - sent
    return CutSize(
        before=measure.conversation(before) + tools_tokens,
        after=measure.conversation(after) + tools_tokens,
        again=measure.conversation(after[same : max(same, len(after) - new)]),
        fresh=measure.conversation(before[sent:]),
    )


class CacheEconomics(NamedTuple):
    """What is known of the costs of one run: the price, what its answers reported, how many turns it may have.

    ``most_turns`` 0: nobody says. ``cached`` are the input tokens that came from a cache or went there in any of the
    ``answers``. ``left`` are the tokens that the last cut left, ``since`` the answers behind it.
    """

    price: Price | None = None
    most_turns: int = 0
    answers: int = 0
    cached: int = 0
    left: int = 0
    since: int = 0

    def after_answer(self, usage: Usage | None) -> CacheEconomics:
        """Return what is known after one more answer."""
        seen = 0 if usage is None else usage.cached_input_tokens + usage.cache_write_tokens
        return self._replace(answers=self.answers + 1, since=self.since + 1, cached=self.cached + seen)

    def after_cut(self, tokens: int) -> CacheEconomics:
        """Return what is known after a cut that left so many tokens."""
        return self._replace(left=tokens, since=0)

    @property
    def caches(self) -> bool:
        """Whether the provider is cheaper for what was sent before.

        Its own reports say so. Before the second, which is the first that can, its price does.
        """
        if self.price is None or self.price.cached_input is None:
            return False
        return self.cached > 0 or self.answers < 2

    @property
    def turns(self) -> int:
        """How many turns are expected to follow: as many again as there were, at most what is left of them.

        Of something whose length nobody knows, what is past is the median of what is to come (J. R. Gott, Nature 363,
        1993).
        """
        return min(self.answers, self.most_turns - self.answers) if self.most_turns else self.answers

    def weigh(self, cut: CutSize) -> CutBalance:
        """Estimate what a cut costs and saves.

        It costs what is read anew at the full price, or at that of a cache write, in place of the cached one; and a
        summary: the request before this one, what asks for it, and what the model writes. A later turn does not pay
        for what is gone, at the cached price where the provider caches.
        """
        if self.price is None:
            return CutBalance(None, None, self.turns)
        price = self.price.at(cut.before)
        whole = price.input if price.cache_write is None or not self.caches else max(price.input, price.cache_write)
        sent = price.cached_input if price.cached_input is not None and self.caches else price.input
        with localcontext() as exact:
            exact.prec = 60
            cost = cut.again * (whole - sent) if self.caches else Decimal(0)
            if cut.written:
                cost += (cut.before - cut.fresh) * sent + _REQUEST * price.input + cut.written * price.output
            saves = (cut.before - cut.after) * sent
        return CutBalance(_nano(cost), _nano(saves), max(0, self.turns))

    def summary_pays(self, cut: CutSize) -> bool:
        """Return whether a model's summary is cheaper than carrying on, where ``cut`` is the cut with it.

        All that the cut costs is held against half of what it saves: by the next one, what is gone has grown back, and
        so half of it is missing on the average. The next one comes as soon as the conversation has grown by as much
        as goes now, at the pace at which it came here. Where the model is free, or its price unknown, the words of
        agentctl itself will do.
        """
        cost, saves, turns = self.weigh(cut)
        if not cost or not saves or not self.since:
            return False
        grown = max(1, (cut.before - self.left) // self.since)
        until_the_next = max(0, cut.before - cut.after) // grown
        return 2 * cost <= saves * min(turns, until_the_next)


def _nano(amount: Decimal) -> int:
    """Return nano-dollars for tokens times dollars per million, rounded up."""
    return int((amount * _NANO_PER_TOKEN).to_integral_value(ROUND_CEILING))
