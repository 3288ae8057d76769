"""Clients under a nemesis, and the provider's books: for a minute with --full."""

from __future__ import annotations

from tests.support.postgres.nemesis import DEEDS, run


def test_nothing_is_over_or_lost_while_clients_server_and_network_fail(is_full: bool) -> None:
    said = run(60, seed=1, workers=8) if is_full else run(2, seed=1, workers=2, brief=True)
    assert said.wrong == []
    assert said.deeds
    assert not is_full or said.deeds.keys() == set(DEEDS)
    assert said.calls > 0
