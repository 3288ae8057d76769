"""A command's output, exit code and environment."""

from __future__ import annotations

import os
import py_compile
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from agentctl.core.errors import ToolError, UsageError
from agentctl.protocols import CommandResult
from agentctl.sandbox.output import Output, OutputFile
from agentctl.sandbox.process import child_environment, run_process
from agentctl.sandbox.unsandboxed import Unsandboxed
from agentctl.settings.lineage import is_inside_a_run
from agentctl.tools.shell import run_shell_async
from tests.support import fork_server


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_both_streams_and_the_exit_code_come_back() -> None:
    result = await run_shell_async("echo out; echo err >&2; exit 3")
    assert result == CommandResult(exit_code=3, stdout="out\n", stderr="err\n")


async def test_a_signal_is_a_negative_exit_code() -> None:
    assert (await run_shell_async("kill -9 $$")).exit_code == -9


async def test_output_before_a_timeout_is_kept() -> None:
    result = await run_shell_async("echo early; exec sleep 60", timeout=1.0)
    assert result == CommandResult(exit_code=-15, stdout="early\n", stderr="", timed_out=True)


async def test_a_command_may_clean_up_when_its_time_is_over(tmp_path: Path) -> None:
    command = "trap 'echo bye; exit 7' TERM; touch ready; sleep 60 & wait"
    result = await run_shell_async(command, timeout=1.0, cwd=tmp_path)
    assert (result.exit_code, result.stdout, result.timed_out) == (7, "bye\n", True)


async def test_stdin_is_empty_and_no_terminal_can_be_reached() -> None:
    result = await run_shell_async("cat; (read -r x </dev/tty) 2>/dev/null || echo none")
    assert (result.stdout, result.timed_out) == ("none\n", False)


async def test_commands_run_side_by_side() -> None:
    results = {}

    async def one(number: int) -> None:
        results[number] = (await run_shell_async(f"sleep 0.05; echo {number}")).stdout

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(one, number)
    assert results == {number: f"{number}\n" for number in range(12)}


async def test_the_environment_is_a_fixed_list_and_what_is_laid_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-children")
    result = await run_shell_async("env", env={"OWN": "1", "PAGER": "less"})
    names = {line.partition("=")[0] for line in result.stdout.splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {*child_environment(), "OWN", "AGENTCTL_CHILD"}
    assert "PAGER=less" in result.stdout.splitlines()


async def test_a_folder_can_be_chosen(tmp_path: Path) -> None:
    assert (await run_shell_async("pwd -P", cwd=str(tmp_path))).stdout == f"{tmp_path.resolve()}\n"


async def test_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="is not a folder to run a command in"):
        await run_shell_async("pwd", cwd=tmp_path / "nowhere")


async def test_a_folder_with_an_impossible_name_is_refused() -> None:
    with pytest.raises(UsageError, match="cwd cannot be"):
        await run_shell_async("pwd", cwd="a\0b")


async def test_command_too_long_for_the_system_is_reported_with_a_hint() -> None:
    with pytest.raises(ToolError) as caught:
        await run_shell_async(f": {'x' * 3_000_000}")
    assert caught.value.hint == "put the command into a file and run that"


@pytest.mark.parametrize(("command", "timeout"), [("", 1), ("  ", 1), ("a\0b", 1), ("true", 0), ("true", -1)])
async def test_a_wrong_argument_is_refused(command: str, timeout: float) -> None:  # noqa: ASYNC109 - handed on
    with pytest.raises(UsageError):
        await run_shell_async(command, timeout)


@pytest.mark.parametrize("timeout", [float("nan"), True, "5", None])
async def test_a_timeout_is_a_number(timeout: float) -> None:  # noqa: ASYNC109 - handed on
    with pytest.raises(UsageError, match="timeout cannot be"):
        await run_shell_async("true", timeout)


@pytest.mark.parametrize("env", [{"A=B": "1"}, {"": "1"}, {"A": "b\0c"}])
async def test_an_impossible_environment_is_refused(env: Mapping[str, str]) -> None:
    with pytest.raises(UsageError, match="env"):
        await run_shell_async("true", env=env)


async def test_head_and_tail_are_kept_and_the_rest_is_counted() -> None:
    result = await run_shell_async("seq 1 1000000")
    head, _, tail = result.stdout.partition(f"\n[... {result.truncated_bytes} bytes left out ...]\n")
    whole = "".join(f"{number}\n" for number in range(1, 1_000_001))
    assert (whole.startswith(head), whole.endswith(tail)) == (True, True)
    assert (len(head), len(tail)) == (32 * 1024, 64 * 1024)
    assert result.truncated_bytes == len(whole) - len(head) - len(tail)


async def test_binary_output_is_only_counted() -> None:
    result = await run_shell_async("head -c 5000 /dev/zero")
    assert (result.stdout, result.truncated_bytes) == ("<binary, 5000 bytes>\n", 5000)


async def test_text_with_a_few_nul_bytes_is_text() -> None:
    result = await run_shell_async(r"printf 'a\0b'; seq 1 1500; printf 'one\0two\0' >&2")
    numbers = "".join(f"{number}\n" for number in range(1, 1501))
    assert (result.stdout, result.stderr, result.truncated_bytes) == (f"a\\x00b{numbers}", "one\\x00two\\x00", 0)
    result = await run_shell_async("printf '\\0'; seq 1 1000000")
    assert result.stdout.startswith("\\x001\n2\n")


async def test_programs_archives_and_images_are_binary(tmp_path: Path) -> None:
    make = r"seq 1 9000 > t; gzip -k t; tar cf t.tar t t.gz; printf 'h\0i\0 \0t\0' > utf16"
    assert (await run_shell_async(make, cwd=tmp_path)).exit_code == 0
    (tmp_path / "image").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10" + bytes(range(256)))
    (tmp_path / "made.py").write_text("def f(x):\n    return x + 1\n" * 20)
    compiled = py_compile.compile(str(tmp_path / "made.py"), doraise=True)
    for file in (sys.executable, compiled, "t.tar", "t.gz", "utf16", "image"):
        shown = (await run_shell_async(f"cat {file}", cwd=tmp_path)).stdout
        assert shown.startswith("<binary, "), file


async def test_bytes_that_are_not_text_are_escaped() -> None:
    assert (await run_shell_async(r"printf 'caf\303\251 \377\n'")).stdout == "café \\xff\n"


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_character_is_never_cut_in_two(size: int) -> None:
    output = Output()
    text = "x" * size + "€😀é" * 40_000
    for start in range(0, len(data := text.encode()), 1000):
        output.add(data[start : start + 1000])
    shown, missing = output.text()
    assert "\\x" not in shown
    assert missing == len(data) - len(shown.replace(f"\n[... {missing} bytes left out ...]\n", "").encode())


async def test_a_spool_takes_everything_up_to_its_cap(tmp_path: Path) -> None:
    spool = OutputFile(tmp_path / "spool", cap=300_000)
    await run_process(["seq", "1", "100000"], timeout=20, env=child_environment(), spool=spool)
    spool.close()
    kept = spool.path.read_bytes()
    assert (len(kept), spool.left_out, spool.path.stat().st_mode & 0o777) == (300_000, 588_895 - 300_000, 0o600)
    assert kept.startswith(b"1\n2\n3\n")


FLOOD = """
import re, sys, anyio
from pathlib import Path
from agentctl.tools.shell import run_shell_async
result = anyio.run(run_shell_async, sys.argv[1])
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print(result.exit_code, result.truncated_bytes + len(result.stdout) >= 200 << 20, peak)
"""


@pytest.mark.needs("Linux")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the same reader on both
@pytest.mark.parametrize("command", ["head -c 200M /dev/zero | tr '\\0' x", "yes | head -c 200M"])
def test_a_flood_of_output_does_not_fill_the_memory(command: str, anyio_backend: str) -> None:
    environ = {**os.environ, **fork_server.ENVIRON}
    done = fork_server.run(["-c", FLOOD, command], cwd=fork_server.ROOT, env=environ, text=True)
    assert done.returncode == 0, done.stderr
    code, whole, peak = done.stdout.split()
    assert (code, whole) == ("0", "True")
    assert int(peak) < 150_000


CHILD = 'printf "%s|%s|%s" "$AGENTCTL_PARENT_RUN" "$AGENTCTL_PARENT_CAPABILITY" "$AGENTCTL_CHILD"'


async def test_command_outside_a_run_has_no_parent_and_one_inside_is_a_child_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, capability, mark = (await run_shell_async(CHILD)).stdout.split("|")
    assert (run, capability) == ("", "")
    assert not is_inside_a_run({"AGENTCTL_CHILD": mark})
    monkeypatch.setenv("AGENTCTL_CHILD", "0a0b")
    run, capability, mark = (await run_shell_async(CHILD)).stdout.split("|")
    assert (run, capability) == ("", "")
    assert is_inside_a_run({"AGENTCTL_CHILD": mark}), "inside a sandbox it stays inside"
    monkeypatch.setenv("AGENTCTL_PARENT_RUN", "a1b2")
    monkeypatch.setenv("AGENTCTL_PARENT_CAPABILITY", "c" * 64)
    run, capability, mark = (await run_shell_async(CHILD)).stdout.split("|")
    assert (run, capability) == ("a1b2", "c" * 64)
    assert is_inside_a_run({"AGENTCTL_CHILD": mark})


async def test_command_without_a_sandbox_gets_its_runs_variables_redacted_in_output(
    tmp_path: Path,
) -> None:
    secret = "0123456789abcdef" * 4
    shell = Unsandboxed(tmp_path, environment={"AGENTCTL_PARENT_CAPABILITY": secret}, secrets=(secret,))
    said = await shell.run("env | grep PARENT; printenv AGENTCTL_PARENT_CAPABILITY | base64 -w 0 >&2", timeout=20)
    assert said.stdout == "AGENTCTL_PARENT_CAPABILITY=[redacted]\n"
    assert "[redacted]" in said.stderr
    await shell.run("printenv AGENTCTL_PARENT_CAPABILITY > told", timeout=20)
    assert (tmp_path / "told").read_text() == secret + "\n"
    assert (await shell.run("echo sk-0123456789abcdefghijklmn", timeout=20)).stdout == "sk-0123456789abcdefghijklmn\n"
