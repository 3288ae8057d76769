"""How quickly it starts, as ratios within one run: ``python tests/benchmarks/startup.py [ROUNDS]``.

Run it with the interpreter that agentctl is installed for, with byte code on disk. The commands take turns, so that a
machine that changes its speed changes it for all of them. No test asserts a time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

BARE = """
import typer
app = typer.Typer(add_completion=False)
@app.command()
def run(task: str = "x", limit: int = 3) -> None: ...
@app.command()
def costs() -> None: ...
app()
"""


class Sample(NamedTuple):
    """What one command took: wall time and processor time in seconds, and its peak of memory in MB."""

    wall: float
    cpu: float
    peak: float


def measure(command: list[str], home: str) -> Sample:
    """Run a command to its end and return what it took."""
    environment = {"HOME": home, "PATH": os.environ.get("PATH", os.defpath)}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (command, process.returncode)
    return Sample(took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main(rounds: int) -> None:
    """Print each command's medians, and the ratios that the design names."""
    agentctl = [str(Path(sys.executable).with_name("agentctl"))]
    run = [*agentctl, "run", "--provider", "builtin", "How much disk is free?"]
    commands = {
        "bare Typer --help": [sys.executable, "-c", BARE, "--help"],
        "agentctl --help": [*agentctl, "--help"],
        "agentctl --version": [*agentctl, "--version"],
        "agentctl costs": [*agentctl, "costs"],
        "agentctl run (disk)": run,
    }
    with tempfile.TemporaryDirectory() as home:
        samples: dict[str, list[Sample]] = {name: [] for name in commands}
        for _ in range(rounds + 1):
            for name, command in commands.items():
                samples[name].append(measure(command, home))
        empty = measure(run, tempfile.mkdtemp(dir=home)).wall
    wall, cpu, peak = (
        {name: statistics.median(sample[part] for sample in taken[1:]) for name, taken in samples.items()}
        for part in range(3)
    )
    for name in commands:
        print(f"{name:<20} {1000 * wall[name]:6.0f} ms  {1000 * cpu[name]:6.0f} ms of CPU  {peak[name]:5.1f} MB")
    for what, medians in (("wall", wall), ("CPU", cpu)):
        bare, shown, _, costs, answered = medians.values()
        ratios = {"help / bare": shown / bare, "costs / bare": costs / bare, "run / help": answered / shown}
        print(f"{what}: " + "   ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()))
    print(f"the first run in an empty HOME: {1000 * empty:.0f} ms, / help {empty / wall['agentctl --help']:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
