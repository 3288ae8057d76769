"""The command of a hook: what it reads, how each of its ends is taken, and that no process of it is left."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import pytest

from agentctl.sandbox.hook_process import HookEnd, run_hook
from agentctl.settings.lineage import is_inside_a_run
from tests.integration.sandbox.parts import wait_until


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def hook(
    script: str, document: object = None, *words: str, limit_s: float = 20.0, more: Mapping[str, str] | None = None
) -> HookEnd:
    command: Sequence[str] = ("/bin/sh", "-c", script, "hook", *words)
    return await run_hook(command, json.dumps(document).encode() + b"\n", timeout=limit_s, environment=more or {})


def is_gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("in_memory", [True, False])
async def test_a_hook_reads_a_large_document_whole_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool
) -> None:
    if not in_memory:  # as on macOS
        monkeypatch.delattr(os, "memfd_create", raising=False)
    document = {"text": "x" * 1_000_000}
    assert await hook('cat > "$1"', document, str(tmp_path / "read")) == HookEnd("passed")
    assert json.loads((tmp_path / "read").read_text()) == document


async def test_a_hook_that_does_not_read_passes_whatever_the_size() -> None:
    assert await hook("exec 0<&-; exit 0", {"text": "x" * 1_000_000}) == HookEnd("passed")


async def test_exit_2_denies_and_its_stderr_is_one_safe_line() -> None:
    end = await hook(r"printf 'not \377 today\033[31m\n\n::error::now\n' >&2; echo out; exit 2")
    assert end == HookEnd("denied", r"not \xff today\x1b[31m \x3a:error::now")
    assert await hook("exit 2") == HookEnd("denied", "it gave no reason on stderr")


@ON_ASYNCIO
async def test_any_other_code_and_a_signal_are_failures() -> None:
    assert await hook("echo why >&2; exit 7") == HookEnd("failed", "/bin/sh ended with exit code 7: why")
    assert await hook("kill -9 $$") == HookEnd("failed", "/bin/sh was killed by signal 9")


@ON_ASYNCIO
async def test_what_cannot_be_started_is_a_failure(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    for program, why in ((tmp_path / "gone", "no such file or directory"), (plain, "permission denied")):
        end = await run_hook([str(program)], b"{}\n", timeout=5.0, environment={})
        assert end == HookEnd("failed", f"{program} could not be started: {why}")


@ON_ASYNCIO
async def test_a_hook_that_hangs_is_ended_with_all_its_processes(tmp_path: Path) -> None:
    script = 'setsid sleep 987 & echo $! > "$1"; sleep 986 & echo $! >> "$1"; wait'
    end = await hook(script, None, str(tmp_path / "pids"), limit_s=1.0)
    assert end == HookEnd("failed", "/bin/sh took longer than 1 s and was ended")
    assert all(is_gone(pid) for pid in map(int, (tmp_path / "pids").read_text().split()))


async def test_a_cancelled_hook_leaves_no_process(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with anyio.create_task_group() as group:
        group.start_soon(hook, 'sleep 985 & echo $! > "$1.new"; mv "$1.new" "$1"; wait', None, str(file))
        await anyio.to_thread.run_sync(wait_until, file.exists)
        group.cancel_scope.cancel()
    assert is_gone(int(file.read_text()))


@ON_ASYNCIO
async def test_a_background_process_of_a_hook_ends_with_it(tmp_path: Path) -> None:
    hides = (
        'env -i setsid sh -c "(sleep 984 & echo \\$! > \'$1\') & exit" >/dev/null 2>&1; while ! [ -s "$1" ]; do :; done'
    )
    assert await hook(hides, None, str(tmp_path / "pid")) == HookEnd("passed")
    assert is_gone(int((tmp_path / "pid").read_text()))


@ON_ASYNCIO
async def test_a_flood_on_both_streams_is_drained_and_cut() -> None:
    script = "head -c 8000000 /dev/zero | tr '\\0' y; head -c 8000000 /dev/zero | tr '\\0' n >&2; exit 2"
    end = await hook(script)
    assert (end.verdict, len(end.why), end.why[-2:]) == ("denied", 1001, "n…")


async def test_no_key_is_in_the_environment_of_a_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "AGENTCTL_ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD_X"):
        monkeypatch.setenv(name, "sk-planted")
    await hook(
        'env > "$1"; pwd >> "$1"; cat /proc/$PPID/environ >> "$1"', None, str(tmp_path / "seen"), more={"EDITOR": "vi"}
    )
    seen = (tmp_path / "seen").read_text()
    assert "sk-planted" not in seen
    assert "EDITOR=vi" in seen.splitlines()
    named = dict(line.split("=", 1) for line in seen.splitlines() if "=" in line)
    assert is_inside_a_run(named), "a run that it starts is refused, as it could not count in the limits of this one"
    assert "/" in seen.splitlines(), "it starts where no model can write"


@ON_ASYNCIO
async def test_a_hook_has_no_open_file_of_agentctl(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        script = f'{sys.executable} -c "import os; print(sorted(map(int, os.listdir(\'/proc/self/fd\'))))" > "$1"'
        await hook(script, None, str(tmp_path / "open"))
    finally:
        os.close(reader)
        os.close(writer)
    assert json.loads((tmp_path / "open").read_text()) == [0, 1, 2, 3], "3 is the folder that it lists"
