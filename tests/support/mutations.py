"""Runs the mutations of ``mutations.toml``: known mistakes in the code, each of which must make a test fail.

``python -m tests.support.mutations [NAME…]`` runs all of them, or those named; ``--list`` prints the table, looks for
each text and runs nothing. The tree is copied to a temporary folder. There the tests run once without a change, then
once for each mutation. Exit code 1: a mutation was not caught, or its text is not found exactly once; its name is
printed. A whole run takes some minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import cache_from_source
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_suffix(".toml")
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "__pycache__", "*.pyc", ".*_cache", ".hypothesis")
MOST_SECONDS = 300.0  # for the tests of one mutation: one that makes them hang is not caught
TESTS_FAILED = 1  # pytest's exit code; with a larger one it could not run them


class Mutation(NamedTuple):
    """A mistake: ``old`` stands exactly once in ``file`` (below agentctl/) and becomes ``new``.

    ``tests`` are pytest node ids below tests/; at least one of them must fail then.
    """

    name: str
    area: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


class PytestResult(NamedTuple):
    """The end of one pytest run: its exit code (None: it hung), the first test that failed, the end of its output."""

    code: int | None
    failed: str
    output: str

    @property
    def is_caught(self) -> bool:
        """Whether a test failed; tests that cannot be run catch nothing."""
        return self.code == TESTS_FAILED and self.failed != ""


def read_table() -> tuple[Mutation, ...]:
    """Return the mutations of the table, in its order."""
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))["mutation"]
    return tuple(Mutation(**{**row, "tests": tuple(row["tests"])}) for row in rows)


def find_problem(mutation: Mutation, tree: Path) -> str:
    """Return why a mutation cannot be applied to a tree, "" if it can."""
    path = tree / "agentctl" / mutation.file
    if not path.is_file():
        return f"agentctl/{mutation.file} does not exist"
    count = path.read_text(encoding="utf-8").count(mutation.old)
    return "" if count == 1 else f"its text is found {count} times in agentctl/{mutation.file}"


@contextmanager
def apply(mutation: Mutation, tree: Path) -> Iterator[None]:
    """Apply a mutation to a tree; restore the file at the end."""
    path = tree / "agentctl" / mutation.file
    text, before = path.read_text(encoding="utf-8"), path.stat()
    bytecode = Path(cache_from_source(str(path)))  # two versions may share size and second
    try:
        path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        bytecode.unlink(missing_ok=True)
        yield
    finally:
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        bytecode.unlink(missing_ok=True)


def run_tests(tree: Path, tests: Sequence[str], *, most_seconds: float) -> PytestResult:
    """Run tests of a tree until the first one fails."""
    options = ["-x", "-q", "-rfE", "-p", "no:cacheprovider", "--hypothesis-profile=ci"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *(f"tests/{test}" for test in tests)],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=most_seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return PytestResult(None, "", f"no end within {most_seconds:.0f} s")
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
    return PytestResult(process.returncode, found[1] if found else "", output[-2000:])


def check(mutations: Sequence[Mutation], tree: Path) -> list[str]:
    """Print how each mutation ended; return a line for each that is wrong."""
    problems = {one.name: problem for one in mutations if (problem := find_problem(one, tree))}
    wrong = [f"{name}: {problem}" for name, problem in problems.items()]
    mutations = [one for one in mutations if one.name not in problems]
    if not mutations:
        return wrong
    tests = sorted({test for one in mutations for test in one.tests})
    unchanged = run_tests(tree, tests, most_seconds=4 * MOST_SECONDS)
    if unchanged.code != 0:
        return [*wrong, f"without a mutation this fails: {unchanged.failed or unchanged.output}"]
    for one in mutations:
        started = time.monotonic()
        with apply(one, tree):
            ended = run_tests(tree, one.tests, most_seconds=MOST_SECONDS)
        result = f"caught by {ended.failed}" if ended.is_caught else "NOT CAUGHT"
        print(f"{one.area:<8} {one.name:<38} {time.monotonic() - started:5.1f} s  {result}", flush=True)
        if not ended.is_caught:
            why = "every test passed" if ended.code == 0 else ended.output
            wrong.append(f"{one.name} (agentctl/{one.file}): {why}")
    return wrong


def select(mutations: Sequence[Mutation], names: Sequence[str]) -> tuple[Mutation, ...]:
    """Return the mutations of these names; without a name all of them.

    Raises:
        SystemExit: no mutation has one of the names.
    """
    by_name = {one.name: one for one in mutations}
    if unknown := [name for name in names if name not in by_name]:
        raise SystemExit(f"no mutation is called {unknown[0]}; --list prints their names")
    return tuple(by_name[name] for name in names) if names else tuple(mutations)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the mutations; return 1 if one was not caught or could not be applied, else 0."""
    parser = argparse.ArgumentParser(description="Put known mistakes into a copy of the code: a test must fail.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="only these mutations")
    parser.add_argument("--list", action="store_true", help="print the table, look for each text and run nothing")
    options = parser.parse_args(argv)
    mutations = select(read_table(), options.names)
    if options.list:
        for one in mutations:
            print(f"{one.area:<8} {one.name:<38} {find_problem(one, ROOT) or f'agentctl/{one.file}'}")
        return int(any(find_problem(one, ROOT) for one in mutations))
    with tempfile.TemporaryDirectory(prefix="agentctl-mutations-", ignore_cleanup_errors=True) as folder:
        tree = Path(folder, "tree")
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT, symlinks=True)
        wrong = check(mutations, tree)
    for line in wrong:
        print(f"wrong: {line}", file=sys.stderr)
    if not wrong:
        print(f"{len(mutations)} mutations, each caught by a test")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
