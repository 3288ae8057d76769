"""A low report means a cut or a cached prompt: which of the two, and how much may be sent after a refusal."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl.context.window_check import (
    ReportBasis,
    ReportHistory,
    ReportVerdict,
    SentTokens,
    judge_report,
    shrink_limit,
)
from agentctl.core.errors import ContextOverflow

FIRST = SentTokens(least=6_000)
ALL, NEW = ReportHistory(3_000, True, "all"), ReportHistory(300, False, "new")


def after(least: int, new: int, *, spared: int = 64) -> SentTokens:
    """A request that goes on from the one before by about ``new`` tokens."""
    return SentTokens(least, int(new / 1.3), new * 2 + 128, spared)


CASES: dict[str, tuple[ReportHistory, SentTokens, int, ReportVerdict, ReportBasis]] = {
    # the first of a run
    "all of it": (ReportHistory(), FIRST, 7_100, "all", "unknown"),
    "more than we counted": (ReportHistory(), FIRST, 20_000, "all", "unknown"),
    "too short to be cut": (ReportHistory(), SentTokens(1_200), 14, "new", "unknown"),
    "a whole window": (ReportHistory(), FIRST, 4_096, "cut", "unknown"),
    "a whole window but one": (ReportHistory(), FIRST, 2_047, "cut", "unknown"),
    "half of 4,096, and what is kept of the head": (ReportHistory(), FIRST, 2_050, "cut", "unknown"),
    "half of 8,192, num_keep 24": (ReportHistory(), SentTokens(9_000), 4_108, "cut", "unknown"),
    "cached by another run": (ReportHistory(), FIRST, 1_870, "doubt", "unknown"),
    "cached by another run, to the last token": (ReportHistory(), FIRST, 1, "doubt", "unknown"),
    # the second
    "grown by what is new": (ReportHistory(3_000, True), after(3_200, 900), 4_000, "all", "all"),
    "only what is new": (ReportHistory(3_000, True), after(3_200, 900), 880, "new", "new"),
    "only what is new, sent a second time": (ReportHistory(3_000, True), after(3_200, 900), 1, "new", "new"),
    "no schemas after the user's turn": (
        ReportHistory(3_000, True), after(2_300, 300, spared=1_500), 2_400, "all", "all",
    ),
    "a window": (ReportHistory(3_000, True), after(8_000, 7_000), 4_096, "cut", "unknown"),
    "half a window": (ReportHistory(3_000, True), after(3_200, 900), 2_050, "cut", "unknown"),
    "neither": (ReportHistory(3_000, True), after(3_200, 900), 2_700, "doubt", "unknown"),
    "cached before, and now what is new": (ReportHistory(1_870, False, doubts=1), after(6_200, 300), 290, "new", "new"),
    "low twice": (ReportHistory(1_870, False, doubts=1), after(6_200, 300), 1_901, "cut", "unknown"),
    "low twice, but it grows: our count is too high": (
        ReportHistory(4_500, False, doubts=1), after(6_200, 300), 4_800, "all", "all",
    ),
    # a server that was seen to count all
    "all again": (ALL, after(3_000, 500), 3_520, "all", "all"),
    "it does not grow": (ALL, after(3_000, 500), 3_000, "cut", "all"),
    "it shrinks": (ALL, after(3_000, 500), 2_300, "cut", "all"),
    "all, after a cut of ours": (ALL, SentTokens(2_000), 2_400, "all", "all"),
    "low after a cut of ours": (ALL, SentTokens(2_000), 1_700, "cut", "all"),
    "what is new after all: it had lost its cache before": (ALL, after(3_000, 500), 510, "new", "new"),
    # a server that counts what is new
    "new again": (NEW, after(5_000, 400), 420, "new", "new"),
    "a part of its cache is lost": (NEW, after(5_000, 400), 3_300, "new", "new"),
    "all of its cache is lost": (NEW, after(5_000, 400), 5_900, "all", "new"),
    "a window, where only what is new counts": (NEW, after(5_000, 400), 4_096, "cut", "new"),
    "what is new is as much as a window": (NEW, after(9_000, 4_096), 4_096, "new", "new"),
    "the same twice, and at most half of it is new": (
        ReportHistory(1_502, False, "new"), after(5_000, 800), 1_502, "doubt", "new",
    ),
    "the same twice, and it may well be new": (ReportHistory(800, False, "new"), after(5_000, 800), 800, "new", "new"),
    "new after a cut of ours": (NEW, SentTokens(2_000), 900, "new", "new"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_report_says_whether_the_prompt_was_cut(name: str) -> None:
    seen, sent, reported, finding, basis = CASES[name]
    found, then = judge_report(seen, sent, reported)
    assert (found, then.basis) == (finding, basis)


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=30), st.floats(0.78, 2.5))
def test_server_that_reads_everything_is_never_reported_as_cutting(new: list[int], dense: float) -> None:
    """Holds for any denser count than ours, and however the conversation grows."""
    seen, total = ReportHistory(), 1_500
    finding, seen = judge_report(seen, SentTokens(int(total / 1.3)), int(total * dense))
    for more in new:
        before, total = total, total + more
        sent = SentTokens(int(total / 1.3), int(more / 1.3), more * 2 + 128, 64)
        finding, seen = judge_report(seen, sent, int(before * dense) + int(more * dense))
        assert finding in ("all", "new")
    assert finding


@given(st.lists(st.integers(20, 3_000), min_size=1, max_size=30), st.integers(0, 6_000), st.booleans())
def test_server_that_reports_only_uncached_tokens_is_never_reported_as_cutting(
    new: list[int], first: int, again: bool
) -> None:
    """Holds for any cache left by another run, and for the same request asked twice."""
    if any(tokens % 512 in {0, 2, 3, 12, 13, 511} for tokens in (first, *new)):
        return  # as large as what a cut leaves: told apart only once it was seen how the server counts
    _, seen = judge_report(ReportHistory(), SentTokens(6_000), first)
    total = 6_500
    for more in new:
        total += more
        finding, seen = judge_report(seen, after(int(total / 1.3), more), 1 if again else more)
        assert finding in ("all", "new")


@pytest.mark.parametrize("window", [2_048, 4_096, 8_192, 10_000])
@pytest.mark.parametrize("half", [False, True])
def test_a_window_that_fills_up_is_seen_within_two_turns_of_the_first_cut(window: int, half: bool) -> None:
    totals = list(range(900, 20_000, 400))
    seen, found = ReportHistory(), [total for total in totals if total > window]
    finding, seen = judge_report(seen, SentTokens(int(totals[0] / 1.3)), totals[0])
    for before, total in pairwise(totals):
        reported = total if total <= window else window - (window - 4) // 2 if half else window - (total % 137)
        finding, seen = judge_report(seen, after(int(total / 1.3), total - before), reported)
        if finding == "cut":
            assert total in found[:3]
            return
    pytest.fail("it was never seen")


@pytest.mark.parametrize(
    ("window", "prompt", "sent", "most"),
    [
        (8_192, 9_000, 7_000, 5_863),
        (8_192, 9_000, 12_000, 10_051),
        (4_096, 4_050, 4_000, 3_602),
        (4_096, 1_200, 1_000, 3_200),
        (None, None, 8_000, 6_000),
        (4_096, None, 8_000, 3_840),
        (None, 9_000, 8_000, 6_000),
        (1, 10**9, 8_000, 1),
        (0, 0, 8_000, 6_000),
    ],
)
def test_a_refusal_teaches_how_much_may_be_sent(window: int | None, prompt: int | None, sent: int, most: int) -> None:
    assert shrink_limit(ContextOverflow("too long", window=window, prompt=prompt), sent) == most
