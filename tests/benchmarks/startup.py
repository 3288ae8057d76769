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

BARE = """
import typer
app = typer.Typer(add_completion=False)
@app.command()
def run(task: str = "x", limit: int = 3) -> None: ...
@app.command()
def costs() -> None: ...
app()
"""


def seconds(command: list[str], home: str) -> float:
    """Run a command to its end and return the wall time."""
    environment = {"HOME": home, "PATH": os.environ.get("PATH", os.defpath)}
    began = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main(rounds: int) -> None:
    """Print each command's median, and the ratios that the design names."""
    agentctl = [str(Path(sys.executable).with_name("agentctl"))]
    commands = {
        "bare Typer --help": [sys.executable, "-c", BARE, "--help"],
        "agentctl --help": [*agentctl, "--help"],
        "agentctl costs": [*agentctl, "costs"],
        "agentctl run (disk)": [*agentctl, "run", "--provider", "builtin", "How much disk is free?"],
    }
    with tempfile.TemporaryDirectory() as home:
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds + 1):
            for name, command in commands.items():
                taken[name].append(seconds(command, home))
        empty = seconds(commands["agentctl run (disk)"], tempfile.mkdtemp(dir=home))
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}
    for name, median in medians.items():
        print(f"{name:<22} {1000 * median:6.0f} ms")
    bare, shown, costs, run = medians.values()
    print(f"help / bare {shown / bare:.2f}   costs / bare {costs / bare:.2f}   run / help {run / shown:.2f}")
    print(f"the first run in an empty HOME: {1000 * empty:.0f} ms, / help {empty / shown:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
