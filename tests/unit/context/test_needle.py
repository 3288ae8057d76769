"""A fact of turn two that the task's last step needs is still sent at turn sixty."""

from __future__ import annotations

import pytest

from agentctl.context.tokens import PLAIN
from tests.support.context.needles import KINDS, by_age, by_relevance, shares, talk

SEEDS = range(6)  # of each kind: 30 conversations


@pytest.mark.parametrize("max_tokens", [8_000, 4_000])
def test_needed_fact_survives_relevance_pruning_and_not_pruning_by_age(max_tokens: int) -> None:
    found, aged = (shares(max_tokens, SEEDS, cut) for cut in (by_relevance, by_age))
    of = len(SEEDS) * len(KINDS)
    print(f"at {max_tokens} tokens: by relevance {found} of {of}, by age {aged}")
    assert sum(found.values()) >= 0.95 * of
    assert min(found.values()) >= 0.9 * len(SEEDS), "of every kind"
    assert sum(aged.values()) <= 0.2 * of


def test_most_needed_facts_survive_in_little_room() -> None:
    found = shares(2_000, SEEDS, by_relevance)
    assert sum(found.values()) >= 0.8 * len(SEEDS) * len(KINDS), found


@pytest.mark.parametrize("name", KINDS)
def test_conversation_is_cut_and_its_noise_has_words_of_the_task(name: str) -> None:
    told = talk(KINDS[name], 1)
    assert PLAIN.conversation(tuple(m for turn in told.turns for m in turn)) > 1.5 * 8_000, "it is cut"
    assert told.needle not in told.opening[1].text
    holding = [n for n, turn in enumerate(told.turns, 1) if any(told.needle in m.text for m in turn)]
    assert holding == [2]
    for near in KINDS[name].near:
        assert set(near.split()) & set(KINDS[name].task.split()), "the noise has words of the task"
