"""A command without a sandbox looks for the key everywhere in /proc, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentctl.settings.key_exposure import secret_spans
from tests.support.bill.parts import PENNY, TASK
from tests.support.command_line import ROOT
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, WireRequest

KEY, OTHER_KEY = "sk-exposed-0123456789abcdef", "gsk-exposed-abcdef0123456789"
NOBODY = 65534

# Gets the text to look for reversed, so that it does not find itself. Prints a line for each place.
SCAN = r"""
import os, re, sys
skipped = set(map(int, sys.argv[1].split(",")))
needles = {word: word[::-1].encode() for word in sys.argv[2:]}
def say(kind, pid, data):
    for word, needle in needles.items():
        if needle in data:
            print(f"{kind} {word}", flush=True)
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in skipped:
        try:
            say("environ", name, open(f"/proc/{name}/environ", "rb").read())
        except OSError:
            pass
pid = os.getppid()
while pid > 1 and pid not in skipped:
    print("ancestor", open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")[1:3])
    try:
        maps, memory = open(f"/proc/{pid}/maps").read(), open(f"/proc/{pid}/mem", "rb", 0)
        for low, high in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) r", maps, re.M):
            try:
                memory.seek(int(low, 16))
                say("memory", pid, memory.read(int(high, 16) - int(low, 16)))
            except (OSError, ValueError, OverflowError):
                pass
    except OSError:
        print("memory unreadable")
    pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
"""


@pytest.fixture
def work() -> Iterator[Path]:
    """A folder that any user may be given."""
    folder = Path(tempfile.mkdtemp(prefix="keys-", dir="/tmp"))
    (folder / "scan.py").write_text(SCAN)
    (folder / "prices.toml").write_text("")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


READ = """
from importlib.util import find_spec
for name in "json", "agentctl", "litellm", "anyio":
    open(find_spec(name).origin).close()
"""


def as_nobody(work: Path) -> list[str]:
    """Return the words that make a program run as an ordinary user, to whom ``work`` belongs from now on."""
    for path in (work, *work.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    argv = [*words, "sh", "-c", 'exec "$0" -c "$1"', sys.executable, READ]
    able = subprocess.run(argv, cwd="/", env={"PYTHONPATH": str(ROOT)}, capture_output=True)
    # Python or this checkout lies in root's home: the user may read any file, which shows no process to anyone.
    return words if able.returncode == 0 else [*words, "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]


def run(work: Path, wire: OpenWire, *, prefix: list[str], key_in: str) -> list[str]:
    """Run the scan as a model's command, and return its findings."""
    words = " ".join(word[::-1] for word in (KEY, OTHER_KEY, "decoy-0123456789"))
    skipped = ",".join(map(str, ancestors(os.getpid())))
    command = (
        "DECOY=decoy-0123456789 sleep 60 & sleep 0.3; decoy=decoy-0123456789;"
        f" {sys.executable} scan.py {skipped} {words} >found 2>&1; echo $decoy"
    )

    def mind(asked: WireRequest) -> Answer:
        if any(said.role == "tool" for said in asked.messages):
            return PENNY.answer("Done.")
        return PENNY.answer("Looking.", (Call("run_shell", {"command": command}),))

    server = wire(mind, rates={PENNY.model: PENNY.rates}, keys=[KEY])
    env: dict[str, Any] = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(work),
        "LLM_MODEL": PENNY.model,
    }
    env |= {f"AGENTCTL_{kind}_DIR": str(work / kind.lower()) for kind in ("STATE", "CONFIG", "CACHE")}
    env |= {"OPENAI_BASE_URL": f"{server.url}/v1", "GROQ_API_KEY": OTHER_KEY, "LLM_PROVIDER": "openai"}
    if key_in == "environment":
        env["OPENAI_API_KEY"] = KEY
    else:
        (work / "config").mkdir(mode=0o700)
        (work / "config/.env").write_text(f"OPENAI_API_KEY={KEY}\n")
        (work / "config/.env").chmod(0o600)
    if prefix:
        prefix = as_nobody(work)
    argv = [*prefix, sys.executable, "-m", "agentctl", "run", TASK, "--tools", "run_shell", "--sandbox", "none"]
    done = subprocess.run([*argv, "--yes", "--json"], cwd=work, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(done.stdout)["answer"] == "Done."
    return (work / "found").read_text().splitlines()


def ancestors(pid: int) -> Iterator[int]:
    """Yield a process and those above it."""
    while pid > 0:
        yield pid
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


DECOY = "decoy-0123456789"[::-1]


@pytest.mark.needs("root")
def test_an_ordinary_user_s_command_finds_the_key_in_no_environment_and_no_memory(
    work: Path, wire: OpenWire, is_full: bool
) -> None:
    """The environment always has one key, of another provider."""
    for key_in in ("environment", "env file") if is_full else ("env file",):
        found = run(work, wire, prefix=["setpriv"], key_in=key_in)
        assert f"environ {DECOY}" in found, "what can be read is found"
        assert f"memory {DECOY}" in found, "the shell above the scan has it"
        assert any("agentctl" in line for line in found if line.startswith("ancestor")), "agentctl is above it"
        assert {line for line in found if not line.startswith("ancestor")} == {
            f"environ {DECOY}",
            f"memory {DECOY}",
            "memory unreadable",
        }


def test_the_command_of_any_user_finds_the_key_in_no_environment(work: Path, wire: OpenWire) -> None:
    found = run(work, wire, prefix=[], key_in="environment")
    assert [line for line in found if line.startswith("environ")] == [f"environ {DECOY}"]


NAMES = {
    "OPENAI_API_KEY": "ours",
    "AGENTCTL_PARENT_CAPABILITY": "ours",
    "TOGETHERAI_API_KEY": "another provider's",
    "AWS_SECRET_ACCESS_KEY": "a cloud's",
    "GITHUB_TOKEN": "a forge's",
    "PGPASSWORD": "a database's",
    "MYSQL_PWD": "a database's",
    "SENTRY_DSN": "a service's",
}
KEPT = ("PATH", "HOME", "PWD", "LANG", "AGENTCTL_CHILD", "AGENTCTL_PARENT_RUN", "TOKENIZERS_PARALLELISM", "LLM_MODEL")


@pytest.mark.parametrize("name", NAMES)
def test_the_value_of_a_secret_is_found_where_it_lies(name: str) -> None:
    block = b"PATH=/bin\0" + name.encode() + b"=value=1\0HOME=/\0"
    (span,) = secret_spans(block)
    assert block[span.start : span.start + span.size] == b"value=1"


@pytest.mark.parametrize("name", KEPT)
def test_text_without_a_secret_stays(name: str) -> None:
    assert secret_spans(name.encode() + b"=value\0") == ()


def test_a_password_in_an_address_is_a_secret_and_odd_entries_are_none() -> None:
    block = b"DATABASE_URL=postgres://user:word@host/db\0DOCS_URL=https://host:80/x@y\0\0=x\0OPENAI_API_KEY\0KEY=\0"
    ((start, size),) = secret_spans(block)
    assert block[start : start + size] == b"postgres://user:word@host/db"
