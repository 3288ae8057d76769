"""Facts of a passed sandbox test: kept until the next boot, repeated after any change, and not believed if forged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agentctl.core.errors import SandboxUnavailable
from agentctl.sandbox.mount_plan import SandboxConfig
from agentctl.sandbox.probe_cache import FILE, ProbeCache, probe_key
from agentctl.sandbox.select import NoTierAvailable, first_available
from agentctl.sandbox.tiers import Candidate, ProbeFacts, SandboxRequest, SandboxTier
from agentctl.sandbox.unsandboxed import Unsandboxed
from tests.support.machine import need

_PROGRAM: tuple[str, ...] = ("/usr/bin/x", "1")
FACTS = ProbeFacts(("--size",), ("a protection is missing",))


class FakeTier:
    """A tier whose tests are counted; ``fails`` makes them fail."""

    def __init__(self, workspace: Path, state: Path) -> None:
        self.config = SandboxConfig(str(workspace), str(workspace), environment={"A": "1"})
        self.state, self.count, self.fails, self.identity = state, 0, False, _PROGRAM
        self.built: list[ProbeFacts] = []
        self.meanwhile: Callable[[], object] = lambda: None

    async def __call__(self) -> int:
        """Start once more, and return how many tests there were by now."""
        request = SandboxRequest(self.config)
        await first_available([SandboxTier("fake", self._find)], request, ProbeCache(self.state))
        return self.count

    def _find(self, request: SandboxRequest) -> Candidate:
        async def test() -> ProbeFacts:
            self.count += 1
            self.meanwhile()
            if self.fails:
                raise SandboxUnavailable("it leaks", hint="none")
            return FACTS

        def build(facts: ProbeFacts) -> Unsandboxed:
            self.built.append(facts)
            return Unsandboxed(Path(request.config.workspace))

        return Candidate(self.identity, test, build)


@pytest.fixture
def start(tmp_path: Path) -> FakeTier:
    (tmp_path / "work").mkdir()
    return FakeTier(tmp_path / "work", tmp_path / "state")


async def test_a_passed_test_is_not_repeated_and_its_facts_are_the_same(start: FakeTier) -> None:
    assert [await start(), await start(), await start()] == [1, 1, 1]
    assert start.built == [FACTS] * 3
    assert (start.state / FILE).stat().st_mode & 0o777 == 0o600


async def test_a_failed_test_is_never_kept(start: FakeTier) -> None:
    start.fails = True
    for count in (1, 2):
        with pytest.raises(NoTierAvailable):
            await start()
        assert start.count == count
    assert not (start.state / FILE).exists()
    start.fails = False
    assert await start() == 3


async def test_a_test_during_which_something_changed_is_not_kept(start: FakeTier) -> None:
    work = Path(start.config.workspace)
    before = work.stat().st_mode
    start.meanwhile = lambda: work.chmod(before ^ 0o001)
    assert await start() == 1
    work.chmod(before)
    start.meanwhile = lambda: None
    assert [await start(), await start()] == [2, 2]


def _replace_workspace(start: FakeTier) -> None:
    work = Path(start.config.workspace)
    work.rename(work.with_name("old"))
    work.mkdir()


def _config(**changes: object) -> Callable[[FakeTier], None]:
    def change(start: FakeTier) -> None:
        start.config = start.config._replace(**changes)  # type: ignore[arg-type]

    return change


CHANGES: dict[str, Callable[[FakeTier], object]] = {
    "another program": lambda start: setattr(start, "identity", ("/usr/bin/x", "2")),
    "a new folder in its place": _replace_workspace,
    "its mode": lambda start: Path(start.config.workspace).chmod(0o750),
    "network": _config(network=True),
    "read-only": _config(read_only=True),
    "hidden": _config(hidden=("/nowhere",)),
    "readable": _config(readable=("/srv",)),
    "writable": _config(writable=("/srv",)),
    "a variable": _config(environment={"A": "2"}),
    "user": _config(user=(1, 1)),
    "home": _config(homes=("/nowhere",)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_test_is_repeated_after_a_change(start: FakeTier, change: Callable[[FakeTier], object]) -> None:
    assert await start() == 1
    change(start)
    assert await start() == 2
    assert await start() == 2


_ALWAYS = ("sys/kernel/random/boot_id", "self/mountinfo", "self/status", "self/ns/mnt")


@pytest.mark.parametrize("name", [*_ALWAYS, "sys/user/max_user_namespaces", "self/attr/current"])
def test_a_test_is_repeated_in_another_boot_container_or_state_of_rights(
    start: FakeTier, tmp_path: Path, name: str
) -> None:
    proc = tmp_path / "proc"
    for place in ("sys/kernel/random/boot_id", "self/mountinfo", "self/status", "self/attr/current"):
        (proc / place).parent.mkdir(parents=True, exist_ok=True)
        (proc / place).write_text("CapEff:\t1\n")
    (proc / "sys/user").mkdir()
    (proc / "sys/user/max_user_namespaces").write_text("100\n")
    (proc / "self/ns").mkdir()
    for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
        (proc / "self/ns" / kind).symlink_to(f"{kind}:[1]")
    before = probe_key("fake", (), start.config, proc)
    assert before == probe_key("fake", (), start.config, proc) != probe_key("other", (), start.config, proc)
    changed = proc / name
    is_link = changed.is_symlink()
    changed.unlink()
    if is_link:
        changed.symlink_to("mnt:[2]")
    else:
        changed.write_text("CapEff:\t2\n")
    assert probe_key("fake", (), start.config, proc) != before
    if name in _ALWAYS:
        changed.unlink()
        assert probe_key("fake", (), start.config, proc) is None


def _link(start: FakeTier) -> None:
    file = start.state / FILE
    file.rename(start.state / "other")
    file.symlink_to(start.state / "other")


def _pipe(start: FakeTier) -> None:
    (start.state / FILE).unlink()
    os.mkfifo(start.state / FILE, 0o600)


def _write(text: str) -> Callable[[FakeTier], object]:
    return lambda start: (start.state / FILE).write_text(text)


def _edit(start: FakeTier) -> None:
    """Change the facts to values that are no lists of text."""
    key, *_ = json.loads((start.state / FILE).read_text())
    (start.state / FILE).write_text(json.dumps([key, [1], "x"]) + "\n")


DOUBTS: dict[str, Callable[[FakeTier], object]] = {
    "others may write the file": lambda start: (start.state / FILE).chmod(0o602),
    "its group may write the file": lambda start: (start.state / FILE).chmod(0o620),
    "others may write the folder": lambda start: start.state.chmod(0o703),
    "a symbolic link": _link,
    "a second name": lambda start: os.link(start.state / FILE, start.state / "other"),
    "a pipe": _pipe,
    "too large": lambda start: (start.state / FILE).write_text((start.state / FILE).read_text() + " " * 70_000),
    "no JSON": _write("x\n"),
    "no list": _write("{}\n"),
    "other types": _edit,
}  # fmt: skip


@pytest.mark.parametrize("doubt", DOUBTS.values(), ids=DOUBTS)
async def test_a_file_that_another_could_have_made_is_not_believed(
    start: FakeTier, doubt: Callable[[FakeTier], object]
) -> None:
    assert await start() == 1
    doubt(start)
    assert await start() == 2


@pytest.mark.parametrize("what", ["file", "folder"])
async def test_a_file_of_another_user_is_not_believed(start: FakeTier, what: str) -> None:
    need("root")
    assert await start() == 1
    os.chown(start.state / FILE if what == "file" else start.state, 65534, 65534)
    assert await start() == 2


async def test_a_folder_that_cannot_be_written_only_costs_the_test(start: FakeTier) -> None:
    start.state.write_text("a file")
    assert [await start(), await start()] == [1, 2]


async def test_fifty_setups_are_kept_the_latest_ones(start: FakeTier) -> None:
    for number in range(60):
        start.identity = (str(number),)
        assert await start() == number + 1
    assert len((start.state / FILE).read_text().splitlines()) == 50
    assert await start() == 60
    start.identity = ("0",)
    assert await start() == 61
