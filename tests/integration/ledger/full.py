"""The long forms of the ledger's tests, with their figures: ``python -m tests.integration.ledger.full``; takes minutes.

Fifty processes on a barrier, more than 250 of them killed, every window of thousands of calls, a thousand trees of
nested runs, five trees of thirty processes each with 18 of them killed, and the machine of rules with new dice.
Exit 1 if anything is wrong.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.ledger.crowd import FULL
from tests.support.ledger.machine import Bookkeeping
from tests.support.ledger.spender import POINTS
from tests.support.ledger.tree_processes import FULL as GROVES
from tests.support.ledger.tree_processes import PROCESSES
from tests.support.ledger.trees import grown
from tests.support.ledger.windows import hours

LONG = settings(
    max_examples=1_000,
    stateful_step_count=80,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def dollars(nano: float) -> str:
    """Return an amount for people."""
    return f"${nano / 10**9:.2f}"


def of_crowds(name: str, act: Callable[[], dict[str, Any]]) -> bool:
    """Print the outcome of a crowd; return whether no promise was broken."""
    began = time.monotonic()
    said = act()
    phases = ", ".join(f"{phase} {count}" for phase, (count, _) in sorted(said["phases"].items()))
    finished = sum(outcome["refused"] == "" for outcome in said["outcomes"])
    idle = sum(outcome["made"] == 0 for outcome in said["outcomes"])
    print(
        f"{name:<12} limit {dollars(said['limit'])} an hour, dearest hour {dollars(said['dearest hour'])}, billed"
        f" {dollars(said['billed'])}; {phases}; {finished} of {len(said['outcomes'])} finished, {idle} without a call;"
        f" refused {said['refusals']}, at nothing spent {said['refused at nothing spent']}, gave up"
        f" {said['given up']}, failed {said['failed']}; wrong {len(said['wrong'])}; {time.monotonic() - began:.0f} s"
    )
    if "kills" in said:
        print(f"{'':<12} {said['kills']} killed, {sum(said['points'].values())} of them at {len(POINTS)} named points")
    for wrong in said["wrong"][:10]:
        print(f"{'':<12} {wrong}")
    fine = not said["wrong"] and not said["failed"] and not said["given up"]
    if name == "with doubts":
        return fine and finished >= 6
    if name == "exactly":
        return fine and said["billed"] == said["limit"]
    if "killed" in name:
        return fine and set(said["points"]) == set(POINTS)
    spent = finished == len(said["outcomes"]) or said["billed"] >= 0.8 * said["limit"]
    return fine and spent and said["refused at nothing spent"] == 0


def of_windows() -> bool:
    """Print the dearest hour of some long days; return whether none was too dear and the limit was of use."""
    fine = True
    for seed in range(1, 6):
        made = hours(seed=seed, calls=3_000, processes=16, hour_nano=6_000_000_000, faults=0.02 * (seed - 1))
        print(
            f"every 3600 s  seed {seed}: {made['calls']:.0f} calls in {made['hours']:.1f} h, limit"
            f" {dollars(made['limit'])}, dearest window {dollars(made['dearest'])}, used {100 * made['used']:.0f} %,"
            f" refused {made['refused']:.0f}"
        )
        fine = fine and made["dearest"] <= made["limit"] and made["used"] >= 0.8
    return fine


def of_trees(count: int) -> bool:
    """Print what became of so many random trees of nested runs; return whether each was as the oracle has it."""
    began, wrong = time.monotonic(), list[str]()
    runs = held = refused = denied = 0
    for seed in range(count):
        tree = grown(seed)
        runs, held = runs + len(tree.nodes), held + tree.held
        refused, denied = refused + tree.refused, denied + tree.denied
        wrong += tree.wrong
    print(
        f"{count:,} trees  {runs:,} nested runs, {held:,} holds, {refused:,} refused by a limit, {denied:,} denied"
        f" below an end; wrong {len(wrong)}; {time.monotonic() - began:.0f} s"
    )
    for one in wrong[:10]:
        print(f"{'':<12} {one}")
    return not wrong


def of_groves() -> bool:
    """Print what became of trees of processes, some of them killed; return whether all was as promised."""
    fine = True
    for name, act in GROVES.items():
        began = time.monotonic()
        said: dict[str, Any] = act()
        print(
            f"{name:<12} {PROCESSES} processes, {said['kills']} killed, {said['calls']} calls billed at"
            f" {dollars(said['billed'])}, {said['refused']} refused by a limit, {said['denied']} denied below an end,"
            f" failed {said['failed']}, gave up {said['given up']}; wrong {len(said['wrong'])};"
            f" {time.monotonic() - began:.0f} s"
        )
        for one in said["wrong"][:10]:
            print(f"{'':<12} {one}")
        fine = fine and not said["wrong"] and not said["failed"] and not said["given up"]
    return fine


def main() -> int:
    """Run everything."""
    fine = [of_crowds(name, act) for name, act in FULL.items()]
    fine.append(of_groves())  # these fork, too: before anything that may start a thread
    fine.append(of_windows())
    fine.append(of_trees(1_000))
    began = time.monotonic()
    run_state_machine_as_test(Bookkeeping, settings=LONG)
    took = time.monotonic() - began
    print(f"the rules    {LONG.max_examples} histories of {LONG.stateful_step_count} steps; {took:.0f} s")
    print("all as promised" if all(fine) else "NOT as promised")
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
