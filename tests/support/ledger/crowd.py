"""Many processes started at once on one ledger: ``python -m tests.support.ledger.crowd NAME``.

Without faults, with doubts, or killed.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.support.ledger.audit import bills_of, compare, dearest_window, lines_of, phases, replay, still_open
from tests.support.ledger.spender import BOUND, INPUT_NANO, MOST, OUTPUT_NANO, POINTS, Plan, Spender

DOLLAR = 10**9
WORST = BOUND * INPUT_NANO + MOST * OUTPUT_NANO


class Crowd:
    """Forks processes that wait at a barrier; nothing of the ledger is open in this one while it forks."""

    def __init__(self, folder: Path, actor: type[Spender] = Spender) -> None:
        self.folder, self.actor = folder, actor
        self.living: dict[int, Plan] = {}
        self._gate: tuple[int, int] | None = os.pipe()

    def start(self, plan: Plan) -> tuple[int, int]:
        """Return the process id, and where it tells the point that it has reached."""
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                if self._gate is not None:
                    os.close(self._gate[1])
                    os.read(self._gate[0], 1)  # until the gate is opened
                self.actor(self.folder, plan, lambda point: void(os.write(tell, point.encode()))).follow()
                status = 0
            except BaseException:  # noqa: BLE001 - told, and never carried on in the parent's code
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(tell)
        self.living[pid] = plan
        return pid, told

    def open_the_gate(self) -> None:
        """Let all of them go at the same time."""
        if self._gate is not None:
            os.close(self._gate[1])
            os.close(self._gate[0])
            self._gate = None

    def kill(self, pid: int) -> None:
        """Kill one with SIGKILL."""
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        del self.living[pid]

    def await_all(self) -> list[int]:
        """Return the exit codes."""
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in list(self.living)]
        self.living.clear()
        return codes


def void(_: object) -> None:
    """Return nothing."""


def figures(folder: Path, *, hour: int | None, wrong: list[str], codes: list[int]) -> dict[str, object]:
    """Return what came of it, by the provider's ledgers and by the ledger's."""
    bills = bills_of(folder)
    wrong = [*wrong, *compare(folder), *replay(folder)]
    dearest = dearest_window(list(bills.values()))
    if hour is not None and dearest > hour:
        wrong.append(f"{dearest} billed within an hour, the limit is {hour}")
    if open_ones := still_open(folder):
        wrong.append(f"{open_ones} attempts are still open")
    refusals = lines_of(folder / "refusals")
    return {
        "wrong": wrong,
        "failed": sum(code != 0 for code in codes),
        "billed": sum(bill.nano for bill in bills.values()),
        "dearest hour": dearest,
        "limit": hour,
        "calls": len(bills),
        "phases": phases(folder),
        "refusals": len(refusals),
        "refused at nothing spent": sum(told["spent"] == 0 for told in refusals),
        "given up": len(lines_of(folder / "given-up")),
        "outcomes": lines_of(folder / "outcomes"),
    }


def together(plans: list[Plan]) -> dict[str, object]:
    """Start all at once and wait for them."""
    with tempfile.TemporaryDirectory() as name:
        crowd = Crowd(Path(name))
        for plan in plans:
            crowd.start(plan)
        crowd.open_the_gate()
        codes = crowd.await_all()
        return figures(Path(name), hour=plans[0].hour_nano, wrong=[], codes=codes)


def no_faults(processes: int, hour: int, calls: int) -> dict[str, object]:
    """More calls than the hour can pay, without a fault."""
    return together([Plan(f"run-{n:02d}", calls, hour_nano=hour) for n in range(processes)])


def exactly(processes: int, calls: int) -> dict[str, object]:
    """Each call costs its whole worst case, and the limit is a whole number of them."""
    plan = Plan("", calls, hour_nano=2 * processes * WORST, exact=True)
    return together([replace(plan, run=f"run-{n:02d}") for n in range(processes)])


def with_doubts(processes: int, calls: int, share: float) -> dict[str, object]:
    """Every run has a limit of its own; now and then an answer is cut off."""
    plan = Plan("", calls, hour_nano=100 * DOLLAR, run_nano=DOLLAR, doubtful=share)
    return together([replace(plan, run=f"run-{n:02d}") for n in range(processes)])


def killed(processes: int, kills: int, seed: int) -> dict[str, object]:
    """Kill half at each named point in turn, half at any moment; audit the ledger after each."""
    dice = random.Random(seed)
    plan = Plan("", 10**9, hour_nano=60 * WORST, run_nano=8 * WORST, speed=1800, restless=True)
    wrong: list[str] = []
    reached: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        crowd = Crowd(folder)
        for n in range(processes):
            crowd.start(replace(plan, run=f"run-{n:03d}"))
        crowd.open_the_gate()
        for n in range(kills):
            if n % 2 == 0:
                point = POINTS[n // 2 % len(POINTS)]
                after = dice.randint(0, 2)
                victim, told = crowd.start(replace(plan, run=f"doomed-{n:03d}", stop_at=point, stop_after=after))
                ready, _, _ = select.select([told], [], [], 120)
                reached.append(os.read(told, 100).decode() if ready else "nothing")
                os.close(told)
                crowd.kill(victim)
            else:
                time.sleep(dice.uniform(0, 0.05))
                crowd.kill(dice.choice(list(crowd.living)))
                crowd.start(replace(plan, run=f"next-{n:03d}"))
            wrong += compare(folder)
        (folder / "stop").touch()
        codes = crowd.await_all()
        (folder / "stop").unlink()
        crowd.start(Plan("survivor", 1, speed=1800))
        codes += crowd.await_all()
        return figures(folder, hour=plan.hour_nano, wrong=wrong, codes=codes) | {
            "kills": kills,
            "points": {point: reached.count(point) for point in dict.fromkeys(reached)},
        }


QUICK: dict[str, Callable[[], dict[str, object]]] = {
    "8 on $2": lambda: no_faults(8, 2 * DOLLAR, 12),
    "exactly": lambda: exactly(8, 4),
    "with doubts": lambda: with_doubts(8, 10, 0.1),
    "killed": lambda: killed(12, 2 * len(POINTS), 1),
}
FULL: dict[str, Callable[[], dict[str, object]]] = {
    "8 on $2": lambda: no_faults(8, 2 * DOLLAR, 40),
    "50 on $10": lambda: no_faults(50, 10 * DOLLAR, 12),
    "exactly": lambda: exactly(50, 4),
    "with doubts": lambda: with_doubts(8, 10, 0.1),
    "killed": lambda: killed(50, 28 * len(POINTS), int(time.time())),
}

if __name__ == "__main__":
    print(json.dumps(QUICK[sys.argv[1]]()))
