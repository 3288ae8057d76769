"""Weigh what a cut of the conversation costs and saves with prompt caches, in estimated nano-dollars. Pure.

A provider with a prompt cache charges a part of the price for what was sent before, as long as each request begins with
the previous one. A cut ends that: the messages kept after it are read once at full price, and later requests are
shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal, localcontext
from typing import NamedTuple

from agentctl.context.tokens import Measure
from agentctl.core.messages import Message, Usage
from agentctl.core.pricing import Price

_REQUEST = 150  # tokens of the text that asks for a summary
_NANO_PER_TOKEN = 1000  # for each dollar per million tokens


class CutSize(NamedTuple):
    """The size of a cut: tokens of the request without it and with it, schemas included.

    ``again`` are kept, were sent before, and come after the first changed place. ``fresh`` were never sent. ``written``
    are the most that a model may write as a summary of the removed messages; 0: no summary is requested.
    """

    before: int
    after: int
    again: int
    fresh: int = 0
    written: int = 0


class CutBalance(NamedTuple):
    """The cost of a cut, and what it saves in each of the expected ``turns``; None if the price is unknown."""

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
    """The facts about the costs of one run: the price, the reports of its answers, the most turns that it may have.

    ``most_turns`` 0: unknown. ``cached`` are the input tokens that were read from or written to a cache in any of the
    ``answers``. ``left`` are the tokens that the last cut left, ``since`` the answers after it.
    """

    price: Price | None = None
    most_turns: int = 0
    answers: int = 0
    cached: int = 0
    left: int = 0
    since: int = 0

    def after_answer(self, usage: Usage | None) -> CacheEconomics:
        """Return the facts after one more answer."""
        seen = 0 if usage is None else usage.cached_input_tokens + usage.cache_write_tokens
        return self._replace(answers=self.answers + 1, since=self.since + 1, cached=self.cached + seen)

    def after_cut(self, tokens: int) -> CacheEconomics:
        """Return the facts after a cut that left ``tokens``."""
        return self._replace(left=tokens, since=0)

    @property
    def caches(self) -> bool:
        """Whether the provider charges less for what was sent before.

        Its own reports show this, from the second one on; before that its price decides.
        """
        if self.price is None or self.price.cached_input is None:
            return False
        return self.cached > 0 or self.answers < 2

    @property
    def turns(self) -> int:
        """The expected number of further turns: as many as there were so far, at most those that are left.

        For a process of unknown length, its past duration is the median of its future one (J. R. Gott, Nature 363,
        1993).
        """
        return min(self.answers, self.most_turns - self.answers) if self.most_turns else self.answers

    def weigh(self, cut: CutSize) -> CutBalance:
        """Return what a cut is estimated to cost and save.

        It costs the tokens that are read again at the full price, or that of a cache write, instead of the cached one,
        and a summary: the previous request, the text that asks for it, and what the model writes. It saves the removed
        tokens in each later turn, at the cached price if the provider caches.
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
        """Return whether a model's summary is cheaper than keeping all messages; ``cut`` is the cut with the summary.

        The whole cost of the cut is compared with half of what it saves: by the next cut the conversation has grown by
        as much as was removed, so half of that is saved on average. The next cut is expected when the conversation has
        grown by as much as is removed now, at its pace so far. If the model is free, or its price is unknown, return
        False: agentctl's own notes are enough.
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
