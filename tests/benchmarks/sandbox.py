"""What the sandbox costs a command, and the memory that a gigabyte of output takes.

``python tests/benchmarks/sandbox.py [ROUNDS] [OTHER]``, with the interpreter that agentctl is installed for; each tier
of ``TIER`` (default "bwrap landlock") takes its turn. OTHER is
another checkout, such as one from before a change: its commands take turns with those of this one, each in a process
of its own, so that a machine that changes its speed changes it for both. No test asserts a time.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio

FILES = 30_000
HERE = Path(__file__).parents[2]
TIERS = os.environ.get("TIER", "bwrap landlock").split()
_CHUNK = 20  # commands of one process, before the other checkout has its turn


async def seconds(workspace: Path, rounds: int, tier: str) -> list[float]:
    """Return the wall time of each command, after a first one that looks around."""
    from agentctl.sandbox.select import open_sandbox

    sandbox = await open_sandbox(tier, workspace=workspace, network=False, read_only=False)  # type: ignore[arg-type]
    taken = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        await sandbox.run("true", timeout=60)
        taken.append(time.perf_counter() - began)
    return taken[1:]


async def peak_after(workspace: Path, command: str) -> int:
    """Return the most memory that this process ever had, in bytes, after a command."""
    from agentctl.sandbox.select import open_sandbox

    sandbox = await open_sandbox("auto", workspace=workspace, network=False, read_only=False)
    result = await sandbox.run(command, timeout=600, more=True)
    assert result.exit_code == 0, result
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def repository(folder: Path, files: int) -> Path:
    """Make a git repository with so many small files, all committed."""
    for number in range(files):
        place = folder / f"d{number // 100}"
        place.mkdir(exist_ok=True, parents=True)
        (place / f"f{number}").write_text(f"{number}\n")
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e", "-c", "gc.auto=0"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
    return folder


def ask(checkout: Path, *words: str) -> list[float]:
    """Run this script's inner part with the code of a checkout."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout), *sys.path[1:]])}
    command = [sys.executable, str(Path(__file__).resolve()), "inner", *words]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def main(rounds: int, checkouts: list[Path]) -> None:
    """Print the median of each workspace and checkout, and the peak."""
    with tempfile.TemporaryDirectory() as above:
        empty = Path(above, "empty")
        empty.mkdir()
        workspaces = {"empty": empty, f"git, {FILES:,} files": repository(Path(above, "git"), FILES)}
        for name, workspace in workspaces.items():
            turns = [(tier, checkout) for tier in TIERS for checkout in checkouts]
            taken: dict[tuple[str, Path], list[float]] = {turn: [] for turn in turns}
            for _ in range(max(1, rounds // _CHUNK)):
                for tier, checkout in turns:
                    taken[tier, checkout] += ask(checkout, "seconds", str(workspace), str(min(rounds, _CHUNK)), tier)
            for (tier, checkout), times in taken.items():
                median, least = 1000 * statistics.median(times), 1000 * min(times)
                print(f"{tier:<9} {name:<20} {median:6.1f} ms median, {least:6.1f} ms least   {checkout}")
        for checkout in checkouts:
            (peak,) = ask(checkout, "peak", str(empty), "yes | head -c 1G")
            print(f"{'1 GiB of output':<20} {peak / 1024**2:6.0f} MiB at most   {checkout}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["inner"]:
        if sys.argv[2] == "seconds":
            print(*anyio.run(seconds, Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
        else:
            print(anyio.run(peak_after, Path(sys.argv[3]), sys.argv[4]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 60, [HERE, *map(Path, sys.argv[2:3])])
